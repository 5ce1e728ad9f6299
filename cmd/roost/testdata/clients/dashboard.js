// The dashboard in headless Chromium: node dashboard.js ADMIN_URL KEY
// The caller has a subscriber of the channel "news:1" connected as the user "anna".
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');

const [admin, key] = process.argv.slice(2);
const wait = { timeout: 180_000 };

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
  const errors = [];
  const context = await browser.newContext({ viewport: { width: 360, height: 740 } });
  context.on('weberror', (e) => errors.push(String(e.error())));
  const page = await context.newPage();
  page.on('console', (m) => { if (m.type() === 'error' && !m.text().includes('401')) errors.push(m.text()); });
  await page.goto(admin, wait);

  // It asks for the key, says that a wrong one was refused, and keeps the right one.
  await page.locator('#ask[open]').waitFor(wait);
  await page.fill('#key', 'wrong');
  await page.keyboard.press('Enter');
  await page.locator('#ask-why', { hasText: 'refused' }).waitFor(wait);
  await page.fill('#key', key);
  await page.keyboard.press('Enter');
  await page.locator('#status[data-state=good]').waitFor(wait);
  await page.locator('.card', { hasText: 'Connections' }).locator('dd span').filter({ hasText: /^1$/ }).waitFor(wait);

  // A channel, with what is published to it.
  await page.fill('#prefix', 'news');
  await page.keyboard.press('Enter');
  await page.locator('#channels button', { hasText: 'news:1' }).click(wait);
  await page.locator('#members li', { hasText: 'anna' }).waitFor(wait);
  await page.fill('#data', '{"text":"<b>hello</b>"}');
  await page.click('#publish button.main');
  await page.locator('#receipt', { hasText: 'Written to 1 of 1 connections, offset 1.' }).waitFor(wait);
  await page.locator('#tail li', { hasText: '{"text":"<b>hello</b>"}' }).waitFor(wait);
  await page.fill('#data', 'hello');
  await page.click('#publish button.main');
  await page.locator('#receipt.bad', { hasText: 'not JSON' }).waitFor(wait);

  // What was asked about one channel is not done to the next.
  await page.click('#clear');
  await page.locator('#clear', { hasText: 'sure' }).waitFor(wait);
  await page.fill('#target', 'news:2');
  await page.click('#open');
  assert.equal(await page.locator('#clear').textContent(), 'Clear the history');

  // The counters, and a page that fits into a small screen.
  await page.click('#all-counters summary');
  await page.fill('#filter', 'roost_delivered');
  await page.locator('#counters tr', { hasText: 'roost_delivered_total' }).waitFor(wait);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, 'the page is wider than its window');

  // A user's connection, disconnected at the second click.
  await page.fill('#user-id', 'anna');
  await page.keyboard.press('Enter');
  const button = page.locator('#connections button');
  await button.click(wait);
  await button.filter({ hasText: 'sure' }).click(wait);
  await button.filter({ hasText: 'gone' }).waitFor(wait);
  assert.deepEqual(errors, []);
  await browser.close();
  console.log('ok: dashboard');
})().catch((error) => { console.error(error); process.exit(1); });
