// The demo of notifications in headless Chromium: node notifications.js BASE_URL ADMIN_URL
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');

const [base, admin] = process.argv.slice(2);
const wait = { timeout: 180_000 };
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const open = async (context, name) => {
  const page = await context.newPage();
  await page.goto(`${base}notifications/?as=${name}`, wait);
  await page.locator('#status[data-state=connected]').waitFor(wait);
  return page;
};
const unread = (page, n) => page.locator('#unread', { hasText: new RegExp(`^${n} unread$`) }).waitFor(wait);
const texts = (page) => page.locator('#inbox li span').allTextContents();
const post = async (url, body, headers = {}) => {
  const response = await fetch(url, { method: 'POST', body, headers });
  return [response.status, await response.text()];
};

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args });
  try {
    const context = await browser.newContext();
    const errors = [];
    context.on('weberror', (e) => errors.push(String(e.error())));

    // One that was sent before its receiver came, and those that are refused.
    assert.deepEqual(await post(`${base}notify/Anna`, 'before she came'), [200, 'number 1 of the inbox, for 0 windows that are open\n']);
    assert.equal((await post(`${base}notify/Anna`, ' '))[0], 400);
    assert.equal((await post(`${base}notify/Anna`, 'x'.repeat(501)))[0], 400);
    assert.equal((await post(`${base}notify/Anna`, 'x'.repeat(5000)))[0], 413);
    assert.equal((await post(`${base}notify/${'x'.repeat(33)}`, 'hello'))[0], 400);

    const a = await open(context, 'Anna');
    await unread(a, 1);
    const b = await open(context, 'Anna');
    const ben = await open(context, 'Ben');
    await Promise.all([unread(b, 1), unread(ben, 0)]);

    // From a page, from curl, from the back end.
    await ben.fill('#to', 'Anna');
    await ben.fill('#text', '<b>from Ben</b>');
    await ben.locator('#send button').click(wait);
    await ben.locator('#sent', { hasText: 'In the inbox of Anna; 2 open windows have it.' }).waitFor(wait);
    await Promise.all([unread(a, 2), unread(b, 2)]);
    assert.deepEqual(await post(`${base}notify/Anna`, 'from curl'), [200, 'number 3 of the inbox, for 2 windows that are open\n']);
    await unread(a, 3);
    await a.locator('.toast', { hasText: 'from curl' }).waitFor(wait);
    const [status] = await post(`${admin}/v1/publish`, JSON.stringify({ user: 'Anna', data: { text: 'from the back end' } }), { 'Content-Type': 'application/json' });
    assert.equal(status, 200);
    await Promise.all([unread(a, 4), unread(b, 4)]);
    assert.deepEqual(await texts(a), ['from the back end', 'from curl', '<b>from Ben</b>', 'before she came']);
    assert.equal(await a.locator('#inbox b').count(), 0, 'a notification became markup');
    assert.match(await a.locator('#inbox li:nth-child(3) small').textContent(), /^Ben, \d\d:\d\d:\d\d$/);
    assert.equal(await a.title(), '(4) Notifications · Roost demo');

    // What one window reads is read in the other, and after a reload. It is not undone by a
    // click on what is older.
    await a.locator('#inbox li:nth-child(2) button').click(wait);
    await Promise.all([unread(a, 1), unread(b, 1)]);
    await b.locator('#inbox li:nth-child(4) button').click(wait);
    await b.reload(wait);
    await unread(b, 1);
    assert.equal((await texts(b)).length, 4);
    await b.locator('#all').click(wait);
    await Promise.all([unread(a, 0), unread(b, 0)]);
    await a.reload(wait);
    await a.locator('#inbox li').nth(3).waitFor(wait);
    await unread(a, 0);

    // The commands that the page shows are those for its server.
    assert.match(await ben.locator('#curl').textContent(), new RegExp(`^curl -d '<b>from Ben</b>' '${base}notify/Anna'$`));
    await ben.locator('#publish', { hasText: `roost publish --url ${admin} --user 'Anna'` }).waitFor(wait);

    // Through the publish API the data may be anything.
    const publish = async (to, data) => assert.equal((await post(`${admin}/v1/publish`, JSON.stringify({ ...to, data }), { 'Content-Type': 'application/json' }))[0], 200);
    await publish({ user: 'Anna' }, null);
    await a.locator('.toast', { hasText: /^null$/ }).waitFor(wait);
    await a.reload(wait);
    await unread(a, 1);
    assert.equal((await texts(a))[0], 'null');
    // What is no mark moves none. A page that comes later may not have the mark: the channel
    // keeps one message.
    await publish({ channel: 'read:Anna' }, null);
    await publish({ user: 'Anna' }, { text: 'the last' });
    await Promise.all([unread(a, 2), unread(b, 2)]);

    // How a page reaches the admin port, by the address that it is bound to.
    assert.deepEqual(await ben.evaluate(async () => {
      const { reachable } = await import('../demo.js');
      return [['127.0.0.1:8081', 'localhost'], ['[::1]:8081', '127.0.0.1'], ['127.0.0.1:8081', 'roost.example'], ['[::]:8081', 'roost.example'],
        ['0.0.0.0:8081', '[2001:db8::1]'], ['10.0.0.7:8081', 'roost.example'], ['', 'localhost']].map(([admin, page]) => reachable(admin, page));
    }), ['127.0.0.1:8081', '[::1]:8081', '', 'roost.example:8081', '[2001:db8::1]:8081', '10.0.0.7:8081', '']);
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
  }
  console.log('ok');
})();
