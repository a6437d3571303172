// Scenarios for the official client, the same in Node and in a browser.
//
// Each takes { io, parser, url, control }: the client's entry point, its msgpack parser if the profile wants it,
// the server, and a function that has the server stopped or started. It fails by throwing.

const PATIENCE = 6000;

function assertEqual(seen, expected, what = "value") {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: expected ${b}, seen ${a}`);
}

function once(emitter, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no event ${event}`)), PATIENCE);
    emitter.once(event, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });
}

// The first `count` events of that name.
function collect(socket, event, count) {
  return new Promise((resolve, reject) => {
    const received = [];
    const timer = setTimeout(
      () => reject(new Error(`${received.length} of ${count} events ${event}: ${JSON.stringify(received)}`)),
      PATIENCE,
    );
    socket.on(event, (...args) => {
      received.push(args);
      if (received.length === count) {
        clearTimeout(timer);
        resolve(received);
      }
    });
  });
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function open({ io, parser, url }, path = "/", options = {}) {
  return io(url + path, { forceNew: true, parser, reconnectionDelay: 50, reconnectionDelayMax: 100, ...options });
}

async function connected(tools, path, options) {
  const socket = open(tools, path, options);
  socket.greeting = once(socket, "auth");
  socket.greeting.catch(() => {});
  const failed = once(socket, "connect_error").then(([error]) => {
    throw error;
  });
  failed.catch(() => {});
  await Promise.race([once(socket, "connect"), failed]);
  return socket;
}

async function echo(socket, ...args) {
  const answer = once(socket, "message-back");
  socket.emit("message", ...args);
  return answer;
}

const bytes = (value) => Array.from(ArrayBuffer.isView(value) ? value : new Uint8Array(value));

const dynamic = () => `/dynamic-${Math.random().toString(36).slice(2)}`;

// Lose the connection as a network does, without a word to the server's namespaces, and come back after `delay`.
async function lose(socket, delay = 50) {
  socket.io.randomizationFactor(0);
  socket.io.reconnectionDelay(delay);
  socket.io.reconnectionDelayMax(delay);
  const lost = once(socket, "disconnect");
  socket.io.engine.close();
  await lost;
}

async function onlyTransport(tools, name) {
  const socket = await connected(tools, "/", { transports: [name] });
  assertEqual(await echo(socket, 1, "2", { 3: [null] }), [1, "2", { 3: [null] }]);
  assertEqual(socket.io.engine.transport.name, name, "transport");
  socket.disconnect();
}

export const scenarios = {
  polling: (tools) => onlyTransport(tools, "polling"),

  websocket: (tools) => onlyTransport(tools, "websocket"),

  async upgrade(tools) {
    const socket = open(tools);
    await once(socket, "connect");
    if (socket.io.engine.transport.name !== "websocket") await once(socket.io.engine, "upgrade");
    assertEqual(socket.io.engine.transport.name, "websocket", "transport");
    assertEqual(await echo(socket, "after"), ["after"]);
    socket.disconnect();
  },

  async "upgrade-traffic"(tools) {
    const socket = open(tools);
    const back = collect(socket, "message-back", 100);
    const many = collect(socket, "many", 100);
    socket.emit("many", 100);
    for (let i = 0; i < 100; i++) {
      socket.emit("message", i);
      if (i % 10 === 0) await pause(5);
    }
    const wanted = Array.from({ length: 100 }, (_, i) => [i]);
    assertEqual(await back, wanted, "echoes");
    assertEqual(await many, wanted, "events of the server");
    socket.disconnect();
  },

  async "fall-back"(tools) {
    const socket = open(tools, "/", { transports: ["websocket", "polling"], tryAllTransports: true });
    await once(socket, "connect");
    assertEqual(socket.io.engine.transport.name, "polling", "transport");
    socket.disconnect();
  },

  async acknowledgement(tools) {
    const socket = await connected(tools);
    assertEqual(await new Promise((resolve) => socket.emit("message-with-ack", 1, "a", (...args) => resolve(args))), [1, "a"]);
    assertEqual(await socket.emitWithAck("message-with-ack", { a: 1 }), { a: 1 });
    assertEqual(bytes(await socket.emitWithAck("message-with-ack", new Uint8Array([1, 2]))), [1, 2]);
    const answer = once(socket, "answer");
    socket.once("question", (text, reply) => reply(`${text}!`, 2));
    socket.emit("ask", "who");
    assertEqual(await answer, ["who!", 2]);
    socket.disconnect();
  },

  async "acknowledgement-timeout"(tools) {
    const socket = await connected(tools);
    const outcome = await socket.timeout(100).emitWithAck("nobody answers").catch((error) => error.message);
    assertEqual(outcome, "operation has timed out");
    assertEqual(await socket.timeout(2000).emitWithAck("message-with-ack", "in time"), "in time");
    socket.disconnect();
  },

  async retries(tools) {
    const impatient = await connected(tools, "/", { retries: 2, ackTimeout: 40 });
    const [failure] = await new Promise((resolve) => impatient.emit("ack-later", (...args) => resolve(args)));
    assertEqual(failure?.message, "operation has timed out");
    impatient.disconnect();
    const socket = await connected(tools, "/", { retries: 2, ackTimeout: 2000 });
    const answers = [1, 2, 3].map(
      (value) => new Promise((resolve) => socket.emit("message-with-ack", value, (...args) => resolve(args))),
    );
    assertEqual(await Promise.all(answers), [[null, 1], [null, 2], [null, 3]]);
    socket.disconnect();
  },

  async binary(tools) {
    for (const transports of [["polling"], ["websocket"]]) {
      const socket = await connected(tools, "/", { transports });
      const [one, two] = await echo(socket, new Uint8Array([1, 2, 255]), { a: [new Uint8Array([3])] });
      assertEqual([bytes(one), bytes(two.a[0])], [[1, 2, 255], [3]]);
      socket.disconnect();
    }
  },

  async large(tools) {
    for (const transports of [["polling"], ["websocket"]]) {
      const socket = await connected(tools, "/", { transports });
      const text = "€".repeat(100000);
      const [back] = await echo(socket, text);
      assertEqual(back === text, true, "the same text");
      const data = new Uint8Array(300000).map((_, i) => i);
      const [array] = await echo(socket, data);
      const seen = array instanceof ArrayBuffer ? new Uint8Array(array) : array;
      assertEqual([seen.length, seen.every((value, i) => value === data[i])], [data.length, true], "bytes");
      socket.disconnect();
    }
  },

  async multiplexing(tools) {
    const main = open(tools);
    const custom = main.io.socket("/custom");
    custom.connect();
    await Promise.all([once(main, "connect"), once(custom, "connect")]);
    assertEqual(main.io.engine === custom.io.engine, true, "one connection");
    const [a, b] = await Promise.all([echo(main, "main"), echo(custom, "custom")]);
    assertEqual([a, b], [["main"], ["custom"]]);
    custom.disconnect();
    assertEqual(await echo(main, "still"), ["still"]);
    main.disconnect();
  },

  async auth(tools) {
    const socket = open(tools, "/custom", { auth: (give) => setTimeout(give, 10, { token: "t", list: [1] }) });
    assertEqual((await once(socket, "auth"))[0], { token: "t", list: [1] });
    socket.disconnect();
  },

  async refused(tools) {
    const socket = open(tools, "/protected", { auth: { mode: "data" } });
    const [error] = await once(socket, "connect_error");
    assertEqual([error.message, error.data], ["not authorized", { code: "E1", retry: false }]);
    socket.auth = { mode: "pass" };
    const joined = once(socket, "connect");
    socket.connect();
    await joined;
    socket.disconnect();
  },

  async "invalid-namespace"(tools) {
    const socket = open(tools, "/nowhere");
    const [error] = await once(socket, "connect_error");
    assertEqual(error.message, "Invalid namespace");
    socket.disconnect();
  },

  async buffering(tools) {
    const socket = open(tools, "/", { autoConnect: false });
    const back = collect(socket, "message-back", 4);
    socket.emit("message", "before");
    socket.volatile.emit("message", "volatile");
    socket.connect();
    await once(socket, "connect");
    await socket.emitWithAck("message-with-ack");
    await lose(socket);
    socket.emit("message", "offline");
    socket.emit("message", new Uint8Array([7]));
    await once(socket, "connect");
    socket.emit("message", "after");
    const received = (await back).map(([value]) => (typeof value === "string" ? value : bytes(value)));
    assertEqual(received, ["before", "offline", [7], "after"]);
    socket.disconnect();
  },

  async volatile(tools) {
    const socket = await connected(tools);
    const received = collect(socket, "volatile", 1);
    socket.emit("volatile-idle");
    assertEqual(await received, [[1]]);
    socket.disconnect();
  },

  async "catch-all"(tools) {
    const socket = await connected(tools);
    const [incoming, outgoing] = [[], []];
    socket.onAny((...args) => incoming.push(args));
    socket.onAnyOutgoing((...args) => outgoing.push(args));
    await echo(socket, 1);
    assertEqual([incoming.at(-1), outgoing], [["message-back", 1], [["message", 1]]]);
    socket.disconnect();
  },

  async rooms(tools) {
    const path = dynamic();
    const [one, two] = await Promise.all([connected(tools, path), connected(tools, path)]);
    await one.emitWithAck("join", "room");
    const received = collect(one, "room", 1);
    two.emit("to-room", ["room"], "hello", new Uint8Array([1]));
    const [[text, data]] = await received;
    assertEqual([text, bytes(data)], ["hello", [1]]);
    one.disconnect();
    two.disconnect();
  },

  async "server-disconnects"(tools) {
    const socket = await connected(tools);
    const left = once(socket, "disconnect");
    socket.emit("leave-namespace");
    assertEqual((await left)[0], "io server disconnect");
    await pause(200);
    assertEqual(socket.connected, false, "connected again by itself");
    const back = once(socket, "connect");
    socket.connect();
    await back;
    socket.disconnect();
  },

  async "client-disconnects"(tools) {
    const [socket, witness] = [await connected(tools), await connected(tools)];
    const { id } = socket;
    const left = once(socket, "disconnect");
    socket.disconnect();
    assertEqual((await left)[0], "io client disconnect");
    let happened = [];
    while (happened.length < 2) happened = await witness.emitWithAck("reasons", id);
    assertEqual(happened[1], ["disconnect", "client namespace disconnect", []]);
    witness.disconnect();
  },

  async heartbeat(tools) {
    for (const transports of [["polling"], ["websocket"]]) {
      const socket = await connected(tools, "/", { transports });
      let lost;
      socket.on("disconnect", (reason) => (lost = reason));
      const pings = collect(socket.io, "ping", 3);
      await pings;
      assertEqual(lost, undefined, "reason of a disconnect");
      assertEqual(await echo(socket, "alive"), ["alive"]);
      socket.disconnect();
    }
  },

  async recovery(tools) {
    const path = dynamic();
    const [socket, other] = [await connected(tools, path), await connected(tools, path)];
    await socket.greeting;
    await socket.emitWithAck("join", "room");
    await socket.emitWithAck("set-data", "kept");
    const { id } = socket;
    await lose(socket, 400);
    const missed = collect(socket, "room", 3);
    for (let i = 0; i < 2; i++) other.emit("to-room", ["room"], i);
    other.emit("to-room", ["room"], new Uint8Array([2]));
    await once(socket, "connect");
    assertEqual([socket.recovered, socket.id], [true, id]);
    const received = (await missed).map(([value]) => (typeof value === "number" ? value : bytes(value)));
    assertEqual(received, [0, 1, [2]]);
    const state = await socket.emitWithAck("state");
    assertEqual([state.recovered, state.value], [true, "kept"]);
    socket.disconnect();
    other.disconnect();
  },

  async "not-recovered"(tools) {
    const socket = await connected(tools, dynamic());
    await socket.greeting;
    const { id } = socket;
    await lose(socket, 2300);
    await once(socket, "connect");
    assertEqual([socket.recovered, socket.id === id], [false, false]);
    socket.disconnect();
  },

  async restart(tools) {
    const socket = await connected(tools);
    const left = once(socket, "disconnect");
    await tools.control("stop");
    const [reason] = await left;
    assertEqual(["transport close", "transport error"].includes(reason), true, `a loss and not ${reason}`);
    socket.emit("message", "while it was down");
    const back = once(socket, "message-back");
    const again = once(socket, "connect");
    await tools.control("start");
    await again;
    assertEqual(await back, ["while it was down"]);
    socket.disconnect();
  },

  async shutdown(tools) {
    const socket = await connected(tools, "/", { reconnection: false, transports: ["websocket"] });
    const left = once(socket, "disconnect");
    socket.emit("shutdown");
    assertEqual((await left)[0], "transport close");
  },

  async parser(tools) {
    for (const transports of [["polling"], ["websocket"]]) {
      const socket = await connected(tools, "/", { transports });
      const [number, nested] = await echo(socket, 1.5, { a: ["é", null, new Uint8Array([1, 2]).buffer] });
      assertEqual([number, nested.a.slice(0, 2), bytes(nested.a[2])], [1.5, ["é", null], [1, 2]]);
      assertEqual(await socket.emitWithAck("message-with-ack", "yes"), "yes");
      socket.disconnect();
    }
  },

  async "cross-origin"(tools) {
    const socket = await connected(tools, "/", { transports: ["polling"], withCredentials: true });
    assertEqual(await echo(socket, 1), [1]);
    const upgraded = await connected(tools, "/", { withCredentials: true });
    assertEqual(await echo(upgraded, 2), [2]);
    socket.disconnect();
    upgraded.disconnect();
  },

  async "cross-origin-refused"(tools) {
    const socket = open(tools, "/", { transports: ["polling"], reconnection: false });
    const [error] = await once(socket, "connect_error");
    assertEqual(error.message, "xhr poll error");
  },

  // The client of Socket.IO v2, whose `io` has another shape.
  async old(tools) {
    const options = { forceNew: true, transports: tools.transports };
    const socket = tools.io(tools.url, options);
    await once(socket, "connect");
    assertEqual(await echo(socket, 1, { a: "é" }), [1, { a: "é" }]);
    const [data] = await echo(socket, Uint8Array.from([1, 2, 3]).buffer);
    assertEqual(bytes(data), [1, 2, 3]);
    assertEqual(await new Promise((resolve) => socket.emit("message-with-ack", 5, resolve)), 5);
    const custom = tools.io(`${tools.url}/custom?token=x`, { forceNew: true });
    assertEqual((await once(custom, "auth"))[0], { token: "x" });
    const refused = tools.io(`${tools.url}/protected?mode=plain`, { forceNew: true });
    assertEqual(await once(refused, "error"), ["not authorized"]);
    for (const each of [socket, custom, refused]) each.close();
  },
};
