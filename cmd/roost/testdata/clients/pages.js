// What every page of the demo site keeps: node pages.js BASE_URL PATH...
// On a phone and on a desktop, in light and dark: no error, nothing wider than the window,
// contrast of WCAG 2 AA, no layout shift, and everything that can be used has a name and
// is reached with the keyboard, which shows where it is.
const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');
const { front } = require('./front.js');

const [base, ...paths] = process.argv.slice(2);
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const wait = { timeout: 180_000 };
const sizes = [{ width: 360, height: 740 }, { width: 1100, height: 800 }];
const schemes = ['light', 'dark'];

// trickle sends a page as a slow network does: in pieces, each of which the browser has painted
// before the next one comes. Nothing that was painted may move. Pieces end with tags.
async function trickle(text, response) {
  const tags = text.split(/(?<=>)/), size = Math.ceil(tags.length / 24);
  for (let i = 0; i < tags.length && !response.destroyed; i += size) {
    response.write(tags.slice(i, i + size).join(''));
    await new Promise((done) => setTimeout(done, 40));
  }
  response.end();
}

// Runs in the page, before its own scripts.
function watchShifts() {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput, sources } of list.getEntries()) {
      // What appears where nothing was has moved nothing, and neither has what grows in
      // its place, to the left, as figures do that end at one line. Less than a thousandth
      // is not seen.
      if (!hadRecentInput && value >= 0.001 && sources.some(({ previousRect: a, currentRect: b }) => a.width * a.height > 0 && (a.y !== b.y || Math.abs(a.right - b.right) > 0.5))) window.shifts.push(`${value.toFixed(4)} by ${sources.map(({ node, previousRect: a, currentRect: b }) => `${node?.id || node?.className || node?.nodeName} from ${a.x},${a.y} ${a.width}x${a.height} to ${b.x},${b.y} ${b.width}x${b.height}`).join('; ')}`);
    }
  }).observe({ type: 'layout-shift', buffered: true });
}

// Runs in the page: everything that is wrong with it at this moment.
function judge() {
  const wrong = [];
  const tell = (element) => `<${element.localName}${element.id && ` id="${element.id}"`}${element.className && ` class="${element.className}"`}> ${element.textContent.trim().slice(0, 30)}`;
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1);
    wrong.push(`wider than the window: ${wide.slice(0, 3).map(tell).join('; ')}`);
  }
  if (!document.title) wrong.push('no title');
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
  if (!document.querySelector('main')) wrong.push('no main');

  // Colours as a canvas has them, so that every notation counts.
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const behind = (element) => {
    if (!element) return parse(getComputedStyle(document.documentElement).colorScheme === 'dark' ? '#121212' : '#fff');
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest('.hidden, svg');

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || seen.has(element) || !visible(element) || element.closest(':disabled, script, style')) continue;
    seen.add(element);
    const style = getComputedStyle(element);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ground = behind(element);
    const ratio = contrast(over(parse(style.color), ground), ground);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)} of ${tell(element)}`);
  }

  const controls = [...document.querySelectorAll('a[href], button, input, select, textarea, [tabindex="0"]')].filter((e) => visible(e) && !e.disabled);
  for (const element of controls) {
    const label = element.labels?.length ? [...element.labels].map((l) => l.textContent).join() : '';
    const name = element.getAttribute('aria-label') || label.trim() || element.title || (element.localName === 'input' ? '' : element.textContent.trim() || element.querySelector('img')?.alt);
    if (!name && !element.getAttribute('aria-labelledby')) wrong.push(`no name: ${tell(element)}`);
    if (element.matches('input:not([type=range], [type=checkbox], [type=radio], [type=color]), textarea, select')) {
      const ratio = contrast(over(parse(getComputedStyle(element).borderTopColor), behind(element.parentElement)), behind(element.parentElement));
      if (ratio < 3) wrong.push(`contrast ${ratio.toFixed(2)} of the border of ${tell(element)}`);
    }
    if (element.tabIndex < 0) wrong.push(`the keyboard does not reach ${tell(element)}`);
  }
  for (const image of document.images) if (!image.hasAttribute('alt')) wrong.push(`no alt: ${image.src}`);
  // The buttons of one choice are one stop of the tab key.
  const stops = new Set(controls.map((e) => (e.type === 'radio' ? e.name : e)));
  return { wrong, controls: stops.size };
}

// Runs in the page, before its own scripts: what gets the focus, and whether that is seen.
function watchFocus() {
  window.focused = [];
  addEventListener('focusin', ({ target }) => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(target);
    window.focused.push({
      index: [...document.querySelectorAll('*')].indexOf(target), html: target.outerHTML.slice(0, 80),
      shown: (outlineStyle !== 'none' && outlineWidth !== '0px') || boxShadow !== 'none',
    });
  });
}

// Goes through the page with the tab key, and wants to see where it is.
async function tabThrough(page, controls, fail) {
  const presses = Math.min(controls, 25);
  await page.evaluate(() => { window.focused = []; });
  for (let i = 0; i < presses + 1; i++) await page.keyboard.press('Tab');
  const focused = await page.evaluate(() => window.focused);
  for (const { shown, html } of focused) if (!shown) fail(`the focus is not seen on ${html}`);
  const reached = new Set(focused.map(({ index }) => index)).size;
  if (reached < presses - 1) fail(`the tab key reaches ${reached} of ${controls} controls`);
}

async function visit(context, path, fail) {
  const page = await context.newPage();
  // On a busy machine the client may take a fallback, and ends the WebSocket that was slower.
  const slow = /WebSocket is closed before the connection is established/;
  page.on('console', (m) => { if ((m.type() === 'error' || m.type() === 'warning') && !slow.test(m.text())) fail(`console: ${m.text()}`); });
  page.on('pageerror', (e) => fail(e.stack));
  page.on('response', (r) => { if (r.status() >= 400) fail(`${r.status()} for ${r.url()}`); });
  await page.goto(path, wait);
  if (await page.locator('#status').count()) {
    await page.locator('#status[data-state=connected]').waitFor(wait);
    // Two seconds of live messages.
    await page.evaluate(() => new Promise((done) => { setTimeout(() => requestAnimationFrame(done), 2000); }));
  }
  let controls = 0;
  for (const colorScheme of schemes) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
    const found = await page.evaluate(judge);
    found.wrong.forEach((what) => fail(`${colorScheme}: ${what}`));
    ({ controls } = found);
  }
  for (const shift of await page.evaluate(() => window.shifts)) fail(`layout shift ${shift}`);
  await tabThrough(page, controls, fail);
  await page.close();
}

(async () => {
  const server = await front(base, { html: trickle });
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args });
  const failures = [];
  try {
    await Promise.all(sizes.map(async (viewport) => {
      const context = await browser.newContext({ viewport, baseURL: `http://127.0.0.1:${server.address().port}/` });
      await context.addInitScript(watchShifts);
      await context.addInitScript(watchFocus);
      for (const path of paths) await visit(context, path, (what) => failures.push(`/${path} at ${viewport.width}: ${what}`));
    }));
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
  assert.equal(failures.length, 0, `\n${failures.join('\n')}`);
  console.log(`ok: ${paths.length} pages`);
})();
