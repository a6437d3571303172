// The official server on an adapter of node_adapters.cjs; obeys the commands of python_server.py.
//
// Usage: node_server.cjs '{"name": ..., "driver": ..., "url": ..., "options": {...}, "recovery": seconds or null, "port": ...}'
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const { adapters } = require("./node_adapters.cjs");
const { obey } = require("./node_commands.cjs");

const settings = JSON.parse(process.argv[2]);
const serverEvents = [];

function prepare(namespace) {
  namespace.on("connection", (socket) => {
    socket.data = { name: socket.handshake.auth.name };
    socket.on("join", (room, ack) => {
      socket.join(room);
      ack();
    });
    socket.on("shout", (text) => socket.broadcast.emit("shout", text));
  });
  namespace.on("note", (...args) => serverEvents.push(args));
  namespace.on("question", (value, ack) => ack(`${settings.name}:${value}`));
  namespace.on("question in bytes", (value, ack) => ack(Buffer.from([...value, 255])));
  namespace.on("no answer", (ack) => {});
}

function commandsOf(io) {
  function target({ nsp = "/", rooms = [], except = [], local, volatile, compress, timeout }) {
    let operator = io.of(nsp).to(rooms).except(except);
    if (local) {
      operator = operator.local;
    }
    if (volatile) {
      operator = operator.volatile;
    }
    if (compress !== undefined) {
      operator = operator.compress(compress);
    }
    return timeout === undefined ? operator : operator.timeout(timeout * 1000);
  }

  const plain = ({ id, rooms, data, handshake }) => ({
    id,
    rooms: [...rooms].sort(),
    data,
    auth: handshake.auth,
    url: handshake.url,
  });

  return {
    emit: (options) => void target(options).emit(options.event, ...options.args),
    emit_with_ack: (options) =>
      new Promise((resolve) => {
        target(options).emit(options.event, ...options.args, (error, answers) => {
          resolve({ timed_out: error !== null && error !== undefined, answers });
        });
      }),
    ask_one: async ({ socket: id, event, args, timeout }) => {
      const [socket] = await io.in(id).fetchSockets();
      return socket.timeout(timeout * 1000).emitWithAck(event, ...args);
    },
    fetch_sockets: async (options) => (await target(options).fetchSockets()).map(plain),
    sockets_join: (options) => void target(options).socketsJoin(options.names),
    sockets_leave: (options) => void target(options).socketsLeave(options.names),
    disconnect_sockets: (options) => void target(options).disconnectSockets(options.close),
    server_side_emit: ({ nsp = "/", event, args }) => void io.of(nsp).serverSideEmit(event, ...args),
    server_side_emit_with_ack: ({ nsp = "/", event, args }) =>
      new Promise((resolve) => {
        io.of(nsp).serverSideEmit(event, ...args, (error, answers) => {
          resolve({ timed_out: error !== null && error !== undefined, answers });
        });
      }),
    server_events: () => serverEvents.splice(0),
    server_count: ({ nsp = "/" }) => io.of(nsp).adapter.serverCount(),
    all_rooms: async () => [...(await io.of("/").adapter.allRooms())].sort(),
    socket_emit: ({ socket: id, event, args }) => void io.sockets.sockets.get(id).emit(event, ...args),
    close: () => new Promise((resolve) => io.close(() => resolve())),
  };
}

async function main() {
  const adapter = await adapters[settings.driver](settings.url, settings.options);
  const http = createServer();
  const io = new Server(http, {
    adapter,
    ...(settings.recovery
      ? { connectionStateRecovery: { maxDisconnectionDuration: settings.recovery * 1000 } }
      : {}),
  });
  prepare(io.of("/"));
  prepare(io.of("/custom"));
  http.listen(settings.port, "127.0.0.1", () => obey(commandsOf(io), { port: http.address().port }));
}

main();
