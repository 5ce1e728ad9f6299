// One channel over four transports, each written out by hand, and what each costs.
// Messages are {"number":…,"time":…}.
import { $, element, number } from '../demo.js';

// --------------------------------------------------------- what a request sends

// What browsers put into the head of a request for the same origin. A page cannot see it.
const commonHead = [
  `Host: ${location.host}`, 'Connection: keep-alive', `User-Agent: ${navigator.userAgent}`, 'Accept: */*',
  ...clientHints(navigator.userAgentData),
  'Sec-Fetch-Site: same-origin', 'Sec-Fetch-Mode: cors', 'Sec-Fetch-Dest: empty', `Referer: ${location.origin}/`,
  'Accept-Encoding: gzip, deflate, br, zstd', `Accept-Language: ${navigator.languages.join(',')}`,
];
const handshake = ['Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Protocol: roost.v1.json', 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'];
const agreement = ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=',
  'Sec-WebSocket-Protocol: roost.v1.json'];

// Chromium tells more about itself than other browsers.
function clientHints(agent) {
  if (!agent) return [];
  const brands = agent.brands.map(({ brand, version }) => `"${brand}";v="${version}"`).join(', ');
  return [`sec-ch-ua: ${brands}`, 'sec-ch-ua-mobile: ?0', `sec-ch-ua-platform: "${agent.platform}"`];
}

const headBytes = (first, ...lines) => [first, ...lines, ''].reduce((sum, line) => sum + line.length + 2, 0);
const requestBytes = (path, ...lines) => headBytes(`GET ${path} HTTP/1.1`, ...commonHead, ...lines);
const responseHeadBytes = (response) => headBytes(`HTTP/1.1 ${response.status} OK`, ...[...response.headers].map(([k, v]) => `${k}: ${v}`));

// The header of a frame (RFC 6455, section 5.2): a client's is masked.
const frameBytes = (text, masked) => {
  const payload = new TextEncoder().encode(text).length;
  return payload + (payload < 126 ? 2 : payload < 65536 ? 4 : 10) + (masked ? 4 : 0);
};

// -------------------------------------------------------------- what was counted

// Clocks differ: the delay counts from the quickest arrival that there was, over any transport.
let clockDifference = Infinity;

class Counter {
  requests = 0;
  bytes = 0;
  updates = 0;
  #delays = 0;
  #latest = 0;
  #figures = {};

  constructor(title, how) {
    const row = (name, text, className = '') => {
      this.#figures[name] = element('dd', {}, '–');
      this.#figures[name].dataset.is = name;
      return element('div', { className }, element('dt', {}, text), this.#figures[name]);
    };
    this.meter = element('meter', { min: 0, max: 1, value: 0, ariaLabel: 'bytes, compared with the others' });
    this.section = element('section', { className: 'panel transport', ariaLabel: title },
      element('h2', {}, title), element('p', { className: 'note how' }, how),
      element('dl', {}, row('bytes', 'bytes', 'main'), this.meter, row('each', 'bytes an update'), row('requests', 'requests'),
        row('updates', 'updates'), row('mean', 'mean delay'), row('last', 'last delay')));
  }

  set state(state) { this.section.dataset.state = state; }

  update({ time }) {
    this.updates++;
    const delay = Date.now() - time;
    clockDifference = Math.min(clockDifference, delay);
    this.#delays += delay;
    this.#latest = delay;
  }

  show(mostBytes) {
    const { bytes, each, requests, updates, mean, last } = this.#figures;
    bytes.textContent = number.format(this.bytes);
    requests.textContent = number.format(this.requests);
    updates.textContent = number.format(this.updates);
    this.meter.value = mostBytes ? this.bytes / mostBytes : 0;
    if (!this.updates) return;
    each.textContent = number.format(Math.round(this.bytes / this.updates));
    mean.textContent = `${number.format(Math.round(this.#delays / this.updates - clockDifference))} ms`;
    last.textContent = `${number.format(Math.round(this.#latest - clockDifference))} ms`;
  }
}

// ------------------------------------------------------------- the four transports

// Each function runs until its signal aborts or something fails; then it is called again.

// polling asks every second, whether there is anything or not.
async function polling(channel, counter, signal) {
  for (;;) {
    await poll(channel, 0, counter, signal);
    await new Promise((done) => setTimeout(done, 1000));
    signal.throwIfAborted();
  }
}

// longPolling asks again as soon as there was something; the server keeps the request until then.
async function longPolling(channel, counter, signal) {
  for (;;) await poll(channel, 25, counter, signal);
}

let request = 0;
async function poll(channel, wait, counter, signal) {
  const path = `/v1/poll?channel=${channel}&wait=${wait}&request=${++request}`; // so that its timing is found
  const headers = counter.position ? { 'Last-Event-ID': counter.position } : {};
  counter.requests++;
  counter.bytes += requestBytes(path, ...Object.entries(headers).map(([k, v]) => `${k}: ${v}`));
  const response = await fetch(path, { headers, signal });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  counter.state = 'open';
  counter.position = response.headers.get('Last-Event-ID') ?? counter.position;
  const timing = performance.getEntriesByName(new URL(path, location).href)[0];
  counter.bytes += timing?.transferSize || responseHeadBytes(response) + text.length;
  if (request % 50 === 0) performance.clearResourceTimings();
  for (const { pub } of JSON.parse(text)) if (pub) counter.update(pub.data);
}

// eventStream reads one response that does not end. An EventSource does the same; fetch lets the
// page count the bytes.
async function eventStream(channel, counter, signal) {
  const path = `/v1/sse?channel=${channel}`;
  counter.requests++;
  counter.bytes += requestBytes(path);
  const response = await fetch(path, { signal });
  if (!response.ok) throw new Error(`the server responded with ${response.status}`);
  counter.state = 'open';
  counter.bytes += responseHeadBytes(response);
  const decoder = new TextDecoder();
  let text = '';
  for (const reader = response.body.getReader(); ;) {
    const { value, done } = await reader.read();
    if (done) throw new Error('the stream has ended');
    counter.bytes += value.length;
    text += decoder.decode(value, { stream: true });
    const lines = text.split('\n');
    text = lines.pop();
    for (const line of lines) {
      const { pub } = line.startsWith('data: {') ? JSON.parse(line.slice(6)) : {};
      if (pub) counter.update(pub.data);
    }
  }
}

// webSocket speaks the native protocol: two commands, then what is published.
function webSocket(channel, counter, signal) {
  return new Promise((_, fail) => {
    const socket = new WebSocket(location.origin.replace(/^http/, 'ws'), 'roost.v1.json');
    const send = (text) => {
      counter.bytes += frameBytes(text, true);
      socket.send(text);
    };
    counter.requests++;
    counter.bytes += requestBytes('/', ...handshake);
    socket.onopen = () => {
      counter.state = 'open';
      counter.bytes += headBytes('HTTP/1.1 101 Switching Protocols', ...agreement);
      send('{"id":1,"connect":{}}');
      send(JSON.stringify({ id: 2, subscribe: { channel } }));
    };
    socket.onmessage = ({ data }) => {
      counter.bytes += frameBytes(data, false);
      if (data === '{}') send('{}'); // a heartbeat
      const { pub } = JSON.parse(data);
      if (pub) counter.update(pub.data);
    };
    socket.onclose = () => fail(new Error('the WebSocket has ended'));
    signal.addEventListener('abort', () => socket.close());
  });
}

const transports = [
  [polling, 'Polling', 'A request every second, whether there is news or not.'],
  [longPolling, 'Long polling', 'A request that the server answers when there is news.'],
  [eventStream, 'Event stream', 'One request (SSE). Its response goes on for ever.'],
  [webSocket, 'WebSocket', 'One connection, messages in both directions.'],
];

// ------------------------------------------------------------------- the page

let counters = [];
let stop = new AbortController();
let begun = 0;

async function keepRunning(transport, channel, counter, signal) {
  while (!signal.aborted) {
    try { await transport(channel, counter, signal); } catch { counter.state = 'waiting'; }
    if (!signal.aborted) await new Promise((done) => setTimeout(done, 2000));
  }
}

function start() {
  stop.abort();
  stop = new AbortController();
  begun = Date.now();
  counters = transports.map(([, title, how]) => new Counter(title, how));
  $('transports').replaceChildren(...counters.map((counter) => counter.section));
  const channel = `transports:${document.querySelector('[name=rate]:checked').value}`;
  transports.forEach(([transport], i) => keepRunning(transport, channel, counters[i], stop.signal));
}

setInterval(() => {
  if (document.hidden) return;
  const most = Math.max(...counters.map((counter) => counter.bytes));
  for (const counter of counters) counter.show(most);
  $('elapsed').textContent = `${Math.round((Date.now() - begun) / 1000)} s`;
  const open = counters.filter((counter) => counter.section.dataset.state === 'open').length;
  $('status').dataset.state = open === counters.length ? 'connected' : 'connecting';
  $('status').textContent = open === counters.length ? 'all connected' : `${open} of ${counters.length}`;
}, 250);

document.querySelector('.rates').addEventListener('change', start);
$('restart').addEventListener('click', start);
// Browsers slow the timers of hidden pages down: counting begins anew with the page in view.
document.addEventListener('visibilitychange', () => (document.hidden ? stop.abort() : start()));
start();
