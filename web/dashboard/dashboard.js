// The dashboard of the admin port. It reads /metrics once a second and asks the
// publish API (docs/api.md) for the rest, when somebody looks.

const $ = (id) => document.getElementById(id);
const period = 1000; // milliseconds between two looks
const kept = 120; // looks that the charts show

// ------------------------------------------------------------------ requests

let key = '';
try { key = sessionStorage.getItem('roost-key') ?? ''; } catch { /* forbidden: the key lasts as long as the page */ }
let asking; // the key, while it is asked for

// request returns the response, or throws an Error whose message is for people.
async function request(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    const response = await fetch(path, { ...options, headers, cache: 'no-store' });
    if (response.ok) return response;
    if (response.status === 401) {
      await askKey();
      continue;
    }
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `${response.status} ${response.statusText}`);
  }
}

const get = async (path) => (await request(path)).json();
const act = async (method, path, body) => (await request(path, {
  method, body, headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
})).json();

function askKey() {
  asking ??= new Promise((resolve) => {
    const dialog = $('ask');
    if (key) $('ask-why').textContent = 'That key was refused. Enter another one.';
    dialog.addEventListener('close', () => {
      key = $('key').value.trim();
      $('key').value = '';
      try { sessionStorage.setItem('roost-key', key); } catch { /* forbidden */ }
      asking = undefined;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

// ------------------------------------------------------------------ metrics

// parse reads the text format of Prometheus: values and buckets by name.
function parse(text) {
  const values = new Map(), help = new Map(), buckets = new Map();
  let build = {};
  for (const line of text.split('\n')) {
    if (line.startsWith('# HELP ')) {
      const end = line.indexOf(' ', 7);
      help.set(line.slice(7, end), line.slice(end + 1));
      continue;
    }
    const found = /^([a-z]\w*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const [, name, labels, value] = found;
    if (name === 'roost_build_info') {
      build = Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, k, v]) => [k, v]));
    } else if (name.endsWith('_bucket')) {
      const into = buckets.get(name) ?? buckets.set(name, []).get(name);
      into.push([Number(/le="([^"]*)"/.exec(labels)[1].replace('+Inf', 'Infinity')), Number(value)]);
    } else if (!labels) {
      values.set(name, Number(value));
    }
  }
  return { at: performance.now(), values, help, buckets, build };
}

const looks = [];

const last = () => looks.at(-1);
const value = (name, look = last()) => look.values.get(name) ?? 0;

// rate is how fast a counter has grown between two looks, by default the last two.
function rate(name, to = looks.length - 1) {
  if (to < 1) return 0;
  const [a, b] = [looks[to - 1], looks[to]];
  return Math.max(0, (value(name, b) - value(name, a)) / ((b.at - a.at) / 1000));
}

// quantile is that of a histogram over the looks that are kept, in seconds;
// undefined if nothing was counted.
function quantile(name, q) {
  const before = looks[0].buckets.get(name), now = last().buckets.get(name);
  if (!now) return undefined;
  const counts = now.map(([bound, n], i) => [bound, n - (looks.length > 1 && before ? before[i][1] : 0)]);
  const total = counts.at(-1)[1];
  if (total === 0) return undefined;
  return counts.find(([, n]) => n >= q * total)[0];
}

// ------------------------------------------------------------------ numbers

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const count = (n) => (Math.abs(n) < 1e6 ? whole : short).format(n);

function bytes(n) {
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (Math.abs(n) < 1024 || unit === 'GiB') return `${unit === 'B' ? Math.round(n) : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
}

function seconds(n) {
  if (n === undefined) return '–';
  if (n === Infinity) return '> 17 s';
  if (n < 0.001) return `≤ ${Math.ceil(n * 1e6)} µs`;
  return n < 1 ? `≤ ${Math.ceil(n * 1e3)} ms` : `≤ ${n.toFixed(1)} s`;
}

function age(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min` : `${Math.floor(s / 86400)} d`;
}

// ------------------------------------------------------------------ cards

// The figures, which roost top shows as well: figures.json says what they are made of.
let cards = [];
const units = { count: (n) => (n > 0 && n < 10 && n % 1 ? n.toFixed(1) : count(n)), bytes, percent: (n) => `${(100 * n).toFixed(0)} %` };
const sum = (names, f) => names.reduce((n, name) => n + f(name), 0);

// number is a figure at a look, undefined where it has no meaning.
function number({ gauge, rate: rates, histogram, per }, i = looks.length - 1) {
  if (histogram) return rate(`${histogram}_count`, i);
  const n = gauge ? sum(gauge, (name) => value(name, looks[i])) : sum(rates, (name) => rate(name, i));
  if (!per) return n;
  return value(per, looks[i]) ? n / value(per, looks[i]) : undefined;
}

function textOf({ figure }) {
  if (figure.histogram) return seconds(quantile(`${figure.histogram}_bucket`, 0.99));
  const n = number(figure);
  return n === undefined ? '–' : units[figure.unit](n);
}

const svg = 'http://www.w3.org/2000/svg';

async function makeCards() {
  cards = (await (await fetch('figures.json')).json()).map((figure) => ({ figure }));
  for (const card of cards) {
    const { title, note, histogram } = card.figure;
    const box = document.createElement('dl');
    box.className = 'card';
    const dt = document.createElement('dt');
    dt.textContent = histogram ? `${title}, 99 %` : title;
    const dd = document.createElement('dd');
    card.number = document.createElement('span');
    card.number.textContent = '–';
    dd.append(card.number);
    const small = document.createElement('small');
    small.textContent = histogram ? 'the line: how many a second' : note ?? '';
    dd.append(small);
    const chart = document.createElementNS(svg, 'svg');
    chart.setAttribute('viewBox', `0 0 ${kept - 1} 40`);
    chart.setAttribute('preserveAspectRatio', 'none');
    chart.setAttribute('aria-hidden', 'true');
    card.line = document.createElementNS(svg, 'path');
    chart.append(card.line);
    box.append(dt, dd, chart);
    $('cards').append(box);
  }
}

function drawCards() {
  for (const card of cards) {
    card.number.textContent = textOf(card);
    const points = looks.map((_, i) => number(card.figure, i) ?? 0);
    const top = Math.max(...points, 1e-9) * 1.1, from = kept - points.length;
    card.line.setAttribute('d', points.map((y, i) => `${i ? 'L' : 'M'}${from + i} ${(39 - 38 * y / top).toFixed(1)}`).join(''));
  }
}

function drawCounters() {
  if (!$('all-counters').open) return;
  const want = $('filter').value.trim().toLowerCase();
  const rows = [];
  for (const [name, n] of last().values) {
    if (!name.includes(want)) continue;
    const grows = name.endsWith('_total');
    rows.push(row([name, 'number', Number.isInteger(n) ? whole.format(n) : n.toPrecision(6), 'number', grows ? units.count(rate(name)) : '', last().help.get(name) ?? '']));
  }
  $('counters').replaceChildren(...rows);
}

// row makes a table row of cells: texts or elements, 'number' before one that is
// set to the right.
function row(cells) {
  const tr = document.createElement('tr');
  for (let i = 0; i < cells.length; i++) {
    const td = document.createElement('td');
    if (cells[i] === 'number') {
      td.className = 'number';
      i++;
    }
    td.append(cells[i]);
    tr.append(td);
  }
  return tr;
}

function blank(columns, text) {
  const tr = row([text]);
  tr.className = 'blank';
  tr.firstChild.colSpan = columns;
  return tr;
}

function button(text, f) {
  const b = document.createElement('button');
  b.type = 'button';
  b.textContent = text;
  b.addEventListener('click', f);
  return b;
}

function status(state, text) {
  if ($('status').textContent !== text) $('status').textContent = text;
  $('status').dataset.state = state;
}

// drawServers shows the servers on the broker.
function drawServers(nodes) {
  const versions = new Set(nodes.map((n) => n.version)).size;
  $('versions').textContent = versions > 1 ? `${versions} versions` : '';
  $('servers').querySelector('tbody').replaceChildren(...nodes.map((n) =>
    row([(n.name ?? n.id) + (n.self ? ' (this one)' : ''), n.version ?? '', age(Date.now() - n.since), 'number', whole.format(n.connections)])));
  $('servers').hidden = false;
}

async function look() {
  try {
    if (!cards.length) await makeCards();
    const response = await request('/metrics', { headers: { Accept: 'text/plain' } });
    const now = parse(await response.text());
    // Another process counts from zero.
    if (looks.length && value('process_start_time_seconds', now) !== value('process_start_time_seconds')) looks.length = 0;
    looks.push(now);
    if (looks.length > kept) looks.shift();
    const { version, engine } = last().build;
    $('build').textContent = `${location.host} · ${version} · engine ${engine} · running for ${age(Date.now() - 1000 * value('process_start_time_seconds'))}`;
    drawCards();
    drawCounters();
    if (value('roost_nodes') > 1) drawServers((await get('/v1/nodes')).nodes);
    else $('servers').hidden = true;
    const ready = await fetch('/readyz', { cache: 'no-store' });
    status(ready.ok ? 'good' : 'bad', ready.ok ? 'ready' : 'shutting down');
  } catch (error) {
    status('bad', error instanceof TypeError ? 'no connection' : error.message);
  }
  setTimeout(look, document.hidden ? 5 * period : period);
}

// ------------------------------------------------------------------ channels

const path = encodeURIComponent;
let cursor = '';

async function findChannels() {
  try {
    const found = await get(`/v1/channels?limit=100&prefix=${path($('prefix').value)}&cursor=${path(cursor)}`);
    const rows = found.channels.map(({ name, clients }) => {
      const b = button(name, () => showChannel(name));
      b.className = 'link';
      return row([b, 'number', whole.format(clients)]);
    });
    $('channels').replaceChildren(...(rows.length ? rows : [blank(2, 'No channel has subscribers here.')]));
    $('more').hidden = !found.more;
    cursor = found.next ?? '';
  } catch (error) {
    $('channels').replaceChildren(blank(2, error.message));
  }
}

let shown = null; // the channel that is shown, and how far: { name, epoch, offset }

function showChannel(name) {
  shown = { name };
  for (const id of ['clear', 'empty']) $(id).dispatchEvent(new Event('disarm')); // that was about another channel
  $('target').value = name;
  $('detail-title').textContent = name;
  $('detail-state').textContent = '…';
  $('tail').replaceChildren();
  $('members').replaceChildren();
  $('detail').hidden = false;
  follow(shown);
}

// follow shows what comes, as long as the channel is the one that is shown.
async function follow(channel) {
  const base = `/v1/channels/${path(channel.name)}`;
  let noHistory = false;
  while (shown === channel) {
    try {
      const { clients, members } = await get(`${base}/presence?limit=50`);
      if (shown !== channel) return;
      $('members').replaceChildren(...members.map(({ client, user, info }) => {
        const li = document.createElement('li');
        li.append(user ? `${user} ` : '', client, info ? ` ${JSON.stringify(info)}` : '');
        return li;
      }));
      let state = `${whole.format(clients)} connection${clients === 1 ? '' : 's'}`;
      const page = noHistory ? {} : await get(`${base}/history?${channel.epoch
        ? `since_epoch=${path(channel.epoch)}&since_offset=${channel.offset}&limit=100` : 'limit=30&reverse=true'}`);
      if (shown !== channel) return;
      noHistory ||= !page.epoch;
      if (noHistory) {
        state += ' · keeps no history: the last messages can\'t be shown (history-messages of the namespace)';
      } else {
        const messages = channel.epoch ? page.messages : page.messages.reverse();
        if (page.gap && channel.epoch) note('some messages are missing here');
        messages.forEach(showMessage);
        const end = messages.at(-1)?.offset;
        [channel.epoch, channel.offset] = [page.epoch, page.more ? end : Math.max(end ?? 0, page.offset)];
        state += ` · offset ${page.offset}, epoch ${page.epoch}`;
      }
      $('detail-state').textContent = state;
    } catch (error) {
      $('detail-state').textContent = error.message;
    }
    await new Promise((done) => setTimeout(done, period));
  }
}

const tailLength = 200;

function addToTail(...parts) {
  const li = document.createElement('li');
  li.append(...parts);
  const list = $('tail');
  const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
  list.append(li);
  if (list.children.length > tailLength) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function showMessage({ offset, time, data, from, encoding }) {
  const meta = document.createElement('span');
  meta.textContent = `${offset} ${new Date(time).toLocaleTimeString()}${from ? ` ${from}` : ''}${encoding ? ` ${encoding}` : ''} `;
  addToTail(meta, JSON.stringify(data));
}

const note = (text) => addToTail(`– ${text} –`);

async function publish() {
  const receipt = $('receipt');
  receipt.className = '';
  try {
    let data;
    try {
      data = JSON.parse($('data').value);
    } catch (error) {
      throw new Error(`The message is not JSON: ${error.message}. A text needs quotes.`);
    }
    const done = await act('POST', '/v1/publish', JSON.stringify({ channel: $('target').value, data }));
    receipt.textContent = `Written to ${done.written} of ${done.matched} connections${done.offset ? `, offset ${done.offset}` : ''}.`;
  } catch (error) {
    receipt.className = 'bad';
    receipt.textContent = error.message;
  }
}

// armed makes a button that asks once more before it acts.
function armed(b, f) {
  const text = b.textContent;
  let timer;
  const reset = () => { clearTimeout(timer); timer = undefined; b.textContent = text; };
  b.addEventListener('disarm', reset);
  b.addEventListener('click', async () => {
    if (!timer) {
      b.textContent = `${text}: sure?`;
      timer = setTimeout(reset, 4000);
      return;
    }
    reset();
    try {
      b.textContent = await f();
    } catch (error) {
      b.textContent = error.message;
    }
    timer = setTimeout(reset, 4000);
  });
  return b;
}

// ------------------------------------------------------------------ connections

function showConnections(list, text) {
  const found = $('found');
  found.textContent = text;
  found.className = 'quiet';
  $('connections').hidden = list.length === 0;
  $('connections').tBodies[0].replaceChildren(...list.map((c) => row([
    c.client, c.user ?? '', c.remote_addr ?? '', c.protocol ?? 'raw', age(c.age_ms), (c.channels ?? []).join(', '),
    'number', whole.format(c.lag_messages ?? 0), 'number', whole.format(c.pending_bytes ?? 0),
    armed(button('Disconnect', () => {}), async () => {
      const { connections } = await act('DELETE', `/v1/connections/${path(c.client)}`);
      return connections ? 'gone' : 'was gone';
    }),
  ])));
}

function failed(error) {
  $('connections').hidden = true;
  $('found').textContent = error.message;
  $('found').className = 'bad';
}

async function findUser() {
  const id = $('user-id').value.trim();
  if (!id) return;
  try {
    const { connections } = await get(`/v1/users/${path(id)}/connections`);
    showConnections(connections, connections.length ? `${id} has ${connections.length} connections.` : `${id} has no connection here.`);
  } catch (error) {
    failed(error);
  }
}

// findSlow looks at up to scanned connections and shows the slowest.
async function findSlow() {
  const scanned = 20000, slow = [];
  let next = '', seen = 0;
  try {
    do {
      const page = await get(`/v1/connections?limit=1000&cursor=${path(next)}`);
      seen += page.connections.length;
      slow.push(...page.connections.filter((c) => c.lag_messages > 0 || c.pending_bytes > 0));
      next = page.more ? page.next : '';
      $('found').textContent = `looked at ${whole.format(seen)} connections …`;
    } while (next && seen < scanned);
    slow.sort((a, b) => b.lag_messages - a.lag_messages || b.pending_bytes - a.pending_bytes);
    showConnections(slow.slice(0, 100), `${slow.length} of ${whole.format(seen)} connections are behind.${next ? ' There are more connections, which were not looked at.' : ''}`);
  } catch (error) {
    failed(error);
  }
}

async function firstHundred() {
  try {
    const { connections, more } = await get('/v1/connections?limit=100');
    showConnections(connections, more ? 'The first hundred.' : `All ${connections.length}.`);
  } catch (error) {
    failed(error);
  }
}

// ------------------------------------------------------------------ the page

const submit = (id, f) => $(id).addEventListener('submit', (event) => { event.preventDefault(); f(); });
submit('search', () => { cursor = ''; findChannels(); });
submit('publish', publish);
submit('user', findUser);
$('more').addEventListener('click', findChannels);
$('prefix').addEventListener('input', () => { $('more').hidden = true; }); // the next page is one of the last search
$('open').addEventListener('click', () => { if ($('target').value) showChannel($('target').value); });
$('slow').addEventListener('click', findSlow);
$('all').addEventListener('click', firstHundred);
$('filter').addEventListener('input', drawCounters);
$('all-counters').addEventListener('toggle', drawCounters);
armed($('clear'), async () => `${(await act('DELETE', `/v1/channels/${path(shown.name)}/history`)).messages} messages dropped`);
armed($('empty'), async () => `${(await act('DELETE', `/v1/channels/${path(shown.name)}/connections`)).connections} disconnected`);
look();
findChannels();
