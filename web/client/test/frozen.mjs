// A page that Chromium freezes for a minute.
//   node frozen.mjs HOST:PORT
// The server is that of browser.mjs. Only a page that is not to be seen can be frozen.
// Playwright lets each page believe that it is seen, so this speaks DevTools' protocol
// itself.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { publish, upTo } from './publish.mjs';

const { WebSocket } = createRequire(import.meta.url)('ws');
const server = process.argv[2], channel = `news:frozen${process.pid}`;
const minute = 1000 * (process.env.ROOST_MINUTE ?? 60);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const profile = await mkdtemp(join(tmpdir(), 'roost-frozen-'));
const chromium = spawn(process.env.ROOST_CHROMIUM, ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-features=LocalNetworkAccessChecks', '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'],
{ stdio: ['ignore', 'ignore', 'pipe'], detached: true });
const ended = new Promise((done) => chromium.once('exit', done));
const kill = () => {
  try { process.kill(-chromium.pid, 'SIGKILL'); } catch { /* it has ended */ }
};
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { kill(); process.exit(1); });

try {
  const devtools = new WebSocket(await new Promise((found, no) => {
    let said = '';
    chromium.stderr.on('data', (text) => {
      said += text;
      const url = /DevTools listening on (ws:\S+)/.exec(said);
      if (url) found(url[1]);
    });
    ended.then((code) => no(new Error(`Chromium ended with ${code}: ${said}`)));
  }));
  await new Promise((open, no) => Object.assign(devtools, { onopen: open, onerror: no }));
  const waiting = new Map();
  let lastID = 0;
  devtools.onmessage = (e) => {
    const { id, result, error } = JSON.parse(e.data);
    waiting.get(id)?.(result ?? { error });
  };
  const send = (method, params, sessionId) => new Promise((done) => {
    waiting.set(++lastID, done);
    devtools.send(JSON.stringify({ id: lastID, method, params, sessionId }));
  });
  const page = async () => {
    // /healthz is of the server, and lets a script in.
    const { targetId } = await send('Target.createTarget', { url: `http://${server}/healthz` });
    const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
    const ask = async (expression) => {
      const { result, exceptionDetails, error } = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true }, sessionId);
      assert.equal(exceptionDetails ?? error, undefined);
      return result.value;
    };
    const until = async (condition) => { while (!await ask(condition)) await sleep(50); };
    await until('location.pathname === "/healthz" && document.readyState === "complete"');
    return { targetId, ask, until, lifecycle: (state) => send('Page.setWebLifecycleState', { state }, sessionId) };
  };

  const one = await page();
  await one.ask(`import('/roost/roost.js').then(({ Roost }) => {
    Object.assign(globalThis, { got: [], told: [], states: [], ticks: 0, roost: new Roost('/') });
    setInterval(() => ticks++, 100);
    roost.on('state', (e) => states.push(e.state));
    return roost.subscribe('${channel}', { message: (m) => got.push(m.data), subscribed: (e) => told.push(e.recovered) }).subscribe();
  }).then(() => 1)`);
  await publish(server, channel, 1);
  await one.until('got.length === 1');
  const other = await page();
  await send('Target.activateTarget', { targetId: other.targetId });
  await one.until('document.hidden');
  await one.lifecycle('frozen');
  await one.until('states.includes("disconnected")');
  const before = await one.ask('ticks');
  for (let i = 2; i <= 5; i++) {
    await sleep(minute / 4);
    await publish(server, channel, i);
  }
  assert.ok(await one.ask('ticks') - before <= 1, 'the page was not frozen: its timers ran');
  assert.deepEqual(await one.ask('got'), [1]);
  await one.lifecycle('active');
  await one.until('got.length >= 5');
  assert.deepEqual(await one.ask('got'), upTo(5));
  assert.deepEqual(await one.ask('told'), [false, true]);
} finally {
  kill();
  await ended;
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
}
console.log('ok');
