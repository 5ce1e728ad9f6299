// The page of the ticker in Firefox: node ticker_firefox.mjs BASE_URL
// Firefox does not tell of long tasks. A timer of the page sees each: it comes late by as
// much. On a busy machine it also comes late when others have the processor, so three
// seconds without a gap that is too long are looked for, all with 900 updates each and more.
import assert from 'node:assert/strict';
import { launch } from '../../../../web/client/test/gecko.mjs';
import { front } from './front.js';

const [base] = process.argv.slice(2);
const most = 50, seconds = 3, patience = 300; // milliseconds, and reports of a second each

// Pages of the demo run no script that is written into them.
const probe = `
addEventListener('error', (e) => report({ problem: String(e.message) }));
addEventListener('unhandledrejection', (e) => report({ problem: String(e.reason) }));
function report(what) { navigator.sendBeacon('/report', JSON.stringify(what)); }
let last = performance.now(), longest = 0;
setInterval(() => {
  const now = performance.now();
  longest = Math.max(longest, now - last);
  last = now;
}, 5);
setInterval(() => {
  const rate = Number(document.querySelector('#fast [data-is=rate]')?.textContent.replace(/[^\\d]/g, ''));
  report({ rate, longest: Math.round(longest) });
  longest = 0;
}, 1000);
`;

const reports = [];
let reported = () => {};
const server = await front(base, {
  html: (text, response) => response.end(text.replace('<head>', '<head><script src="/probe.js"></script>')),
  async own(request, response) {
    if (request.url === '/probe.js') {
      response.setHeader('Content-Type', 'text/javascript').end(probe);
      return true;
    }
    if (request.url !== '/report') return false;
    let text = '';
    for await (const part of request) text += part;
    reports.push(JSON.parse(text));
    response.end();
    reported();
    return true;
  },
});
const firefox = await launch(`http://127.0.0.1:${server.address().port}/ticker/`);
try {
  for (let good = 0, at = 0; good < seconds; at++) {
    while (at >= reports.length) await Promise.race([new Promise((done) => { reported = done; }), firefox.ended]);
    const { problem, rate, longest } = reports[at];
    assert.equal(problem, undefined);
    good = rate >= 900 && longest <= most ? good + 1 : 0;
    assert.ok(good || at < patience, `no ${seconds} seconds without a gap of more than ${most} ms: ${JSON.stringify(reports.slice(-20))}`);
  }
  const last = reports.slice(-seconds);
  console.log(`ok: the longest gap was ${Math.max(...last.map(({ longest }) => longest))} ms, at ${last.map(({ rate }) => rate).join(', ')} updates a second; of all ${reports.length} seconds: ${Math.max(...reports.map(({ longest }) => longest))} ms`);
} finally {
  await firefox.stop();
  server.closeAllConnections();
  server.close();
}
process.exit();
