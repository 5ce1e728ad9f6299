// Two clients of one channel, ticker:prices. A message is {"price":…,"open":…,"time":…}, and its
// key is the symbol. Offsets grow by one from message to message, so what never
// arrived can be counted.
import { $, connect, element, number } from '../demo.js';

const CHANNEL = 'ticker:prices';
const SYMBOLS = 'AUK BNT BRN CHF COT CRM CRW DIP DOV DUN EID FIN GAN GOD GUL HRN HWK IBS JAY JCK'
  + ' KIT KNT LIN LRK MAG MRL OWL PLV PUF QUA RAV ROB ROK SNI STK SWF SWN TEA TRN WRN';

// Clocks differ: the age of a price counts from the quickest arrival that there was.
let clockDifference = Infinity;
const ageOf = (time) => Date.now() - time - clockDifference;

// ------------------------------------------------------------------ a board

class Board {
  #cells = new Map(); // by symbol
  #news = new Map(); // prices that are not on the page yet, by symbol
  #figures = {};
  #first = 0; // the offset before the first message that counts
  #last = 0;
  #received = 0;
  #shownTime = 0; // when the newest price on the page was published
  #recent = []; // [when, how many had been received], at the last calls of showCounts

  constructor(section) {
    for (const figure of section.querySelectorAll('[data-is]')) this.#figures[figure.dataset.is] = figure;
    section.querySelector('.prices').append(...SYMBOLS.split(' ').map((symbol) => {
      const cell = element('span', {}, '–');
      this.#cells.set(symbol, cell);
      return element('li', {}, element('span', { className: 'symbol' }, symbol), cell);
    }));
  }

  /** Counting begins at an offset; a later one is where it goes on. */
  at(offset) {
    this.#first ||= offset;
    this.#last = Math.max(this.#last, offset);
  }

  take(symbol, price, offset) {
    this.at(offset - 1);
    this.at(offset);
    this.#received++;
    this.#news.set(symbol, price);
    clockDifference = Math.min(clockDifference, Date.now() - price.time);
  }

  /** Shows the newest price of each symbol that has one: once a frame, however many came. */
  show() {
    for (const [symbol, { price, open, time }] of this.#news) {
      const cell = this.#cells.get(symbol);
      cell.textContent = (price < open ? '▾' : '▴') + price.toFixed(2);
      cell.className = price < open ? 'down' : 'up';
      this.#shownTime = Math.max(this.#shownTime, time);
    }
    this.#news.clear();
  }

  /** Shows the figures. It is called four times a second; the rate is that of five seconds. */
  showCounts() {
    if (!this.#shownTime) return;
    const now = performance.now();
    const [[then, before]] = this.#recent.length ? this.#recent : [[now, this.#received]];
    this.#recent.push([now, this.#received]);
    if (this.#recent.length > 20) this.#recent.shift();
    const { rate, skipped, age } = this.#figures;
    if (then < now) rate.textContent = number.format(Math.round((this.#received - before) / (now - then) * 1000));
    skipped.textContent = number.format(this.#last - this.#first - this.#received);
    const ms = ageOf(this.#shownTime);
    age.textContent = ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
    age.classList.toggle('late', ms >= 1000);
  }
}

const fast = new Board($('fast'));
const slow = new Board($('slow'));

(function frame() {
  fast.show();
  slow.show();
  requestAnimationFrame(frame);
}());
setInterval(() => { fast.showCounts(); slow.showCounts(); }, 250);

// ----------------------------------------------------------- the fast client

connect().subscribe(CHANNEL, {
  subscribed: ({ position, recovered }) => { if (!recovered && position) fast.at(position.offset); },
  message: ({ key, data, position }) => fast.take(key, data, position.offset),
});

// ----------------------------------------------------------- the slow client

const pause = $('pause');
let rest = () => {}; // ends the pause

pause.addEventListener('input', () => {
  $('pause-text').textContent = `${Number(pause.value).toFixed(1)} s`;
  if (Number(pause.value) < 0.3) rest();
});

// A long poll, as any HTTP client can do it. The response's Last-Event-ID says how far it
// came, and the next request begins there.
let lastEventID = '';
async function poll() {
  const response = await fetch(`/v1/poll?channel=${CHANNEL}&wait=25`, { headers: lastEventID ? { 'Last-Event-ID': lastEventID } : {} });
  if (!response.ok) throw new Error(`the server responded with ${response.status}`);
  const messages = await response.json();
  lastEventID = response.headers.get('Last-Event-ID') ?? lastEventID;
  for (const { pub, subscribe } of messages) {
    // After more than the history holds, reading begins anew at the newest message.
    if (subscribe && !subscribe.recovered) slow.at(subscribe.offset);
    if (pub) slow.take(pub.key, pub.data, pub.offset);
  }
}

for (;;) {
  const first = !lastEventID; // it only learns the position
  let seconds = first ? 0 : Number(pause.value);
  try { await poll(); } catch { seconds = 2; }
  await new Promise((done) => { rest = done; setTimeout(done, seconds * 1000); });
}
