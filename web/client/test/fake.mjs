// A small server of roost.v1.json in memory, over WebSocket, SSE and long polling,
// with faults that a test switches on. It lives in the test's own process.
import { createRequire } from 'node:module';
import http from 'node:http';
import * as node from 'node:test';

// The client under test: the source, or what the binary serves.
export const { Roost, RoostError } = await import(process.env.ROOST_CLIENT ?? '../roost.js');
export const { WebSocket, WebSocketServer } = createRequire(import.meta.url)('ws');

// test is node:test's, with an end to what hangs.
export const test = (name, f) => node.test(name, { timeout: 180000 }, f);

// clock puts a clock that the test moves in the place of the process's timers until the test
// ends. That of node:test is another one in each release of Node.
export function clock(t) {
  const own = { setTimeout, clearTimeout, setInterval, clearInterval };
  const due = new Map();
  let now = 0, last = 0;
  const add = (every) => (f, after = 0, ...args) => {
    due.set(++last, { run: () => f(...args), at: now + after, every: every && after });
    return last;
  };
  const clear = (id) => { due.delete(id); };
  Object.assign(globalThis, { setTimeout: add(false), setInterval: add(true), clearTimeout: clear, clearInterval: clear });
  t.after(() => Object.assign(globalThis, own));
  return (ms) => { // moves it
    for (const end = now + ms; ;) {
      const [id, timer] = [...due].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!timer) { now = end; return; }
      now = timer.at;
      if (timer.every) timer.at += timer.every; else due.delete(id);
      timer.run();
    }
  };
}

// until waits for an event that fits.
export const until = (emitter, type, fits = () => true) => new Promise((done) => {
  const off = emitter.on(type, (e) => { if (fits(e)) { off(); done(e); } });
});

// collect returns the list of a channel's events, in short, as they come.
export function collect(channel) {
  const log = [];
  const as = {
    message: (e) => e.data,
    gap: (e) => `gap ${e.from}-${e.to}`,
    subscribed: (e) => `subscribed ${e.recovered}`,
    unsubscribed: (e) => `unsubscribed ${e.error.code}`,
    error: (e) => `error ${e.error.code}`,
    join: (e) => `join ${e.client}`,
    leave: (e) => `leave ${e.client}`,
  };
  for (const type of Object.keys(as)) channel.on(type, (e) => log.push(as[type](e)));
  return log;
}

export class Fake {
  constructor(options = {}) {
    Object.assign(this, {
      epoch: 'e1', history: new Map(), clients: new Set(), seen: [], ping: 45, channels: {}, expires: undefined,
      websocket: 'open', // or refuse, or hang: does not respond to the upgrade
      sse: 'open', // or hold: nothing arrives before the end; missing: 404
      poll: 'open', // or hold: no response; hasty: a response at once, whatever it may wait
      refuse: {}, // command name -> error
    }, options);
  }

  async start(port = 0) {
    this.sockets = new Set();
    this.server = http.createServer((q, r) => this.http(q, r));
    this.server.on('connection', (s) => { this.sockets.add(s); s.on('close', () => this.sockets.delete(s)); });
    const upgrades = new WebSocketServer({ noServer: true });
    this.server.on('upgrade', (q, socket, head) => {
      this.seen.push('upgrade');
      if (this.websocket === 'hang') return;
      if (this.websocket === 'refuse') return socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
      upgrades.handleUpgrade(q, socket, head, (ws) => {
        const client = new Client(this, 'websocket', (m) => ws.send(JSON.stringify(m)), (code, reason) => ws.close(code, reason));
        client.ws = ws;
        ws.on('message', (text) => client.command(JSON.parse(text)));
        ws.on('close', () => this.clients.delete(client));
      });
    });
    await new Promise((done) => this.server.listen(port, '127.0.0.1', done));
    this.port = this.server.address().port;
    this.url = `ws://127.0.0.1:${this.port}/`;
    return this;
  }

  // cut ends all TCP connections.
  cut() { for (const s of this.sockets) s.destroy(); }

  async stop() {
    this.cut();
    await new Promise((done) => this.server.close(done));
  }

  async http(q, r) {
    let body = '';
    for await (const part of q) body += part;
    const path = q.url.split('?')[0];
    this.seen.push(path);
    const kind = { '/v1/sse': 'sse', '/v1/poll': 'poll' }[path];
    if (this.status) return r.writeHead(this.status[0], this.status[1]).end('not now');
    if (!kind || this[kind] === 'missing') return r.writeHead(404).end('nothing here');
    const commands = body.split('\n').filter(Boolean).map((line) => JSON.parse(line));
    if (kind === 'sse') {
      r.writeHead(200, { 'Content-Type': 'text/event-stream' });
      const write = (text) => { if (this.sse !== 'hold') r.write(text); };
      write('retry: 1000\n: ok\n\n');
      const client = new Client(this, kind, (m) => write(`data: ${JSON.stringify(m)}\n\n`), (code, reason) => {
        write(`event: close\ndata: ${JSON.stringify({ code, reason, retry: 0.01 })}\n\n`);
        r.end();
      });
      r.on('close', () => this.clients.delete(client));
      for (const c of commands) await client.command(c);
      return;
    }
    if (this.poll === 'hold') return;
    const out = [];
    let wake = () => {};
    const client = new Client(this, kind, (m) => { out.push(m); wake(); }, (code, reason) => { out.push({ close: { code, reason, retry: 0.01 } }); wake(); });
    for (const c of commands) await client.command(c);
    const learns = out.some((m) => !m.id || m.error || (m.subscribe && m.subscribe.recovered !== true && m.subscribe.epoch));
    const wait = +(q.url.split('wait=')[1] ?? 0);
    if (wait && !learns && this.poll !== 'hasty') {
      await new Promise((done) => {
        wake = done;
        this.waiting = true;
        r.on('close', done);
        setTimeout(done, wait * 1000).unref();
      });
    }
    this.waiting = false;
    this.clients.delete(client);
    r.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(out));
  }

  list(channel) {
    if (!this.history.has(channel)) this.history.set(channel, []);
    return this.history.get(channel);
  }

  // publish gives a message to all subscribers; one of a channel that begins with
  // "live" has no position.
  publish(channel, data, more) {
    const pub = { channel, data, ...more };
    if (!channel.startsWith('live')) pub.offset = this.list(channel).push(pub);
    this.push(channel, { pub });
    return pub.offset;
  }

  push(channel, message) {
    for (const c of this.clients) if (c.subscribed.has(channel)) c.send(message);
  }

  all(message) { for (const c of this.clients) c.send(message); }
  close(code, reason) { for (const c of [...this.clients]) c.close(code, reason); }

  place(channel, resume) {
    if (channel.startsWith('live')) return [resume ? { recovered: false } : {}, []];
    const list = this.list(channel), at = { epoch: this.epoch, offset: list.length };
    if (!resume) return [at, []];
    const recovered = resume.epoch === this.epoch;
    return [{ ...at, recovered }, recovered ? list.slice(resume.offset) : []];
  }
}

let number = 0;

class Client {
  constructor(fake, kind, send, close) {
    Object.assign(this, { fake, kind, send, close, subscribed: new Set(), name: `c${++number}` });
    fake.clients.add(this);
  }

  async command(c) {
    const { id, ...rest } = c;
    const [[name, body]] = Object.entries(rest).concat([['heartbeat', {}]]);
    this.fake.seen.push(name);
    this.fake.last = { ...this.fake.last, [name]: body };
    const refuse = typeof this.fake.refuse[name] === 'function' ? await this.fake.refuse[name](body) : this.fake.refuse[name];
    if (refuse === 'silence') return;
    if (refuse) return this.send({ id, error: refuse });
    const reply = (body) => { if (id) this.send({ id, [name]: body }); };
    const { fake } = this, { channel } = body;
    switch (name) {
      case 'heartbeat':
        return;
      case 'connect': {
        const channels = {}, missed = [];
        for (const c of [...Object.keys(fake.channels), ...body.user ?? []]) {
          const [at, behind] = fake.place(c, body.resume?.[c]);
          channels[c] = at;
          missed.push(...behind);
          this.subscribed.add(c);
        }
        reply({ client: this.name, user: fake.user, expires: fake.expires, ping: fake.ping, limits: { message: 65536, channels: 128 }, data: fake.data, channels });
        return missed.forEach((pub) => this.send({ pub }));
      }
      case 'subscribe': {
        if (this.subscribed.has(channel)) return this.send({ id, error: { code: 106, message: 'already subscribed' } });
        this.subscribed.add(channel);
        const [at, missed] = fake.place(channel, body.resume);
        reply({ ...at, expires: fake.channelExpires });
        return missed.forEach((pub) => this.send({ pub }));
      }
      case 'unsubscribe':
        this.subscribed.delete(channel);
        return reply({});
      case 'publish': {
        const offset = fake.publish(channel, body.data, body.encoding ? { encoding: body.encoding } : {});
        return reply(offset ? { epoch: fake.epoch, offset } : {});
      }
      case 'history': {
        const list = fake.list(channel), from = body.since?.offset ?? 0, to = from + (body.limit ?? 100);
        return reply({ epoch: fake.epoch, offset: list.length, messages: list.slice(from, to).map((m) => ({ ...m, time: 1 })), more: to < list.length });
      }
      case 'presence':
        return reply({ clients: 1, members: [{ client: this.name }] });
      case 'call':
        return reply({ data: { method: body.method, data: body.data } });
      case 'refresh':
        return reply({ expires: fake.expires });
      default:
        return reply({});
    }
  }
}
