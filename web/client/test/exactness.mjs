// Many clients on a bad network get every message of their channels once and in order.
//   node exactness.mjs PROXY SERVER TRANSPORT CLIENTS MESSAGES SEED
// PROXY and SERVER are host:port; SERVER is without faults, for the publisher.
// TRANSPORT is websocket, sse, poll, or all: then the clients change between them.
import assert from 'node:assert/strict';
import { Roost, WebSocket } from './fake.mjs';

const [proxy, server, transport, clients, messages, seed] = process.argv.slice(2);
const CHANNELS = 16;
const soon = { reconnectMin: 5, reconnectMax: 100 };

// draw returns random numbers below n, the same for the same seed.
let state = BigInt(seed);
function draw(n) {
  state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
  return Number((state >> 33n) % BigInt(n));
}

// A socket that now and then does not get through, quickly or slowly.
class Unsteady extends WebSocket {
  constructor(url, protocols) {
    super(draw(3) ? url : 'ws://127.0.0.1:9/', protocols);
  }
}

const options = {
  ...soon, transports: [transport], WebSocket,
  ...(transport === 'all' && { transports: ['websocket', 'sse', 'poll'], WebSocket: Unsteady, patience: 40, climbAfter: 300 }),
};

const publisher = new Roost(`ws://${server}/`, { WebSocket, transports: ['websocket'] });
await publisher.ready();

const used = {};
const all = [];
// What a run that does not come to an end leaves behind.
const slow = setInterval(() => {
  const late = all.filter(({ subscriptions }) => subscriptions.some((s) => s.got.length < +messages));
  const order = ({ roost, subscriptions }) => (roost.state === 'connected') + subscriptions.filter((s) => s.channel.state === 'subscribed').length;
  late.sort((a, b) => order(a) - order(b));
  console.error(`${late.length} clients are not complete`, used, late.slice(0, 3).map(({ roost, subscriptions }) => [
    roost.state, roost.transport, roost._session?.asked, roost._candidates, roost._climbing, roost._failed, roost._good, roost.stats, roost.error?.message, ...subscriptions.map((s) => `${s.channel.state} ${s.got.length}`)]));
}, 10000);
for (let i = 0; i < +clients; i++) {
  const roost = new Roost(`ws://${proxy}/`, options);
  roost.on('state', (e) => { if (e.state === 'connected') used[e.transport] = (used[e.transport] ?? 0) + 1; });
  roost.on('state', (e) => { if (e.state === 'closed' && !e.error.message.includes('was closed')) throw e.error; });
  roost.on('state', (e) => { roost.error = e.error; });
  const first = draw(CHANNELS);
  const subscriptions = [first, (first + 1 + draw(CHANNELS - 1)) % CHANNELS].map((n) => {
    const got = [], problems = [];
    const channel = roost.channel(`news:${n}`);
    let subscribed = 0;
    channel.on('message', (m) => got.push(m.data));
    channel.on('subscribed', (e) => { if (subscribed++ && !e.recovered) problems.push('not recovered'); });
    for (const type of ['gap', 'unsubscribed']) channel.on(type, (e) => problems.push(`${type} ${JSON.stringify(e)}`));
    return { channel, got, problems, ready: channel.subscribe() };
  });
  all.push({ roost, subscriptions });
}
await Promise.all(all.flatMap(({ subscriptions }) => subscriptions.map((s) => s.ready)));

// What a client has missed before it was subscribed it does not get: from here on, all.
for (const { subscriptions } of all) for (const s of subscriptions) assert.deepEqual(s.got, []);
for (let k = 0; k < +messages; k++) {
  await Promise.all(Array.from({ length: CHANNELS }, (_, n) => publisher.publish(`news:${n}`, k)));
  await new Promise((done) => setTimeout(done, 5));
}

const want = Array.from({ length: +messages }, (_, k) => k);
const complete = () => all.every(({ subscriptions }) => subscriptions.every((s) => s.got.length >= want.length));
while (!complete()) await new Promise((done) => setTimeout(done, 20));
clearInterval(slow);
await new Promise((done) => setTimeout(done, 200)); // nothing more comes
const sums = { connects: 0, messages: 0, duplicates: 0, missed: 0 };
for (const { roost, subscriptions } of all) {
  for (const name of Object.keys(sums)) sums[name] += roost.stats[name];
  for (const s of subscriptions) {
    assert.deepEqual(s.problems, []);
    assert.deepEqual(s.got, want);
  }
  roost.close();
}
publisher.close();
assert.ok(sums.connects > 2 * clients, `the network was too good: ${sums.connects} connections of ${clients} clients`);
console.log('ok', JSON.stringify({ ...sums, ...used }));
process.exit();
