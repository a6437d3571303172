// The uniform application on the official server: socket.io on Node, with the native add-on bufferutil.
"use strict";

const { createServer } = require("node:http");
const { parseArgs } = require("node:util");
const { Server } = require("socket.io");

const { values } = parseArgs({
  options: {
    port: { type: "string" },
    "ping-interval": { type: "string", default: "25" },
    recovery: { type: "boolean", default: false },
    adapter: { type: "string" },
    engine: { type: "string" },
  },
});

// Without its native half bufferutil is plain JavaScript: the comparison would not be the official best.
if (!/native code/.test(require("bufferutil").unmask.toString())) {
  throw new Error("the native add-on of bufferutil is not loaded");
}

async function makeAdapter() {
  return require("../../tests/clusters/node_adapters.cjs").adapters[values.adapter](values.engine, {});
}

async function main() {
  const httpServer = createServer();
  const io = new Server(httpServer, {
    pingInterval: Number(values["ping-interval"]) * 1000,
    ...(values.recovery ? { connectionStateRecovery: {} } : {}),
    ...(values.adapter ? { adapter: await makeAdapter() } : {}),
  });
  let sink;

  io.on("connection", (socket) => {
    socket.on("echo", (data) => socket.emit("echo", data));
    socket.on("ack", (data, callback) => callback(data));
    socket.on("broadcast", (data) => io.emit("broadcast", data));
    socket.on("room", (room, data) => io.to(room).emit("room", data));
    socket.on("join", (room, callback) => {
      socket.join(room);
      callback();
    });
    socket.on("join_many", (prefix, count, callback) => {
      for (let index = 0; index < count; index++) socket.join(`${prefix}-${index}`);
      callback();
    });
    socket.on("sink", (callback) => {
      sink = socket;
      callback();
    });
    socket.on("direct", (data) => sink.emit("direct", data));
  });

  httpServer.listen(Number(values.port), "127.0.0.1", 4096);
}

main();
process.on("SIGTERM", () => process.exit(0));
