// Scenarios for the official client, in Node and in a browser alike. Each throws what it found wrong.

"use strict";

(function (root) {
  const MANY = 1000;

  function check(actual, expected, what) {
    const [a, b] = [describe(actual), describe(expected)];
    if (a !== b) throw new Error(`${what}: expected ${b}, got ${a}`);
  }

  function describe(value) {
    return JSON.stringify(value, function (key) {
      const raw = this[key]; // before toJSON of a Buffer
      if (raw instanceof ArrayBuffer) return { bytes: Array.from(new Uint8Array(raw)) };
      if (ArrayBuffer.isView(raw)) {
        return { bytes: Array.from(new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength)) };
      }
      return raw;
    });
  }

  function once(emitter, name, seconds = 10) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no "${name}" in ${seconds} s`)), seconds * 1000);
      emitter.once(name, (...args) => {
        clearTimeout(timer);
        resolve(args);
      });
    });
  }

  async function until(condition, what) {
    const end = Date.now() + 10000;
    while (!condition()) {
      if (Date.now() > end) throw new Error(`not in 10 s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  // Tells when the server saw a socket leave, and why, also if that was before anybody asked.
  function watchLeaving(witness) {
    const reasons = new Map();
    witness.on("left", (id, reason) => reasons.set(id, reason));
    return async (id) => {
      await until(() => reasons.has(id), "the server sees the client leave");
      return reasons.get(id);
    };
  }

  const scenarios = {
    async events({ connect }) {
      const socket = await connect("/", { auth: { name: "ann" } });
      check(await socket.emitWithAck("my auth"), { name: "ann" }, "auth");
      const data = [1, -2.5, "é€😀\u2028", null, true, { a: [{ b: [] }], "": {} }, "x".repeat(20000)];
      socket.emit("echo", ...data);
      check(await once(socket, "echo"), data, "nested data");
      socket.emit("echo", { deep: [new Uint8Array([1, 2, 3]), "t"] }, new Uint8Array(5000).fill(7));
      check(
        await once(socket, "echo"),
        [{ deep: [new Uint8Array([1, 2, 3]), "t"] }, new Uint8Array(5000).fill(7)],
        "binary data"
      );
    },

    async acks({ connect }) {
      const socket = await connect("/");
      check(await socket.emitWithAck("answer", "one"), "one", "one answer");
      const answers = await new Promise((resolve) => socket.emit("answer", 1, [2], new Uint8Array([3]), (...a) => resolve(a)));
      check(answers, [1, [2], new Uint8Array([3])], "several answers");
      check(await socket.emitWithAck("slow answer", 5), 5, "an answer of an async handler");
      socket.on("question", (value, answer) => answer({ got: value, bytes: new Uint8Array([9]) }));
      check(
        await socket.emitWithAck("ask me", "hi"),
        { "you said": { got: "hi", bytes: new Uint8Array([9]) } },
        "the server's question"
      );
      const many = await Promise.all(Array.from({ length: 100 }, (_, i) => socket.emitWithAck("answer", i)));
      check(many, Array.from({ length: 100 }, (_, i) => i), "a hundred answers");
    },

    async namespaces({ connect }) {
      const main = await connect("/");
      const admin = await connect("/admin", { auth: { token: "secret" }, multiplex: true, manager: main.io });
      admin.emit("echo", 1);
      check(await once(admin, "echo"), ["admin", 1], "the other namespace");
      main.emit("echo", 2);
      check(await once(main, "echo"), [2], "the first namespace");
      if (admin.io.engine !== main.io.engine) throw new Error("two connections instead of one");
      admin.disconnect();
      main.emit("echo", 3);
      check(await once(main, "echo"), [3], "the first namespace, the second left");
      admin.auth = { token: "wrong" };
      admin.connect();
      const [error] = await once(admin, "connect_error");
      check([error.message, error.data], ["not authorised", { code: 401 }], "refusal");
    },

    async rooms({ connect }) {
      const [a, b, c] = [await connect("/"), await connect("/"), await connect("/")];
      const seen = { a: [], b: [], c: [] };
      a.on("room", (...args) => seen.a.push(args));
      b.on("room", (...args) => seen.b.push(args));
      c.on("room", (...args) => seen.c.push(args));
      a.emit("join", "red");
      b.emit("join", "red");
      c.emit("join", "blue");
      await Promise.all([a, b, c].map((s) => s.emitWithAck("answer")));
      a.emit("to room", "red", "hello");
      await once(b, "room");
      await Promise.all([a, b, c].map((s) => s.emitWithAck("answer")));
      check(seen, { a: [], b: [["red", "hello"]], c: [] }, "who got it");
    },

    async disconnects({ connect }) {
      const left = watchLeaving(await connect("/"));
      const kicked = await connect("/");
      let id = kicked.id;
      kicked.emit("kick me", false);
      check((await once(kicked, "disconnect"))[0], "io server disconnect", "reason at the client");
      check(await left(id), "server namespace disconnect", "reason at the server");
      const closed = await connect("/");
      id = closed.id;
      closed.emit("kick me", true);
      check((await once(closed, "disconnect"))[0], "io server disconnect", "reason at the client");
      check(await left(id), "server namespace disconnect", "reason at the server");
      const leaving = await connect("/");
      id = leaving.id;
      leaving.disconnect();
      check(await left(id), "client namespace disconnect", "reason at the server");
      const lost = await connect("/");
      id = lost.id;
      lost.io.engine.close();
      check(await left(id), "transport close", "reason at the server");
    },

    async heartbeats({ connect }) {
      const socket = await connect("/");
      let pings = 0;
      socket.io.on("ping", () => pings++);
      await until(() => pings >= 3, "three pings");
      check(socket.connected, true, "still connected");
    },

    async "ping timeout"({ connect }) {
      const left = watchLeaving(await connect("/"));
      const silent = await connect("/");
      const id = silent.id;
      silent.io.engine._sendPacket = () => {}; // it hears the pings and never answers
      silent.io.reconnection(false);
      check(await left(id), "ping timeout", "reason at the server");
    },

    async "too large"({ connect, transports }) {
      const left = watchLeaving(await connect("/"));
      const large = await connect("/");
      large.io.reconnection(false);
      await until(() => transports.length < 2 || large.io.engine.transport.name === "websocket", "the upgrade");
      const id = large.id;
      large.emit("echo", "x".repeat(200000));
      const [reason] = await once(large, "disconnect");
      const polling = transports.length === 1 && transports[0] === "polling";
      check(reason, polling ? "transport error" : "transport close", "reason at the client");
      check(await left(id), polling ? "transport close" : "transport error", "reason at the server");
    },

    async "many messages while it upgrades"({ connect }) {
      const socket = await connect("/");
      const received = [];
      socket.on("number", (number) => received.push(number));
      socket.emit("send numbers");
      for (let number = 0; number < MANY; number++) {
        socket.emit("numbers", number);
        if (number % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      const expected = Array.from({ length: MANY }, (_, i) => i);
      check(await socket.emitWithAck("all numbers"), expected, "what the server received");
      await until(() => received.length >= MANY, "all numbers");
      check(received, expected, "what the client received");
    },
  };

  async function runScenario(io, url, transports, name) {
    const opened = [];
    const connect = async (namespace, options = {}) => {
      const { manager, ...rest } = options;
      const socket = manager
        ? manager.socket(namespace, rest)
        : io(url + namespace, { transports, forceNew: true, reconnectionDelay: 50, ...rest });
      opened.push(socket);
      if (!socket.connected) {
        await Promise.race([
          once(socket, "connect"),
          once(socket, "connect_error").then(([error]) => Promise.reject(error)),
        ]);
      }
      return socket;
    };
    try {
      await scenarios[name]({ connect, transports });
      return "passed";
    } catch (error) {
      return `failed: ${error.message}`;
    } finally {
      for (const socket of opened) socket.disconnect();
    }
  }

  const api = { names: Object.keys(scenarios), runScenario };
  if (typeof module !== "undefined") module.exports = api;
  else root.scenarios = api;
})(globalThis);
