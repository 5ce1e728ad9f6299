// The page of examples/chat in headless Chromium, by Playwright.
//   node chat_example.js HOST:PORT
const assert = require('node:assert/strict');
const net = require('node:net');
const { chromium } = require('playwright-core');

const [host, port] = process.argv[2].split(':');
const wait = { timeout: 180_000 };

// A line to the server that can be cut.
const sockets = new Set();
let cut = false;
const line = net.createServer((near) => {
  if (cut) return near.destroy();
  const far = net.connect(Number(port), host);
  for (const [from, to] of [[near, far], [far, near]]) {
    sockets.add(from);
    from.on('error', () => {}).on('close', () => { sockets.delete(from); to.destroy(); }).pipe(to);
  }
});

const state = (page, text) => page.locator('#state', { hasText: text }).waitFor(wait);
const lines = (page) => page.locator('#log li').allTextContents();
const shows = (page, text) => page.locator('#log li', { hasText: text }).first().waitFor(wait);
const says = async (page, name, text) => {
  await page.fill('#name', name);
  await page.fill('#text', text);
  await page.keyboard.press('Enter');
};

(async () => {
  await new Promise((resolve) => line.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
  try {
    const context = await browser.newContext();
    const errors = [];
    context.on('weberror', (e) => errors.push(String(e.error())));
    const open = async (address) => {
      const page = await context.newPage();
      await page.goto(`http://${address}/`, wait);
      await state(page, /^connected$/);
      return page;
    };
    const anna = await open(`127.0.0.1:${line.address().port}`);
    const bert = await open(`${host}:${port}`);
    await says(bert, 'bert', 'hello');
    await shows(anna, 'bert: hello');
    await says(anna, 'anna', '<b>bold</b>');
    await shows(bert, 'anna: <b>bold</b>');

    cut = true;
    sockets.forEach((socket) => socket.destroy());
    await state(anna, /^not connected/);
    await says(bert, 'bert', 'are you there?');
    await says(bert, 'bert', 'then later');
    await shows(bert, 'then later');
    cut = false;
    await shows(anna, 'then later');
    await state(anna, /^connected$/);
    await says(anna, 'anna', 'back again');
    await shows(bert, 'back again');
    await shows(anna, 'back again');

    const all = ['bert: hello', 'anna: <b>bold</b>', 'bert: are you there?', 'bert: then later', 'anna: back again'];
    assert.deepEqual(await lines(anna), all);
    assert.deepEqual(await lines(bert), all);
    // Who comes late sees what was said.
    const late = await open(`${host}:${port}`);
    await shows(late, 'back again');
    assert.deepEqual(await lines(late), all);
    assert.equal(await late.locator('#log b').count(), 0, 'a message became markup');
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
    line.close();
    sockets.forEach((socket) => socket.destroy());
  }
  console.log('ok: the chat example');
})().catch((err) => { console.error(err); process.exit(1); });
