// An unchanged socket.io-client against the binary, with the back end of
// serve_socketio_test.go: in Node.js, or, with the word chromium, its bundle in a page.
// Usage: node socketio.js URL [chromium]
'use strict';
const path = require('node:path');

// features runs in either, and needs only io. It returns what it has done.
async function features(io, url, transports) {
  const equal = (got, want, what) => {
    if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  };
  const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
  const as = (user, namespace = '') => io(url + namespace, { transports, forceNew: true, reconnectionDelay: 10, auth: { token: `user:${user}` } });
  const bytes = (value) => [...new Uint8Array(value.buffer ?? value, value.byteOffset ?? 0, value.byteLength)];

  const ann = as('ann'), bob = as('bob');
  await Promise.all([once(ann, 'connect'), once(bob, 'connect')]);
  if (transports.length > 1 && ann.io.engine.transport.name !== 'websocket') await once(ann.io.engine, 'upgrade');
  equal(ann.io.engine.transport.name, transports.at(-1), 'the transport');
  // Acknowledgements come from the back end, binary data included, and so do errors.
  equal(await ann.emitWithAck('echo', 'ä', { a: [null, true] }), 'ä', 'echo');
  const deep = await ann.emitWithAck('echo', { deep: [new Uint8Array([1, 2, 255])] });
  equal(bytes(deep.deep[0]), [1, 2, 255], 'binary echo');
  equal((await ann.emitWithAck('nonsense')).error.code, 109, 'an unknown event');
  // Rooms: the back end puts clients into them, and emits.
  const heard = [];
  for (const [name, s] of [['ann', ann], ['bob', bob]]) s.onAny((event, ...args) => heard.push([name, event, ...args].join(' ')));
  await ann.emitWithAck('join', 'kitchen');
  await bob.emitWithAck('join', 'kitchen');
  equal(await ann.emitWithAck('say', 'kitchen', 'tea'), 1, 'the others in the room');
  equal(await ann.emitWithAck('tell', bob.id, 'psst'), 1, 'one socket');
  equal(await ann.emitWithAck('mail', 'bob', 'dear'), 1, 'a user');
  await bob.emitWithAck('leave', 'kitchen');
  equal(await ann.emitWithAck('say', 'kitchen', 'anyone'), 0, 'an empty room');
  equal(await ann.emitWithAck('come in'), 'in', 'a room by the API');
  const shouted = [once(ann, 'shouted'), once(bob, 'shouted')];
  ann.emit('shout', 'hello'); // told, and not asked
  await Promise.all(shouted);
  equal(heard.sort(), ['ann shouted hello ann', 'bob mail dear', 'bob said tea', 'bob shouted hello ann', 'bob told psst'], 'what was heard');
  // Namespaces, and a client that is not let in.
  const chat = as('ann', '/chat');
  await once(chat, 'connect');
  equal(await chat.emitWithAck('echo', 1), 1, 'in another namespace');
  const refused = io(url + '/chat', { transports, forceNew: true, auth: { token: 'banned' } });
  const [error] = await once(refused, 'connect_error');
  equal([error.message, error.data.code], ['banned', 1234], 'a refusal');
  const nowhere = as('ann', '/nowhere');
  equal((await once(nowhere, 'connect_error'))[0].message, 'Invalid namespace', 'an unknown namespace');
  // The back end ends one for good, and lets another one come back.
  const gone = once(bob, 'disconnect');
  bob.emit('kick me', () => {});
  equal((await gone)[0], 'io server disconnect', 'the end of bob');
  const away = once(ann, 'disconnect');
  ann.emit('later', () => {});
  equal((await away)[0], 'transport close', 'the end of a transport');
  await once(ann, 'connect');
  equal(await ann.emitWithAck('echo', 'back'), 'back', 'after coming back');
  for (const s of [ann, bob, chat, refused, nowhere]) s.disconnect();
  return `features over ${transports.join(', then ')}`;
}

const ways = [['websocket'], ['polling'], ['polling', 'websocket']];

async function inPage(url) {
  const { chromium } = require('playwright-core');
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage();
  await page.goto(`${url}/healthz`); // a page from there: others may not reach local addresses
  await page.addScriptTag({ path: path.join(path.dirname(require.resolve('socket.io-client/package.json')), 'dist', 'socket.io.min.js') });
  for (const transports of ways) {
    console.log(await page.evaluate(`(${features})(io, location.origin, ${JSON.stringify(transports)})`));
  }
  await browser.close();
}

(async () => {
  const [url, where] = process.argv.slice(2);
  if (where === 'chromium') {
    await inPage(url);
  } else {
    const { io } = require('socket.io-client');
    for (const transports of ways) console.log(await features(io, url, transports));
  }
  console.log('ok');
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
setTimeout(() => {
  console.error('too slow');
  process.exit(1);
}, 60_000);
