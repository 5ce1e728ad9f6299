// The page of the game in headless Chromium: node game.js BASE_URL
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');

const [base] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const wait = { timeout: 180_000, polling: 200 };
const errors = [];

async function open(browser, name) {
  const page = await (await browser.newContext()).newPage();
  page.on('pageerror', (e) => errors.push(`${name}: ${e.stack}`));
  page.on('console', (m) => { if (m.type() === 'error') errors.push(`${name}: ${m.text()}`); });
  await page.goto(`${base}game/?as=${name}`, wait);
  // What the server says, beside what the page draws.
  await page.evaluate(async () => {
    const { Roost } = await import('/roost/roost.js');
    new Roost(location.origin).subscribe('game:meadow', ({ data }) => { window.published = data; });
  });
  await page.waitForFunction((who) => window.published?.birds.some((bird) => bird.name === who), name, wait);
  return page;
}

const birdOf = (page, name) => page.evaluate((who) => window.published.birds.find((bird) => bird.name === who), name);

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args });
  try {
    const [ann, ben] = [await open(browser, 'Ann'), await open(browser, 'Ben')];
    for (const page of [ann, ben]) await page.waitForFunction(() => document.querySelectorAll('#scores li').length === 2, null, wait);

    // The keys: the other page sees the bird fly, and come to rest.
    await ann.keyboard.down('ArrowLeft');
    await ben.waitForFunction(() => window.published.birds.find((bird) => bird.name === 'Ann').x === 18, null, wait);
    await ann.keyboard.up('ArrowLeft');
    const from = await birdOf(ben, 'Ann');
    await ann.keyboard.down('KeyD');
    await ben.waitForFunction((x) => window.published.birds.find((bird) => bird.name === 'Ann').x > x + 50, from.x, wait);
    await ann.keyboard.up('KeyD');

    // The pointer, on a seed: points for all to see.
    const box = await ben.locator('#meadow').boundingBox();
    const to = ({ x, y }) => ben.mouse.move(box.x + x / 1000 * box.width, box.y + y / 625 * box.height);
    for (let i = 0; (await birdOf(ben, 'Ben')).score === 0; i++) {
      assert.ok(i < 50, 'no seed was reached');
      const seed = await ben.evaluate(() => window.published.seeds[0]);
      await to(seed);
      await ben.mouse.down();
      await ben.waitForFunction(({ x, y }) => !window.published.seeds.some((other) => other.x === x && other.y === y), seed, wait);
      await ben.mouse.up();
    }
    await ann.waitForFunction(() => [...document.querySelectorAll('#scores li')].some((li) => /^Ben[1-9]/.test(li.textContent)), null, wait);

    // A bird rests while its page is hidden.
    const hide = (page, hidden) => page.evaluate((yes) => {
      Object.defineProperty(document, 'hidden', { configurable: true, value: yes });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(ben, true);
    await ann.locator('#scores li.rests', { hasText: 'Ben' }).waitFor({ timeout: 180_000 });
    await hide(ben, false);
    await ann.waitForFunction(() => !document.querySelector('#scores li.rests'), null, wait);
    assert.deepEqual(errors, []);
    console.log('ok: game');
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
