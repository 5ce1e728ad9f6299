// A text that several pages edit at once: a document of Yjs, whose updates are messages of one
// channel. Updates may come in any order and more than once, so nothing has to be
// locked, and whatever may not have arrived is sent again. The server keeps the last messages; a
// newcomer reads them. Since these are not all, a page publishes the whole
// document now and then: such a snapshot says up to which offset it holds everything, which
// the pages that have everything check.
import * as Y from '../vendor/yjs.js';

const SNAPSHOT_AFTER = 100; // messages, a fifth of what the server keeps
const PART_BYTES = 40_000; // of an update in one message, which is 64 KiB at most
const MOST_PARTS = 100; // of an update, as the server has it
const PARTS_WITHIN = 20_000; // milliseconds: after that the sender has begun anew, or is gone
const PACE = 50; // milliseconds between two messages of a page

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const toBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

export class Sheet {
  doc = new Y.Doc();
  text = this.doc.getText('sheet');
  /** Is called when unsent, loaded or problem has changed. */
  onstate = () => {};
  loaded = false;
  problem = '';

  #channel;
  #unsent = []; // updates of this page that the server has not confirmed
  #sending = false;
  #loads = 0; // a load that is not the last one is given up
  #epoch;
  #covered = 0; // up to this offset, some snapshot in the history holds everything
  #kept = new Y.Doc(); // what the server's messages make, without what is unsent
  #recent = []; // the last updates, { update, offset }, all behind the offset #recentFrom
  #recentFrom = 0;
  #whole = false; // this page has everything, so that it may publish snapshots
  #snapshotTimer = 0;
  #parts = new Map(); // of large updates, by their ID: { pieces, first, since, upTo }
  #held = null; // messages that wait while hold(true)

  constructor(channel) {
    this.#channel = channel;
    // What this page has changed is sent; what was applied with this origin has come from others.
    this.doc.on('update', (update, origin) => { if (origin !== this) this.#send(update); });
    channel.on('message', (message) => (this.#held ? this.#held.push(message) : this.#take(message)));
    channel.on('subscribed', ({ recovered }) => { if (!recovered || !this.loaded) this.#load(); });
    channel.subscribe();
  }

  /** How many changes of this page are not at the server yet. */
  get unsent() { return this.#unsent.length; }

  /** While held, nothing of others changes the text: an input method needs that. */
  hold(yes) {
    const held = this.#held ?? [];
    this.#held = yes ? held : null;
    if (!yes) for (const message of held) this.#take(message);
  }

  #tell(problem = this.problem) {
    this.problem = problem;
    this.onstate();
  }

  // ------------------------------------------------------------------ sending

  // What is unsent goes out again until the server has it: to repeat an update does no harm.
  async #send(update) {
    this.#unsent.push(update);
    this.#tell();
    if (this.#sending) return;
    this.#sending = true;
    await sleep(PACE); // more may come
    while (this.#unsent.length) {
      const count = this.#unsent.length;
      try {
        await this.#publish(this.#merged());
        this.#unsent.splice(0, count);
        this.#tell('');
        await sleep(PACE);
      } catch (error) {
        this.#tell(error.code === 'disconnected' || error.code === 'timeout' ? '' : error.message);
        if (error.type === 'server' && !error.temporary) break; // the next change tries once more
        await sleep(1000);
      }
    }
    this.#sending = false;
  }

  // What is unsent as one update. Merged updates keep what was typed and deleted again;
  // the document does not.
  #merged() {
    const update = Y.mergeUpdates(this.#unsent);
    return update.length > MOST_PARTS * PART_BYTES ? Y.encodeStateAsUpdate(this.doc) : update;
  }

  async #publish(update, more = {}) {
    const parts = Math.ceil(update.length / PART_BYTES);
    const id = parts > 1 ? Math.random().toString(36).slice(2) : undefined;
    for (let i = 0; i < parts; i++) {
      const part = toBase64(update.subarray(i * PART_BYTES, (i + 1) * PART_BYTES));
      await this.#channel.publish({ update: part, ...(id && { id, part: i + 1, parts }), ...more });
    }
  }

  // ---------------------------------------------------------------- receiving

  // The update of a message, or null until all of its parts are there.
  #assemble({ update, id, part, parts, upTo }, offset) {
    if (!update) return null;
    if (!id) return fromBase64(update);
    if (!(parts <= MOST_PARTS)) throw new RangeError(`an update of ${parts} parts`);
    const set = this.#parts.get(id) ?? { pieces: Array(parts).fill(), first: offset, since: Date.now(), upTo };
    set.pieces[part - 1] = update;
    set.first = Math.min(set.first, offset);
    this.#parts.set(id, set);
    if (!set.pieces.every(Boolean)) return null;
    this.#parts.delete(id);
    const pieces = set.pieces.map(fromBase64);
    const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    pieces.reduce((at, piece) => (whole.set(piece, at), at + piece.length), 0);
    return whole;
  }

  // Large updates of which parts are still to come.
  #incomplete() {
    for (const [id, { since }] of this.#parts) if (Date.now() - since > PARTS_WITHIN) this.#parts.delete(id);
    return [...this.#parts.values()];
  }

  // Applies the update that a message completes to a document, and returns it, with up to where
  // it says that it holds everything, or -1; null without an update.
  #apply(doc, { data, position }) {
    try {
      const update = this.#assemble(data ?? {}, position.offset);
      if (!update) return null;
      Y.applyUpdate(doc, update);
      const upTo = Number.isSafeInteger(data.upTo) ? Math.min(data.upTo, position.offset - 1) : -1;
      return { update, upTo, offset: position.offset };
    } catch (error) {
      console.warn('a message of the sheet is not an update of Yjs', error);
      return null;
    }
  }

  #take(message) {
    const { data, position } = message;
    if (position.epoch !== this.#epoch) {
      // The server has forgotten the messages before this one.
      this.#epoch = position.epoch;
      this.#covered = -Infinity;
      this.#recent = [];
      this.#recentFrom = position.offset - 1;
    }
    const applied = this.#apply(this.#kept, message);
    if (applied) {
      const { update, upTo } = applied;
      Y.applyUpdate(this.doc, update, this);
      if (upTo >= 0) {
        // A guest who says more than is true would keep the others from publishing the text
        // before the server forgets it: then a true snapshot follows at once.
        const believed = !this.#whole || this.#holds(update, upTo);
        this.#covered = believed ? Math.max(this.#covered, upTo) : -Infinity;
        this.#whole = true;
      }
      this.#recent.push(applied);
      if (this.#recent.length > 2 * SNAPSHOT_AFTER) this.#recentFrom = this.#recent.shift().offset;
    }
    if (data?.ask) this.#covered = -Infinity;
    this.#snapshotLater(position.offset);
  }

  // Reports whether a snapshot holds everything up to an offset: with the updates behind that
  // it must have all that this page has.
  #holds(update, upTo) {
    if (upTo < this.#recentFrom) return false;
    const doc = new Y.Doc();
    Y.applyUpdate(doc, update);
    for (const { update, offset } of this.#recent) if (offset > upTo) Y.applyUpdate(doc, update);
    const has = Y.snapshot(doc).sv; // how much of each writer
    return [...Y.snapshot(this.#kept).sv].every(([writer, count]) => (has.get(writer) ?? 0) >= count);
  }

  // One of the pages publishes the whole document: the first whose random wait is over.
  #snapshotLater(offset) {
    if (offset - this.#covered < SNAPSHOT_AFTER || this.#snapshotTimer || !this.#whole) return;
    this.#snapshotTimer = setTimeout(async () => {
      const incomplete = this.#incomplete();
      // What has not come completely is not in the document.
      const upTo = Math.min(this.#channel.position?.offset, ...incomplete.map(({ first }) => first - 1));
      const another = incomplete.some((set) => set.upTo !== undefined); // is on its way
      if (this.#whole && !this.#held && !another && upTo - this.#covered >= SNAPSHOT_AFTER) {
        await this.#publish(Y.encodeStateAsUpdate(this.doc), { upTo }).catch(() => {}); // the next message tries again
      }
      this.#snapshotTimer = 0;
    }, Math.random() * 1000);
  }

  // ------------------------------------------------------------------ loading

  // Reads what the server has, after the first subscribe, and whenever something was missed.
  async #load() {
    const load = ++this.#loads;
    this.loaded = this.#whole = false;
    this.#recent = [];
    this.#recentFrom = 0;
    this.#tell();
    while (load === this.#loads) {
      try {
        await this.#read(load);
        return;
      } catch (error) {
        if (error.type === 'server') this.#tell(error.message);
        await sleep(1000);
      }
    }
  }

  async #read(load) {
    const kept = new Y.Doc(); // what the server's messages make
    let covered = -1;
    let from, whole;
    // All of it: whether a snapshot holds what is before it is for those to say who have that.
    for (let since, more = true; more;) {
      const page = await this.#channel.history({ since, limit: 200, reverse: true });
      if (load !== this.#loads) return;
      from ??= page.position.offset;
      this.#epoch = page.position.epoch;
      for (const message of page.messages) covered = Math.max(covered, this.#apply(kept, message)?.upTo ?? -1);
      since = page.messages.at(-1)?.position;
      ({ more } = page);
      whole = !more && !page.gap || since?.offset <= covered + 1;
    }
    while (this.#held) await sleep(PACE);
    for (const { update } of this.#recent) Y.applyUpdate(kept, update); // they came meanwhile
    this.#kept = kept;
    this.#recentFrom = Math.max(from, this.#recentFrom);
    Y.applyUpdate(this.doc, Y.encodeStateAsUpdate(kept), this);
    this.#covered = Math.max(covered, 0);
    this.#whole = whole;
    if (!whole) {
      // The messages do not reach back far enough: another page may have everything. If
      // none replies, this is what there is.
      await this.#channel.publish({ ask: true });
      setTimeout(() => { this.#whole ||= load === this.#loads; }, 5000);
    }
    this.loaded = true;
    // What this page has, and the server has not: typed while away, or forgotten there.
    if (!Y.equalSnapshots(Y.snapshot(this.doc), Y.snapshot(kept))) {
      this.#send(Y.encodeStateAsUpdate(this.doc, Y.encodeStateVector(kept)));
    }
    this.#tell('');
  }
}
