// The client of Roost's native protocol, roost.v1.json, for browsers, workers,
// Node.js and Deno. roost.d.ts describes what it exports; the protocol is in
// docs/protocol.md. MIT licence.

const PROTOCOL = 'roost.v1.json';
const DAY = 86400000;

// The phases of a channel: not wanted; waiting to be subscribed; its messages come.
const OFF = 0, WAITING = 1, ACTIVE = 2;

const encoder = new TextEncoder();

/** Why something failed. */
export class RoostError extends Error {
  constructor(type, code, message, more) {
    super(message);
    Object.assign(this, { name: 'RoostError', type, code }, more);
  }

  get temporary() {
    return this.type === 'server' ? [100, 111, 112].includes(this.code) || this.retry > 0 : this.type !== 'client';
  }
}

const failure = (code, message, more) => new RoostError('client', code, message, more);
const serverError = (e) => new RoostError('server', e.code, e.message, e.retry ? { retry: e.retry } : {});
const moved = failure('disconnected', 'another connection has taken over');

// closeError is a Close of the server. Its reason may end in this client's own slot.
function closeError(code, reason, more) {
  const slot = /; retry=(\d+)$/.exec(reason);
  return new RoostError('close', code, `the connection ended: ${code} ${reason}`.trim(),
    { reason, ...(slot && { retry: slot[1] / 1000, spread: true }), ...more });
}

// toldClose is a close as the fallbacks tell it, with the slot apart.
const toldClose = ({ code, reason, retry }) => closeError(code, reason, { clean: true, ...(retry >= 0 && { retry, spread: true }) });

async function httpError(response) {
  const text = (await response.text().catch(() => '')).trim().slice(0, 200);
  const after = response.headers.get('Retry-After');
  const wait = after === null ? 0 : Number.isFinite(+after) ? +after : (Date.parse(after) - Date.now()) / 1000;
  return new RoostError('http', response.status, `the server answered ${response.status}${text && ': ' + text}`,
    wait > 0 ? { retry: wait } : {});
}

// delayFor is how long an error keeps the client away, in milliseconds: what the
// server asks for, an hour at most, and a quarter more where it may have told many
// clients the same.
function delayFor(error) {
  const ms = Math.min(error?.retry || 0, 3600) * 1000;
  return ms * (error?.spread ? 1 : 1 + Math.random() / 4);
}

const report = (error) => (globalThis.reportError ?? ((e) => setTimeout(() => { throw e; })))(error);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const position = (at) => (at?.epoch ? { epoch: at.epoch, offset: at.offset } : null);

class Emitter {
  #listeners = new Map();

  on(type, listener) {
    if (typeof listener !== 'function') throw new TypeError(`the listener of "${type}" is no function`);
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    return () => this.off(type, listener);
  }

  once(type, listener) {
    const off = this.on(type, (event) => { off(); listener(event); });
    return off;
  }

  off(type, listener) { this.#listeners.get(type)?.delete(listener); }

  // _emit calls the listeners; one that throws harms no other.
  _emit(type, event) {
    for (const listener of [...this.#listeners.get(type) ?? []]) {
      try { listener(event); } catch (error) { report(error); }
    }
  }
}

// ------------------------------------------------------------------ channels

export class Channel extends Emitter {
  constructor(roost, name) {
    super();
    Object.assign(this, { name, position: null, _roost: roost, _phase: OFF, _ofServer: false, _waiters: [], _tabs: new Set() });
    this._clear();
  }

  get state() { return ['unsubscribed', 'subscribing', 'subscribed'][this._phase]; }

  subscribe({ resume, signal } = {}) {
    if (this._roost._closed) return Promise.reject(this._roost._closedError());
    if (!this._own) {
      this._own = true;
      const known = this._phase === ACTIVE;
      this._want(resume);
      if (known) this._begin(!!resume && resume.epoch === this._received?.epoch && resume.offset === this._received.offset);
    }
    const active = this._active();
    active.catch(() => {}); // told by an event as well
    if (!signal) return active;
    return new Promise((ok, no) => {
      const abort = () => { this.unsubscribe(); no(signal.reason); };
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort);
      active.then(ok, no).finally(() => signal.removeEventListener('abort', abort));
    });
  }

  unsubscribe() {
    this._own = false;
    if (this._wanted && !this._tabs.size) this._roost._leave(this);
  }

  publish(data, options) { return this._roost.publish(this.name, data, options); }
  history(options) { return this._roost.history(this.name, options); }
  presence(options) { return this._roost.presence(this.name, options); }
  ack(at = this.position, options) { return this._roost._do('ack', { channel: this.name, ...at }, options); }

  // _want begins a subscription: for the application of this page (_own), or for the
  // pages in _tabs, which share the connection.
  _want(resume) {
    if (this._wanted) return;
    this._wanted = true;
    if (this._phase === ACTIVE) return;
    this._phase = WAITING;
    this._received = position(resume);
    this.position = position(resume);
    this._roost._establish(this);
  }

  // _active resolves when messages come.
  _active() {
    return this._phase === ACTIVE ? Promise.resolve(this) : new Promise((ok, no) => this._waiters.push({ ok, no }));
  }

  _clear() {
    clearTimeout(this._timer);
    Object.assign(this, { _received: null, _gapTo: 0, _tries: 0, _hold: false, _joined: false, _token: undefined });
  }

  // _tell emits an event; those of channels that the application has not subscribed
  // are the client's, too.
  _tell(type, event) {
    event = { channel: this.name, ...event };
    if (this._own || !this._wanted) this._emit(type, event);
    if (!this._wanted) this._roost._emit(type, event);
  }

  _relay(m) { this._roost._family?.relay(this.name, m); }

  // _end ends a subscription.
  _end(error, silent) {
    const { _phase } = this;
    this._clear();
    this._phase = OFF;
    this._ofServer = false;
    if (_phase !== OFF && !silent) {
      this._relay({ unsubscribed: { channel: this.name, code: error.code, message: error.message } });
      this._tell('unsubscribed', { error });
    }
    this._wanted = this._own = false;
    this._tabs.clear();
    for (const { no } of this._waiters.splice(0)) no(error);
  }

  // _placed begins the delivery at a position. What was recovered follows behind
  // the position that was asked for, which is the one that is known.
  _placed(at, recovered, quiet) {
    quiet &&= this._phase === ACTIVE && (recovered || !at.epoch);
    if (!recovered) this._received = position(at);
    this._gapTo = 0;
    if (!quiet) this._begin(recovered);
  }

  _begin(recovered) {
    this._phase = ACTIVE;
    this._tries = 0;
    if (!recovered && this._joined) this._roost._family?.down('the history has begun anew');
    this._tell('subscribed', { position: position(this._received), recovered });
    this.position = position(this._received);
    for (const { ok } of this._waiters.splice(0)) ok(this);
  }

  _published(p) {
    const stats = this._roost.stats;
    const at = this._received;
    if (at && p.offset) {
      if (p.epoch) this._newEpoch(p.epoch, p.offset - 1);
      if (p.offset <= at.offset) return stats.duplicates++;
      const from = Math.max(at.offset, this._gapTo) + 1;
      if (from < p.offset) this._missed(from, p.offset - 1);
      at.offset = p.offset;
    }
    stats.messages++;
    this._relay({ pub: { ...p, epoch: at?.epoch } });
    this._tell('message', message(p, this.name, at?.epoch));
    if (this._received === at) this.position = position(at);
  }

  // _gap takes the server's word that messages will not come. The position stays:
  // some of them may still come, and a client that is cut before that asks again.
  _gap(g) {
    if (!this._received || !(g.from <= g.to)) return;
    this._newEpoch(g.epoch, g.from - 1);
    this._missed(g.from, g.to);
    this._gapTo = Math.max(this._gapTo, g.to);
  }

  // _newEpoch goes on in a new history: the one before was forgotten while the
  // client was subscribed, and nothing was missed between the two.
  _newEpoch(epoch, offset) {
    if (epoch === this._received.epoch) return;
    Object.assign(this._received, { epoch, offset });
    this._gapTo = 0;
  }

  _missed(from, to) {
    this._roost.stats.missed += to - from + 1;
    this._relay({ gap: { channel: this.name, epoch: this._received.epoch, from, to } });
    this._tell('gap', { from, to });
  }
}

// message is a message as the application gets it.
function message(p, channel, epoch) {
  const m = { data: p.encoding === 'base64' ? Uint8Array.from(atob(p.data), (c) => c.charCodeAt(0)) : p.data };
  if (channel !== undefined) m.channel = channel;
  if (epoch && p.offset) m.position = { epoch, offset: p.offset };
  for (const name of ['key', 'from', 'time']) if (p[name] !== undefined) m[name] = p[name];
  return m;
}

// encoded are the members of a publication that hold data.
function encoded(data) {
  if (data instanceof ArrayBuffer) data = new Uint8Array(data);
  if (!ArrayBuffer.isView(data)) return { data: data === undefined ? null : data };
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let text = '';
  for (const b of bytes) text += String.fromCharCode(b);
  return { data: btoa(text), encoding: 'base64' };
}

// ------------------------------------------------------------------ the client

export class Roost extends Emitter {
  constructor(url, options = {}) {
    super();
    const o = this._options = {
      transports: ['websocket', 'sse', 'poll'], reconnectMin: 1000, reconnectMax: 30000, timeout: 15000,
      patience: 1000, climbAfter: 600000, WebSocket: globalThis.WebSocket, fetch: globalThis.fetch?.bind(globalThis), ...options,
    };
    const u = this._url = new URL(url, globalThis.location?.href);
    u.protocol = u.protocol.replace(/^http/, 'ws');
    if (!/^wss?:$/.test(u.protocol)) throw new TypeError(`${url}: want ws://host:port/path, or wss://`);
    u.hash = '';
    this._base = new URL(o.fallback ?? '/v1/', u.href.replace(/^ws/, 'http'));
    this._kinds = o.transports.filter((kind) => (kind === 'websocket' ? o.WebSocket : o.fetch));
    if (!this._kinds.length) throw new TypeError('there is no WebSocket and no fetch here: give options.WebSocket');

    this.state = 'connecting';
    this.stats = { connects: 0, messages: 0, duplicates: 0, missed: 0 };
    this._channels = new Map();
    this._jobs = new Set();       // commands that wait for a connection
    this._candidates = new Set(); // sessions that race
    this._session = null;         // the one that won
    this._token = o.token;
    this._failed = 0;             // attempts since _good has worked
    if (o.shared && globalThis.navigator?.locks && globalThis.BroadcastChannel) {
      this._family = new Family(this, `roost ${u.href} ${o.shared}`);
    }
    this._listen();
    queueMicrotask(() => this._run()); // the caller adds its listeners first
  }

  get transport() { return this._session?.kind; }

  channel(name) {
    if (!this._channels.has(name)) this._channels.set(name, new Channel(this, name));
    return this._channels.get(name);
  }

  subscribe(name, listeners = {}, options) {
    const channel = this.channel(name);
    if (typeof listeners === 'function') listeners = { message: listeners };
    for (const type of Object.keys(listeners)) channel.on(type, listeners[type]);
    channel.subscribe(options);
    return channel;
  }

  async publish(channel, data, options) {
    const { key } = options ?? {};
    return position(await this._do('publish', { channel, ...encoded(data), key }, options));
  }

  async history(channel, options = {}) {
    const { since, limit, reverse } = options;
    const page = await this._do('history', { channel, since: since ?? undefined, limit, reverse }, options);
    return {
      position: position(page), more: !!page.more, gap: !!page.gap,
      messages: page.messages.map((p) => message(p, channel, page.epoch)),
    };
  }

  async presence(channel, options = {}) {
    const { truncated = false, ...rest } = await this._do('presence', { channel, limit: options.limit }, options);
    return { members: [], ...rest, truncated };
  }

  async call(method, data, options) { return (await this._do('call', { method, data }, options)).data; }

  // ready resolves when the client is connected.
  ready({ signal } = {}) {
    if (this._session) return Promise.resolve(this);
    return new Promise((ok, no) => {
      const off = [this.on('state', (e) => {
        if (e.state === 'connected') settle(ok, this);
        else if (e.state === 'closed') settle(no, e.error);
      })];
      const settle = (how, value) => { off.forEach((f) => f()); how(value); };
      if (this._closed) return settle(no, this._closedError());
      if (!signal) return;
      const abort = () => settle(no, signal.reason);
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort);
      off.push(() => signal.removeEventListener('abort', abort));
    });
  }

  close() { this._shut(failure('closed', 'the client was closed')); }

  // ---------------------------------------------------------------- connecting

  async _run() {
    this._tries = 0;
    while (!this._closed) {
      if (this._asleep) {
        await new Promise((wake) => { this._wake = wake; });
        continue;
      }
      this._anew = false;
      this._state('connecting', { attempt: this._tries + 1 });
      let error, since = 0;
      try {
        await this._authorize();
        const over = new Promise((gone) => { this._gone = gone; });
        await this._race();
        since = Date.now();
        error = await over;
      } catch (e) {
        error = e;
        this._failed++;
      }
      if (this._closed) return;
      const end = this._permanent(error);
      if (end) return this._shut(end);
      // A server that lets clients in and drops them at once must not be asked
      // again without delay.
      if (since && Date.now() - since >= Math.min(5000, this._options.reconnectMax)) this._tries = 0;
      const least = delayFor(error);
      const retryIn = this._asleep || error === moved ? 0 : Math.round(least + (this._anew ? 0 : this._backoff(this._tries++)));
      this._state('disconnected', { error, retryIn });
      await this._pause(retryIn, least);
    }
  }

  // _backoff is exponential, with full jitter.
  _backoff(tries) {
    const { reconnectMin, reconnectMax } = this._options;
    return Math.random() * Math.min(reconnectMax, reconnectMin * 2 ** tries);
  }

  // _pause waits, less if there is reason to try at once, but never less than the
  // server has asked for.
  _pause(ms, least) {
    const began = Date.now();
    return new Promise((done) => {
      let timer = setTimeout(done, ms);
      this._wake = () => {
        clearTimeout(timer);
        timer = setTimeout(done, this._closed ? 0 : Math.max(0, began + least - Date.now()));
      };
    });
  }

  // _authorize sees that there are tokens to show.
  async _authorize() {
    const { getToken, getChannelToken } = this._options;
    await this._family?.decided;
    if (this._follows()) return;
    if (getToken && (this._token === undefined || this._stale)) {
      const token = await this._ask(getToken);
      if (this._refused && token === this._token) {
        throw failure('unauthorized', `the token was refused (${this._refused.message}), and getToken returns the same one again`, { cause: this._refused });
      }
      this._token = token;
      this._stale = this._refused = null;
    }
    if (!getChannelToken) return;
    await Promise.all([...this._channels.values()].map(async (channel) => {
      // One that fails is asked for again when there is a connection.
      if (channel._wanted && !channel._ofServer) channel._token = await this._ask(getChannelToken, channel.name).catch(() => undefined);
    }));
  }

  // _follows reports whether another page has the connection.
  _follows() { return this._family && !this._family.leads; }

  // _ask asks the application for a token.
  async _ask(source, channel) {
    const abort = new AbortController();
    let timer;
    const late = new Promise((_, no) => {
      timer = setTimeout(() => { no(failure('timeout', 'there was no token in time')); abort.abort(); }, this._options.timeout);
    });
    try {
      const token = await Promise.race([channel === undefined ? source({ signal: abort.signal }) : source(channel, { signal: abort.signal }), late]);
      if (token === null) throw failure('unauthorized', 'there is no token');
      return token;
    } finally {
      clearTimeout(timer);
    }
  }

  // _permanent returns the error to end with if another attempt is of no use.
  _permanent(error) {
    const { type, code } = error ?? {};
    const end = (why, next) => failure(why, `${error.message} (${next})`, { cause: error });
    if (type === 'client' && (code === 'unauthorized' || code === 'not_spoken')) return error;
    if (type === 'close' && code === 4403) return end('disconnected', 'the application has sent this client away');
    if (type === 'close' && error.clean && [1002, 1003, 1007, 4400].includes(code)) return end('bad_request', 'this client sends what the server does not take: is it up to date?');
    if (type === 'close' && code === 4401 && this._options.getToken) this._stale = true;
    if (type !== 'server') return null;
    if (code === 101 || code === 102) {
      if (!this._options.getToken) return end('unauthorized', 'give a token that is valid, or getToken, which returns a new one');
      this._stale = true;
      this._refused = error;
      return null;
    }
    return error.temporary ? null : end('refused', 'the same connect will not be accepted later: change the token, or the server');
  }

  // _ladder is which transports to try, in order: from the one that has worked on
  // this network before.
  _ladder() {
    if (this._follows()) return ['tab'];
    let kind = this._good;
    if (!kind) {
      try {
        const [saved, at] = localStorage.getItem(this._key()).split(' ');
        if (Date.now() - at < DAY) kind = saved;
      } catch { /* no storage, or nothing in it */ }
    }
    const from = this._failed < 2 ? this._kinds.indexOf(kind) : 0;
    return this._kinds.slice(Math.max(0, from));
  }

  _key() { return 'roost ' + this._url.host; }

  // _race connects. A transport that does not connect in time is not given up, but
  // the next one starts beside it; the first that connects is taken. On a network that
  // is only slow that may be the wrong one, so the better ones get another chance soon.
  _race() {
    const kinds = this._ladder(), open = this._candidates, { patience } = this._options;
    const known = this._failed < 2 && this._good;
    return new Promise((resolve, reject) => {
      let next = 0, timer, reason;
      const over = (settle, value) => {
        clearTimeout(timer);
        for (const s of [...open]) { open.delete(s); s.end(moved); }
        settle(value);
      };
      const start = () => {
        clearTimeout(timer);
        const mine = ++next;
        const s = this._open(kinds[mine - 1]);
        open.add(s);
        const allow = (ms) => {
          clearTimeout(timer);
          if (mine < kinds.length) timer = setTimeout(start, ms * (known ? 6 : 1));
        };
        allow(patience * (s.kind === 'sse' ? 0.8 : 1));
        // A stream that has brought a byte works. A WebSocket that is open gets as much
        // time again: a network may let the upgrade through, and nothing else.
        s.onfirst = () => {
          if (next !== mine) return;
          if (s.kind === 'sse') clearTimeout(timer);
          else allow(patience);
        };
        s.onready = () => {
          open.delete(s);
          this._adopt(s);
          if (mine > 1) this._plan(8 * patience);
          over(resolve);
        };
        s.onend = (error) => {
          if (!open.delete(s)) return;
          // What a server says is a better reason than that a socket has failed.
          if (!reason || error.type !== 'close') reason = error;
          const told = error.type === 'server' || error.retry || error.clean || error.type === 'client';
          if (told || known || (!open.size && next === kinds.length)) over(reject, told ? error : reason);
          else if (next === mine && mine < kinds.length) start();
        };
        s.start();
      };
      start();
    });
  }

  _open(kind) { return new { websocket: Socket, sse: Stream, poll: Poll, tab: Tab }[kind](this, kind); }

  // _adopt makes a session the one that counts.
  _adopt(s) {
    const old = this._session;
    this._session = s;
    for (const channel of this._channels.values()) if (channel._phase === ACTIVE) channel._phase = WAITING;
    old?.end(moved);
    this._failed = 0;
    if (s.kind === 'tab') return;
    this._good = s.kind;
    try {
      if (s.kind === this._kinds[0]) localStorage.removeItem(this._key());
      else localStorage.setItem(this._key(), `${s.kind} ${Date.now()}`);
    } catch { /* no storage */ }
    this._plan();
  }

  // _plan sets when a better transport is tried, if there is one.
  _plan(after = this._options.climbAfter) {
    clearTimeout(this._climber);
    if (this._kinds.indexOf(this.transport) > 0) this._climber = setTimeout(() => this._climb(), after * (1 + Math.random() / 4));
  }

  // _climb tries the better transports beside the one that is in use.
  async _climb() {
    const below = this._session, better = this._kinds.slice(0, Math.max(0, this._kinds.indexOf(below?.kind)));
    if (this._climbing) return;
    this._climbing = true;
    for (const kind of better) {
      if (this._session !== below || this._closed) break;
      await new Promise((done) => {
        const s = this._open(kind);
        s.lean = true; // it subscribes when the other has stopped
        this._candidates.add(s);
        s.onready = () => {
          this._candidates.delete(s);
          if (this._session === below) this._adopt(s);
          else s.end(moved);
          done();
        };
        s.onend = () => { this._candidates.delete(s); done(); };
        s.start();
      });
    }
    this._climbing = false;
    this._plan();
  }

  // _lost notes that a session has ended.
  _lost(s, error) {
    if (this._session !== s) return;
    this._session = null;
    this._family?.down(error.message);
    clearTimeout(this._timer);
    clearTimeout(this._climber);
    for (const channel of this._channels.values()) {
      clearTimeout(channel._timer);
      channel._hold = false;
      if (channel._phase === ACTIVE) channel._phase = WAITING;
    }
    this._gone(error);
  }

  _state(state, more) {
    this.state = state;
    this._emit('state', { state, ...more });
  }

  _closedError() { return failure('closed', this._closed.message, { cause: this._closed }); }

  _shut(error) {
    if (this._closed) return;
    this._closed = error;
    this._unlisten();
    this._drop(error);
    this._family?.leave();
    this._wake?.();
    const closed = this._closedError();
    for (const job of [...this._jobs]) job.done(closed);
    for (const channel of this._channels.values()) channel._end(closed, true);
    this._state('closed', { error });
  }

  // _drop ends what is connected, or on its way.
  _drop(error) {
    for (const s of [...this._candidates]) s.end(error);
    this._session?.end(error);
  }

  // ---------------------------------------------------------------- the page

  _listen() {
    const off = [];
    this._unlisten = () => off.forEach((f) => f());
    const on = (target, types, listener) => {
      if (!target?.addEventListener) return;
      for (const type of types) {
        target.addEventListener(type, listener);
        off.push(() => target.removeEventListener(type, listener));
      }
    };
    const page = globalThis.document;
    const look = () => this._look();
    const changed = () => {
      this._good = null;
      this._tries = 0;
      // An attempt that began before the network was back says nothing about it.
      this._anew = !this._session;
      this._look();
      this._climb();
    };
    on(globalThis, ['online'], changed);
    on(globalThis.navigator?.connection, ['change'], changed);
    on(globalThis, ['offline'], look);
    on(page, ['visibilitychange'], () => { if (!page.hidden) look(); });
    // A page that is frozen or kept for the back button holds no connection: it
    // would be dead when the page comes back, or keep the page from being kept.
    const rest = () => {
      this._asleep = true;
      this._drop(failure('suspended', 'the page is asleep'));
      this._family?.leave();
    };
    const wake = () => {
      if (this._asleep) this._family?.enter();
      this._asleep = false;
      look();
    };
    on(page, ['freeze'], rest);
    on(globalThis, ['pagehide'], rest);
    on(page, ['resume'], wake);
    on(globalThis, ['pageshow'], wake);
  }

  // _look sees at once whether the connection is alive, or tries for one.
  _look() {
    if (this._session) this._session.look();
    else this._wake?.();
  }

  // ---------------------------------------------------------------- sessions

  // _introduce sends what a new session begins with: connect, and subscribe for all
  // channels, unless it is lean.
  _introduce(s) {
    const { name, data, resume: initial } = this._options;
    const resume = this.stats.connects ? {} : { ...initial };
    for (const channel of this._channels.values()) {
      // The channel of a user is always the server's to subscribe.
      if (channel._received && (channel._ofServer || channel.name.startsWith('user:'))) resume[channel.name] = position(channel._received);
    }
    s.send('connect', { token: this._token, name, data, resume }, (error, body) => this._welcome(s, error, body, resume), true);
    if (s.lean) return;
    for (const channel of this._channels.values()) {
      const ready = channel._token !== undefined || !this._options.getChannelToken || s.kind === 'tab';
      if (channel._wanted && !channel._ofServer && !channel._hold && ready) this._subscribe(s, channel);
    }
  }

  _welcome(s, error, body, resume) {
    if (error) return s.end(error);
    const first = !s.welcomed;
    if (first) {
      s.welcomed = true;
      clearTimeout(s.patience);
      s.onready();
    }
    if (this._session !== s) return;
    s.lean = false;
    s.interval = body.ping || 0;
    this._limit = body.limits?.message;
    this.client = body.client;
    this.user = body.user;
    if (first) this.stats.connects++;
    const granted = new Map(Object.entries(body.channels ?? {}));
    for (const [name, at] of granted) this._granted(s, name, at, Object.hasOwn(resume, name) && at.recovered === true);
    for (const channel of this._channels.values()) {
      if (granted.has(channel.name) || channel._phase === OFF) continue;
      if (!channel._wanted) channel._end(failure('unsubscribed', 'the server has not subscribed this client again'));
      else if (channel._ofServer || (!s.asked.has(channel) && channel._phase === WAITING && !channel._hold)) {
        channel._ofServer = false;
        this._establish(channel);
      }
    }
    if (this._options.getToken) this._keepFresh(s, this, undefined, body.expires);
    if (!first) return;
    this._greeting = body;
    this._family?.up();
    this._state('connected', { client: body.client, user: body.user, data: body.data, transport: s.kind });
    for (const job of [...this._jobs]) job.send();
  }

  // _granted takes a channel that the server has subscribed by itself.
  _granted(s, name, at, recovered) {
    const channel = this.channel(name);
    if (channel._phase === OFF) channel._phase = WAITING;
    channel._ofServer = true;
    channel._placed(at, recovered, s.renewed);
  }

  // _establish asks for a subscription on the connection that there is.
  async _establish(channel) {
    const s = this._session, { getChannelToken } = this._options;
    if (!s || s.lean) return;
    if (getChannelToken && channel._token === undefined && s.kind !== 'tab') {
      channel._hold = true;
      let failed;
      try {
        channel._token = await this._ask(getChannelToken, channel.name) ?? '';
      } catch (error) { failed = error; }
      if (this._session !== s || channel._phase !== WAITING || !channel._wanted) return;
      channel._hold = false;
      if (failed) return this._refuse(s, channel, failed);
    }
    s.add(channel);
  }

  // _subscribe sends subscribe.
  _subscribe(s, channel) {
    const resume = position(channel._received) ?? undefined;
    const id = s.send('subscribe', { channel: channel.name, token: channel._token || undefined, resume }, (error, body) => {
      if (this._session !== s || s.asked.get(channel) !== id) return; // not wanted any more
      s.asked.delete(channel);
      if (error) return this._refuse(s, channel, error);
      channel._placed(body, !!resume && body.recovered === true, s.renewed);
      if (this._options.getChannelToken) this._keepFresh(s, channel, channel.name, body.expires);
    }, true);
    s.asked.set(channel, id);
  }

  // _refuse decides what follows when a subscription was refused, or ended by the
  // server: another attempt, or the end.
  _refuse(s, channel, error) {
    if (error.code === 106 && error.type === 'server') { // the server has done it by itself
      channel._ofServer = true;
      if (channel._phase !== ACTIVE) channel._begin(false);
      return;
    }
    const again = error.type === 'server' ? error.temporary || (error.code === 102 && this._options.getChannelToken) : error.code !== 'unauthorized';
    if (!again) return channel._end(error);
    channel._phase = WAITING;
    channel._hold = true;
    channel._token = undefined;
    const retryIn = delayFor(error) + this._backoff(channel._tries++);
    clearTimeout(channel._timer);
    channel._timer = setTimeout(() => {
      channel._hold = false;
      this._establish(channel);
    }, retryIn);
    channel._tell('error', { error, retryIn });
  }

  _leave(channel) {
    const s = this._session;
    const told = s && (channel._phase === ACTIVE || s.asked.has(channel));
    s?.asked.delete(channel);
    if (told) s.remove(channel);
    channel._end(failure('unsubscribed', `${channel.name} was unsubscribed`), true);
  }

  // _keepFresh shows a new token after some four fifths of the old one's life, at
  // random so that clients which came together do not come together again.
  _keepFresh(s, owner, channel, expires) {
    clearTimeout(owner._timer);
    if (!expires) return;
    const { getToken, getChannelToken } = this._options;
    let tries = 0;
    const later = (ms) => { owner._timer = setTimeout(refresh, Math.min(ms, 2 ** 31 - 1)); };
    const again = (error) => {
      if (this._session === s) later(delayFor(error) + this._backoff(tries++));
    };
    const refresh = async () => {
      let token;
      try {
        token = await (channel === undefined ? this._ask(getToken) : this._ask(getChannelToken, channel));
      } catch (error) { return again(error); }
      if (this._session !== s) return;
      owner._token = token;
      if (s.restart) s.restart();
      else s.send('refresh', { channel, token }, (error, body) => (error ? again(error) : this._keepFresh(s, owner, channel, body.expires)));
    };
    later(expires * (750 + 100 * Math.random()));
  }

  // _take takes what the server sends by itself.
  _take(s, m) {
    if (m.error) return this._emit('error', { error: serverError(m.error) });
    if (m.message || m.join || m.leave || m.subscribed) this._family?.relay(undefined, m);
    if (m.message) {
      this.stats.messages++;
      return this._emit('message', message(m.message));
    }
    if (m.subscribed) return this._granted(s, m.subscribed.channel, m.subscribed, false);
    const type = ['pub', 'gap', 'reset', 'join', 'leave', 'unsubscribed'].find((name) => m[name]);
    const body = m[type], channel = this._channels.get(body?.channel);
    if (!channel || channel._phase !== ACTIVE) return;
    if (type === 'pub') channel._published(body);
    else if (type === 'gap') channel._gap(body);
    else if (type === 'reset') channel._placed(body, false);
    else if (type !== 'unsubscribed') channel._tell(type, { client: body.client, user: body.user });
    else if (channel._wanted && !channel._ofServer) this._refuse(s, channel, serverError(body));
    else channel._end(serverError(body));
  }

  // ---------------------------------------------------------------- commands

  // _do carries a command out: when there is a connection, within the time that it has.
  _do(name, body, { signal, timeout = this._options.timeout } = {}) {
    return new Promise((resolve, reject) => {
      if (this._closed) return reject(this._closedError());
      if (signal?.aborted) return reject(signal.reason);
      if (this._jobs.size >= 1024) return reject(failure('too_many_pending', 'too many commands wait for the server'));
      if (this._limit && encoder.encode(JSON.stringify(body)).length + 64 > this._limit) {
        return reject(new RoostError('server', 108, `the message is larger than the server takes, ${this._limit} bytes`));
      }
      const job = {
        done: (error, reply) => {
          if (!this._jobs.delete(job)) return;
          job.done.over = true;
          clearTimeout(timer);
          signal?.removeEventListener('abort', abort);
          if (error) reject(error);
          else resolve(reply);
        },
        send: () => {
          if (job.sent) return;
          job.sent = true;
          this._session.send(name, body, job.done);
        },
      };
      const abort = () => job.done(signal.reason);
      const timer = timeout && setTimeout(() => job.done(failure('timeout', job.sent ? `${name} has no reply after ${timeout} ms` : `there was no connection for ${name} within ${timeout} ms`)), timeout);
      signal?.addEventListener('abort', abort);
      this._jobs.add(job);
      if (this._session?.welcomed && !this._session.lean) job.send();
    });
  }
}

// ------------------------------------------------------------------ transports

// A session is one connection over one transport. Its owner sets onready, called
// when the server has let the client in, and onend.
class Session {
  constructor(roost, kind) {
    Object.assign(this, {
      roost, kind, asked: new Map(), pending: new Map(), lastID: 0, heard: Date.now(), ticked: Date.now(), interval: 0,
      onfirst() {}, onend() {},
    });
    const { timeout } = roost._options;
    this.patience = setTimeout(() => this.end(new RoostError('close', 1006, `the server has not let this client in after ${timeout} ms`)), timeout);
    this.ticker = setInterval(() => this.tick(), 5000);
  }

  // send sends a command; done gets the reply. The server has to reply in time to a
  // vital one.
  send(name, body, done, vital) {
    const id = ++this.lastID;
    this.pending.set(id, { name, done, due: vital && this.kind !== 'poll' ? Date.now() + this.roost._options.timeout : Infinity });
    this.write({ id, [name]: body });
    return id;
  }

  // take takes one message of the server.
  take(m) {
    if (this.ended) return;
    if (!m.id) {
      if (this.roost._session === this) this.roost._take(this, m);
      return;
    }
    const command = this.pending.get(m.id);
    this.pending.delete(m.id);
    command?.done(m.error && serverError(m.error), m[command.name] ?? {});
  }

  end(error) {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.patience);
    clearInterval(this.ticker);
    this.stop(error);
    const lost = failure('disconnected', `the connection was lost before the reply: ${error.message}`, { cause: error });
    for (const [, { name, done }] of this.pending) if (name !== 'connect' && name !== 'subscribe') done(lost);
    this.onend(error);
    this.roost._lost(this, error);
  }

  tick() {
    const now = Date.now(), gap = now - this.ticked, quiet = now - this.heard, wait = this.interval * 1000;
    this.ticked = now;
    if (gap > 90000) return this.look(); // the machine was asleep
    for (const [, { due, name }] of this.pending) {
      if (due < now) return this.end(new RoostError('close', 1006, `the server does not reply to ${name}`));
    }
    if (!wait) return;
    if (quiet > wait + 20000) this.end(new RoostError('close', 1006, `the server is silent: nothing came for ${Math.round(quiet / 1000)} s`));
    else if (quiet > wait + 10000) this.probe?.();
  }
}

class Socket extends Session {
  start() {
    let problem = '';
    const ws = this.ws = new this.roost._options.WebSocket(this.roost._url.href, [PROTOCOL]);
    ws.onopen = () => {
      if (ws.protocol !== PROTOCOL) return this.end(failure('not_spoken', `the server does not speak ${PROTOCOL} at ${this.roost._url.href}: check the address, and that it runs with --native`));
      this.onfirst();
      this.roost._introduce(this);
    };
    ws.onerror = (e) => { problem = e.message || ''; };
    ws.onclose = (e) => this.end(closeError(e.code, e.reason || problem, { clean: e.wasClean && e.code !== 1006 }));
    ws.onmessage = (e) => {
      this.heard = Date.now();
      if (e.data === '{}') return this.heartbeat();
      let m;
      try { m = JSON.parse(e.data); } catch { return this.end(failure('not_spoken', `the server sends what is not ${PROTOCOL}`)); }
      this.take(m);
    };
  }

  write(m) { if (!this.ended) this.ws.send(JSON.stringify(m)); }
  add(channel) { this.roost._subscribe(this, channel); }
  remove(channel) { this.send('unsubscribe', { channel: channel.name }, () => {}); }

  // heartbeat answers the server's, unless it is the answer to ours.
  heartbeat() {
    if (this.probing) this.probing = false;
    else if (Date.now() - (this.beat ?? 0) >= 1000) {
      this.beat = Date.now();
      this.ws.send('{}');
    }
  }

  probe() {
    if (this.probing || !this.welcomed) return;
    this.probing = true;
    this.beat = Date.now();
    this.ws.send('{}');
  }

  look() {
    const heard = this.heard;
    if (Date.now() - heard < 1000) return;
    this.probe();
    setTimeout(() => {
      if (this.heard === heard) this.end(new RoostError('close', 1006, 'the connection is dead'));
    }, 5000);
  }

  stop() {
    const ws = this.ws;
    if (!ws) return;
    ws.onopen = ws.onmessage = ws.onclose = null;
    ws.onerror = () => {};
    try { ws.close(1000); } catch { /* it was never open */ }
  }
}

// A fallback is a session over HTTP: each of its requests begins with connect and
// the subscriptions, which resume where the one before has ended.
class Fallback extends Session {
  start() { this.round(); }

  // begin returns the commands of a new round, and a signal that ends it.
  begin() {
    this.abort?.abort();
    this.pending.clear();
    this.asked.clear();
    this.lastID = 0;
    this.gathered = [];
    this.roost._introduce(this);
    const commands = this.gathered;
    this.gathered = null;
    this.abort = new AbortController();
    return [commands, this.abort.signal];
  }

  async round() {
    const [commands, signal] = this.begin();
    const mine = this.turn = {};
    try {
      await this.carry(commands, signal);
    } catch (error) {
      if (this.turn === mine) this.end(error instanceof RoostError ? error : new RoostError('close', 1006, `the connection failed: ${error.message}`, { cause: error }));
    }
  }

  async post(path, commands, signal) {
    const { fetch, credentials } = this.roost._options;
    // A body of plain text needs no question before it (CORS preflight).
    const response = await fetch(new URL(path, this.roost._base), {
      method: 'POST', body: commands.map((c) => JSON.stringify(c)).join('\n'), signal, cache: 'no-store', credentials,
    });
    if (!response.ok) throw await httpError(response);
    return response;
  }

  // restart begins a round with the subscriptions of now.
  restart() {
    this.restarting ??= setTimeout(() => {
      this.restarting = null;
      if (this.ended) return;
      this.renewed = true;
      this.round();
    });
  }

  add() { this.restart(); }
  remove() { this.restart(); }
  look() { if (this.welcomed && Date.now() - this.heard > 5000) this.restart(); }
  stop() { this.abort?.abort(); }

  // send puts a command into the round that begins, or sends it in a request of its
  // own: calls side by side, all others one after the other. A request that hangs
  // holds the next one back for a third of a command's time.
  send(name, body, done, vital) {
    if (this.gathered) return super.send(name, body, done, vital);
    const job = { name, body, done };
    if (name === 'call') return void this.single([job]);
    this.queue ??= [];
    if (this.queue.push(job) > 1) return;
    this.sending = Promise.resolve(this.sending).then(() => new Promise((next) => {
      const hangs = setTimeout(next, this.roost._options.timeout / 3 || 5000);
      this.single(this.queue.splice(0)).then(() => { clearTimeout(hangs); next(); });
    }));
  }

  write(command) { this.gathered.push(command); }

  async single(jobs) {
    const { _token: token, _options: { name, data }, _channels } = this.roost;
    const list = [{ id: 1, connect: { token, name, data } }];
    const waiting = new Map(), abort = new AbortController();
    for (const job of jobs) {
      if (job.done.over) continue; // its time has passed, or its caller has given it up
      const { channel } = job.body, c = _channels.get(channel);
      // These want a subscription.
      if (['presence', 'history', 'ack'].includes(job.name) && !c?._ofServer && !list.some((l) => l.subscribe?.channel === channel)) {
        list.push({ subscribe: { channel, token: c?._token || undefined } });
      }
      const id = list.length + 1;
      list.push({ id, [job.name]: job.body });
      waiting.set(id, job);
    }
    if (!waiting.size) return;
    // When no caller waits any more, the request must not keep its connection: a
    // browser has six for an origin.
    const given = setInterval(() => { if (jobs.every(({ done }) => done.over)) abort.abort(); }, 1000);
    let reason;
    const reply = (m, job) => {
      waiting.delete(m.id);
      job?.done(m.error && serverError(m.error), m[job.name] ?? {});
    };
    try {
      for (const m of await (await this.post('poll', list, abort.signal)).json()) {
        if (m.id === 1 && m.error) reason = serverError(m.error);
        if (m.close) reason ??= toldClose(m.close);
        reply(m, waiting.get(m.id));
      }
    } catch (error) { reason = error; }
    clearInterval(given);
    const lost = reason?.type ? reason : failure('disconnected', 'the connection was lost before the reply', { cause: reason });
    for (const job of waiting.values()) job.done(lost);
  }
}

class Stream extends Fallback {
  async carry(commands, signal) {
    const response = await this.post('sse', commands, signal);
    if (!/^text\/event-stream/.test(response.headers.get('Content-Type'))) throw new RoostError('close', 1006, 'something other than an event stream came');
    const reader = response.body.getReader(), decoder = new TextDecoder();
    for (let text = ''; ;) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) throw new RoostError('close', 1006, 'the stream has ended');
      this.heard = Date.now();
      this.onfirst();
      const blocks = (text + decoder.decode(value, { stream: true })).split('\n\n');
      text = blocks.pop();
      for (const block of blocks) this.event(block);
      if (this.interval) this.interval = Math.min(this.interval, 25); // of comments
    }
  }

  event(block) {
    const data = block.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
    if (!data) return;
    const m = JSON.parse(data);
    if (/^event: *close$/m.test(block)) this.end(toldClose(m));
    else this.take(m);
  }
}

class Poll extends Fallback {
  async carry(commands, signal) {
    for (let wait = 0; ; wait = 25) {
      const began = Date.now();
      const late = setTimeout(() => this.end(new RoostError('close', 1006, 'a poll has no answer')), (wait + 20) * 1000);
      const messages = await this.post(`poll?wait=${wait}`, commands, signal).then((r) => r.json()).finally(() => clearTimeout(late));
      if (signal.aborted) return;
      this.heard = Date.now();
      this.interval = 0;
      for (const m of messages) {
        if (m.close) this.end(toldClose(m.close));
        else this.take(m);
      }
      // A server that does not wait is not asked all the time.
      if (wait && messages.every((m) => m.id) && Date.now() - began < 1000) await sleep(1000);
      if (this.ended || signal.aborted) return; // another round has begun
      this.renewed = true;
      [commands, signal] = this.begin();
    }
  }
}

// ------------------------------------------------------------------ tabs

// A Family are the pages of an origin that share a connection. The one that has got
// the lock leads: it has the connection, and is the server of the others, which talk
// to it in the messages of the protocol. A page that comes later, or to another
// leader, resumes; what it has missed comes from the history.
class Family {
  constructor(roost, key) {
    Object.assign(this, { roost, key, id: crypto.randomUUID(), sessions: 0, tabs: new Set(), joining: new Set() });
    this.enter();
  }

  enter() {
    const { locks } = navigator, { signal } = this.over = new AbortController();
    const until = () => new Promise((done) => signal.addEventListener('abort', done));
    const lead = () => {
      if (signal.aborted) return;
      this.leads = true;
      this.say({ lead: true });
      this.roost._drop(moved);
      return until();
    };
    this.port = new BroadcastChannel(this.key);
    this.port.onmessage = (e) => this.hear(e.data);
    const ended = () => {}; // it has left before its turn
    locks.request(`${this.key} ${this.id}`, { signal }, until).catch(ended); // free when the page is gone
    this.decided = new Promise((decided) => {
      locks.request(this.key, { ifAvailable: true }, (lock) => {
        decided();
        if (lock) return lead();
        locks.request(this.key, { signal }, lead).catch(ended);
      });
    });
  }

  leave() {
    this.leads = false;
    this.forget();
    this.over.abort();
    this.port.close();
  }

  say(what) { if (!this.over.signal.aborted) this.port.postMessage(what); }

  // relay gives the others what the server has sent: of a channel, or for all.
  relay(channel, m) {
    if (!this.leads || !this.tabs.size) return;
    for (const j of this.joining) if (j.name === channel) j.behind.push(m);
    this.say({ to: 'all', m });
  }

  up() { if (this.leads) this.say({ up: true }); }

  down(message) {
    if (!this.leads) return;
    this.forget();
    this.say({ down: message });
  }

  forget() {
    for (const tab of [...this.tabs]) this.drop(tab);
  }

  drop(tab) {
    this.tabs.delete(tab);
    for (const channel of this.roost._channels.values()) if (channel._tabs.delete(tab)) this.idle(channel);
  }

  // idle leaves a channel that no page wants any more.
  idle(channel) {
    if (channel._tabs.size) return;
    channel._joined = false;
    if (!channel._own && channel._wanted) this.roost._leave(channel);
  }

  hear({ to, from, m, down, lead, up }) {
    const { leads, tab } = this;
    if (to === 'lead') return leads && this.serve(from, m);
    if (leads) return;
    if (lead || (up && !tab?.welcomed)) {
      tab?.end(moved);
      this.roost._wake?.();
    } else if (down && tab?.welcomed) tab.end(new RoostError('close', 1006, `the page that has the connection says: ${down}`));
    else if (to === 'all' || to === tab?.address) tab.take(m);
  }

  // serve carries out a command of another page.
  async serve(tab, { id, ...command }) {
    const { roost, joining } = this, [[name, body]] = Object.entries(command), joins = [];
    if (name === 'bye') return this.drop(tab);
    if (!roost._session?.welcomed || (name !== 'connect' && !this.tabs.has(tab))) return; // it asks again
    const post = (m) => this.say({ to: tab, m });
    try {
      let reply = {};
      if (name === 'connect') {
        const page = tab.split('/')[0];
        for (const old of [...this.tabs]) if (old.startsWith(page)) this.drop(old);
        this.tabs.add(tab);
        navigator.locks.request(`${this.key} ${page}`, () => this.drop(tab));
        for (const channel of roost._channels.values()) {
          if (channel._ofServer && channel._phase === ACTIVE) await this.join(joins, channel, body.resume?.[channel.name]);
        }
        reply = { ...roost._greeting, expires: undefined, channels: Object.fromEntries(joins.map((j) => [j.name, j.at])) };
      } else if (name === 'subscribe') {
        const channel = roost.channel(body.channel);
        channel._tabs.add(tab);
        channel._want();
        await channel._active();
        await this.join(joins, channel, body.resume);
        reply = joins[0].at;
      } else if (name === 'unsubscribe') {
        const channel = roost.channel(body.channel);
        channel._tabs.delete(tab);
        this.idle(channel);
      } else reply = await roost._do(name, body);
      post({ id, [name]: reply });
      for (const j of joins) j.behind.forEach(post);
    } catch ({ type, code, message, retry }) {
      post({ id, error: { code: type === 'server' ? code : 111, message, retry } });
    } finally {
      for (const j of joins) joining.delete(j);
    }
  }

  // join begins a page's subscription: at is the reply, behind is what follows it: what
  // the page has missed, from the history, and what comes before the reply is posted.
  async join(joins, channel, resume) {
    const { name } = channel, start = position(channel._received);
    const j = { name, at: { ...start }, behind: [] };
    joins.push(j);
    this.joining.add(j);
    channel._joined = true;
    if (!resume) return;
    let since = resume, recovered = start?.epoch === resume.epoch && resume.offset <= start.offset;
    const missed = [];
    while (recovered && since.offset < start.offset) {
      const { messages, gap, epoch } = await this.roost._do('history', { channel: name, since, limit: 1000 });
      recovered = messages.length > 0 && !gap && epoch === start.epoch;
      for (const { time, ...m } of messages) missed.push({ pub: { channel: name, ...m } });
      if (recovered) since = { epoch, offset: messages.at(-1).offset };
    }
    if (recovered) j.behind.unshift(...missed);
    else Object.assign(j, { at: { ...position(channel._received) }, behind: [] });
    j.at.recovered = recovered;
  }
}

// A Tab is the session of a page that follows another.
class Tab extends Session {
  start() {
    const family = this.roost._family;
    this.address = `${family.id}/${++family.sessions}`;
    family.tab = this;
    this.roost._introduce(this);
  }

  write(m) { this.roost._family.say({ to: 'lead', from: this.address, m }); }
  add(channel) { this.roost._subscribe(this, channel); }
  remove(channel) { this.send('unsubscribe', { channel: channel.name }, () => {}); }
  look() {}
  tick() { this.interval = 0; super.tick(); }
  stop() { if (this.address) this.write({ bye: {} }); }
}
