// A chat room: the channel chat:lobby, which has a history, presence, and events of who
// comes and goes. Messages are {"text":…,"id":…}; the server adds "at", the time, and says who has
// published ("from"), so that no client can take another's name.
import { $, clockText, connect, element, follow, name, textOf } from '../demo.js';

const roost = connect();
const room = roost.channel('chat:lobby');
const typing = roost.channel('typing:lobby');

// --------------------------------------------------------------- the messages

const log = $('log');
const longestLog = 500;

function append(item) {
  // The newest message is followed unless the reader has scrolled up.
  const following = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  log.append(item);
  while (log.childElementCount > longestLog) log.firstElementChild.remove();
  if (following) log.scrollTop = log.scrollHeight;
}

const note = (text) => element('li', { className: 'system' }, text);

function bubble(from, text, state) {
  return element('li', { className: from === name ? 'mine' : '' },
    element('div', { className: 'by' }, element('strong', {}, from ?? 'nobody'), element('span', {}, state)),
    element('p', {}, text));
}

// Messages of this window that the server has not confirmed, by the ID that only this
// window gives: their bubble is there already when they come back.
const sent = new Map();

// Through the publish API (curl) messages come without "at".
const when = ({ data, time = Date.now() }) => clockText(data?.at ?? time);

function show(message) {
  const { from, data } = message;
  const own = sent.get(data?.id);
  if (own && from === name) {
    sent.delete(data.id);
    own.classList.remove('failed');
    own.querySelector('.by span').textContent = when(message);
    append(own); // it takes its place in the order that all windows have
    return;
  }
  append(bubble(from, textOf(message), when(message)));
}

async function say(text) {
  const id = crypto.randomUUID?.() ?? String(Math.random());
  const item = bubble(name, text, 'sending');
  sent.set(id, item);
  append(item);
  log.scrollTop = log.scrollHeight;
  try {
    await room.publish({ text, id });
  } catch (error) {
    // After a lost connection the message may come all the same.
    if (error.code !== 'disconnected') sent.delete(id);
    item.classList.add('failed');
    item.querySelector('.by span').textContent = error.message;
  }
}

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim()) return;
  $('text').value = '';
  saidTyping = 0; // the next letter is news
  say(text);
});

// ------------------------------------------------- the last messages, then live

let oldest = null; // the position of the first message on the page
const earlier = element('button', { type: 'button', className: 'plain', hidden: true }, 'earlier messages');
const top = element('li', { className: 'system' }, earlier);

follow(room, {
  reset(messages, more) {
    log.replaceChildren(top);
    earlier.hidden = !more;
    oldest = messages[0]?.position;
    messages.forEach(show);
    if (!messages.length) append(note('Nobody has said anything yet. Open this page in a second window.'));
    log.scrollTop = log.scrollHeight;
  },
  show,
  failed: (error) => append(note(`The last messages did not come: ${error.message}`)),
});

earlier.addEventListener('click', async () => {
  try {
    const page = await room.history({ since: oldest, limit: 50, reverse: true });
    const height = log.scrollHeight;
    oldest = page.messages.at(-1)?.position ?? oldest;
    const items = page.messages.map((message) => bubble(message.from, textOf(message), when(message)));
    top.after(...items.reverse());
    earlier.hidden = !page.more;
    log.scrollTop += log.scrollHeight - height; // the reader stays where they are
  } catch (error) {
    append(note(error.message));
  }
});

roost.on('state', ({ state, error }) => {
  $('send').disabled = state !== 'connected';
  if (state === 'disconnected' && log.lastElementChild?.dataset.lost === undefined) {
    const item = note(`Disconnected: ${error.message}`);
    item.dataset.lost = '';
    append(item);
  }
});

// ----------------------------------------------------------------- who is here

const here = new Map(); // user by connection

function showPeople() {
  const windows = new Map(); // connections by user
  for (const user of here.values()) windows.set(user, (windows.get(user) ?? 0) + 1);
  $('count').textContent = windows.size;
  $('people').replaceChildren(...[...windows].sort(([a], [b]) => a.localeCompare(b)).map(([user, n]) => {
    const item = element('li', { className: user === name ? 'me' : '' }, user);
    if (n > 1) item.append(' ', element('small', {}, `in ${n} windows`));
    return item;
  }));
}

async function people() {
  try {
    const { members } = await room.presence({ limit: 500 });
    here.clear();
    for (const { client, user } of members) here.set(client, user ?? 'nobody');
    showPeople();
  } catch { /* the connection is lost: the next one asks again */ }
}

room.on('subscribed', people);
room.on('join', ({ client, user }) => { here.set(client, user ?? 'nobody'); showPeople(); });
room.on('leave', ({ client }) => { here.delete(client); showPeople(); });

$('second').href = `?as=${encodeURIComponent(name === 'Anna' ? 'Ben' : 'Anna')}`;

// ---------------------------------------------------------------- who is typing

const typists = new Map(); // the timer that ends it, by user
let saidTyping = 0;

$('text').addEventListener('input', () => {
  if (Date.now() - saidTyping < 2000 || roost.state !== 'connected') return;
  saidTyping = Date.now();
  typing.publish({}).catch(() => {}); // it does not matter
});

function showTyping() {
  const who = [...typists.keys()];
  $('typing').textContent = who.length > 3 ? 'several people are typing' // the same height when empty:
    : who.length ? `${who.join(', ')} ${who.length > 1 ? 'are' : 'is'} typing` : '\u00a0';
}

function endTyping(user) {
  clearTimeout(typists.get(user));
  typists.delete(user);
  showTyping();
}

typing.on('message', ({ from }) => {
  if (from === name) return;
  endTyping(from);
  typists.set(from, setTimeout(endTyping, 3000, from));
  showTyping();
});
room.on('message', ({ from }) => endTyping(from));

room.subscribe();
typing.subscribe();
