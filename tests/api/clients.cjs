// Usage: node clients.cjs URL SCENARIO: one client of each kind at a server; prints what it saw as JSON.

"use strict";

const { io } = require("socket.io-client");
const io2 = require("socket.io-client-2");
const parser = require("socket.io-msgpack-parser");

const [url, scenario] = process.argv.slice(2);

const once = (socket, event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
const ask = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
const plain = (value) =>
  Buffer.isBuffer(value) ? { bytes: [...value] } : Array.isArray(value) ? value.map(plain) : value;

const scenarios = {
  async old() {
    const results = {};
    for (const [name, options] of Object.entries({
      polling: { transports: ["polling"] },
      websocket: { transports: ["websocket"] },
      upgrade: { transports: ["polling", "websocket"] },
      base64: { transports: ["polling"], forceBase64: true },
    })) {
      const socket = io2(url, { ...options, forceNew: true, query: { name }, reconnection: false });
      const welcome = await once(socket, "welcome");
      const binary = once(socket, "echo");
      socket.emit("echo", "é", Buffer.from([1, 2, 255]), { deep: [Buffer.from("x")] });
      results[name] = { id: socket.id, welcome, answer: await ask(socket, "ask", 1, "é"), echo: plain(await binary) };
      results[name].echo[2].deep = results[name].echo[2].deep.map(plain);
      socket.emit("question me");
      const [question, answer] = await once(socket, "question");
      answer(`${question} answered`);
      results[name].answered = await once(socket, "answered");
      socket.disconnect();
    }
    const main = io2(url, { forceNew: true, reconnection: false });
    const chat = main.io.socket("/chat", { query: { token: "a b", room: "1" } });
    results.auth = await once(chat, "auth");
    results.chatId = chat.id;
    results.refused = [];
    for (const name of ["/data", "/text", "/nowhere"]) {
      results.refused.push((await once(main.io.socket(name), "error"))[0]);
    }
    main.close();
    chat.close();
    return results;
  },

  async room() {
    const clients = [
      io(url, { forceNew: true }),
      io2(url, { forceNew: true }),
      io(url, { forceNew: true, path: "/msgpack/", parser }),
    ];
    const heard = clients.map(() => []);
    await Promise.all(clients.map((client) => once(client, "joined")));
    let count = 0;
    await new Promise((resolve) => {
      clients.forEach((client, index) => {
        client.on("said", (text, bytes) => {
          heard[index].push([text, plain(Buffer.from(bytes))]);
          if (++count === 9) resolve();
        });
      });
      (async () => {
        for (const [index, client] of clients.entries()) {
          await ask(client, "say", `é ${index}`, Buffer.from([index]));
        }
      })();
    });
    clients.forEach((client) => client.close());
    return heard;
  },

  async msgpack() {
    const results = {};
    for (const transport of ["polling", "websocket"]) {
      const socket = io(url, { path: "/msgpack/", parser, transports: [transport], forceNew: true });
      await once(socket, "joined");
      const answer = await ask(socket, "ask", 1.5, "é", Buffer.from([1, 255]), { a: [null, true, -70000] });
      results[transport] = answer.map(plain);
      const refused = socket.io.socket("/refused");
      refused.connect();
      const [error] = await once(refused, "connect_error");
      results[`${transport} refused`] = [error.message, error.data];
      socket.close();
    }
    return results;
  },

  async retries() {
    const socket = io(url, { retries: 3, ackTimeout: 100, forceNew: true });
    const answers = await Promise.all([1, 2, 3].map((n) => ask(socket, "at least once", n)));
    socket.close();
    return answers;
  },

  async options() {
    const results = {};
    const socket = io(url, { forceNew: true, transports: ["polling", "websocket"] });
    await once(socket, "connect");
    if (socket.io.engine.transport.name !== "websocket") await once(socket.io.engine, "upgrade");
    results.transport = socket.io.engine.transport.name;
    results.upgraded = await ask(socket, "upgraded");
    socket.close();
    return results;
  },
};

scenarios[scenario]().then((results) => {
  process.stdout.write(JSON.stringify(results), () => process.exit(0));
});
