// The page of the shared text in headless Chromium: node together.js BASE_URL
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');

const [base] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const wait = { timeout: 180_000, polling: 200 };
const errors = [];

async function open(browser, name) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on('pageerror', (e) => errors.push(`${name}: ${e.stack}`));
  page.on('console', (m) => { if (m.type() === 'error' && !m.text().includes('ERR_INTERNET_DISCONNECTED')) errors.push(`${name}: ${m.text()}`); });
  await page.goto(`${base}together/?as=${name}`, wait);
  await page.waitForFunction(() => !document.getElementById('text').disabled, null, wait);
  return page;
}

const textOf = (page) => page.evaluate(() => document.getElementById('text').value);
const shows = (page, text) => page.waitForFunction((want) => document.getElementById('text').value === want, text, wait)
  .catch(async () => assert.equal(await textOf(page), text));
const select = (page, start, end) => page.evaluate(([from, to]) => {
  const area = document.getElementById('text');
  area.focus();
  area.setSelectionRange(from, to);
}, [start, end]);
const paste = (page, text) => page.evaluate((pasted) => {
  const area = document.getElementById('text');
  area.setRangeText(pasted, 0, 0, 'end');
  area.dispatchEvent(new InputEvent('input'));
}, text);

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args });
  try {
    const pages = await Promise.all(['a', 'b'].map((name) => open(browser, name)));
    const [one, two] = pages;
    await select(one, 0, 0);
    await one.keyboard.type('one\ntwo three');
    const text = 'one\ntwo three';
    for (const page of pages) await shows(page, text);

    // The selection stays at its letters while others type before it, and undo takes back what
    // this page has typed only.
    await select(one, 4, 7);
    await select(two, 0, 0);
    await two.keyboard.type('Grüße 👋 ');
    await shows(one, `Grüße 👋 ${text}`);
    assert.deepEqual(await one.evaluate(() => { const { selectionStart, selectionEnd } = document.getElementById('text'); return [selectionStart, selectionEnd]; }), [13, 16]);
    await one.keyboard.press('Control+End');
    await one.keyboard.type('!');
    await shows(two, `Grüße 👋 ${text}!`);
    await two.locator('.caret:not([hidden]) span', { hasText: /^a$/ }).waitFor({ state: 'attached', timeout: 180_000 });
    for (let i = 0; i < 20 && await textOf(two) !== `${text}!`; i++) await two.keyboard.press('Control+z');
    for (const page of pages) await shows(page, `${text}!`);
    // What is typed without a connection is there when it comes back.
    await two.context().setOffline(true);
    await select(two, 0, 0);
    await two.keyboard.type('away ');
    await select(one, 0, 0);
    await one.keyboard.type('here ');
    await two.context().setOffline(false);
    for (const page of pages) await page.waitForFunction(() => /^(here away|away here) one/.test(document.getElementById('text').value), null, wait);
    const all = await textOf(one);
    assert.equal(await textOf(two), all);

    // Cursors.
    const box = await one.locator('#board').boundingBox();
    await one.mouse.move(box.x + box.width / 2, box.y + 60);
    await two.locator('.pointer:not([hidden]) span', { hasText: /^a$/ }).waitFor({ state: 'attached', timeout: 180_000 });

    // What does not fit is refused, and says so.
    await paste(one, 'x'.repeat(20_000));
    await one.locator('#saved.bad', { hasText: 'The sheet is full' }).waitFor({ timeout: 180_000 });
    assert.equal(await textOf(one), all);
    const full = '€'.repeat(20_000 - all.length) + all;
    await paste(one, '€'.repeat(20_000 - all.length));
    for (const page of [...pages, await open(browser, 'late')]) await shows(page, full);
    await one.click('#clear');
    for (const page of pages) await shows(page, '');
    assert.deepEqual(errors, []);
    console.log('ok: together');
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
