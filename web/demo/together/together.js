// The page of the shared text: a textarea that shows a Sheet (sheet.js), and everybody's cursors.
import { UndoManager, createAbsolutePositionFromRelativePosition, createRelativePositionFromTypeIndex } from '../vendor/yjs.js';
import { $, connect, element, name, number } from '../demo.js';
import { Sheet } from './sheet.js';

const MOST_LETTERS = 20_000;
const TYPED = 'typed here'; // the origin of changes that the textarea shows already

const roost = connect();
const sheet = new Sheet(roost.channel('together:sheet'));
const { doc, text } = sheet;
const area = $('text');

// ------------------------------------------------- from the textarea to the sheet

let shown = ''; // what the textarea had last
let refused = '';

area.addEventListener('input', (event) => {
  if (!event.isComposing) edited();
});
// While an input method composes a word, others must not move the text under it.
area.addEventListener('compositionstart', () => sheet.hold(true));
area.addEventListener('compositionend', () => {
  edited();
  sheet.hold(false);
});

const splits = (before, after) => /[\ud800-\udbff]$/.test(before) && /^[\udc00-\udfff]/.test(after);

// edited finds out what was typed: everything between what is the same at the beginning
// and, from the caret on, at the end.
function edited() {
  const next = area.value;
  const room = Math.min(next.length, shown.length);
  let same = 0; // at the end
  const behindCaret = Math.min(next.length - area.selectionEnd, room);
  while (same < behindCaret && next.at(-1 - same) === shown.at(-1 - same)) same++;
  let start = 0;
  while (start < room - same && next[start] === shown[start]) start++;
  // A letter of two halves stays whole.
  if (splits(next.slice(0, start), next.slice(start)) || splits(shown.slice(0, start), shown.slice(start))) start--;
  if (splits(next.slice(0, next.length - same), next.slice(next.length - same))) same--;
  const inserted = next.slice(start, next.length - same);
  if (next.length > MOST_LETTERS && next.length > shown.length) {
    area.value = shown;
    area.setSelectionRange(start, start);
    refused = `The sheet is full: it takes ${number.format(MOST_LETTERS)} letters. Delete something first.`;
    showState();
    return;
  }
  refused = '';
  shown = next;
  doc.transact(() => {
    text.delete(start, text.length - same - start);
    text.insert(start, inserted);
  }, TYPED);
}

// ------------------------------------------------- from the sheet to the textarea

text.observe(({ delta, transaction }) => {
  if (transaction.origin !== TYPED) show(delta);
  showState();
  drawLater();
});

// show keeps the caret, or the selection, on the letters where it is.
function show(delta) {
  let { selectionStart: start, selectionEnd: end } = area;
  const { selectionDirection, scrollTop } = area;
  let at = 0;
  for (const { retain = 0, insert = '', delete: deleted = 0 } of delta) {
    at += retain;
    if (deleted) {
      const moved = (place) => Math.max(Math.min(place, at), place - deleted);
      [start, end] = [moved(start), moved(end)];
    }
    if (insert) {
      if (at < start) start += insert.length;
      if (at < end) end += insert.length;
      at += insert.length;
    }
  }
  shown = text.toString();
  area.value = shown;
  area.setSelectionRange(start, end, selectionDirection);
  area.scrollTop = scrollTop;
}

// ------------------------------------------------------------------------ undo

// Only what this page has typed is undone. The textarea's own undo knows nothing of the others.
const undoing = new UndoManager(text, { trackedOrigins: new Set([TYPED]), captureTimeout: 400 });

area.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key !== 'z' && key !== 'y') return;
  event.preventDefault();
  if (key === 'z' && !event.shiftKey) undoing.undo();
  else undoing.redo();
});
area.addEventListener('beforeinput', (event) => {
  if (event.inputType !== 'historyUndo' && event.inputType !== 'historyRedo') return;
  event.preventDefault(); // from a menu
  if (event.inputType === 'historyUndo') undoing.undo();
  else undoing.redo();
});
$('undo').addEventListener('click', () => undoing.undo());
$('clear').addEventListener('click', () => {
  undoing.stopCapturing();
  area.value = '';
  edited();
});
for (const event of ['stack-item-added', 'stack-item-popped']) undoing.on(event, showState);

// ----------------------------------------------------------------------- state

$('most').textContent = number.format(MOST_LETTERS);
sheet.onstate = showState;

function showState() {
  area.disabled = !sheet.loaded && !shown;
  $('letters').textContent = number.format(text.length);
  $('undo').disabled = !undoing.undoStack.length;
  $('clear').disabled = !text.length;
  const bad = refused || sheet.problem;
  $('saved').classList.toggle('bad', Boolean(bad));
  $('saved').textContent = bad || (sheet.unsent ? roost.state === 'connected' ? 'sending' : 'typed without a connection: it is sent later'
    : sheet.loaded ? 'all that you typed is at the server' : 'loading');
}
roost.on('state', showState);

addEventListener('beforeunload', (event) => { if (sheet.unsent) event.preventDefault(); });

// --------------------------------------------------------------------- cursors

// A cursor is {"x":…,"y":…,"colour":…,"caret":…}, published with a key of this page: a page
// that lags gets the newest one only.
const COLOURS = ['#b83a16', '#24693f', '#1d5fa8', '#7a3ea1', '#8f5600', '#a3216a', '#1f6a75', '#5d5b1d'];
const channel = roost.channel('cursors:sheet');
const me = Math.random().toString(36).slice(2);
const colour = Math.floor(Math.random() * COLOURS.length);
const others = new Map(); // by key
const board = $('board');
let pointer = { x: -1, y: 0 };
let sent = 0;
let timer = 0;

board.addEventListener('pointermove', (event) => {
  const box = board.getBoundingClientRect();
  pointer = { x: (event.clientX - box.left) / box.width, y: event.clientY - box.top + area.scrollTop };
  publishLater();
});
board.addEventListener('pointerleave', () => {
  pointer = { x: -1, y: 0 };
  publishLater();
});
document.addEventListener('selectionchange', publishLater);
area.addEventListener('scroll', drawLater);
addEventListener('resize', drawLater);

// 15 times a second at most, and every few seconds to say that this page is there.
function publishLater() {
  if (timer) return;
  timer = setTimeout(() => {
    timer = 0;
    publish();
  }, Math.max(0, sent + 66 - Date.now()));
}
setInterval(() => { if (Date.now() - sent > 3000 && !document.hidden) publish(); }, 1000);

function publish(gone = false) {
  if (roost.state !== 'connected') return;
  sent = Date.now();
  const focused = document.activeElement === area;
  const caret = focused ? JSON.stringify(createRelativePositionFromTypeIndex(text, area.selectionEnd)) : '';
  channel.publish({ ...pointer, colour, caret, gone }, { key: me }).catch(() => {}); // the next one tells more
}
addEventListener('pagehide', () => publish(true));

channel.on('message', ({ key, from, data }) => {
  if (key === me || !key) return;
  if (data.gone) forget(key);
  else {
    const other = others.get(key);
    const caret = data.caret ?? '';
    const moved = caret === other?.caret ? other.moved : Date.now();
    others.set(key, { ...other, ...data, caret, from, moved, seen: Date.now() });
  }
  drawLater();
});
channel.on('subscribed', () => publish());
channel.subscribe();

setInterval(() => {
  for (const [key, { seen }] of others) if (Date.now() - seen > 10_000) forget(key);
  if (others.size) drawLater(); // some carets rest
}, 1000);

function forget(key) {
  const { mark, line } = others.get(key) ?? {};
  mark?.remove();
  line?.remove();
  others.delete(key);
  drawLater();
}

let drawing = false;
function drawLater() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function colourOf(index) { return COLOURS[Math.abs(Math.trunc(index)) % COLOURS.length]; }

function draw() {
  const { width } = board.getBoundingClientRect();
  for (const other of others.values()) {
    other.mark ??= $('cursors').appendChild(element('div', { className: 'pointer' }, element('span', {}, other.from ?? 'nobody')));
    other.line ??= $('cursors').appendChild(element('div', { className: 'caret' }, element('span', {}, other.from ?? 'nobody')));
    for (const drawn of [other.mark, other.line]) drawn.style.setProperty('--colour', colourOf(other.colour));
    other.mark.hidden = !(other.x >= 0 && other.x <= 1);
    other.mark.style.transform = `translate(${other.x * width}px, ${other.y - area.scrollTop}px)`;
    const at = placeOf(other.caret);
    other.line.hidden = !at;
    if (!at) continue;
    other.line.style.transform = `translate(${at.left}px, ${at.top - area.scrollTop}px)`;
    other.line.classList.toggle('still', Date.now() - other.moved > 2000);
    other.line.classList.toggle('first', at.top - area.scrollTop < 24);
  }
  showHere();
}

// placeOf finds a caret on the page, with a copy of the text that has a mark in it.
function placeOf(caret) {
  let index;
  try {
    index = caret && createAbsolutePositionFromRelativePosition(JSON.parse(caret), doc)?.index;
  } catch { /* it has no such place */ }
  if (!(index >= 0)) return null;
  const mark = element('span', {}, '\u200b');
  $('mirror').replaceChildren(shown.slice(0, index), mark, shown.slice(index) || ' ');
  const place = { left: mark.offsetLeft, top: mark.offsetTop };
  $('mirror').replaceChildren();
  return place;
}

function showHere() {
  const people = [[`${name} (you)`, colour], ...[...others.values()].map((other) => [other.from ?? 'nobody', other.colour])];
  const key = JSON.stringify(people);
  if ($('here').dataset.key === key) return;
  $('here').dataset.key = key;
  $('here').replaceChildren(...people.map(([person, index]) => {
    const item = element('li', {}, person);
    item.style.setProperty('--colour', colourOf(index));
    return item;
  }));
}

$('second').href = `?as=${encodeURIComponent(name === 'Anna' ? 'Ben' : 'Anna')}`;
showHere();
showState();
