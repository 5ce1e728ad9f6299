// npm ws against roost serve --demo, the way a textbook does it: the URL is the
// only argument. 50 clients, each says one thing, all hear all of it in one
// order.
const assert = require('node:assert/strict');
const { WebSocket } = require('ws');

const url = process.argv[2];
const clients = 50;
const timer = setTimeout(() => { throw new Error('no end after 100 s'); }, 100_000);

const heard = [];
let greeted = 0;
let complete = 0;

function connect(i) {
  heard[i] = [];
  const ws = new WebSocket(url);
  ws.on('error', (err) => { throw err; });
  ws.on('message', (data, isBinary) => {
    assert.equal(isBinary, false);
    const message = JSON.parse(data);
    if (message.type === 'system') {
      assert.deepEqual(message, { type: 'system', message: 'Welcome to the chat!' });
      // When the last one is in, all of them speak at once.
      if (++greeted === clients) sockets.forEach((s, n) => s.send(`I am ${n}`));
      return;
    }
    assert.deepEqual(Object.keys(message), ['type', 'message', 'timestamp']);
    assert.equal(message.type, 'chat');
    assert.equal(new Date(message.timestamp).toISOString(), message.timestamp);
    heard[i].push(message.message);
    if (heard[i].length === clients && ++complete === clients) finish();
  });
  return ws;
}

const sockets = [];
for (let i = 0; i < clients; i++) sockets.push(connect(i));

function finish() {
  const all = Array.from({ length: clients }, (_, n) => `I am ${n}`).sort();
  assert.deepEqual([...heard[0]].sort(), all);
  for (const h of heard) assert.deepEqual(h.slice().sort(), all);
  // Clients of one event loop hear them in one order; those of several loops
  // may not, because nothing is said about order between speakers.
  for (const s of sockets) s.close();
  clearTimeout(timer);
  console.log(`ok ${clients * clients}`);
}
