// The transports of the client against a fake server: which one is taken, and that
// none of them loses or repeats a message.
import assert from 'node:assert/strict';
import { clock, Fake, Roost, WebSocket, collect, test, until } from './fake.mjs';

async function scene(t, options, fakeOptions) {
  const fake = await new Fake(fakeOptions).start();
  const roost = new Roost(fake.url, { reconnectMin: 5, reconnectMax: 20, patience: 50, WebSocket, ...options });
  roost.states = [];
  roost.on('state', (e) => roost.states.push(e));
  t.after(async () => { roost.close(); await fake.stop(); });
  return { fake, roost };
}

const connected = (roost) => until(roost, 'state', (e) => e.state === 'connected');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

for (const kind of ['sse', 'poll']) {
  test(`everything works over ${kind}`, async (t) => {
    const { fake, roost } = await scene(t, { transports: [kind], data: 'd' }, { channels: { 'user:7': 1 }, user: '7' });
    const news = roost.channel('news'), log = collect(news), own = collect(roost);
    await news.subscribe();
    assert.equal(roost.transport, kind);
    fake.publish('news', 1);
    await until(news, 'message');
    const late = roost.channel('late'), lateLog = collect(late);
    await late.subscribe();
    for (let i = 2; i < 6; i++) {
      fake.publish('news', i);
      fake.publish('late', i);
      fake.publish('user:7', i);
      await until(news, 'message', (m) => m.data === i);
      if (i % 2) fake.cut();
    }
    if (late.position.offset < 4) await until(late, 'message', (m) => m.data === 5);
    const quiet = (list) => list.filter((e) => e !== 'subscribed true');
    assert.deepEqual(quiet(log), ['subscribed false', 1, 2, 3, 4, 5]);
    assert.deepEqual(quiet(lateLog), ['subscribed false', 2, 3, 4, 5]);
    assert.deepEqual(quiet(own).slice(0, 3), ['subscribed false', 2, 3]);
    await roost.ready();
    const [a, b] = await Promise.all([roost.publish('news', 'x'), roost.publish('news', 'y'), roost.call('m', 1)]);
    assert.deepEqual([a, b], [{ epoch: 'e1', offset: 6 }, { epoch: 'e1', offset: 7 }]);
    assert.equal((await news.history({ since: a })).messages[0].data, 'y');
    assert.equal((await roost.presence('elsewhere')).clients, 1);
    await news.ack();
    news.unsubscribe();
    fake.publish('news', 'z');
    await pause(30);
    assert.ok(!log.includes('z'));
    fake.refuse.call = { code: 109, message: 'no' };
    await assert.rejects(roost.call('m'), { code: 109, type: 'server' });
  });

  test(`refusals over ${kind}`, async (t) => {
    const { fake, roost } = await scene(t, { transports: [kind] }, { status: [503, { 'Retry-After': '1' }] });
    let e = await until(roost, 'state', (e) => e.state === 'disconnected');
    assert.deepEqual([e.error.type, e.error.code, e.error.retry], ['http', 503, 1]);
    assert.ok(e.retryIn >= 1000);
    roost.close();
    const other = new Roost(fake.url, { transports: [kind], getToken: async () => 'same' });
    t.after(() => other.close());
    fake.status = null;
    fake.refuse.connect = { code: 101, message: 'bad token' };
    await assert.rejects(other.ready(), { code: 'unauthorized' });
  });

  test(`tokens are refreshed over ${kind}`, async (t) => {
    let made = 0;
    const { fake, roost } = await scene(t, { transports: [kind], getToken: async () => `t${++made}` }, { expires: 0.1 });
    await roost.ready();
    while (made < 4) await pause(5);
    await pause(30);
    assert.ok(fake.last.connect.token > 't1');
    assert.equal(roost.stats.connects, 1);
  });
}

for (const kind of ['sse', 'poll']) {
  test(`a close that ${kind} tells`, async (t) => {
    const { fake, roost } = await scene(t, { transports: [kind] });
    await roost.ready();
    while (kind === 'poll' && !fake.waiting) await pause(2);
    fake.close(1001, 'server is going away');
    let e = await until(roost, 'state', (e) => e.state === 'disconnected');
    assert.deepEqual([e.error.type, e.error.code, e.error.retry], ['close', 1001, 0.01]);
    await connected(roost);
    while (kind === 'poll' && !fake.waiting) await pause(2);
    fake.close(4403, 'disconnected');
    e = await until(roost, 'state', (e) => e.state === 'closed');
    assert.equal(e.error.cause.code, 4403);
  });
}

for (const [name, faults, want] of [
  ['nothing is wrong', {}, 'websocket'],
  ['the WebSocket is refused', { websocket: 'refuse' }, 'sse'],
  ['the WebSocket hangs', { websocket: 'hang' }, 'sse'],
  ['the WebSocket hangs and streams are held', { websocket: 'hang', sse: 'hold' }, 'poll'],
  ['the WebSocket is refused and streams are missing', { websocket: 'refuse', sse: 'missing' }, 'poll'],
]) {
  test(`when ${name}, ${want} is taken`, async (t) => {
    const { fake, roost } = await scene(t, { patience: want === 'websocket' ? 10000 : 500 }, faults);
    await roost.channel('news').subscribe();
    assert.equal(roost.transport, want);
    // It is known now: the next connection begins with it.
    while (want === 'poll' && !fake.waiting) await pause(2);
    fake.seen.length = 0;
    fake.cut();
    await connected(roost);
    assert.equal(roost.transport, want);
    assert.ok(fake.seen.includes('upgrade') === (want === 'websocket') && fake.seen.includes('/v1/sse') === (want === 'sse'), fake.seen.join());
  });
}

test('when nothing gets through, it tries again', async (t) => {
  const { fake, roost } = await scene(t, { timeout: 2000 }, { websocket: 'hang', sse: 'missing', poll: 'missing' });
  const { error } = await until(roost, 'state', (e) => e.state === 'disconnected');
  assert.deepEqual([error.type, error.code], ['http', 404]); // it says more than that a socket has failed
  fake.websocket = 'open';
  await connected(roost);
});

test('without WebSocket it begins with a stream', async (t) => {
  const { fake, roost } = await scene(t, { WebSocket: undefined });
  await roost.ready();
  assert.equal(roost.transport, 'sse');
  assert.ok(!fake.seen.includes('upgrade'));
  assert.throws(() => new Roost(fake.url, { WebSocket: undefined, fetch: undefined }), TypeError);
  assert.throws(() => new Roost('ftp://example.com/'), TypeError);
});

test('it goes up again when the better transport works, and loses nothing', async (t) => {
  const { fake, roost } = await scene(t, { climbAfter: 150, timeout: 1000 }, { websocket: 'hang', sse: 'hold' });
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe();
  assert.equal(roost.transport, 'poll');
  let sent = 0;
  const ticker = setInterval(() => fake.publish('news', ++sent), 3);
  t.after(() => clearInterval(ticker));
  fake.sse = 'open';
  while (roost.transport !== 'sse') await pause(5);
  fake.websocket = 'open';
  while (roost.transport !== 'websocket') await pause(5);
  fake.websocket = 'refuse';
  fake.cut();
  while (roost.transport !== 'sse') await pause(5);
  clearInterval(ticker);
  fake.publish('news', ++sent);
  await until(news, 'message', (m) => m.data === sent);
  assert.deepEqual(log.filter((e) => typeof e === 'number'), Array.from({ length: sent }, (_, i) => i + 1));
  assert.deepEqual([...new Set(log.filter((e) => typeof e !== 'number'))], ['subscribed false', 'subscribed true']);
});

test('a network that was only slow has the WebSocket soon', async (t) => {
  const { fake, roost } = await scene(t, {}, { websocket: 'hang' });
  const news = roost.channel('news'), log = collect(news);
  await news.subscribe();
  assert.equal(roost.transport, 'sse');
  fake.websocket = 'open';
  fake.publish('news', 1);
  while (roost.transport !== 'websocket') await pause(5);
  fake.publish('news', 2);
  await until(news, 'message', (m) => m.data === 2);
  assert.deepEqual(log.filter((e) => typeof e === 'number'), [1, 2]);
});

test('the transport is remembered for this host', async (t) => {
  const kept = new Map();
  globalThis.localStorage = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: (k) => kept.delete(k) };
  t.after(() => delete globalThis.localStorage);
  const { fake, roost } = await scene(t, { patience: 500 }, { websocket: 'hang' });
  await roost.ready();
  assert.match([...kept.values()][0], /^sse \d+$/);
  fake.seen.length = 0;
  const second = new Roost(fake.url, { WebSocket });
  await second.ready();
  second.close();
  assert.deepEqual(fake.seen, ['/v1/sse', 'connect']);
  kept.set([...kept.keys()][0], `sse ${Date.now() - 90000000}`); // yesterday
  fake.websocket = 'open';
  const third = new Roost(fake.url, { WebSocket });
  await third.ready();
  assert.equal(third.transport, 'websocket');
  assert.equal(kept.size, 0);
  third.close();
});

test('a channel without history over polls', async (t) => {
  const { fake, roost } = await scene(t, { transports: ['poll'] });
  const live = roost.channel('live:1'), log = collect(live);
  await live.subscribe();
  for (const i of [1, 2]) { // what comes between two polls is missed
    while (!fake.waiting) await pause(2);
    fake.publish('live:1', i);
    await until(live, 'message');
  }
  assert.deepEqual(log, ['subscribed false', 1, 2]);
});

// A server that does not wait is asked once a second; what the application wants
// meanwhile begins another round, and is not a reason to lose the connection, or to ask
// twice from then on.
test('a poll that rests between two requests', async (t) => {
  const { fake, roost } = await scene(t, { transports: ['poll'] }, { poll: 'hasty' });
  await roost.channel('news').subscribe();
  while (fake.seen.filter((s) => s === '/v1/poll').length < 2) await pause(2);
  await pause(50); // it rests
  await roost.channel('late').subscribe();
  await pause(1500);
  assert.deepEqual(roost.states.map((e) => e.state), ['connecting', 'connected']);
  fake.seen.length = 0;
  await pause(2500);
  const polls = fake.seen.filter((s) => s === '/v1/poll').length;
  assert.ok(polls <= 3, `${polls} polls in 2.5 s`);
  fake.seen.length = 0;
  while (!fake.seen.includes('/v1/poll')) await pause(2); // the next one is a second away
  await pause(50);
  const { length } = (roost.close(), fake.seen);
  await pause(1200);
  assert.equal(fake.seen.length, length, 'it asks after its end');
});

// A command whose request hangs holds back the next one for a third of its time only.
// One whose caller no longer waits is not sent, and its request ends.
for (const kind of ['sse', 'poll']) {
  test(`a command that hangs over ${kind}`, async (t) => {
    let requests = 0, aborted = false;
    const hang = async (url, options) => {
      const commands = options.body.split('\n').map((line) => JSON.parse(line));
      if (!commands.some((c) => c.publish) || ++requests > 1) return fetch(url, options);
      return new Promise((_, no) => options.signal?.addEventListener('abort', () => { aborted = true; no(options.signal.reason); }));
    };
    const { fake, roost } = await scene(t, { transports: [kind], timeout: 3000, fetch: hang });
    const news = roost.channel('news'), log = collect(news);
    await news.subscribe();
    const hung = assert.rejects(roost.publish('news', 'hung'), { code: 'timeout' });
    while (!requests) await pause(2);
    const short = assert.rejects(roost.publish('news', 'short', { timeout: 50 }), { code: 'timeout' });
    const behind = roost.publish('news', 'behind');
    assert.deepEqual(await behind, { epoch: 'e1', offset: 1 });
    assert.equal(aborted, false, 'the one before it still has time');
    await Promise.all([hung, short]);
    while (!aborted) await pause(10);
    if (news.position.offset < 1) await until(news, 'message');
    assert.deepEqual(log.filter((e) => e !== 'subscribed true'), ['subscribed false', 'behind']);
    assert.equal(fake.list('news').length, 1);
  });
}

// The times of docs/browser.md, by a clock that the test moves.
for (const [name, opens, at] of [
  ['hangs', undefined, { sse: 1000, poll: 1800 }],
  ['opens, and lets nothing through', 400, { sse: 1400, poll: 2200 }],
]) {
  test(`when a fallback begins: the WebSocket ${name}`, async (t) => {
    const tick = clock(t);
    const began = {};
    let now = 0;
    class WebSocket {
      protocol = 'roost.v1.json';
      constructor() { if (opens) setTimeout(() => this.onopen(), opens); }
      send() {}
      close() {}
    }
    const roost = new Roost('ws://127.0.0.1:1/', { WebSocket, fetch: (url) => {
      began[/sse|poll/.exec(url)[0]] = now;
      return new Promise(() => {});
    } });
    const soon = () => new Promise((done) => setImmediate(done));
    await soon();
    for (; now < 3000; now += 100) {
      assert.ok(!(began.poll > now));
      tick(now ? 100 : 0);
      await soon();
    }
    roost.close();
    assert.deepEqual(began, at);
  });
}
