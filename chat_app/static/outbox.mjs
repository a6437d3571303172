/** What one has said and the server has not stored yet. It outlives the page: it is kept in the browser's storage.
 *
 * Messages leave one by one, so that they are stored in the order in which they were said; each carries an id of its
 * own, so that repeating one changes nothing. Knows neither the page nor the socket, so the checker runs it too.
 */
export class Outbox {
  /** Everything that the log has not shown yet, in the order of saying. */
  entries = [];
  #sending = false;

  /**
   * @param {Storage} storage
   * @param {string} key under which the storage keeps it
   * @param {(entry: object) => Promise<object | null>} send the server's answer; null if there was none
   * @param {(entry: object) => void} changed
   * @param {(message: object) => void} stored the server has it, as this message
   */
  constructor(storage, key, { send, changed, stored }) {
    this.storage = storage;
    this.key = key;
    this.send = send;
    this.changed = changed;
    this.stored = stored;
    this.entries = this.#load();
  }

  add(room, text) {
    const entry = { id: randomId(), room, text, time: Date.now(), state: "pending", reason: "", canRetry: true };
    this.entries.push(entry);
    this.#save();
    this.changed(entry);
    this.pump();
    return entry;
  }

  retry(id) {
    const entry = this.find(id);
    if (entry?.state === "failed") {
      this.entries = [...this.entries.filter((other) => other !== entry), entry]; // it is said again, now
      this.#set(entry, "pending", "");
      this.pump();
    }
  }

  /** The log has shown a message of one's own, or one does not want to say it any more. */
  remove(id) {
    const entry = this.find(id);
    if (entry) {
      this.entries = this.entries.filter((other) => other !== entry);
      this.#save();
    }
    return entry;
  }

  find(id) {
    return this.entries.find((entry) => entry.id === id);
  }

  /** Send what waits; to be called when the server can be reached again. */
  async pump() {
    if (this.#sending) {
      return;
    }
    this.#sending = true;
    try {
      for (;;) {
        const entry = this.entries.find(({ state }) => state === "pending");
        const answer = entry && (await this.send(entry));
        if (!answer) {
          return;
        }
        if (answer.error) {
          entry.canRetry = answer.retry;
          this.#set(entry, "failed", answer.error);
        } else {
          this.#set(entry, "confirmed", "");
          this.stored(answer);
        }
      }
    } finally {
      this.#sending = false;
    }
  }

  #set(entry, state, reason) {
    entry.state = state;
    entry.reason = reason;
    this.#save();
    this.changed(entry);
  }

  #save() {
    this.storage.setItem(this.key, JSON.stringify(this.entries.filter(({ state }) => state !== "confirmed")));
  }

  #load() {
    try {
      return JSON.parse(this.storage.getItem(this.key) ?? "[]");
    } catch {
      return [];
    }
  }
}

export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
