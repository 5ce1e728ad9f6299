// The peer written with Socket.IO on Node: every client is in the room "room", and what is
// posted to /publish is emitted there.
//
// Where the recommendations come from: its documentation ("Performance tuning": the optional
// bufferutil, ws as the engine, and the initial HTTP request given back; "Memory usage").
// perMessageDeflate is off by default. One process, since more need an adapter between them.
'use strict';

const http = require('node:http');
const { parseArgs } = require('node:util');
const { Server } = require('socket.io');

const { values } = parseArgs({
  // The Go peers take -addr; parseArgs wants two dashes.
  args: process.argv.slice(2).map((arg) => arg.replace(/^-(?=\w{2})/, '--')),
  options: { addr: { type: 'string', default: '127.0.0.1:0' } },
});
const [host, port] = values.addr.split(':');

const server = http.createServer((request, response) => {
  let body = '';
  request.setEncoding('latin1');
  request.on('data', (chunk) => { body += chunk; });
  request.on('end', () => {
    io.to('room').emit('m', body);
    response.end('{}');
  });
});
// Ten minutes between pings: what is measured is messages, on both sides.
const io = new Server(server, { pingInterval: 600_000, pingTimeout: 60_000, connectTimeout: 300_000 });
io.engine.on('connection', (raw) => { raw.request = null; });
io.on('connection', (socket) => { socket.join('room'); });

// backlog: what the kernel allows, as Go listens. Node's own default is 511.
server.listen({ host, port: Number(port), backlog: 65535 }, () => {
  const bound = server.address();
  console.log(`listening addr=${bound.address}:${bound.port} pid=${process.pid}`);
});

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
