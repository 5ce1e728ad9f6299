// An unchanged socket.io-client against the server of TestSocketIOClient (realclient_test.go): each feature
// once. Usage: node client.js URL CUT; a GET of CUT cuts all connections once.
'use strict';
const assert = require('node:assert');
const http = require('node:http');
const { io } = require('socket.io-client');

const [url, cut] = process.argv.slice(2);
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
const get = (where) => new Promise((resolve, reject) => http.get(where, (r) => r.resume().on('end', resolve)).on('error', reject));

async function features(transports) {
  const options = { transports, forceNew: true, auth: { token: 'good' } };
  const socket = io(url, options);
  await once(socket, 'connect');
  assert.strictEqual(typeof socket.id, 'string');
  if (transports.length > 1) {
    if (socket.io.engine.transport.name !== 'websocket') await once(socket.io.engine, 'upgrade');
    assert.strictEqual(socket.io.engine.transport.name, 'websocket');
  } else {
    assert.strictEqual(socket.io.engine.transport.name, transports[0]);
  }
  // Events and acknowledgements, with binary data at any depth.
  const several = await new Promise((resolve) => socket.emit('echo', 1, 'ä\u2028', { a: [null, true] }, (...args) => resolve(args)));
  assert.deepStrictEqual(several, [1, 'ä\u2028', { a: [null, true] }]);
  const bin = await socket.emitWithAck('echo', { deep: [Buffer.from([1, 2, 255])] });
  assert.deepStrictEqual([...bin.deep[0]], [1, 2, 255]);
  await assert.rejects(socket.timeout(50).emitWithAck('silence'));
  socket.on('question', (a, answer) => answer(a + 1, Buffer.from('x')));
  assert.strictEqual(await socket.emitWithAck('ask me', 41), '42 x');
  // Rooms, except and broadcast.
  const other = io(url, options), third = io(url, options);
  await Promise.all([once(other, 'connect'), once(third, 'connect')]);
  await Promise.all([socket.emitWithAck('join', 'a'), other.emitWithAck('join', 'a'), third.emitWithAck('join', 'a', 'c')]);
  const heard = [];
  for (const [name, s] of Object.entries({ socket, other, third })) s.onAny((event, ...args) => heard.push([name, event, ...args]));
  await socket.emitWithAck('to', 'a', 'c', 'one');
  await socket.emitWithAck('everyone', 'two');
  await Promise.all([socket.emitWithAck('echo'), other.emitWithAck('echo'), third.emitWithAck('echo')]);
  assert.deepStrictEqual(heard.sort().map(String), ['other,all,two', 'other,said,one', 'third,all,two']);
  socket.volatile.emit('echo', 'maybe');
  // Namespaces on one connection, refused and admitted.
  const refused = io(url + '/guarded', { ...options, forceNew: false, auth: { token: 'bad' } });
  const [error] = await once(refused, 'connect_error');
  assert.strictEqual(error.message, 'not authorized');
  assert.deepStrictEqual(error.data, { code: 7 });
  refused.auth = { token: 'good' };
  refused.connect();
  await once(refused, 'connect');
  assert.strictEqual(await refused.emitWithAck('where'), '/guarded');
  const nowhere = io(url + '/nowhere', options);
  assert.strictEqual((await once(nowhere, 'connect_error'))[0].message, 'Invalid namespace');
  // Disconnects, by either side.
  socket.emit('kick me');
  assert.strictEqual((await once(socket, 'disconnect'))[0], 'io server disconnect');
  // The network is cut: the client comes back by itself.
  const gone = once(other, 'disconnect');
  await get(cut);
  await gone;
  await once(other, 'connect');
  assert.strictEqual(await other.emitWithAck('echo', 'back'), 'back');
  for (const s of [socket, other, third, refused, nowhere]) s.disconnect();
}

(async () => {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    await features(transports);
    console.log('features over', transports.join(', then '));
  }
  console.log('ok');
  process.exit(0);
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
setTimeout(() => {
  console.error('too slow');
  process.exit(1);
}, 120_000);
