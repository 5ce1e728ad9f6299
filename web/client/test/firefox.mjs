// The client in Debian's Firefox, which Playwright does not drive: pages test themselves
// and report, and the network between them and the server is this process.
//   node firefox.mjs HOST:PORT [offline|stopped]
// The server is that of browser.mjs. ROOST_FIREFOX is the browser. The last two are for
// a minute: a page whose network is cut, and one whose process is stopped.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { launch } from './gecko.mjs';
import { publish, upTo } from './publish.mjs';

const [, , server, only] = process.argv, [host, port] = server.split(':');
const minute = 1000 * (process.env.ROOST_MINUTE ?? 60);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const page = `<!doctype html><title>test</title><link rel="icon" href="data:,"><script type="module">
import { Roost } from '/roost/roost.js';
const report = (what) => fetch('/report', { method: 'POST', body: JSON.stringify(what) });
addEventListener('error', (e) => report({ problem: String(e.message) }));
addEventListener('unhandledrejection', (e) => report({ problem: String(e.reason) }));
const { options, channel, resume, quiet, living } = await (await fetch('/task')).json();
const began = performance.now(), roost = new Roost('/', options), got = [], told = [];
let first;
roost.subscribe(channel, {
  message: (m) => { first ??= Math.round(performance.now() - began); got.push(m.data); report({ got, told, first, transport: roost.transport }); },
  subscribed: (e) => told.push(e.recovered),
  gap: () => told.push('gap'),
}, { resume });
let lives = 0;
if (living) setInterval(() => report({ lives: ++lives }), 250);
if (quiet) {
  await roost.ready();
  while (!got.length) await new Promise((done) => setTimeout(done, 10));
  document.dispatchEvent(new Event('freeze'));
  roost.on('state', (e) => report({ state: e.state }));
  setTimeout(() => document.dispatchEvent(new Event('resume')), quiet);
}
<\/script>`;

// A Network serves a page of its own origin, and passes the rest on to the server:
// websocket and sse are 'open', 'hang' or 'refuse'. It has an address of its own, since
// browsers open one WebSocket after the other to an address (RFC 6455, section 4.1).
class Network {
  sockets = new Set();
  reports = [];
  constructor(task, { websocket = 'open', sse = 'open' } = {}) { Object.assign(this, { task, websocket, sse }); }

  async start(address) {
    this.server = http.createServer((request, response) => this.serve(request, response));
    this.server.on('upgrade', (request, socket, head) => {
      if (this.websocket === 'hang') return;
      if (this.websocket === 'refuse') return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
      const far = net.connect(Number(port), host, () => {
        far.write(`${request.method} ${request.url} HTTP/1.1\r\n`);
        for (let i = 0; i < request.rawHeaders.length; i += 2) far.write(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}\r\n`);
        far.write('\r\n');
        far.write(head);
        socket.pipe(far).pipe(socket);
      });
      for (const s of [socket, far]) s.on('error', () => {}).on('close', () => { socket.destroy(); far.destroy(); });
    });
    this.server.on('connection', (socket) => {
      socket.on('error', () => {});
      if (this.broken) return socket.destroy();
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
    });
    await new Promise((done) => this.server.listen(0, address, done));
    this.url = `http://${address}:${this.server.address().port}/`;
    return this;
  }

  async serve(request, response) {
    if (request.url === '/page') return response.setHeader('Content-Type', 'text/html').end(page);
    if (request.url === '/task') return response.end(JSON.stringify(this.task));
    if (request.url === '/report') {
      let text = '';
      for await (const part of request) text += part;
      this.report(JSON.parse(text));
      return response.end();
    }
    if (request.url.startsWith('/v1/sse') && this.sse === 'hang') return;
    const far = http.request({ host, port, path: request.url, method: request.method, headers: request.headers }, (from) => {
      response.writeHead(from.statusCode, from.headers);
      response.flushHeaders();
      from.pipe(response).on('close', () => far.destroy());
    });
    far.on('error', () => response.destroy());
    request.pipe(far);
  }

  report(what) {
    this.reports.push(what);
    this.reported?.();
  }

  // until waits for a report.
  async until(wanted) {
    for (let at = 0; ; at++) {
      while (at >= this.reports.length) await new Promise((done) => { this.reported = done; });
      const report = this.reports[at];
      assert.equal(report.problem, undefined);
      if (wanted(report)) return report;
    }
  }

  cut() { this.broken = true; this.sockets.forEach((s) => s.destroy()); }
  mend() { this.broken = false; }
  stop() { this.server.closeAllConnections(); this.server.close(); }
}

// Late is what a busy machine may cause: then all pages are tried once more.
class Late extends Error {}

// A case is a page: what blocks it, and what it shall find.
const cases = {};
for (const [name, blocked, want] of [
  ['nothing blocked', {}, 'websocket'],
  ['a WebSocket that hangs', { websocket: 'hang' }, 'sse'],
  ['a WebSocket that is refused', { websocket: 'refuse' }, 'sse'],
  ['a WebSocket and streams that hang', { websocket: 'hang', sse: 'hang' }, 'poll'],
]) {
  cases[name] = {
    blocked,
    // On a busy machine a WebSocket may take longer than the client waits for it.
    task: want === 'websocket' ? { options: { patience: 60_000 } } : {},
    async run(network, channel) {
      const { first, transport } = await network.until((r) => r.got?.length === 1);
      if (transport !== want) throw new Late(`over ${transport}, want ${want}`);
      network.cut();
      network.mend();
      await publish(server, channel, 2);
      await publish(server, channel, 3);
      const { got, told } = await network.until((r) => r.got?.length === 3);
      assert.deepEqual(got, upTo(3));
      assert.deepEqual([...new Set(told)], [true]);
      return [`over ${transport}`, first];
    },
  };
}
cases['a page that was frozen'] = {
  task: { quiet: 2000 },
  async run(network, channel) {
    await network.until((r) => r.state === 'disconnected');
    for (const i of [2, 3]) await publish(server, channel, i);
    const { got, told } = await network.until((r) => r.got?.length === 3);
    assert.deepEqual(got, upTo(3));
    assert.deepEqual(told, [true, true]);
    return ['resumed'];
  },
};

// later publishes the messages 2 to 5 in a minute.
async function later(channel) {
  for (let i = 2; i <= 5; i++) {
    await sleep(minute / 4);
    await publish(server, channel, i);
  }
}

// resumed wants all five, after a connection that was resumed.
async function resumed(network) {
  const { got, told } = await network.until((r) => r.got?.length >= 5);
  assert.deepEqual(got, upTo(5));
  assert.deepEqual([...new Set(told)], [true]);
}

const away = {
  offline: {
    async run(network, channel) {
      await network.until((r) => r.got?.length === 1);
      network.cut();
      await later(channel);
      const { length } = network.reports;
      assert.ok(network.reports.every((r) => !r.got || r.got.length === 1), 'it was not offline');
      network.mend();
      await resumed(network);
      return [`resumed after ${minute / 1000} s, ${length} reports before`];
    },
  },
  // Firefox knows no command that freezes a page. A process that is stopped runs nothing,
  // and is not told.
  stopped: {
    task: { living: true },
    async run(network, channel) {
      await network.until((r) => r.got?.length === 1);
      const pids = await contentProcesses();
      assert.ok(pids.length > 0, 'Firefox has no process for its pages');
      pids.forEach((pid) => process.kill(pid, 'SIGSTOP'));
      await sleep(minute / 30); // what it has sent arrives
      const { length } = network.reports;
      await later(channel);
      assert.equal(network.reports.length, length, 'the page went on');
      pids.forEach((pid) => process.kill(pid, 'SIGCONT'));
      await resumed(network);
      return [`resumed, ${pids.length} processes were stopped for ${minute / 1000} s`];
    },
  },
};

// contentProcesses returns the processes of the browser that run pages.
async function contentProcesses() {
  const found = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const read = (name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
    const group = (await read('stat')).replace(/.*\) /s, '').split(' ')[2];
    const command = (await read('cmdline')).replaceAll('\0', ' ');
    if (Number(group) === firefox.pid && command.includes(' -isForBrowser ')) found.push(Number(pid));
  }
  return found;
}

let firefox;

async function round(attempt) {
  let pages = [];
  try {
    pages = await Promise.all(Object.entries(only ? { [only]: away[only] } : cases).map(async ([name, { blocked, task, run }], i) => {
      const channel = `news:firefox-${only}-${attempt}-${i}`, { epoch, offset } = await publish(server, channel, 1);
      return { name, run, channel, network: await new Network({ channel, resume: { epoch, offset: offset - 1 }, ...task }, blocked).start(`127.0.0.${i + 2}`) };
    }));
    firefox = await launch(...pages.map(({ network }) => `${network.url}page`));
    const firsts = {};
    await Promise.all(pages.map(async ({ name, run, network, channel }) => {
      const [what, first] = await Promise.race([run(network, channel).catch((e) => { e.message = `${name}: ${e.message}`; throw e; }), firefox.ended]);
      firsts[name] = first;
      console.error(`${name}: ${what}${first === undefined ? '' : `, the first message after ${first} ms`}`);
    }));
    // What the machine takes where nothing is blocked counts for nothing.
    const base = firsts['nothing blocked'];
    for (const [name, first] of Object.entries(firsts)) {
      if (first - base >= 3000) throw new Late(`${name}: the first message after ${first} ms, ${base} ms if nothing is blocked`);
    }
  } finally {
    for (const { network } of pages) network.stop();
    await firefox?.stop();
  }
}

for (let attempt = 1; ; attempt++) {
  try {
    await round(attempt);
    break;
  } catch (error) {
    if (!(error instanceof Late) || attempt === 4) throw error;
    console.error(`${error.message}: once more`);
  }
}
console.log('ok');
