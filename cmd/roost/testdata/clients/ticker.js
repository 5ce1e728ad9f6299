// The page of the ticker in headless Chromium: node ticker.js BASE_URL
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');

const [base] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const wait = { timeout: 180_000, polling: 200 };

// In milliseconds of the processor: how long the page was not responsive if it had
// the processor for itself, whatever else runs on this machine.
async function longestTask(browser, page, during) {
  await browser.startTracing(page, { categories: ['toplevel', 'blink.user_timing', '__metadata'] });
  await during();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
  const mains = new Set(traceEvents.filter((e) => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map((e) => `${e.pid}/${e.tid}`));
  const tasks = traceEvents.filter((e) => e.tdur && mains.has(`${e.pid}/${e.tid}`));
  assert.ok(tasks.length > 100, `the trace has ${tasks.length} tasks`);
  return Math.max(...tasks.map((e) => e.tdur)) / 1000;
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args });
  const errors = [];
  try {
    const page = await browser.newPage();
    page.on('pageerror', (e) => errors.push(e.stack));
    page.on('console', (m) => { if (m.type() === 'error') errors.push(m.text()); });
    await page.goto(`${base}ticker/`, wait);
    const value = (board, figure) => page.evaluate(([id, is]) => Number(document.querySelector(`#${id} [data-is=${is}]`).textContent.replace(/[^\d]/g, '')), [board, figure]);
    const reaches = (board, figure, least) => page.waitForFunction(([id, is, n]) => Number(document.querySelector(`#${id} [data-is=${is}]`).textContent.replace(/[^\d]/g, '')) >= n, [board, figure, least], wait);

    // Conflation is there to see: the slow client skips what the fast one gets.
    await reaches('fast', 'rate', 500);
    await reaches('slow', 'skipped', 3000);
    assert.ok(await value('slow', 'rate') < 200, 'the slow client gets no more than the newest of each symbol');
    await page.waitForFunction(() => document.querySelector('#slow [data-is=age].late'), null, wait);
    for (const id of ['fast', 'slow']) {
      await page.waitForFunction((board) => [...document.querySelectorAll(`#${board} .prices li`)].every((li) => /\d\.\d\d$/.test(li.textContent)), id, wait);
    }
    assert.equal(await page.locator('#fast .prices li').count(), 40);

    const longest = await longestTask(browser, page, () => page.waitForTimeout(4000));
    assert.ok(longest <= 50, `a task of ${longest.toFixed(1)} ms`);

    // With the keyboard: without a pause the slow client is quick.
    const before = await value('slow', 'rate');
    await page.focus('#pause');
    await page.keyboard.press('Home');
    assert.equal(await page.textContent('#pause-text'), '0.0 s');
    await reaches('slow', 'rate', before + 100);
    assert.deepEqual(errors, []);
    console.log(`ok: the longest task took ${longest.toFixed(1)} ms`);
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
