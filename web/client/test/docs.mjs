// The examples of docs/browser.md, in their order, against a real server; each prints
// what the page says.
//   node docs.mjs PAGE SERVER SECRET
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';

const [page, server, secret] = process.argv.slice(2);
const text = await readFile(page, 'utf8');

const printed = [];
globalThis.print = (...args) => printed.push(args.map((a) => (typeof a === 'string' ? a : inspect(a))).join(' '));
globalThis.shows = async (number, want) => {
  for (let tries = 0; printed.length < want.length && tries < 500; tries++) await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(printed.splice(0), want, `example ${number}`);
};

const part = (o) => Buffer.from(JSON.stringify(o)).toString('base64url');
const claims = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: '42', exp: Math.floor(Date.now() / 1000) + 600 })}`;
const token = `${claims}.${createHmac('sha256', secret).update(claims).digest('base64url')}`;
const { fetch } = globalThis;
globalThis.fetch = (url, options) => (url === '/token' ? Promise.resolve(new Response(token)) : fetch(url, options));
// What an application would do itself where Node.js has no WebSocket.
const { WebSocket } = createRequire(import.meta.url)('ws');
globalThis.WebSocket = WebSocket;

let number = 0, source = `const console = { log: print };\n`;
for (const [, code, want = ''] of text.matchAll(/```js\n(.*?)```\n(?:```text\n(.*?)```)?/gs)) {
  source += `${code}\nawait shows(${++number}, ${JSON.stringify(want.split('\n').filter(Boolean))});\n`;
}
assert.ok(number > 5, `${number} examples`);
source = source
  .replaceAll("'@roostws/client'", JSON.stringify(new URL(process.env.ROOST_CLIENT ?? '../roost.js', import.meta.url)))
  .replaceAll('wss://push.example.com', `ws://${server}`)
  .replace(/import \{ WebSocket \} from 'ws';/, 'const { WebSocket } = globalThis;');
const name = `${process.env.TMPDIR || tmpdir()}/examples-${process.pid}.mjs`;
await writeFile(name, source);
await import(pathToFileURL(name));
console.log('ok', number, 'examples');
process.exit();
