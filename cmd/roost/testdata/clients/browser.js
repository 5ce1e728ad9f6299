// The demo pages and the textbook page in headless Chromium, by Playwright.
//   node browser.js BASE_URL ADMIN_URL PROXY TEXTBOOK_FILE
// PROXY leads localhost:8080 to the server, so that the textbook page works as
// it is. "restart" on standard output asks the caller to end the server and to
// start it again on the same port; it says "done" on standard input.
const assert = require('node:assert/strict');
const readline = require('node:readline');
const { pathToFileURL } = require('node:url');
const { chromium } = require('playwright-core');

const [base, admin, proxy, textbook] = process.argv.slice(2);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const wait = { timeout: 180_000 };

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
const bubble = (page, text) => page.locator('#log li', { has: page.locator('p', { hasText: text }) });
const shows = (page, text) => bubble(page, text).first().waitFor(wait);
const connections = (page, n) =>
  page.waitForFunction((want) => document.getElementById('connections').textContent === want, String(n), wait);
const connected = (page) => page.locator('#status[data-state=connected]').waitFor(wait);
const people = (page, ...names) =>
  page.waitForFunction((want) => [...document.querySelectorAll('#people li')].map((li) => li.firstChild.data).join() === want, names.join(), wait);
const open = async (context, path) => {
  const page = await context.newPage();
  await page.goto(base + path, wait);
  await connected(page);
  return page;
};
// Sent and confirmed: the time is that of the server.
const confirmed = (page, text) => bubble(page, text).locator('.by span', { hasText: /^\d\d:\d\d:\d\d$/ }).waitFor(wait);

async function startAndChat() {
  const { browser, context, errors } = await launch();
  try {
    const start = await open(context, '');
    await connections(start, 1);
    const a = await open(context, 'chat/?as=Anna');
    await connections(start, 2);
    const b = await open(context, 'chat/?as=Ben');
    await connections(start, 3);
    await Promise.all([people(a, 'Anna', 'Ben'), people(b, 'Anna', 'Ben')]);

    await says(a, 'hello from a');
    await confirmed(a, 'hello from a');
    await shows(b, 'hello from a');
    assert.equal(await bubble(b, 'hello from a').locator('strong').textContent(), 'Anna');
    await says(b, '<img src=x onerror=alert(1)><b>bold</b>');
    await shows(a, '<img src=x onerror=alert(1)><b>bold</b>');
    assert.equal(await a.locator('#log img, #log b').count(), 0, 'a message became markup');
    // A message of the publish API has no time of its own, and any data.
    for (const [data, text] of [[{ text: 'from a terminal' }, 'from a terminal'], [null, 'null']]) {
      const published = await fetch(`${admin}/v1/publish`, { method: 'POST', headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ channel: 'chat:lobby', from: 'curl', data }) });
      assert.equal(published.status, 200);
      await confirmed(a, text);
    }
    // A window marks its own messages, and no others.
    assert.equal(await a.locator('#log li.mine').count(), 1);
    assert.equal(await b.locator('#log li.mine').count(), 1);
    await b.type('#text', 'hm');
    await a.locator('#typing', { hasText: 'Ben is typing' }).waitFor(wait);
    await b.fill('#text', '');

    // Somebody who comes later sees what was said, and another window of one's own is told.
    const later = await open(context, 'chat/?as=Anna');
    await shows(later, 'hello from a');
    await later.waitForFunction(() => document.querySelector('#people li.me small')?.textContent === 'in 2 windows', null, wait);
    assert.equal(await later.locator('#log li.mine').count(), 1);
    await later.close();

    // What is not on the page of the last messages comes when it is asked for.
    await b.evaluate(async () => {
      const { Roost } = await import('/roost/roost.js');
      const roost = new Roost(location.origin, { token: 'Many' });
      for (let i = 1; i <= 60; i++) await roost.publish('chat:lobby', { text: `number ${i};`, id: '' });
      roost.close();
    });
    const scrolled = await open(context, 'chat/?as=Carl');
    await shows(scrolled, 'number 60;');
    assert.equal(await scrolled.locator('#log p').count(), 50);
    await scrolled.locator('#log button').click(wait);
    await shows(scrolled, 'hello from a');
    await confirmed(scrolled, 'from a terminal');
    assert.equal(await scrolled.locator('#log p').count(), 64);
    await scrolled.close();
    await people(a, 'Anna', 'Ben');

    // The live broadcast: the same number in both pages, and it goes on.
    const other = await open(context, '');
    const tick = (page) => page.evaluate(() => Number(document.getElementById('tick').textContent));
    const before = await tick(start);
    await start.waitForFunction((n) => Number(document.getElementById('tick').textContent) >= n + 2, before, wait);
    for (const [one, two] of [[start, other], [other, start]]) {
      // Neither page is ahead of the other for longer than a moment.
      await two.waitForFunction((n) => Number(document.getElementById('tick').textContent) >= n, await tick(one), wait);
    }
    await other.close();
    await connections(start, 3);

    // A server that goes away and comes back is found again, without a hand.
    console.log('restart');
    assert.equal((await lines.next()).value, 'done');
    await Promise.all([connected(a), connected(b), connected(start)]);
    await connections(start, 3);
    await says(b, 'we are back');
    await shows(a, 'we are back');
    // The new server has no history: the page shows what there is.
    assert.equal(await a.locator('#log p').count(), 1);

    await b.close();
    await connections(start, 2);
    await people(a, 'Anna');
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
  await startAndChat();
  await textbookPage();
  console.log('ok');
  process.exit(0); // standard input is still open
})();
