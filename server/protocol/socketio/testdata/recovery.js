// An unchanged socket.io-client against the server of TestSocketIOClientComesBack
// (realclient_test.go): the network is cut under it. Usage: node recovery.js EMIT URL CUT...;
// a GET of EMIT emits what clients miss, one of CUT cuts the connections to URL.
'use strict';
const assert = require('node:assert');
const http = require('node:http');
const { io } = require('socket.io-client');

const [emit, ...lines] = process.argv.slice(2);
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
const get = (where) => new Promise((resolve, reject) => http.get(where, (r) => r.resume().on('end', resolve)).on('error', reject));

async function recovers(transports, url, cut) {
  const socket = io(url, { transports, forceNew: true, reconnectionDelay: 500, randomizationFactor: 0 });
  await once(socket, 'hello'); // a position
  assert.strictEqual(socket.recovered, false);
  if (transports.length > 1 && socket.io.engine.transport.name !== 'websocket') await once(socket.io.engine, 'upgrade');
  await socket.emitWithAck('join', 'a');
  const heard = [];
  socket.onAny((event, ...args) => heard.push([event, ...args.slice(0, -1)]));
  const lose = async () => {
    const gone = once(socket, 'disconnect');
    await get(cut);
    await gone;
    const connected = once(socket, 'connect');
    const end = once(socket, 'end');
    await get(emit);
    return { connected, end };
  };
  const id = socket.id;
  for (const round of [1, 2]) { // and again
    heard.length = 0;
    const { connected, end } = await lose();
    await connected;
    await end;
    assert.strictEqual(socket.recovered, true, `round ${round}`);
    assert.strictEqual(socket.id, id);
    assert.deepStrictEqual(heard.map(String), ['all', 'a', 'bytes,' + Buffer.from([1, 2]), 'end']);
  }
  // It stays away too long.
  socket.io.reconnectionDelay(4000);
  socket.io.reconnectionDelayMax(4000);
  heard.length = 0;
  const hello = once(socket, 'hello');
  const { connected } = await lose();
  await connected;
  await hello;
  assert.strictEqual(socket.recovered, false);
  assert.notStrictEqual(socket.id, id);
  assert.deepStrictEqual(heard.map(String), ['hello']);
  socket.disconnect();
}

(async () => {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    await recovers(transports, lines.shift(), lines.shift());
  }
})().then(
  () => console.log('ok'),
  (err) => {
    console.error(err);
    process.exit(1);
  },
);
