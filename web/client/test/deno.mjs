// The client in Deno, and in a worker of Deno, over each transport, against a real server.
//   deno run --allow-all deno.mjs HOST:PORT
// The server is that of browser.mjs.
import { Roost } from '../roost.js';

const server = globalThis.Deno.args[0];
const first = (emitter, type) => new Promise((done) => emitter.once(type, done));
for (const transport of ['websocket', 'sse', 'poll']) {
  const roost = new Roost(`http://${server}/`, { transports: [transport] });
  const channel = roost.channel('news:deno');
  await channel.subscribe();
  const message = first(channel, 'message');
  const { offset } = await channel.publish({ transport });
  const { data, position } = await message;
  const { messages } = await channel.history({ limit: 1, reverse: true });
  if (roost.transport !== transport || data.transport !== transport || position.offset !== offset || messages[0].data.transport !== transport) {
    throw new Error(`${transport}: ${JSON.stringify({ data, position, offset, messages })} over ${roost.transport}`);
  }
  roost.close();
}
const worker = new Worker(`data:text/javascript,${encodeURIComponent(`import { Roost } from '${new URL('../roost.js', import.meta.url)}';
  const roost = new Roost('http://${server}/');
  await roost.channel('news:deno').subscribe();
  postMessage(roost.transport);
  roost.close();`)}`, { type: 'module' });
const transport = await new Promise((done, no) => Object.assign(worker, { onmessage: (e) => done(e.data), onerror: no }));
if (transport !== 'websocket') throw new Error(`the worker's transport is ${transport}`);
worker.terminate();
console.log(`ok: Deno ${globalThis.Deno.version.deno}`);
