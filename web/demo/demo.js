// The demo chat. It speaks what any page may speak to this server: text goes
// out as it is, JSON objects with a type come in.
//   {"type":"system","message":…}                  a greeting, once
//   {"type":"chat","message":…,"timestamp":…}      what somebody said
//   {"type":"stats","connections":…, …}            once a second, only to
//                                                  sockets opened with ?stats=1
// Whatever came over the wire reaches the page through textContent only.

const $ = (id) => document.getElementById(id);
const log = $('log');
const input = $('text');
const button = document.querySelector('#composer button');

const base = location.origin.replace(/^http/, 'ws');
$('snippet').textContent = `new WebSocket('${base}')`;

// ------------------------------------------------------------ the connection

const firstDelay = 500;
const longestDelay = 30_000;
// A socket that opened and failed at once must not reset the back-off.
const steadyAfter = 5_000;

let socket = null;
let attempts = 0;
let openedAt = 0;
let retryTimer = 0;

function connect() {
  clearTimeout(retryTimer);
  showStatus('connecting', 'connecting');
  const ws = new WebSocket(`${base}/ws?stats=1`);
  socket = ws;

  ws.onopen = () => {
    openedAt = Date.now();
    showStatus('open', 'connected');
    button.disabled = false;
  };
  ws.onmessage = (event) => receive(event.data);
  ws.onerror = () => {}; // onclose follows and tells more
  ws.onclose = (event) => {
    if (socket !== ws) return;
    socket = null;
    button.disabled = true;
    if (openedAt && Date.now() - openedAt > steadyAfter) attempts = 0;
    if (openedAt) addSystem(event.reason ? `Disconnected: ${event.reason}` : 'Disconnected');
    openedAt = 0;
    own.length = 0;
    retryLater();
  };
}

// Half of the delay is fixed and half is random: a server that comes back
// meets its clients spread out, not all in one second.
function retryLater() {
  const ceiling = Math.min(longestDelay, firstDelay * 2 ** attempts);
  const until = Date.now() + ceiling / 2 + (Math.random() * ceiling) / 2;
  attempts += 1;
  const tell = () => {
    const left = until - Date.now();
    if (left <= 0) return connect();
    showStatus('waiting', `next try in ${Math.ceil(left / 1000)} s`);
    retryTimer = setTimeout(tell, Math.min(left, 250));
  };
  tell();
}

// Somebody who comes back to the page, or whose network does, is not made to wait.
addEventListener('online', () => { if (!socket) connect(); });
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !socket) connect();
});

function showStatus(state, text) {
  const status = $('status');
  if (status.dataset.state !== state) status.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

// -------------------------------------------------------------- the messages

const longestLog = 500;
// What this page said and has not come back yet: the protocol names no sender.
const own = [];

function receive(data) {
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return; // not ours
  }
  switch (message?.type) {
    case 'system':
      addSystem(String(message.message));
      break;
    case 'chat':
      addChat(String(message.message), new Date(message.timestamp));
      break;
    case 'stats':
      showStats(message);
      break;
  }
}

function addSystem(text) {
  const item = document.createElement('li');
  item.className = 'system';
  item.textContent = text;
  append(item);
}

function addChat(text, at) {
  const item = document.createElement('li');
  const mine = own.indexOf(text);
  if (mine >= 0) {
    own.splice(mine, 1);
    item.className = 'mine';
  } else {
    $('hint').hidden = true;
  }
  const body = document.createElement('p');
  body.textContent = text;
  const time = document.createElement('time');
  if (!Number.isNaN(at.getTime())) {
    time.dateTime = at.toISOString();
    time.textContent = clockText(at);
  }
  item.append(body, time);
  append(item);
}

function append(item) {
  // Follow the newest message unless the reader has scrolled up.
  const following = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  log.append(item);
  while (log.childElementCount > longestLog) log.firstElementChild.remove();
  if (following) log.scrollTop = log.scrollHeight;
}

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = input.value;
  if (!text.trim() || socket?.readyState !== WebSocket.OPEN) return;
  own.push(text);
  socket.send(text);
  input.value = '';
  log.scrollTop = log.scrollHeight;
});

// --------------------------------------------------------------- the figures

const samples = [];
const number = new Intl.NumberFormat('en');

function showStats(stats) {
  $('connections').textContent = number.format(stats.connections);
  $('delivered').textContent = number.format(stats.delivered);
  $('messages').textContent = number.format(stats.messages);
  $('clock').textContent = clockText(new Date(stats.timestamp));
  $('tick').textContent = number.format(stats.number);

  samples.push(stats.connections);
  if (samples.length > 60) samples.shift();
  const highest = 1.25 * Math.max(1, ...samples);
  const points = samples.map((value, i) => {
    const x = samples.length === 1 ? 0 : (i / (samples.length - 1)) * 120;
    return `${x.toFixed(1)},${(26 - (value / highest) * 24).toFixed(1)}`;
  });
  document.querySelector('#spark polyline').setAttribute('points', points.join(' '));
}

function clockText(at) {
  return at.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
}

connect();
