// The pictures of the README: see screenshots.sh.
//   node screenshots.js PUBLIC_URL ADMIN_URL FOLDER
const { join } = require('node:path');
const { chromium } = require('playwright-core');

const [site, admin, folder] = process.argv.slice(2);

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.ROOST_CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const context = await browser.newContext({ viewport: { width: 1000, height: 720 }, colorScheme: 'light' });
    const open = async (url, ready) => {
      const page = await context.newPage();
      await page.goto(url);
      await page.locator(ready).first().waitFor();
      return page;
    };
    const shoot = async (page, name) => {
      await page.bringToFront();
      await page.screenshot({ path: join(folder, `${name}.png`) });
    };
    // The dashboard looks once a second: its lines shall show something.
    const dashboard = await open(`${admin}/dashboard/`, '.card');
    const ticker = await open(`${site}/ticker/`, 'main');
    await open(`${site}/transports/`, 'main');
    const start = await open(`${site}/`, 'main');
    await start.waitForFunction(() => Number(document.getElementById('tick').textContent) > 0);
    await start.waitForTimeout(5000);
    await shoot(start, 'start');
    await ticker.waitForTimeout(6000);
    await shoot(ticker, 'ticker');
    await dashboard.waitForTimeout(60_000);
    await shoot(dashboard, 'dashboard');
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exit(1); });
