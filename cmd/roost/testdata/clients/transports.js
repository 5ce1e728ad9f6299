// The page of the transports in headless Chromium: node transports.js BASE_URL
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');

const [base] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const wait = { timeout: 180_000, polling: 200 };

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args });
  const errors = [];
  try {
    const page = await browser.newPage();
    page.on('pageerror', (e) => errors.push(e.stack));
    page.on('console', (m) => { if (m.type() === 'error') errors.push(m.text()); });
    await page.goto(`${base}transports/`, wait);
    const figures = () => page.evaluate(() => Object.fromEntries([...document.querySelectorAll('.transport')].map((section) => [section.querySelector('h2').textContent,
      Object.fromEntries([...section.querySelectorAll('[data-is]')].map((dd) => [dd.dataset.is, Number(dd.textContent.replace(/[^\d]/g, ''))]))])));
    const updates = (n) => page.waitForFunction((least) => [...document.querySelectorAll('[data-is=updates]')].every((dd) => Number(dd.textContent) >= least), n, wait);

    // All get every update. One connection costs a request, polling one for each second, and
    // long polling one for each update.
    await page.check('input[value=fast]');
    await updates(15);
    const fast = await figures();
    assert.deepEqual(Object.keys(fast), ['Polling', 'Long polling', 'Event stream', 'WebSocket']);
    assert.equal(fast['Event stream'].requests, 1);
    assert.equal(fast.WebSocket.requests, 1);
    assert.ok(fast['Long polling'].requests >= fast['Long polling'].updates / 3, `long polling: ${JSON.stringify(fast['Long polling'])}`);
    assert.ok(fast.Polling.requests < fast['Long polling'].requests, 'polling asks less often than five times a second');
    assert.ok(fast['Long polling'].each > 2 * fast.WebSocket.each, `bytes an update: ${fast['Long polling'].each} and ${fast.WebSocket.each}`);
    assert.ok(fast.Polling.mean > fast.WebSocket.mean, `delay: ${fast.Polling.mean} and ${fast.WebSocket.mean}`);

    // When there is no news, polling goes on asking.
    await page.check('input[value=quiet]');
    await updates(1);
    const quiet = await figures();
    assert.ok(quiet.Polling.bytes > 3 * quiet.WebSocket.bytes, `${quiet.Polling.bytes} and ${quiet.WebSocket.bytes} bytes`);
    assert.ok(quiet.Polling.requests > 2 * quiet['Long polling'].requests, `${quiet.Polling.requests} and ${quiet['Long polling'].requests} requests`);
    await page.click('#restart');
    await page.waitForFunction(() => Number(document.querySelector('[data-is=requests]').textContent) <= 2, null, wait);
    assert.deepEqual(errors, []);
    console.log(`ok: ${JSON.stringify(fast)}`);
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
