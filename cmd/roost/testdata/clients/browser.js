// The demo page and the textbook page in headless Chromium, by Playwright.
//   node browser.js BASE_URL PROXY TEXTBOOK_FILE
// PROXY leads localhost:8080 to the server, so that the textbook page works as
// it is. "restart" on standard output asks the caller to end the server and to
// start it again on the same port; it says "done" on standard input.
const assert = require('node:assert/strict');
const readline = require('node:readline');
const { pathToFileURL } = require('node:url');
const { chromium } = require('playwright-core');

const [base, proxy, textbook] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const wait = { timeout: 60_000 };

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

async function launch(options = {}) {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args, ...options });
  const context = await browser.newContext();
  const errors = [];
  context.on('weberror', (e) => errors.push(String(e.error())));
  context.on('dialog', (d) => { errors.push(`dialog: ${d.message()}`); d.dismiss(); });
  return { browser, context, errors };
}

const says = async (page, text) => {
  await page.fill('#text', text);
  await page.keyboard.press('Enter');
};
const shows = (page, text) => page.locator('#log li p', { hasText: text }).first().waitFor(wait);
const connections = (page, n) =>
  page.waitForFunction((want) => document.getElementById('connections').textContent === want, String(n), wait);
const connected = (page) => page.locator('#status[data-state=open]').waitFor(wait);

async function demoPage() {
  const { browser, context, errors } = await launch();
  try {
    const a = await context.newPage();
    const b = await context.newPage();
    await a.goto(base, wait);
    await connected(a);
    await connections(a, 1);
    await b.goto(base, wait);
    await connected(b);
    await connections(a, 2);
    await connections(b, 2);
    await a.locator('#log li.system', { hasText: 'Welcome to the chat!' }).waitFor(wait);

    await says(a, 'hello from a');
    await shows(a, 'hello from a');
    await shows(b, 'hello from a');
    await says(b, '<img src=x onerror=alert(1)><b>bold</b>');
    await shows(a, '<img src=x onerror=alert(1)><b>bold</b>');
    assert.equal(await a.locator('#log img, #log b').count(), 0, 'a message became markup');
    // One's own messages are told apart, and nobody else's.
    assert.equal(await a.locator('#log li.mine').count(), 1);
    assert.equal(await b.locator('#log li.mine').count(), 1);

    // The live broadcast: the same number in both pages, and it goes on.
    const tick = (page) => page.evaluate(() => Number(document.getElementById('tick').textContent));
    const before = await tick(a);
    await a.waitForFunction((n) => Number(document.getElementById('tick').textContent) >= n + 2, before, wait);
    for (const [one, other] of [[a, b], [b, a]]) {
      // Neither page is ahead of the other for longer than a moment.
      await other.waitForFunction((n) => Number(document.getElementById('tick').textContent) >= n, await tick(one), wait);
    }

    // A server that goes away and comes back is found again, without a hand.
    console.log('restart');
    assert.equal((await lines.next()).value, 'done');
    const lost = (page) => page.locator('#log li.system', { hasText: 'Disconnected' }).first().waitFor(wait);
    await Promise.all([lost(a), lost(b)]);
    await Promise.all([connected(a), connected(b)]);
    await connections(a, 2);
    await says(b, 'we are back');
    await shows(a, 'we are back');
    assert.equal(await a.locator('#log li.system', { hasText: 'Disconnected' }).count(), 1);

    await b.close();
    await connections(a, 1);
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
  }
}

async function textbookPage() {
  // Chromium goes round a proxy for localhost unless told otherwise.
  const { browser, context, errors } = await launch({ proxy: { server: proxy, bypass: '<-loopback>' } });
  try {
    const page = await context.newPage();
    await page.goto(pathToFileURL(textbook).href, wait);
    const item = (text) => page.locator('#messages li', { hasText: text }).first().waitFor(wait);
    await item('Connected');
    await item('* Welcome to the chat!');
    await page.fill('#input', 'what every textbook says');
    await page.click('button');
    await item('what every textbook says');
    assert.equal(await page.locator('#messages li').count(), 3);
    assert.deepEqual(errors, []);
  } finally {
    await browser.close();
  }
}

(async () => {
  await demoPage();
  await textbookPage();
  console.log('ok');
  process.exit(0); // standard input is still open
})();
