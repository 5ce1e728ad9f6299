// The client against a fake server: reconnecting, resuming, tokens, errors.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { Fake, Roost, RoostError, WebSocket, collect, test, until } from './fake.mjs';

const soon = { reconnectMin: 5, reconnectMax: 20, WebSocket, fetch: null };

async function scene(t, options, fakeOptions) {
  const fake = await new Fake(fakeOptions).start();
  const roost = new Roost(fake.url, { ...soon, ...options });
  roost.states = [];
  roost.on('state', (e) => roost.states.push(e));
  t.after(async () => { roost.close(); await fake.stop(); });
  return { fake, roost };
}

test('messages come in order, each once, over lost connections', async (t) => {
  const { fake, roost } = await scene(t, { name: 'test/1', data: { a: 1 } });
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe();
  assert.equal(roost.state, 'connected');
  assert.deepEqual([fake.last.connect.name, fake.last.connect.data], ['test/1', { a: 1 }]);
  fake.publish('news', 1);
  await until(news, 'message');
  assert.deepEqual(news.position, { epoch: 'e1', offset: 1 });
  for (let i = 2; i < 6; i++) {
    fake.cut();
    await until(roost, 'state', (e) => e.state === 'disconnected');
    fake.publish('news', i);
    await until(news, 'message', (m) => m.data === i);
  }
  assert.deepEqual(log, ['subscribed false', 1, ...[2, 3, 4, 5].flatMap((i) => ['subscribed true', i])]);
  assert.equal(roost.stats.connects, 5);
});

test('repeats are dropped, holes and new epochs are told', async (t) => {
  const { fake, roost } = await scene(t);
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe();
  const send = (offset, more) => fake.push('news', { pub: { channel: 'news', offset, data: offset, ...more } });
  send(1);
  send(1);
  send(4);
  fake.push('news', { gap: { channel: 'news', epoch: 'e1', from: 5, to: 8 } });
  send(7); // it was kept
  send(9);
  fake.push('news', { gap: { channel: 'news', epoch: 'e2', from: 3, to: 4 } });
  send(5);
  send(9, { epoch: 'e3' });
  send(10);
  await until(news, 'message', (m) => m.data === 10);
  assert.deepEqual(log, ['subscribed false', 1, 'gap 2-3', 4, 'gap 5-8', 7, 9, 'gap 3-4', 5, 9, 10]);
  assert.deepEqual(news.position, { epoch: 'e3', offset: 10 });
  assert.equal(roost.stats.duplicates, 1);
});

test('a new epoch is told as a subscription that was not recovered', async (t) => {
  const { fake, roost } = await scene(t);
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe();
  fake.push('news', { pub: { channel: 'news', offset: 1, data: 1 } });
  fake.push('news', { reset: { channel: 'news', epoch: 'e2', offset: 0 } });
  fake.push('news', { pub: { channel: 'news', epoch: 'e2', offset: 1, data: 'first' } });
  await until(news, 'message', (m) => m.data === 'first');
  assert.deepEqual(log, ['subscribed false', 1, 'subscribed false', 'first']);
  assert.deepEqual(news.position, { epoch: 'e2', offset: 1 });
  assert.deepEqual([roost.stats.duplicates, roost.stats.missed], [0, 0]);
});

test('what cannot be recovered is told', async (t) => {
  const { fake, roost } = await scene(t);
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe({ resume: { epoch: 'e1', offset: 0 } });
  fake.epoch = 'e2';
  fake.cut();
  await until(news, 'subscribed', (e) => !e.recovered);
  assert.deepEqual(log, ['subscribed true', 'subscribed false']);
  assert.deepEqual(news.position, { epoch: 'e2', offset: 0 });
});

test('channels of the server are resumed by connect, and are the client\'s events', async (t) => {
  const { fake, roost } = await scene(t, {}, { channels: { 'user:7': 1 }, user: '7' });
  const log = collect(roost);
  await roost.ready();
  assert.equal(roost.user, '7');
  fake.publish('user:7', 'a');
  await until(roost, 'message');
  fake.all({ message: { data: 'to you' } });
  fake.cut();
  fake.publish('user:7', 'b');
  await until(roost, 'message', (m) => m.data === 'b');
  assert.deepEqual(fake.last.connect.resume, { 'user:7': { epoch: 'e1', offset: 1 } });
  fake.all({ subscribed: { channel: 'offers', epoch: 'e1', offset: 3 } });
  fake.all({ pub: { channel: 'offers', offset: 4, data: 'c' } });
  await until(roost, 'message', (m) => m.channel === 'offers');
  fake.channels = {};
  fake.cut();
  await until(roost, 'unsubscribed', (e) => e.channel === 'offers');
  assert.deepEqual(log.filter((e) => e !== 'to you'), ['subscribed false', 'a', 'subscribed true', 'b', 'subscribed false', 'c', 'unsubscribed unsubscribed', 'unsubscribed unsubscribed']);
});

test('an application subscribes to a channel that the server has subscribed', async (t) => {
  const { fake, roost } = await scene(t, {}, { channels: { 'user:7': 1 } });
  await roost.ready();
  const mine = [], all = collect(roost);
  const channel = roost.subscribe('user:7', { message: (m) => mine.push(m.data) });
  await channel.subscribe();
  fake.publish('user:7', 'a');
  await until(channel, 'message');
  assert.deepEqual([mine, all], [['a'], []]);
  assert.ok(!fake.seen.includes('subscribe'));
});

test('commands', async (t) => {
  const { fake, roost } = await scene(t);
  assert.deepEqual(await roost.publish('news', { text: 'x' }), { epoch: 'e1', offset: 1 }); // waits for the connection
  const bytes = new Uint8Array([0, 1, 255]);
  await roost.publish('news', bytes, { key: 'k' });
  assert.deepEqual(fake.last.publish, { channel: 'news', data: 'AAH/', encoding: 'base64', key: 'k' });
  const page = await roost.history('news', { limit: 10 });
  assert.deepEqual(page.messages[1].data, bytes);
  assert.deepEqual(page.messages[0], { channel: 'news', position: { epoch: 'e1', offset: 1 }, data: { text: 'x' }, time: 1 });
  assert.deepEqual([page.position.offset, page.more, page.gap], [2, false, false]);
  assert.equal((await roost.channel('news').presence()).clients, 1);
  assert.deepEqual(await roost.call('add', [1, 2]), { method: 'add', data: [1, 2] });
  await roost.channel('news').ack({ epoch: 'e1', offset: 1 });
  fake.refuse.call = { code: 109, message: 'no such method' };
  await assert.rejects(roost.call('x'), (e) => e instanceof RoostError && e.type === 'server' && e.code === 109 && !e.temporary);
  await assert.rejects(roost.publish('news', 'x'.repeat(70000)), { code: 108 });
});

test('commands end in time, or when they are aborted, or with the connection', async (t) => {
  const { fake, roost } = await scene(t);
  await roost.ready();
  fake.refuse.call = 'silence';
  await assert.rejects(roost.call('slow', 1, { timeout: 20 }), { code: 'timeout' });
  await assert.rejects(roost.call('slow', 1, { signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' });
  const lost = roost.call('slow');
  fake.cut();
  await assert.rejects(lost, { code: 'disconnected' });
  await roost.ready();
  const last = roost.call('slow');
  roost.close();
  await assert.rejects(last, { code: 'disconnected' }); // the server may have done it
  await assert.rejects(roost.call('slow'), { code: 'closed' });
  await assert.rejects(roost.channel('news').subscribe(), { code: 'closed' });
  await assert.rejects(roost.ready(), { code: 'closed' });
});

test('what is left is not delivered, and can be subscribed again', async (t) => {
  const { fake, roost } = await scene(t);
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe();
  news.unsubscribe();
  assert.equal(news.state, 'unsubscribed');
  fake.publish('news', 1); // before the server knows
  const again = news.subscribe();
  await again;
  fake.publish('news', 2);
  await until(news, 'message');
  assert.deepEqual(log, ['subscribed false', 'subscribed false', 2]);
  const signal = AbortSignal.abort(new Error('no'));
  await assert.rejects(roost.channel('other').subscribe({ signal }), { message: 'no' });
  assert.equal(roost.channel('other').state, 'unsubscribed');
});

test('a refused subscription is tried again if that helps, else it ends', async (t) => {
  const { fake, roost } = await scene(t);
  let times = 0;
  fake.refuse.subscribe = () => (times++ < 2 ? { code: 111, message: 'busy' } : null);
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe();
  assert.deepEqual(log, ['error 111', 'error 111', 'subscribed false']);
  fake.push('news', { unsubscribed: { channel: 'news', code: 103, message: 'ended' } });
  await until(news, 'unsubscribed');
  assert.equal(news.state, 'unsubscribed');
  fake.refuse.subscribe = { code: 103, message: 'no' };
  await assert.rejects(news.subscribe(), { code: 103, type: 'server' });
});

test('tokens are refreshed before they expire, and after they were refused', async (t) => {
  let made = 0;
  const { fake, roost } = await scene(t, { getToken: async () => `t${++made}` }, { expires: 0.1 });
  await roost.ready();
  assert.equal(fake.last.connect.token, 't1');
  while (made < 4) await new Promise((done) => setTimeout(done, 10));
  assert.equal(fake.last.refresh.token.length, 2);
  assert.equal(roost.stats.connects, 1);
  fake.expires = undefined;
  let refused = 0;
  fake.refuse.connect = () => (refused++ < 1 ? { code: 102, message: 'expired' } : null);
  const before = made;
  fake.cut();
  await until(roost, 'state', (e) => e.state === 'connected');
  assert.ok(made > before && fake.last.connect.token === `t${made}`);
  fake.close(4401, 'token expired: come back with a new one');
  await until(roost, 'state', (e) => e.state === 'connected');
  assert.equal(fake.last.connect.token, `t${made}`);
});

test('tokens of channels', async (t) => {
  let made = 0;
  const { fake, roost } = await scene(t, { getChannelToken: async (channel) => `${channel}${++made}` }, { channelExpires: 0.05 });
  const news = roost.channel('news');
  await news.subscribe();
  assert.equal(fake.last.subscribe.token, 'news1');
  while (!fake.last.refresh) await new Promise((done) => setTimeout(done, 5));
  assert.equal(fake.last.refresh.channel, 'news');
  const again = until(news, 'subscribed');
  fake.push('news', { unsubscribed: { channel: 'news', code: 102, message: 'expired' } });
  fake.clients.forEach((c) => c.subscribed.delete('news'));
  await again;
  assert.equal(fake.last.subscribe.token, `news${made}`);
});

test('what cannot be mended ends the client, with the reason', async (t) => {
  for (const [options, fault, code] of [
    [{ token: 'x' }, (f) => { f.refuse.connect = { code: 101, message: 'bad token' }; }, 'unauthorized'],
    [{ getToken: async () => 'same' }, (f) => { f.refuse.connect = { code: 101, message: 'bad token' }; }, 'unauthorized'],
    [{ getToken: async () => null }, () => {}, 'unauthorized'],
    [{}, (f) => { f.refuse.connect = { code: 104, message: 'no namespace' }; }, 'refused'],
    [{}, (f) => { f.refuse.connect = () => { f.close(4403, 'disconnected'); return 'silence'; }; }, 'disconnected'],
    [{}, (f) => { f.refuse.connect = () => { f.close(4400, 'bad'); return 'silence'; }; }, 'bad_request'],
  ]) {
    const { fake, roost } = await scene(t, options);
    fault(fake);
    await assert.rejects(roost.ready(), (e) => e.code === code && e.type === 'client');
    assert.equal(roost.states.at(-1).state, 'closed');
  }
});

test('the server says when to come back', async (t) => {
  const { fake, roost } = await scene(t);
  await roost.ready();
  fake.close(1001, 'server is going away; retry=300');
  let e = await until(roost, 'state', (e) => e.state === 'disconnected');
  assert.ok(e.retryIn >= 300 && e.retryIn < 330, `${e.retryIn}`);
  assert.deepEqual([e.error.type, e.error.code, e.error.reason], ['close', 1001, 'server is going away; retry=300']);
  roost._look(); // the network is back: it waits all the same
  const began = Date.now();
  await until(roost, 'state', (e) => e.state === 'connected');
  assert.ok(Date.now() - began > 280);
  fake.refuse.connect = { code: 111, message: 'busy', retry: 0.2 };
  fake.cut();
  e = await until(roost, 'state', (e) => e.state === 'disconnected' && e.error.code === 111);
  assert.ok(e.retryIn >= 200 && e.retryIn < 280, `${e.retryIn}`);
});

test('an attempt that failed while the network came back is made again at once', async (t) => {
  const page = new EventTarget();
  for (const name of ['addEventListener', 'removeEventListener']) globalThis[name] = page[name].bind(page);
  const { fake, roost } = await scene(t, { reconnectMin: 1e6, reconnectMax: 1e6 });
  t.after(() => { delete globalThis.addEventListener; delete globalThis.removeEventListener; });
  await roost.ready();
  fake.websocket = 'hang';
  fake.cut();
  await until(roost, 'state', (e) => e.state === 'disconnected');
  page.dispatchEvent(new Event('online'));
  await until(roost, 'state', (e) => e.state === 'connecting');
  while (fake.seen.filter((s) => s === 'upgrade').length < 2) await new Promise((done) => setTimeout(done, 2));
  page.dispatchEvent(new Event('online'));
  fake.websocket = 'open';
  fake.cut();
  await until(roost, 'state', (e) => e.state === 'connected');
  // The next connection that is lost is not tried at once: many have lost theirs.
  fake.cut();
  const e = await until(roost, 'state', (e) => e.state === 'disconnected');
  assert.ok(e.retryIn > 0);
});

test('the delays grow, and are random', async (t) => {
  const { fake, roost } = await scene(t, { reconnectMin: 1000, reconnectMax: 30000 });
  await roost.ready();
  for (let tries = 0; tries < 8; tries++) {
    const bound = Math.min(30000, 1000 * 2 ** tries);
    const drawn = Array.from({ length: 400 }, () => roost._backoff(tries));
    assert.ok(Math.max(...drawn) <= bound && Math.max(...drawn) > 0.9 * bound && Math.min(...drawn) < 0.1 * bound);
  }
});

test('heartbeats are answered, and a silent server is left', async (t) => {
  const { fake, roost } = await scene(t, {}, { ping: 0.01 });
  await roost.ready();
  fake.seen.length = 0;
  fake.all({});
  while (!fake.seen.includes('heartbeat')) await new Promise((done) => setTimeout(done, 2));
  const s = roost._session, since = Date.now();
  s.heard = since - 11000;
  s.tick();
  assert.ok(s.probing);
  s.heard = since - 21000;
  s.tick();
  const e = await until(roost, 'state', (e) => e.state === 'disconnected');
  assert.match(e.error.message, /silent/);
});

test('a listener that throws harms no other', async (t) => {
  const { fake, roost } = await scene(t);
  const problems = [];
  globalThis.reportError = (e) => problems.push(e.message);
  t.after(() => delete globalThis.reportError);
  const news = roost.channel('news'), log = collect(news);
  news.on('message', () => { throw new Error('oops'); });
  await news.subscribe();
  fake.publish('news', 1);
  fake.publish('news', 2);
  await until(news, 'message', (m) => m.data === 2);
  assert.deepEqual([log.slice(1), problems], [[1, 2], ['oops', 'oops']]);
});

test('roost.d.ts declares what there is', async (t) => {
  const types = await readFile(new URL('../roost.d.ts', import.meta.url), 'utf8');
  const { roost } = await scene(t);
  const emitter = ['on', 'once', 'off'];
  for (const [name, object] of [['Roost', roost], ['Channel', roost.channel('news')], ['RoostError', new RoostError('client', 'closed', 'x')]]) {
    const [, body] = types.match(new RegExp(`class ${name}\\b[^\\n]*\\{\\n(.*?)\\n\\}`, 's'));
    const declared = new Set(body.match(/^  (?:readonly )?\w+(?=[?<(:])/gm).map((m) => m.trim().replace('readonly ', '')));
    declared.delete('constructor');
    for (const member of declared) assert.ok(member in object || ['client', 'user', 'retry', 'reason'].includes(member), `${name}.${member} is declared`);
    for (const member of Object.getOwnPropertyNames(Object.getPrototypeOf(object))) {
      assert.ok(member.startsWith('_') || member === 'constructor' || declared.has(member) || emitter.includes(member), `${name}.${member} is not declared`);
    }
  }
});
