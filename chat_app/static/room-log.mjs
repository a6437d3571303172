/** What this page has of one room's log: every message once, in the order of the log.
 *
 * A message is applied only if it is the very next one. A smaller number was applied before, a larger one means that
 * something is missing, and that is asked for. Knows neither the page nor the socket, so the checker runs it too.
 */
export class RoomLog {
  /** The number of the last message that was applied; null before the room was opened. */
  last = null;
  epoch = "";
  /** The highest number that was heard of. */
  head = 0;
  /** Whether an answer is missing, so that the next connection has to ask again, also if it recovers. */
  stale = true;
  #asking = null;
  #again = null;

  /**
   * @param {string} name
   * @param {(event: "join" | "sync", room: string, after: number | null, epoch: string) => Promise<object>} ask
   * @param {(message: object) => void} apply
   * @param {() => void} reset what was applied belongs to another store, or the room is opened
   */
  constructor(name, { ask, apply, reset }) {
    this.name = name;
    this.ask = ask;
    this.apply = apply;
    this.reset = reset;
  }

  /** A message has come, live or as the answer to one's own. */
  receive(message) {
    this.hearOf(message.seq);
    if (this.last !== null && message.seq === this.last + 1) {
      this.#apply(message);
    }
    this.#fill();
  }

  /** The room is known to be that far. */
  hearOf(head) {
    this.head = Math.max(this.head, head);
    this.#fill();
  }

  /** Ask for everything that is missing; resolves when nothing is, rejects when there is no answer. */
  catchUp(event = "sync") {
    if (this.#asking !== null) {
      this.#again = event === "join" ? event : this.#again;
      return this.#asking;
    }
    this.stale = true;
    this.#asking = this.#catchUp(event).finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #catchUp(event) {
    for (;;) {
      const before = this.last;
      const answer = await this.ask(event, this.name, this.last, this.epoch);
      if (answer.error) {
        throw new Error(answer.error);
      }
      if (answer.reset) {
        this.epoch = answer.epoch;
        this.head = answer.head;
        this.last = answer.messages.length > 0 ? answer.messages[0].seq - 1 : answer.head;
        this.reset();
      }
      for (const message of answer.messages) {
        if (message.seq === this.last + 1) {
          this.#apply(message);
        }
      }
      this.head = Math.max(this.head, answer.head);
      if (this.#again !== null) {
        event = this.#again;
        this.#again = null;
      } else if (this.last >= this.head || this.last === before) {
        this.stale = false;
        return;
      } else {
        event = "sync";
      }
    }
  }

  #apply(message) {
    this.last = message.seq;
    this.head = Math.max(this.head, message.seq);
    this.apply(message);
  }

  #fill() {
    if (this.last !== null && this.last < this.head && this.#asking === null) {
      this.catchUp().catch(() => {}); // the next connection asks again, and so does the next head
    }
  }
}
