// The peer written with ws on Node.
//
// Where the recommendations come from: its README ("Server broadcast": send to every
// open client of wss.clients; "Opt-in for performance": the optional bufferutil) and
// doc/ws.md (perMessageDeflate is off by default and costs much memory). One process,
// as its README shows it.
'use strict';

const { parseArgs } = require('node:util');
const { WebSocketServer, WebSocket } = require('ws');

const { values } = parseArgs({
  // The Go peers take -addr and -mode; parseArgs wants two dashes.
  args: process.argv.slice(2).map((arg) => arg.replace(/^-(?=\w{2})/, '--')),
  options: {
    addr: { type: 'string', default: '127.0.0.1:0' },
    mode: { type: 'string', default: 'echo' },
  },
});
if (values.mode !== 'echo' && values.mode !== 'relay') {
  console.error('usage: node server.js [-addr host:port] [-mode echo|relay]');
  process.exit(2);
}
const [host, port] = values.addr.split(':');

// backlog: what the kernel allows, as Go listens. Node's own default is 511, and
// connects beyond it would wait for a retransmission.
const wss = new WebSocketServer({
  host,
  port: Number(port),
  backlog: 65535,
  perMessageDeflate: false,
  clientTracking: values.mode === 'relay',
});

wss.on('connection', (ws) => {
  ws.on('error', () => {}); // ws closes the connection itself
  ws.on('message', (data, isBinary) => {
    if (values.mode === 'echo') {
      ws.send(data, { binary: isBinary });
      return;
    }
    for (const client of wss.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});

wss.on('listening', () => {
  const bound = wss.address();
  console.log(`listening addr=${bound.address}:${bound.port} pid=${process.pid}`);
});

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
