// The client in headless Chromium, by Playwright, against a real server.
//   node browser.mjs HOST:PORT
// The server speaks the native protocol, lets anonymous clients in, and anyone publish
// to news:*, which has a history, and to news, which has presence.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { createRequire } from 'node:module';
import { upTo } from './publish.mjs';

const { chromium } = createRequire(import.meta.url)('playwright-core');
const [host, port] = process.argv[2].split(':');
const patience = { timeout: 180_000 };

// A Line to the server can be cut, and can fall silent.
class Line {
  sockets = new Set();

  async start() {
    this.server = net.createServer((near) => {
      if (this.broken) return near.destroy();
      const far = net.connect(Number(port), host);
      for (const [from, to] of [[near, far], [far, near]]) {
        this.sockets.add(from);
        from.on('error', () => {}).on('close', () => { this.sockets.delete(from); to.destroy(); });
        if (!this.silent) from.pipe(to);
      }
    });
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  silence() { this.silent = true; this.sockets.forEach((s) => s.unpipe().pause()); }
  cut() { this.broken = true; this.sockets.forEach((s) => s.destroy()); }
  mend() { this.broken = this.silent = false; }
  stop() { this.cut(); this.server.close(); }
}
const line = await new Line().start(), { origin } = line;
const cut = () => line.cut(), mend = () => line.mend();

const browser = await chromium.launch({
  executablePath: process.env.ROOST_CHROMIUM,
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  // The pages are the test's own, for Chromium not of the loopback network.
  args: ['--disable-features=LocalNetworkAccessChecks', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const problems = [];

async function open(context, { script = '', at = origin } = {}) {
  const page = await context.newPage();
  page.on('console', (m) => { if (m.type() === 'error' && !/WebSocket|Failed to load resource/.test(m.text())) problems.push(m.text()); });
  if (process.env.DEBUG) page.on('console', (m) => console.error(m.text()));
  page.on('pageerror', (e) => problems.push(String(e)));
  if (script) await page.addInitScript(script);
  await page.goto(`${at}/page`, patience);
  await page.waitForFunction(() => globalThis.Roost, null, patience);
  return page;
}

// start makes a client in a page, which keeps what comes of a channel. On a busy machine a
// WebSocket may take longer than the client waits before it tries a fallback beside it: a
// test that is not about that waits.
const patient = { patience: 60_000 };
const start = (page, channel, options = {}) => page.evaluate(([channel, options]) => {
  globalThis.t0 = performance.now();
  globalThis.states = [];
  globalThis.got = [];
  globalThis.told = [];
  globalThis.roost = new Roost('/', options);
  roost.on('state', (e) => { states.push(e.attempt ? `${e.state} ${e.attempt}` : e.state); console.debug(JSON.stringify({ ...e, error: e.error?.message })); });
  globalThis.channel = roost.subscribe(channel, {
    message: (m) => { if (!got.length) globalThis.first = performance.now() - t0; got.push(m.data); },
    subscribed: (e) => told.push(`subscribed ${e.recovered}`),
    gap: () => told.push('gap'),
  });
  return channel.name;
}, [channel, { ...patient, ...options }]);
const ready = (page) => page.evaluate(() => channel.subscribe().then(() => roost.transport));
const publish = (page, channel, data) => page.evaluate(([c, d]) => roost.publish(c, d), [channel, data]);
const has = (page, n) => page.waitForFunction((n) => got.length >= n, n, patience);
const got = (page) => page.evaluate(() => got);

// whole checks that a page got 1 to n, each once, and always recovered.
async function whole(page, n) {
  await has(page, n);
  assert.deepEqual(await got(page), upTo(n));
  const [first, ...later] = await page.evaluate(() => told);
  assert.equal(first, 'subscribed false');
  assert.deepEqual([...new Set(later)], ['subscribed true']);
}

async function newContext(page = '') {
  const context = await browser.newContext();
  const { snippet, path } = await (await context.request.get(`${origin}/roost/client.json`)).json();
  const body = page || `<!doctype html><title>test</title><link rel="icon" href="data:,">${snippet}<script type="module">import { Roost } from '${path}'; globalThis.Roost = Roost;</script>`;
  await context.route('**/page*', (route) => route.fulfill({ contentType: 'text/html', body }));
  return context;
}

const tests = {
  async 'the page of docs/browser.md'() {
    const text = await readFile(new URL('../../../docs/browser.md', import.meta.url), 'utf8');
    const context = await newContext(text.match(/```html\n(.*?)```/s)[1]), plain = await newContext();
    const page = await context.newPage(), other = await open(plain);
    page.on('pageerror', (e) => problems.push(String(e)));
    await page.goto(`${origin}/page`, patience);
    await start(other, 'news');
    await ready(other);
    await other.waitForFunction(async () => (await roost.presence('news')).clients === 2, null, patience);
    await publish(other, 'news', { text: '<b>hello</b>' });
    await page.locator('#news li', { hasText: '<b>hello</b>' }).waitFor(patience);
    await context.close();
    await plain.close();
  },

  async 'what to copy is shown, also on a phone'() {
    const context = await browser.newContext({ viewport: { width: 360, height: 640 } });
    const page = await context.newPage();
    page.on('console', (m) => problems.push(m.text()));
    await page.goto(`${origin}/roost/`, patience);
    assert.match(await page.locator('pre').first().textContent(), /import \{ Roost \} from '\/roost\/.*\/roost\.js'/);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
    await context.close();
  },

  async 'two pages, loaded with the integrity of the snippet'() {
    const context = await newContext();
    const [a, b] = [await open(context), await open(context)];
    for (const page of [a, b]) { await start(page, 'news:two'); assert.equal(await ready(page), 'websocket'); }
    await publish(a, 'news:two', 1);
    await has(b, 1);
    await has(a, 1);
    await context.close();
  },

  async 'a page that was offline resumes at once'() {
    const context = await newContext();
    // By itself it would try again after a minute.
    const page = await open(context, { script: 'Math.random = () => 0.999;' }), other = await open(context);
    await start(page, 'news:offline', { reconnectMin: 60_000, reconnectMax: 60_000 });
    await start(other, 'news:x', { reconnectMin: 5, reconnectMax: 20 });
    await ready(page);
    await ready(other);
    await publish(other, 'news:offline', 1);
    await has(page, 1);
    cut();
    await context.setOffline(true);
    await page.waitForFunction(() => roost.state !== 'connected', null, patience);
    mend();
    await context.setOffline(false);
    await other.evaluate(() => roost.ready());
    for (const i of [2, 3]) await publish(other, 'news:offline', i);
    await whole(page, 3);
    // The network's return began a new row of attempts, the first at once.
    const states = await page.evaluate(() => states);
    assert.ok(states.slice(states.indexOf('disconnected')).includes('connecting 1'), String(states));
    await context.close();
  },

  async 'a page that was frozen resumes at once'() {
    const context = await newContext();
    const page = await open(context), other = await open(context);
    await start(page, 'news:frozen', { reconnectMin: 20000 });
    await start(other, 'news:x');
    await ready(page);
    await ready(other);
    await publish(other, 'news:frozen', 1);
    await has(page, 1);
    // Chromium freezes no page that Playwright drives: frozen.mjs has one.
    const event = (type) => page.evaluate((type) => document.dispatchEvent(new Event(type)), type);
    await event('freeze');
    for (const i of [2, 3]) await publish(other, 'news:frozen', i);
    assert.equal(await page.evaluate(() => roost.state), 'disconnected');
    await event('resume');
    await whole(page, 3);
    assert.deepEqual(await page.evaluate(() => states), ['connecting 1', 'connected', 'disconnected', 'connecting 1', 'connected']);
    await context.close();
  },

  async 'a page that comes back by the back button resumes'() {
    const context = await newContext();
    const script = "addEventListener('pageshow', (e) => { globalThis.kept = e.persisted; });";
    const page = await open(context, { script }), other = await open(context);
    await start(page, 'news:back', { reconnectMin: 20000 });
    await start(other, 'news:x');
    await ready(page);
    await ready(other);
    await publish(other, 'news:back', 1);
    await has(page, 1);
    await page.evaluate(() => { delete globalThis.kept; });
    await page.goto(`${origin}/roost/`, patience);
    for (const i of [2, 3]) await publish(other, 'news:back', i);
    await page.goBack({ ...patience, waitUntil: 'commit' });
    await page.waitForFunction(() => location.pathname === '/page' && globalThis.kept !== undefined, null, patience);
    assert.equal(await page.evaluate(() => globalThis.kept), true, 'the page was not kept: it holds something open');
    await whole(page, 3);
    await context.close();
  },

  async 'a page without WebSocket gets its first message by a fallback'() {
    const context = await newContext();
    const other = await open(context);
    await start(other, 'news:x');
    await ready(other);
    await publish(other, 'news:blocked', 1);
    const { epoch } = (await other.evaluate(() => roost.channel('news:blocked').subscribe().then((c) => c.position)));
    const hangs = 'globalThis.WebSocket = class { close() {} };';
    const held = `const f = fetch; globalThis.fetch = (u, o) => String(u).endsWith('/sse') ? new Promise(() => {}) : f(u, o);`;
    const refused = 'globalThis.WebSocket = class { constructor() { setTimeout(() => this.onclose({ code: 1006, reason: "", wasClean: false })); } close() {} };';
    for (const [script, want] of [[hangs, 'sse'], [refused, 'sse'], [hangs + held, 'poll']]) {
      const load = async (patience) => {
        const page = await open(context, { script });
        await page.evaluate(() => localStorage.clear());
        await start(page, 'news:none', { patience });
        await page.evaluate((resume) => { globalThis.channel = roost.subscribe('news:blocked', (m) => { globalThis.first ??= performance.now() - t0; got.push(m.data); }, { resume }); }, { epoch, offset: 0 });
        await has(page, 1);
        const { first, transport } = await page.evaluate(() => ({ first: Math.round(globalThis.first), transport: roost.transport }));
        const found = `the first message came over ${transport} after ${first} ms`;
        console.error(`  ${found}, want ${want}`);
        await page.close();
        return { found, good: transport === want && first < 3 * patience };
      };
      // On a busy machine a page may be late, and take another transport: then it is tried
      // once more, with a client that waits longer for each transport.
      let result;
      for (const patience of [1000, 1000, 2000, 4000, 8000]) {
        result = await load(patience);
        if (result.good) break;
      }
      assert.ok(result.good, `${result.found}, want ${want}`);
      // The next page of this origin knows.
      const next = await open(context, { script });
      await start(next, 'news:none');
      assert.equal(await ready(next), want);
      console.error(`  once it is known: ${Math.round(await next.evaluate(() => performance.now() - t0))} ms`);
      await next.close();
    }
    await context.close();
  },

  async 'a worker, and one that pages share'() {
    const context = await newContext();
    const pages = [await open(context), await open(context)];
    const { path } = await (await context.request.get(`${origin}/roost/client.json`)).json();
    const module = (channel) => `import { Roost } from '${origin}${path}';
      const roost = new Roost('${origin}/', ${JSON.stringify(patient)}), ports = [];
      const say = (what) => ports.forEach((port) => port.postMessage(what));
      const channel = roost.subscribe('${channel}', (m) => say([m.data, roost.transport]));
      const begin = async (port) => { ports.push(port); await channel.subscribe(); port.postMessage('ready'); };
      if (globalThis.DedicatedWorkerGlobalScope) begin(globalThis);
      else onconnect = ({ ports: [port] }) => begin(port);`;
    for (const kind of ['Worker', 'SharedWorker']) {
      for (const page of pages) {
        await page.evaluate(([kind, text]) => new Promise((done, no) => {
          // The pages share a worker if its address is the same.
          const made = new globalThis[kind](`data:text/javascript,${encodeURIComponent(text)}`, { type: 'module' });
          globalThis.got = [];
          made.onerror = (e) => no(new Error(e.message ?? 'the worker did not start'));
          (made.port ?? made).onmessage = ({ data }) => (data === 'ready' ? done() : got.push(data));
        }), [kind, module(`news:${kind}`)]);
      }
      await pages[0].evaluate(async ([url, kind]) => {
        const roost = new Roost(url);
        await roost.publish(`news:${kind}`, kind);
        roost.close();
      }, [`${origin}/`, kind]);
      for (const page of pages) {
        await has(page, 1);
        assert.deepEqual(await got(page), [[kind, 'websocket']]);
      }
    }
    await context.close();
  },

  async 'a page of another origin'() {
    const context = await newContext();
    const page = await open(context);
    for (const transport of ['websocket', 'sse', 'poll']) {
      await page.evaluate(async ([url, transport]) => {
        globalThis.roost = new Roost(url, { transports: [transport] });
        globalThis.got = [];
        globalThis.channel = roost.subscribe('news:cross', (m) => got.push(m.data));
        await channel.subscribe();
        await channel.publish(transport);
      }, [`http://${host}:${port}/`, transport]);
      await has(page, 1);
      assert.deepEqual(await got(page), [transport]);
      await page.evaluate(() => roost.close());
    }
    await context.close();
  },

  async 'pages share one connection, also when the one that has it goes'() {
    const context = await newContext();
    const pages = [];
    for (let i = 0; i < 4; i++) {
      pages.push(await open(context));
      await start(pages[i], 'news:shared', { shared: true });
      assert.equal(await ready(pages[i]), i ? 'tab' : 'websocket');
    }
    const other = await open(context);
    await start(other, 'news:x');
    await ready(other);
    const names = new Set();
    for (const page of pages) names.add(await page.evaluate(() => roost.client));
    assert.equal(names.size, 1, 'they are one connection');
    // A page asks for what only the server knows, and for a channel of its own.
    assert.equal((await pages[2].evaluate(() => roost.presence('news:shared'))).clients, 1);
    assert.equal((await pages[2].evaluate(() => roost.channel('news:own').subscribe().then((c) => c.state))), 'subscribed');
    let n = 0;
    const publishMore = async () => { for (let i = 0; i < 5; i++) await publish(other, 'news:shared', ++n); };
    await publishMore();
    for (let left = 4; left > 1; left--) {
      const gone = pages.shift();
      const more = publishMore();
      if (left === 3) await gone.goto('about:blank');
      else await gone.close();
      await more;
      await publishMore();
      for (const page of pages) await whole(page, n);
    }
    // A page that was away resumes from the history of the one that leads.
    const late = await open(context);
    await start(late, 'news:y', { shared: true });
    const at = await pages[0].evaluate(() => channel.position);
    await late.evaluate((at) => { globalThis.channel = roost.subscribe('news:shared', (m) => got.push(m.data), { resume: { ...at, offset: 2 } }); }, at);
    await has(late, n - 2);
    assert.deepEqual(await got(late), upTo(n).slice(2));
    cut();
    await pages[0].waitForFunction(() => roost.state !== 'connected', null, patience);
    mend();
    await other.evaluate(() => roost.ready());
    await publishMore();
    for (const page of [pages[0], late]) await has(page, page === late ? n - 2 : n);
    assert.deepEqual(await got(pages[0]), upTo(n));
    assert.deepEqual(await got(late), upTo(n).slice(2));
    await context.close();
  },
};

// This waits for a minute, beside the others. frozen.mjs does, too.
const away = {
  async 'a page that was offline for a minute resumes'() {
    const line = await new Line().start(), context = await newContext(), others = await newContext();
    const page = await open(context, { at: line.origin }), other = await open(others);
    await start(page, 'news:offline-long');
    await start(other, 'news:x');
    await ready(page);
    await ready(other);
    await publish(other, 'news:offline-long', 1);
    await has(page, 1);
    line.silence();
    await context.setOffline(true);
    for (let i = 2; i <= 5; i++) {
      await new Promise((done) => setTimeout(done, minute / 4));
      await publish(other, 'news:offline-long', i);
    }
    assert.deepEqual(await got(page), [1]);
    line.cut();
    line.mend();
    await context.setOffline(false);
    await whole(page, 5);
    await context.close();
    await others.close();
    line.stop();
  },
};
const minute = 1000 * (process.env.ROOST_MINUTE ?? 60);

try {
  const only = process.argv[3];
  const waiting = Object.entries(away).filter(([name]) => !only || name.includes(only)).map(async ([name, test]) => {
    const began = Date.now();
    await test();
    console.error(`${name}: ${Date.now() - began} ms`);
  });
  waiting.forEach((w) => w.catch(() => {})); // awaited below
  for (const [name, test] of Object.entries(tests)) {
    if (only && !name.includes(only)) continue;
    const began = Date.now();
    await test();
    assert.deepEqual(problems, [], name);
    console.error(`${name}: ${Date.now() - began} ms`);
  }
  await Promise.all(waiting);
  assert.deepEqual(problems, []);
} finally {
  await browser.close();
  line.stop();
}
console.log('ok');
