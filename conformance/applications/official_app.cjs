// The application of APPLICATION.md for the official server.
"use strict";

const { createServer } = require("node:http");
const { parseArgs } = require("node:util");
const { Server } = require("socket.io");

let generated = 0;

const PROFILES = {
  base: {},
  timing: { pingInterval: 300, pingTimeout: 200, upgradeTimeout: 300, connectTimeout: 1000 },
  options: {
    path: "/realtime/",
    maxHttpBufferSize: 10000,
    allowUpgrades: false,
    serveClient: false,
    httpCompression: false,
    cookie: { name: "sticky", path: "/realtime", sameSite: "strict", maxAge: 86400 },
  },
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"], addTrailingSlash: false, cookie: true },
  cors: {
    cors: {
      origin: ["http://allowed.example", "http://localhost:8765"],
      credentials: true,
      methods: ["GET", "POST"],
      allowedHeaders: ["x-token"],
      exposedHeaders: ["x-shown"],
      maxAge: 600,
    },
  },
  "cors-any": { cors: { origin: "*" } },
  recovery: { connectionStateRecovery: { maxDisconnectionDuration: 2000, skipMiddlewares: true } },
  eio3: { allowEIO3: true },
  msgpack: { parser: require("socket.io-msgpack-parser") },
  deflate: { perMessageDeflate: true },
  stricter: {},
};

function sorted(rooms) {
  return [...rooms].sort();
}

function configureEngine(io, profile) {
  io.engine.use((req, res, next) => {
    res.setHeader("x-middleware", "seen");
    next(req._query.fail === undefined ? undefined : new Error("refused by the middleware"));
  });
  io.engine.on("initial_headers", (headers, req) => {
    headers["x-initial"] = req._query.transport;
  });
  io.engine.on("headers", (headers) => {
    headers["x-every"] = "yes";
  });
  if (profile === "options") {
    io.engine.generateId = () => `custom-${++generated}`;
  }
}

function protect(socket, next) {
  const refusal = new Error("not authorized");
  switch (socket.handshake.auth.mode) {
    case "plain":
      return next(refusal);
    case "data":
      refusal.data = { code: "E1", retry: false };
      return next(refusal);
    case "join":
      socket.join("half");
      return next(refusal);
    case "slow":
      return void setTimeout(next, 150);
    case "pending":
      return undefined;
    default:
      return next();
  }
}

const history = new Map();

function serve(io, socket) {
  const nsp = socket.nsp;
  const happened = history.get(socket.id) ?? [];
  history.set(socket.id, happened);

  socket.use(([event], next) => next(event === "blocked" ? new Error("blocked") : undefined));
  socket.on("error", () => happened.push(["error"]));
  socket.on("disconnecting", (reason) => happened.push(["disconnecting", reason, sorted(socket.rooms)]));
  socket.on("disconnect", (reason) => happened.push(["disconnect", reason, sorted(socket.rooms)]));

  // Acknowledges without argument, if asked to, once the listener is done.
  const listen = (name, listener) =>
    socket.on(name, (...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
      listener(...args);
      ack?.();
    });

  listen("message", (...args) => socket.emit("message-back", ...args));
  socket.on("message-with-ack", (...args) => args.pop()(...args));
  socket.on("ack-none", (ack) => ack());
  socket.on("ack-null", (ack) => ack(null));
  socket.on("ack-twice", (ack) => (ack(1), ack(2)));
  socket.on("ack-later", (ack) => setTimeout(ack, 100, "later"));
  socket.on("ask", (...args) =>
    socket.emit("question", ...args, (...answer) => socket.emit("answer", ...answer)),
  );
  socket.on("ask-timeout", () =>
    socket.timeout(100).emit("question", (expired, ...answer) => {
      if (expired) socket.emit("answer-timeout");
      else socket.emit("answer", ...answer);
    }),
  );
  socket.on("ask-room", (room) =>
    nsp
      .to(room)
      .timeout(300)
      .emit("question", (expired, responses) => socket.emit("answers", Boolean(expired), responses)),
  );
  const many = (n) => {
    for (let i = 0; i < n; i++) socket.emit("many", i);
  };
  listen("many", many);
  listen("send", (...args) => socket.send(...args));
  listen("big", (n) => socket.emit("big", "x".repeat(n)));
  listen("big-plain", (n) => socket.compress(false).emit("big", "x".repeat(n)));
  socket.on("volatile-after", () => {
    socket.emit("first");
    socket.volatile.emit("second");
  });
  socket.on("volatile-idle", () => setTimeout(() => socket.volatile.emit("volatile", 1), 50));
  socket.on("volatile-twice", () =>
    setTimeout(() => {
      socket.volatile.emit("volatile", 1);
      socket.volatile.emit("volatile", 2);
    }, 50),
  );

  socket.on("join", (room, ack) => (socket.join(room), ack()));
  socket.on("leave", (room, ack) => (socket.leave(room), ack()));
  socket.on("rooms", (ack) => ack(sorted(socket.rooms)));
  listen("all", (...args) => nsp.emit("all", ...args));
  listen("broadcast", (...args) => socket.broadcast.emit("broadcast", ...args));
  listen("to-room", (rooms, ...args) => nsp.to(rooms).emit("room", ...args));
  listen("broadcast-room", (room, ...args) => socket.to(room).emit("room", ...args));
  listen("except", (room, ...args) => nsp.except(room).emit("except", ...args));
  listen("except-both", (to, not, ...args) => nsp.to(to).except(not).emit("except", ...args));
  listen("volatile-all", (...args) => nsp.volatile.emit("all", ...args));
  socket.on("fetch", async (room, ack) => {
    const sockets = await nsp.in(room).fetchSockets();
    ack(sorted(sockets.map((found) => found.id)));
  });
  socket.on("gather", (from, to, ack) => (nsp.in(from).socketsJoin(to), ack()));
  socket.on("scatter", (from, room, ack) => (nsp.in(from).socketsLeave(room), ack()));
  listen("kick", (room) => nsp.in(room).disconnectSockets());
  socket.on("count", (ack) => ack(nsp.sockets.size));

  listen("leave-namespace", () => socket.disconnect());
  socket.on("leave-server", () => {
    socket.emit("last");
    socket.disconnect(true);
  });
  listen("close-connection", () => socket.conn.close());
  listen("close-of", (id) => nsp.sockets.get(id).conn.close());
  socket.on("burst-close", (n) => {
    many(n);
    socket.conn.close();
  });
  socket.on("shutdown", () => io.close());

  socket.on("handshake", (ack) => {
    const { headers, query, auth, url, address, xdomain, secure } = socket.handshake;
    ack({ headers, query, auth, url, address, xdomain, secure });
  });
  socket.on("info", (ack) =>
    ack({
      id: socket.id,
      engine: socket.conn.id,
      transport: socket.conn.transport.name,
      protocol: socket.conn.protocol,
    }),
  );
  socket.on("set-data", (value, ack) => {
    socket.data.value = value;
    ack();
  });
  socket.on("state", (ack) =>
    ack({ recovered: socket.recovered, value: socket.data.value ?? null, rooms: sorted(socket.rooms) }),
  );
  socket.on("reasons", (id, ack) => ack(history.get(id) ?? []));

  socket.emit("auth", socket.handshake.auth);
}

// `overrides` are options of a mutant (see mutants/).
function start(profile, port, overrides = {}) {
  const options = PROFILES[profile];
  if (options === undefined) process.exit(64);
  const httpServer = createServer((req, res) => res.writeHead(404).end());
  const io = new Server(httpServer, {
    allowRequest: (req, callback) => {
      const deny = new URLSearchParams(req.url.split("?")[1]).get("deny");
      callback(deny === null || deny === "1" ? null : deny, deny === null);
    },
    ...options,
    ...overrides,
  });
  configureEngine(io, profile);
  const namespaces = [
    io.of("/"),
    io.of("/custom"),
    io.of("/protected").use(protect),
    io.of(/^\/dynamic-[a-z0-9]+$/),
    io.of(/^\/guarded-[a-z0-9]+$/).use(protect),
    io.of((name, auth, next) => next(null, name.startsWith("/function-") && auth.token === "secret")),
  ];
  for (const namespace of namespaces) {
    namespace.on("connection", (socket) => serve(io, socket));
  }
  httpServer.listen(port, "127.0.0.1");
  process.on("SIGTERM", () => process.exit(0));
  return io;
}

module.exports = { start };

if (require.main === module) {
  const { values } = parseArgs({ options: { profile: { type: "string" }, port: { type: "string" } } });
  start(values.profile, Number(values.port));
}
