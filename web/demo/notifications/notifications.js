// An inbox: the history of the channel user:NAME, which the server subscribes by itself.
// What is read is a position in it. To read is to acknowledge (ack); the server publishes
// that position in the channel read:NAME, so that every window of the person follows.
import { $, clockText, connect, element, follow, name, reachable, textOf, toast } from '../demo.js';

const roost = connect();
const inbox = roost.channel(`user:${name}`);
const marks = roost.channel(`read:${name}`);

let notes = []; // the newest first: { position, data, from, time, item }
let read = null; // the position up to which everything is read

const isUnread = ({ position }) => !(read && read.epoch === position.epoch && position.offset <= read.offset);

function refresh() {
  const unread = notes.filter(isUnread).length;
  for (const note of notes) note.item.className = isUnread(note) ? 'unread' : '';
  $('unread').textContent = `${unread} unread`;
  $('unread').classList.toggle('some', unread > 0);
  $('all').disabled = !unread;
  $('empty').hidden = notes.length > 0;
  document.title = `${unread ? `(${unread}) ` : ''}Notifications · Roost demo`;
}

function add(message) {
  const { data, from, time = Date.now() } = message;
  const button = element('button', { type: 'button', title: 'mark this and everything older as read' },
    element('span', {}, textOf(message)),
    element('small', {}, `${from ? `${from}, ` : ''}${clockText(data?.at ?? time)}`));
  const note = { ...message, item: element('li', {}, button) };
  button.addEventListener('click', () => markRead(note.position));
  notes.unshift(note);
  $('inbox').prepend(note.item);
  while (notes.length > 100) notes.pop().item.remove(); // the server keeps as many
}

async function markRead(position) {
  try {
    await inbox.ack(position); // the rest follows from what the server then publishes
  } catch (error) {
    toast(error.message);
  }
}

follow(inbox, {
  limit: 100,
  reset(messages) {
    notes = [];
    $('inbox').replaceChildren();
    messages.forEach(add);
    refresh();
  },
  show(message) {
    add(message);
    refresh();
    toast(textOf(message));
  },
  failed: (error) => toast(`The inbox did not come: ${error.message}`),
});

function moveMark({ data }) {
  if (!data?.epoch) return; // not from the server's own hand
  if (read && read.epoch === data.epoch && read.offset >= data.offset) return; // another window was ahead
  read = data;
  refresh();
}
follow(marks, { limit: 1, reset: (messages) => messages.forEach(moveMark), show: moveMark, failed: () => {} });
marks.subscribe();

$('all').addEventListener('click', () => markRead(notes[0].position));

// ------------------------------------------------------------------- sending

$('to').value = name;
$('second').href = `?as=${encodeURIComponent(name)}`;

$('send').addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    const { windows } = await roost.call('notify', { to: $('to').value.trim(), text: $('text').value });
    $('sent').textContent = `In the inbox of ${$('to').value}; ${windows} open ${windows === 1 ? 'window has' : 'windows have'} it.`;
  } catch (error) {
    $('sent').textContent = error.message;
  }
});

// The same from a terminal, in the words of the shell.
const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
let at = ''; // the admin port, where it is not the one that roost publish knows
function commands() {
  const to = $('to').value.trim() || name;
  const text = $('text').value;
  $('curl').textContent = `curl -d ${quote(text)} ${quote(`${location.origin}/notify/${encodeURIComponent(to)}`)}`;
  $('publish').textContent = `roost publish${at} --user ${quote(to)} ${quote(JSON.stringify({ text }))}`;
}
$('send').addEventListener('input', commands);
commands();

const { admin } = await (await fetch('../about.json')).json();
if (!admin) $('admin').textContent = 'Or as your back end does; this needs roost serve with --admin-addr 8081:';
else if (admin !== '127.0.0.1:8081') at = ` --url http://${reachable(admin) || admin}`;
commands();
