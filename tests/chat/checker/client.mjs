/** The clients of a run: the official client, with the log and the outbox of the chat's own page.
 *
 * Prints the history, one JSON object a line. Arguments: the addresses of the nodes, how many clients, how many of the tutorial, the
 * rooms, the seed. A line on standard input ends the talking: then each client synchronises, and the process exits.
 */
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Outbox } from "../../../chat_app/static/outbox.mjs";
import { RoomLog } from "../../../chat_app/static/room-log.mjs";

const { io } = createRequire(import.meta.url)("socket.io-client");

const [nodes, clientCount, tutorialCount, roomNames, seed] = process.argv.slice(2);
const urls = nodes.split(",");
const rooms = roomNames.split(",");
const transports = [["websocket"], ["polling"], ["polling", "websocket"]];
const quick = { reconnectionDelay: 50, reconnectionDelayMax: 300, timeout: 2_000, forceNew: true };
const ANSWER_TIME = 2_000;
const RELOAD_EVERY = 6_000;
const SPEAK_EVERY = 120;
const BACKLOG = 20;
const LAST_WAIT = 5_000;

let state = Number(seed) || 1;
let isTalking = true;

function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

function note(event) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

class MemoryStorage extends Map {
  getItem(key) {
    return this.get(key) ?? null;
  }
  setItem(key, value) {
    this.set(key, value);
  }
}

/** A page: it survives its connections, and it is loaded again now and then. */
class Page {
  life = -1;
  count = 0;
  storage = new MemoryStorage();

  constructor(number) {
    this.name = `page${number}`;
    this.number = number;
    this.reloads = number % 2 === 1;
    this.load();
  }

  load() {
    this.socket?.disconnect();
    const life = ++this.life;
    const socket = io(urls[(this.number + life) % urls.length], {
      ...quick,
      transports: transports[this.number % 3],
      auth: { client: `client-of-the-checker-${seed}-${this.number}`, nickname: this.name },
    });
    this.socket = socket;
    const ask = async (event, room, ...args) => {
      const answer = await socket.timeout(ANSWER_TIME).emitWithAck(event, room, ...args);
      if (answer.reset) {
        const { messages, head } = answer;
        const seq = messages.length > 0 ? messages[0].seq - 1 : head;
        note({ kind: "open", client: this.name, life, room, seq, count: messages.length });
      }
      return answer;
    };
    this.logs = new Map(
      rooms.map((room) => [
        room,
        new RoomLog(room, {
          ask,
          reset: () => {},
          apply: ({ seq, id, text }) => {
            note({ kind: "deliver", client: this.name, life, room, seq, id, text });
            this.outbox.remove(id);
          },
        }),
      ]),
    );
    this.outbox = new Outbox(this.storage, "outbox", {
      changed: (entry) => {
        if (entry.state === "failed") {
          note({ kind: "fail", client: this.name, life, room: entry.room, id: entry.id, text: entry.text });
          setTimeout(() => this.outbox.retry(entry.id), 100);
        }
      },
      stored: (message) => {
        const { room, seq, id, text } = message;
        note({ kind: "ok", client: this.name, life, room, seq, id, text });
        this.logs.get(room).receive(message);
      },
      send: async (entry) => {
        if (!socket.connected) {
          return null;
        }
        note({ kind: "invoke", client: this.name, life, room: entry.room, id: entry.id, text: entry.text });
        try {
          return await ask("message", entry.room, entry.text, entry.id);
        } catch {
          setTimeout(() => socket === this.socket && this.outbox.pump(), 50);
          return null;
        }
      },
    });
    for (const { id } of [...this.outbox.entries]) {
      this.outbox.retry(id);
    }
    socket.on("message", (message) => this.logs.get(message.room)?.receive(message));
    socket.on("head", (room, head) => this.logs.get(room)?.hearOf(head));
    socket.on("welcome", async () => {
      const asked = [...this.logs.values()].map((log) => (socket.recovered && !log.stale ? null : log.catchUp("join")));
      await Promise.allSettled(asked);
      if (socket === this.socket) {
        this.outbox.pump();
      }
    });
  }

  get waiting() {
    return this.outbox.entries.length;
  }

  speak() {
    const room = rooms[Math.floor(random() * rooms.length)];
    this.outbox.add(room, `${this.name} says ${++this.count}`);
  }

  async finish() {
    for (;;) {
      await pause(100);
      if (!this.socket.connected || this.outbox.entries.some(({ state }) => state !== "confirmed")) {
        continue;
      }
      try {
        await Promise.all([...this.logs.values()].map((log) => log.catchUp("join")));
      } catch {
        continue;
      }
      if ([...this.logs.values()].every((log) => !log.stale && log.last >= log.head)) {
        return;
      }
    }
  }

  end() {
    for (const [room, log] of this.logs) {
      note({ kind: "final", client: this.name, life: this.life, room, seq: log.last });
    }
    this.socket.disconnect();
  }
}

/** A client written to the tutorial: the retries of the official client, and the server's offset on connecting. */
class Tutorial {
  count = 0;
  waiting = 0;

  constructor(number) {
    this.name = `tutorial${number}`;
    this.socket = io(urls[number % urls.length], { ...quick, auth: { serverOffset: 0 }, retries: 1_000, ackTimeout: ANSWER_TIME });
    this.socket.on("chat message", (text, serverOffset) => {
      note({ kind: "deliver", client: this.name, room: rooms[0], seq: serverOffset, id: "", text });
      this.socket.auth.serverOffset = serverOffset;
    });
  }

  speak() {
    const text = `${this.name} says ${++this.count}`;
    const id = `${this.name}-${seed}-${this.count}`;
    this.waiting += 1;
    note({ kind: "invoke", client: this.name, room: rooms[0], id, text });
    this.socket.emit("chat message", text, id, () => {
      this.waiting -= 1;
      note({ kind: "ok", client: this.name, room: rooms[0], id, text });
    });
  }

  async finish() {
    while (this.waiting > 0 || !this.socket.connected) {
      await pause(100);
    }
  }

  end() {
    note({ kind: "final", client: this.name, room: rooms[0], seq: this.socket.auth.serverOffset });
    this.socket.disconnect();
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

const pages = Array.from({ length: Number(clientCount) }, (_, number) => new Page(number));
const tutorials = Array.from({ length: Number(tutorialCount) }, (_, number) => new Tutorial(number));
const everyone = [...pages, ...tutorials];

async function live(client) {
  let reloadAt = performance.now() + random() * RELOAD_EVERY;
  while (isTalking) {
    await pause(random() * 2 * SPEAK_EVERY);
    if (isTalking && client.waiting < BACKLOG) {
      client.speak();
    }
    if (client.reloads && performance.now() > reloadAt) {
      client.load();
      reloadAt += RELOAD_EVERY * (0.5 + random());
    }
  }
}

everyone.forEach(live);
for await (const _ of createInterface({ input: process.stdin })) {
  break;
}
isTalking = false;
// Everything has to be stored before anybody asks for the last time.
await Promise.all(everyone.map((client) => client.finish()));
await Promise.all(everyone.map((client) => client.finish()));
const head = Math.max(...pages.map((page) => page.logs.get(rooms[0]).last));
// A client of the tutorial can only wait; what has not come by then is lost.
const patience = performance.now() + LAST_WAIT;
while (performance.now() < patience && tutorials.some(({ socket }) => socket.auth.serverOffset < head)) {
  await pause(50);
}
for (const client of everyone) {
  client.end();
}
process.exit();
