// What all demos share: the person's name, the connection and its badge, small helpers.
// Whatever comes over the wire reaches a page through textContent only.
import { Roost } from '/roost/roost.js';

export const $ = (id) => document.getElementById(id);

/** element('li', { className: 'mine' }, 'text', otherElement) makes an element. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const number = new Intl.NumberFormat('en');

export function clockText(at) {
  return new Date(at).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
}

// ------------------------------------------------------------------- the name

const birds = ['Avocet', 'Bittern', 'Curlew', 'Dunlin', 'Egret', 'Fulmar', 'Gannet', 'Heron', 'Jackdaw', 'Kestrel', 'Lapwing', 'Merlin', 'Oriole', 'Plover', 'Robin', 'Siskin', 'Tern', 'Wren'];

/** A name as the server takes it: 1 to 32 printable characters; '' if nothing is left. */
export const tidyName = (text) => [...(text ?? '').replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '').trim()].slice(0, 32).join('').trim();

// Storage may be forbidden: then a name lasts as long as its page.
function recall(storage) {
  try { return tidyName(storage().getItem('roost-name')); } catch { return ''; }
}
function remember(storage, name) {
  try { storage().setItem('roost-name', name); } catch { /* forbidden */ }
}
const thisWindow = () => sessionStorage;
const allWindows = () => localStorage;

/**
 * Who the person is: ?as=NAME of the address, the name of this window, the one that was
 * chosen last, or one of a bird.
 */
export const name = tidyName(new URLSearchParams(location.search).get('as'))
  || recall(thisWindow) || recall(allWindows)
  || `${birds[Math.floor(Math.random() * birds.length)]} ${100 + Math.floor(Math.random() * 900)}`;
remember(thisWindow, name);
if (!recall(allWindows)) remember(allWindows, name);

// <input id="name"> shows the name, and changes it: the page begins again with another one.
const nameInput = $('name');
if (nameInput) {
  nameInput.value = name;
  nameInput.addEventListener('change', () => {
    const next = tidyName(nameInput.value);
    if (!next || next === name) {
      nameInput.value = name;
      return;
    }
    remember(thisWindow, next);
    remember(allWindows, next);
    history.replaceState(null, '', location.pathname); // without ?as=
    location.reload();
  });
}

// ------------------------------------------------------------- the connection

/** Connects to this page's server, under the person's name, and shows the state in #status. */
export function connect(options = {}) {
  const roost = new Roost(location.origin, { token: name, name: `demo${location.pathname}`, ...options });
  showState(roost);
  return roost;
}

const words = { websocket: 'WebSocket', sse: 'event stream', poll: 'long polling', tab: 'another tab' };

/** Shows the state of a connection in an element, #status if none is given. */
export function showState(roost, badge = $('status')) {
  let timer = 0;
  const say = (state, text, title = '') => {
    clearInterval(timer);
    badge.dataset.state = state;
    badge.textContent = text;
    badge.title = title;
  };
  roost.on('state', (e) => {
    switch (e.state) {
      case 'connecting': return say('connecting', 'connecting');
      case 'connected': return say('connected', words[e.transport] ?? 'connected', `connected as ${e.user ?? 'nobody'}, ${e.client}`);
      case 'closed': return say('closed', 'not connected', String(e.error.message));
    }
    const until = Date.now() + e.retryIn;
    const tell = () => { badge.textContent = `next try in ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s`; };
    say('disconnected', '', String(e.error.message));
    tell();
    timer = setInterval(tell, 250);
  });
}

/** The text of a message. Through the publish API (curl) its data may be anything: null, too. */
export const textOf = ({ data }) => data?.text ?? JSON.stringify(data);

/**
 * The address of the admin port as this page can reach it, or '' if it can't: a port that is
 * bound to loopback is for browsers of the server's machine. One that is bound to every
 * address has the name of this page's host.
 */
export function reachable(admin, page = location.hostname) {
  const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(admin) ?? [];
  const loopback = (name) => /^(localhost|.*\.localhost|127\..*|\[?::1\]?)$/.test(name);
  if (!port || (loopback(host) && !loopback(page))) return '';
  return /^(0\.0\.0\.0|::|)$/.test(host) ? `${page}:${port}` : admin;
}

/**
 * Follows a channel with history. reset(messages, more) is called with its last messages,
 * the oldest first, whenever they have to be read anew; show(message) with each that follows,
 * none missing and none twice; failed(error) if the last messages can't be had.
 */
export function follow(channel, { limit = 50, reset, show, failed }) {
  let waiting = null; // what comes live while the history is read
  channel.on('message', (message) => (waiting ? waiting.push(message) : show(message)));
  channel.on('subscribed', async ({ recovered }) => {
    if (recovered) return; // nothing was missed
    const live = waiting = [];
    try {
      const page = await channel.history({ limit, reverse: true });
      if (live !== waiting) return; // another connection has begun
      reset(page.messages.toReversed(), page.more);
      const { epoch, offset } = page.position;
      live.filter(({ position: p }) => p.epoch !== epoch || p.offset > offset).forEach(show);
    } catch (error) {
      if (live !== waiting || error.code === 'disconnected') return; // the next connection reads them
      failed(error);
      live.forEach(show);
    }
    waiting = null;
  });
}

let shelf = null; // where toasts are

/** Shows a text above the page for a few seconds, and reads it to those who listen. */
export function toast(text) {
  shelf ??= document.body.appendChild(element('div', { className: 'toasts', role: 'status' }));
  const made = element('p', { className: 'toast' }, text);
  shelf.append(made);
  setTimeout(() => made.remove(), 5000);
}
