// Unchanged pusher-js, laravel-echo and the HTTP library `pusher` against the binary: in
// Node.js, or, with the word chromium, the clients' bundles in a page. The back end (signatures,
// HTTP API, web hooks) is Node.js in both.
// Usage: node pusher.js ADDRESS CUT-ADDRESS HOOKS-PORT [chromium]
//   CUT-ADDRESS leads to the same server; GET http://CUT-ADDRESS/cut is not for the server: it
//   cuts the connections that go that way.
'use strict';
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const Pusher = require('pusher');

const app = { appId: 'one', key: 'one-key', secret: 'one-secret' };

// features runs in either, and needs only the clients and what the back end does for it:
// back(what, ...args) returns the answer.
async function features(PusherClient, Echo, address, back) {
  const equal = (got, want, what) => {
    if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
    console.log(what);
  };
  const once = (emitter, event) => new Promise((resolve) => {
    const f = (data) => { emitter.unbind(event, f); resolve(data); };
    emitter.bind(event, f);
  });
  const open = [];
  const client = (user, to = address, more = {}) => {
    const [host, port] = to.split(':');
    const p = new PusherClient('one-key', {
      cluster: '', wsHost: host, wsPort: Number(port), forceTLS: false, enabledTransports: ['ws'], disableStats: true,
      channelAuthorization: { customHandler: ({ socketId, channelName }, done) => { back('channel', socketId, channelName, user).then((auth) => done(null, auth), (e) => done(e, null)); } },
      userAuthentication: { customHandler: ({ socketId }, done) => { back('user', socketId, user).then((auth) => done(null, auth), (e) => done(e, null)); } },
      ...more,
    });
    open.push(p);
    return p;
  };
  const into = async (p, name) => {
    const channel = p.subscribe(name);
    await new Promise((resolve, reject) => {
      channel.bind('pusher:subscription_succeeded', resolve);
      channel.bind('pusher:subscription_error', (e) => reject(new Error(`${name}: ${JSON.stringify(e)}`)));
    });
    return channel;
  };

  // Public and private channels, client events.
  const ann = client('ann'), bob = client('bob');
  const news = await into(ann, 'news'), hers = await into(ann, 'private-room'), his = await into(bob, 'private-room');
  let event = once(news, 'hello');
  equal(await back('trigger', ['news'], 'hello', { text: 'ä' }), 200, 'trigger');
  equal(await event, { text: 'ä' }, 'a public event');
  event = once(his, 'client-typing');
  hers.trigger('client-typing', { who: 'ann' });
  equal(await event, { who: 'ann' }, 'a client event');
  // The sender of an event is left out; a batch.
  const heard = [];
  his.bind('but', () => heard.push('bob'));
  hers.bind('but', () => heard.push('ann'));
  await back('trigger', ['private-room'], 'but', 1, { socket_id: ann.connection.socket_id });
  event = Promise.all([once(hers, 'two'), once(his, 'two'), once(news, 'one')]);
  equal(await back('batch', [{ channel: 'news', name: 'one', data: '1' }, { channel: 'private-room', name: 'two', data: '2' }]), 200, 'a batch');
  await event;
  equal(heard, ['bob'], 'an event but for its sender');
  // A signature that is wrong.
  const refused = ann.subscribe('private-forbidden');
  equal((await once(refused, 'pusher:subscription_error')).status, 401, 'a wrong signature');
  // Presence.
  const room = await into(ann, 'presence-room');
  event = once(room, 'pusher:member_added');
  const bobs = await into(bob, 'presence-room');
  equal(await event, { id: 'bob', info: { name: 'BOB' } }, 'member_added');
  equal([bobs.members.count, bobs.members.me.id, bobs.members.get('ann').info.name], [2, 'bob', 'ANN'], 'members');
  equal(await back('get', '/channels/presence-room/users', {}), { users: [{ id: 'ann' }, { id: 'bob' }] }, 'users');
  equal((await back('get', '/channels', { filter_by_prefix: 'presence-', info: 'user_count' })).channels, { 'presence-room': { user_count: 2 } }, 'channels');
  event = once(room, 'pusher:member_removed');
  bob.unsubscribe('presence-room');
  equal((await event).id, 'bob', 'member_removed');
  // Cache channels, encrypted channels, counts.
  const cache = ann.subscribe('cache-x');
  await once(cache, 'pusher:cache_miss');
  await back('trigger', ['cache-x'], 'state', 7);
  equal(await once(bob.subscribe('cache-x'), 'state'), 7, 'the last event');
  const encrypted = await into(ann, 'private-encrypted-x');
  event = once(encrypted, 'secret');
  await back('trigger', ['private-encrypted-x'], 'secret', 'for ann');
  equal(await event, 'for ann', 'an encrypted event');
  for (bob.subscribe('news'); (await once(news, 'pusher:subscription_count')).subscription_count !== 2;);
  // Users.
  ann.signin();
  await once(ann, 'pusher:signin_success');
  event = new Promise((resolve) => ann.user.bind('mail', resolve));
  await back('send', 'ann', 'mail', 'dear');
  equal(await event, 'dear', 'an event to a user');
  // The network is cut: the client comes back, and is where it was.
  const cid = client('cid', await back('line'));
  const cids = await into(cid, 'presence-room');
  event = once(cids, 'pusher:subscription_succeeded');
  await back('cut');
  await event;
  event = once(cids, 'after');
  await back('trigger', ['presence-room'], 'after', 1);
  await event;
  // Laravel Echo.
  const echo = new (Echo.default ?? Echo)({ broadcaster: 'pusher', client: client('dan'), key: 'one-key' });
  event = new Promise((resolve) => echo.private('orders.1').listen('OrderShipped', resolve).subscribed(() => back('trigger', ['private-orders.1'], 'App\\Events\\OrderShipped', { id: 1 })));
  equal(await event, { id: 1 }, 'Echo: an event of Laravel');
  const here = await new Promise((resolve) => echo.join('room').here(resolve));
  equal(here.map((u) => u.name).sort(), ['ANN', 'CID', 'DAN'], 'Echo: who is here');
  event = new Promise((resolve) => echo.join('room').leaving(resolve));
  cid.disconnect();
  equal((await event).name, 'CID', 'Echo: who leaves');
  // The back end ends the connections of a user, who does not come back.
  event = once(ann.connection, 'disconnected');
  await back('terminate', 'ann');
  await event;
  for (const p of open) p.disconnect();
  await back('hooks');
  return 'features';
}

function backEnd(address, cutAddress, hooksPort) {
  const [host, port] = address.split(':');
  const key = Buffer.alloc(32, 7).toString('base64');
  const server = new Pusher({ ...app, host, port, useTLS: false, encryptionMasterKeyBase64: key });
  const told = new Set();
  let check = () => {};
  http.createServer((request, response) => {
    let body = '';
    request.on('data', (part) => { body += part; });
    request.on('end', () => {
      const hook = server.webhook({ headers: request.headers, rawBody: body });
      if (!hook.isValid()) throw new Error(`a web hook is not valid: ${body}`);
      for (const e of hook.getEvents()) told.add(e.name);
      response.end();
      check();
    });
  }).listen(Number(hooksPort), '127.0.0.1');
  const kinds = ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed', 'client_event', 'cache_miss', 'subscription_count'];
  const does = {
    channel: (socket, channel, user) => channel.startsWith('presence-')
      ? server.authorizeChannel(socket, channel, { user_id: user, user_info: { name: user.toUpperCase() } })
      : server.authorizeChannel(socket, channel === 'private-forbidden' ? 'private-other' : channel),
    user: (socket, user) => server.authenticateUser(socket, { id: user }),
    trigger: async (channels, event, data, params) => (await server.trigger(channels, event, data, params)).status,
    batch: async (events) => (await server.triggerBatch(events)).status,
    get: async (path, params) => (await server.get({ path, params })).json(),
    send: async (user, event, data) => (await server.sendToUser(user, event, data)).status,
    terminate: async (user) => (await server.terminateUserConnections(user)).status,
    line: () => cutAddress,
    cut: async () => (await fetch(`http://${cutAddress}/cut`).catch(() => ({ status: 0 }))).status,
    hooks: () => new Promise((resolve) => { (check = () => { if (kinds.every((kind) => told.has(kind))) resolve([...told]); })(); }),
  };
  return async (what, ...args) => does[what](...args);
}

// bundle is a file beside the one that require finds.
const bundle = (name, file) => path.join(path.dirname(require.resolve(name)), file);

async function inPage(address, back) {
  const { chromium } = require('playwright-core');
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
  const page = await browser.newPage();
  page.on('console', (line) => console.log(line.text()));
  await page.goto(`http://${address}/healthz`); // a page from there: others may not reach local addresses
  await page.addScriptTag({ path: bundle('pusher-js', '../web/pusher-with-encryption.min.js') });
  await page.addScriptTag({ path: bundle('laravel-echo', 'echo.iife.js') });
  await page.exposeFunction('back', back);
  console.log(await page.evaluate(`(${features})(Pusher, Echo, location.host, back)`));
  await browser.close();
}

(async () => {
  const [address, cutAddress, hooksPort, where] = process.argv.slice(2);
  const back = backEnd(address, cutAddress, hooksPort);
  if (where === 'chromium') {
    await inPage(address, back);
  } else {
    // The package's own file for require() is none: its package.json says that it is a module.
    const echo = new Function(`${fs.readFileSync(bundle('laravel-echo', 'echo.iife.js'), 'utf8')}\nreturn Echo;`)();
    console.log(await features(require('pusher-js'), echo, address, back));
  }
  console.log('ok');
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
setTimeout(() => {
  console.error('too slow');
  process.exit(1);
}, 400_000); // a browser that starts on a loaded machine
