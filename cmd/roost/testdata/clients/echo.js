// npm ws against roost serve --echo: echo.js URL COMPRESSION [CERTIFICATE], with
// what --compression and --tls-cert were. Prints one line and exits 0, or throws.
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { once } = require('node:events');
const { WebSocket } = require('ws');

const [url, compression, certificate] = process.argv.slice(2);
const ca = certificate && readFileSync(certificate);
const timer = setTimeout(() => { throw new Error('no end after 100 s'); }, 100_000);

async function open(options) {
  const ws = new WebSocket(url, { ...options, ca });
  // Messages and pongs that come early are kept for the next caller.
  const inbox = { message: [], pong: [] };
  const waiting = { message: [], pong: [] };
  for (const kind of ['message', 'pong']) {
    ws.on(kind, (...args) => (waiting[kind].length ? waiting[kind].shift()(args) : inbox[kind].push(args)));
  }
  ws.next = (kind) =>
    inbox[kind].length ? Promise.resolve(inbox[kind].shift()) : new Promise((resolve) => waiting[kind].push(resolve));
  await once(ws, 'open');
  return ws;
}

(async () => {
  let checks = 0;
  for (const perMessageDeflate of [false, true]) {
    const ws = await open({ perMessageDeflate });
    assert.equal(ws.extensions, perMessageDeflate && compression !== 'off' ? 'permessage-deflate' : '');
    for (const size of [0, 1, 125, 126, 127, 4096, 65_535, 65_536]) {
      const bytes = Buffer.alloc(size, 'ü');
      ws.send(bytes);
      const [gotBytes, isBinary] = await ws.next('message');
      assert.equal(isBinary, true);
      assert.ok(gotBytes.equals(bytes), `binary of ${size}`);

      const text = 'x'.repeat(size);
      ws.send(text);
      const [gotText, textIsBinary] = await ws.next('message');
      assert.equal(textIsBinary, false);
      assert.equal(gotText.toString(), text, `text of ${size}`);
      checks += 2;
    }

    // Fragments come back as one message; a ping between them is answered first.
    ws.send('frag', { fin: false });
    ws.ping('between');
    ws.send('men', { fin: false });
    ws.send('ts', { fin: true });
    const [pong] = await ws.next('pong');
    assert.equal(pong.toString(), 'between');
    const [whole] = await ws.next('message');
    assert.equal(whole.toString(), 'fragments');

    // A burst keeps its order.
    for (let i = 0; i < 1000; i++) ws.send(`burst ${i}`);
    for (let i = 0; i < 1000; i++) assert.equal((await ws.next('message'))[0].toString(), `burst ${i}`);

    ws.close(4321, 'enough');
    assert.equal((await once(ws, 'close'))[0], 4321); // the code is echoed
    checks += 4;
  }

  const big = await open({ perMessageDeflate: false });
  big.on('error', () => {}); // a reset while it is still sending is fine
  big.send(Buffer.alloc(1 << 20));
  const [code] = await once(big, 'close');
  assert.ok(code === 1009 || code === 1006, `1 MiB was ended with ${code}`);

  const invalid = await open({ perMessageDeflate: false });
  invalid._socket.write(Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28])); // not UTF-8
  assert.equal((await once(invalid, 'close'))[0], 1007);

  const unmasked = await open({ perMessageDeflate: false });
  unmasked._socket.write(Buffer.from([0x81, 0x02, 0x68, 0x69]));
  assert.equal((await once(unmasked, 'close'))[0], 1002);

  clearTimeout(timer);
  console.log(`ok ${checks + 3}`);
})();
