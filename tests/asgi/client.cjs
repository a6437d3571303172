// The official client against one application: node client.cjs URL PATH. Prints one line of JSON for each way of
// connecting, with what it has seen.
"use strict";

const { io } = require("socket.io-client");

const [url, path] = process.argv.slice(2);
const DEADLINE = 10_000;

const WAYS = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

function once(emitter, name) {
  return new Promise((resolve) => emitter.once(name, (...args) => resolve(args)));
}

function connected(socket) {
  return new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
}

async function talk(way) {
  const options = { path, forceNew: true, reconnection: false, query: { way }, ...WAYS[way] };
  const socket = io(url, options);
  const upgraded = way === "upgrade" ? new Promise((resolve) => socket.io.once("open", () => socket.io.engine.once("upgrade", resolve))) : null;
  const welcome = once(socket, "welcome");
  await connected(socket);
  const seen = { way };
  seen.welcome = Buffer.from((await welcome)[0]).toString("hex");
  if (upgraded) await upgraded;
  seen.transport = socket.io.engine.transport.name;
  const [text, bytes, object] = await socket.timeout(DEADLINE).emitWithAck("echo", "täxt", Buffer.from([0, 1, 255]), { deep: [1, { b: Buffer.from("x") }] });
  seen.echo = [text, Buffer.from(bytes).toString("hex"), Buffer.from(object.deep[1].b).toString()];
  const numbers = [];
  const counted = new Promise((resolve) => socket.on("number", (n) => numbers.push(n) === 50 && resolve()));
  socket.emit("count", 50);
  await counted;
  seen.ordered = numbers.every((n, i) => n === i);
  seen.large = (await socket.timeout(DEADLINE).emitWithAck("echo", "x".repeat(200_000)))[0].length;
  seen.handshake = await socket.timeout(DEADLINE).emitWithAck("handshake");

  const other = io(url, options);
  await connected(other);
  const sid = other.id;
  const left = new Promise((resolve) => socket.on("left", (who, reason) => who === sid && resolve(reason)));
  other.disconnect();
  seen.left = await left;

  const kicked = once(socket, "disconnect");
  socket.emit("kick");
  seen.kicked = (await kicked)[0];
  socket.disconnect();
  return seen;
}

setTimeout(() => {
  console.error("the client waited too long");
  process.exit(1);
}, 2 * DEADLINE).unref();

Promise.all(Object.keys(WAYS).map(talk)).then(
  (results) => {
    for (const result of results) console.log(JSON.stringify(result));
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
