// The document behind the shared text, without a page: node sheet.mjs FOLDER ADDR SEED
// FOLDER is a copy of web, as ES modules. Three clients type at random at once, beyond what the
// server's history holds; in turn one of them has no connection, and newcomers come meanwhile. All
// must end with the same text, and it must have each letter that was typed.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const { WebSocket } = createRequire(import.meta.url)('ws');
globalThis.crypto ??= (await import('node:crypto')).webcrypto; // Node.js 18 has it there
const [folder, address, seed] = process.argv.slice(2);
const { Roost } = await import(`${folder}/client/roost.js`);
const { Sheet } = await import(`${folder}/demo/together/sheet.js`);

let state = Number(seed) % 2147483646 + 1;
const random = (below) => Math.floor((state = (state * 48271) % 2147483647) / 2147483647 * below);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
async function until(what, done) {
  for (const end = Date.now() + 60_000; !done();) {
    if (Date.now() > end) assert.fail(what());
    await sleep(20);
  }
}

class Person {
  letters = 0;
  away = false;
  #sockets = new Set();

  constructor(name) {
    this.name = name;
    const person = this;
    // A network that can be away: connections break, and new ones are refused.
    this.roost = new Roost(`ws://${address}/`, { token: name, reconnectMin: 50, reconnectMax: 200, timeout: 1000, transports: ['websocket'], WebSocket: class extends WebSocket {
      constructor(url, protocols) {
        super(person.away ? 'ws://127.0.0.1:9/' : url, protocols);
        person.#sockets.add(this);
        this.on('close', () => person.#sockets.delete(this));
      }
    } });
    this.sheet = new Sheet(this.roost.channel('together:sheet'));
  }

  leave(yes) {
    this.away = yes;
    if (yes) for (const socket of this.#sockets) socket.terminate();
  }

  // Mostly a letter of the own name at a random place, now and then one of them deleted.
  async type(edits) {
    const { text } = this.sheet;
    for (let i = 0; i < edits; i++) {
      const own = text.toString().indexOf(this.name, random(text.length + 1));
      if (random(5) === 0 && own >= 0) {
        text.delete(own, 1);
        this.letters--;
      } else {
        text.insert(random(text.length + 1), this.name);
        this.letters++;
      }
      await sleep(random(70));
    }
  }

  get text() { return this.sheet.text.toString(); }
}

async function same(people, typists) {
  const want = (person) => typists.every(({ name, letters }) => person.text.split(name).length - 1 === letters);
  for (const person of people) {
    await until(() => `${person.name}: ${person.sheet.unsent} unsent, ${person.text.length} letters, ${person.sheet.problem}`,
      () => person.sheet.loaded && !person.sheet.unsent && want(person));
  }
  for (const person of people) assert.equal(person.text, people[0].text);
}

const typists = ['a', 'b', 'c'].map((name) => new Person(name));
await until(() => 'not loaded', () => typists.every(({ sheet }) => sheet.loaded));
// A guest who says, again and again, that it has published everything there will ever be.
const liar = new Roost(`ws://${address}/`, { token: 'liar', transports: ['websocket'], WebSocket });
const lie = () => liar.publish('together:sheet', { update: 'AAA=', upTo: 1e9 }).catch(() => {});
const lies = setInterval(lie, 1000);
await lie();
for (const [round, absent] of typists.entries()) {
  const typing = typists.map((person) => person.type(150));
  absent.leave(true);
  const newcomers = [new Person(`new${round}`), new Person(`old${round}`)]; // two at once
  await Promise.all(typing);
  absent.leave(false);
  await same([...typists, ...newcomers], typists);
  for (const { roost } of newcomers) roost.close();
}
clearInterval(lies);
const { offset } = typists[0].roost.channel('together:sheet').position;
const late = new Person('late');
await same([...typists, late], typists);

// All of them are away and type, none is left: what one of them has comes back with it.
typists.forEach((person) => person.leave(true));
await Promise.all(typists.map((person) => person.type(20)));
typists.forEach((person) => person.leave(false));
// Texts that fill several messages, among others' letters.
for (const [i, person] of typists.entries()) {
  const typing = typists.map((other) => other.type(40));
  person.sheet.text.insert(0, '€'.repeat(30_000));
  await Promise.all(typing);
  const newcomer = new Person(`large${i}`);
  await same([...typists, late, newcomer], typists);
  assert.equal(newcomer.text.split('€').length - 1, (i + 1) * 30_000);
  newcomer.roost.close();
}
// What the server will never take is tried once for each change.
let tries = 0;
const full = new Sheet({ on() {}, subscribe() {}, async publish() {
  tries++;
  throw Object.assign(new Error('too large'), { type: 'server', temporary: false });
} });
for (const change of [1, 2]) {
  full.text.insert(0, 'x');
  await until(() => `${tries} tries, ${full.problem}`, () => tries === change && full.problem === 'too large');
  await sleep(1500);
  assert.equal(tries, change);
}
assert.equal(full.unsent, 2);
console.log(`ok: ${typists[0].text.length} letters, ${offset} messages`);
process.exit();
