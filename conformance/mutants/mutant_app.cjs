// The official server, broken in one way: `--mutant <name>`. The suite must notice each (see catalogue.py).
"use strict";

const path = require("node:path");
const { ServerResponse } = require("node:http");
const { parseArgs } = require("node:util");
const official = require("../applications/official_app.cjs");

const MODULES = path.join(__dirname, "..", "..", "node_modules");
const load = (...parts) => require(path.join(MODULES, ...parts));

const EngineSocket = load("engine.io", "build", "socket.js").Socket;
const { Polling } = load("engine.io", "build", "transports", "polling.js");
const { WebSocket } = load("engine.io", "build", "transports", "websocket.js");
const { Client } = load("socket.io", "dist", "client.js");
const { Socket } = load("socket.io", "dist", "socket.js");
const { Adapter, SessionAwareAdapter } = require("socket.io-adapter");
const { Decoder, Encoder, PacketType } = require("socket.io-parser");

// Replace a method by one that is given the original.
function wrap(type, name, replacement) {
  const original = type.prototype[name];
  type.prototype[name] = function (...args) {
    return replacement.call(this, (...given) => original.apply(this, given), ...args);
  };
}

const changeOpen = (change) =>
  wrap(EngineSocket, "sendPacket", function (send, type, data, ...rest) {
    if (type !== "open") return send(type, data, ...rest);
    const opened = JSON.parse(data);
    change(opened, this);
    return send(type, JSON.stringify(opened), ...rest);
  });

const changePacket = (change) =>
  wrap(Socket, "packet", function (send, packet, options) {
    change(packet, options ?? {}, this);
    return send(packet, options);
  });

const changeStatus = (from, to) =>
  wrap(ServerResponse, "writeHead", function (write, status, ...rest) {
    return write(status === from ? to : status, ...rest);
  });

// Each may return options that override those of the profile.
const MUTANTS = {
  none: () => {},

  "open-extra-key": () => changeOpen((opened) => (opened.version = 4)),
  "open-seconds": () => changeOpen((opened) => (opened.pingInterval /= 1000)),
  "open-websocket-upgrades": () => changeOpen((opened) => (opened.upgrades = ["websocket"])),
  "open-no-max-payload": () => changeOpen((opened) => delete opened.maxPayload),
  "cookie-for-scripts": () => ({ cookie: { name: "sticky", path: "/realtime", sameSite: "strict", maxAge: 86400, httpOnly: false } }),
  "path-any": () => ({ addTrailingSlash: false }),

  "status-unknown-sid": () => changeStatus(400, 404),
  "status-forbidden": () => changeStatus(403, 400),
  "status-too-large": () => changeStatus(413, 400),
  "error-as-text": () =>
    wrap(ServerResponse, "writeHead", function (write, status, headers) {
      return write(status, headers?.["Content-Type"] === "application/json" ? { "Content-Type": "text/plain" } : headers);
    }),

  "overlapping-polls": () =>
    wrap(Polling, "onPollRequest", function (handle, req, res) {
      this.req = this.res = null;
      return handle(req, res);
    }),
  "overlapping-posts": () =>
    wrap(Polling, "onDataRequest", function (handle, req, res) {
      this.dataReq = this.dataRes = null;
      return handle(req, res);
    }),
  "close-packet-ignored": () =>
    wrap(Polling, "onData", function (handle, data) {
      if (data !== "1") handle(data);
    }),
  "octet-stream-accepted": () =>
    wrap(Polling, "onDataRequest", function (handle, req, res) {
      delete req.headers["content-type"];
      return handle(req, res);
    }),
  "limit-ignored": () =>
    wrap(Polling, "onDataRequest", function (handle, req, res) {
      this.maxHttpBufferSize = Infinity;
      return handle(req, res);
    }),
  "limit-one-less": () =>
    wrap(Polling, "onDataRequest", function (handle, req, res) {
      this.maxHttpBufferSize = 9999;
      return handle(req, res);
    }),
  "websocket-limit-closes-normally": () => ({ maxHttpBufferSize: 20000 }),
  "packets-reversed": () =>
    wrap(EngineSocket, "flush", function (flush) {
      this.writeBuffer.reverse();
      return flush();
    }),
  "packet-lost": () =>
    wrap(EngineSocket, "flush", function (flush) {
      if (this.writeBuffer.length > 2) this.writeBuffer.pop();
      return flush();
    }),
  "poll-aborted-unnoticed": () =>
    wrap(Polling, "onPollRequest", function (handle, req, res) {
      handle(req, res);
      req.removeAllListeners("close");
    }),

  "close-code-1000": () => {
    WebSocket.prototype.doClose = function (callback) {
      this.socket.close(1000);
      callback?.();
    };
  },
  "binary-as-base64": () =>
    wrap(WebSocket, "send", function (send, packets) {
      this.supportsBinary = false;
      return send(packets);
    }),
  "packets-in-one-message": () =>
    wrap(WebSocket, "send", function (send, packets) {
      if (packets.length < 2) return send(packets);
      const text = packets.map((packet) => `4${packet.data}`).join("\x1e");
      return send([{ type: "message", data: text.slice(1), options: {} }]);
    }),
  "client-ping-answered": () =>
    wrap(EngineSocket, "onPacket", function (handle, packet) {
      return packet.type === "ping" ? this.sendPacket("pong") : handle(packet);
    }),
  "unknown-packet-ignored": () =>
    wrap(EngineSocket, "onPacket", function (handle, packet) {
      return packet.type === "error" ? undefined : handle(packet);
    }),

  "probe-answered-bare": () =>
    wrap(WebSocket, "send", function (send, packets) {
      for (const packet of packets) if (packet.data === "probe") delete packet.data;
      return send(packets);
    }),
  "poll-not-released": () =>
    wrap(Polling, "send", function (send, packets) {
      if (packets[0].type !== "noop") send(packets);
    }),
  "lost-on-upgrade": () =>
    wrap(EngineSocket, "clearTransport", function (clear) {
      this.writeBuffer = [];
      return clear();
    }),
  "doubled-on-upgrade": () =>
    wrap(EngineSocket, "clearTransport", function (clear) {
      this.writeBuffer.push(...this.writeBuffer);
      return clear();
    }),
  "failed-probe-closes-session": () =>
    wrap(EngineSocket, "_maybeUpgrade", function (upgrade, transport) {
      const close = transport.close.bind(transport);
      transport.close = (...args) => {
        close(...args);
        if (!this.upgraded) this.close(true);
      };
      upgrade(transport);
    }),
  "upgrade-never-times-out": () => ({ upgradeTimeout: 100000 }),

  "no-ping": () => wrap(EngineSocket, "schedulePing", () => {}),
  "ping-with-data": () =>
    wrap(EngineSocket, "sendPacket", (send, type, data, ...rest) => send(type, type === "ping" ? "x" : data, ...rest)),
  "late-pong-accepted": () => wrap(EngineSocket, "resetPingTimeout", () => {}),
  "connect-timeout-never": () => ({ connectTimeout: 100000 }),

  "wrong-close-reason": () =>
    wrap(Client, "onclose", (close, reason, description) =>
      close(reason === "transport close" ? "transport error" : reason, description),
    ),
  "wrong-leave-reason": () =>
    wrap(Socket, "_onclose", (close, reason, description) =>
      close(reason === "client namespace disconnect" ? "transport close" : reason, description),
    ),
  "early-event-ignored": () =>
    wrap(Client, "ondecoded", function (handle, packet) {
      if (packet.type === PacketType.CONNECT || this.nsps.has(packet.nsp)) handle(packet);
    }),
  "second-connect-ignored": () =>
    wrap(Client, "ondecoded", function (handle, packet) {
      if (packet.type !== PacketType.CONNECT || !this.nsps.has(packet.nsp)) handle(packet);
    }),
  "malformed-ignored": () =>
    wrap(Client, "ondata", function (handle, data) {
      try {
        this.decoder.add(data);
      } catch {
        this.decoder.destroy();
      }
    }),
  "invalid-namespace-text": () =>
    wrap(Client, "_packet", (send, packet, options) => {
      if (packet.type === PacketType.CONNECT_ERROR) packet.data = { message: "Unknown namespace" };
      return send(packet, options);
    }),
  "refusal-without-data": () => wrap(Socket, "_error", (send, error) => send({ message: error.message })),
  "engine-id-as-socket-id": () => changePacket((packet, _, socket) => {
    if (packet.type === PacketType.CONNECT) packet.data.sid = socket.conn.id;
  }),
  "disconnect-unsaid": () =>
    wrap(Socket, "packet", (send, packet, options) =>
      packet.type === PacketType.DISCONNECT ? undefined : send(packet, options),
    ),
  "disconnect-answered": () =>
    wrap(Socket, "_onclose", function (close, reason, description) {
      if (reason === "client namespace disconnect") this.packet({ type: PacketType.DISCONNECT });
      return close(reason, description);
    }),

  "ack-id-wrong": () => changePacket((packet) => packet.type === PacketType.ACK && (packet.id += 1)),
  "ack-repeated": () =>
    wrap(Socket, "ack", function (make, id) {
      return (...args) => this.packet({ id, type: PacketType.ACK, data: args });
    }),
  "ack-unasked": () =>
    wrap(Socket, "onevent", function (handle, packet) {
      handle(packet.id === undefined ? { ...packet, id: 77 } : packet);
      if (packet.id === undefined) this.packet({ id: 77, type: PacketType.ACK, data: [] });
    }),
  "ack-null-as-nothing": () =>
    changePacket((packet) => {
      if (packet.type === PacketType.ACK && packet.data[0] === null) packet.data = [];
    }),
  "attachments-swapped": () =>
    wrap(Encoder, "encode", (encode, packet) => {
      const [header, ...attachments] = encode(packet);
      return [header, ...attachments.reverse()];
    }),
  "eleven-attachments": () =>
    wrap(Decoder, "add", function (add, data) {
      this.opts.maxAttachments = 1000;
      return add(data);
    }),
  "reserved-names-accepted": () => {
    Decoder.isPayloadValid = () => true;
  },
  "namespace-always-written": () =>
    wrap(Encoder, "encode", (encode, packet) => {
      const [header, ...attachments] = encode(packet);
      return packet.nsp === "/" ? [`${header[0]}/,${header.slice(1)}`, ...attachments] : [header, ...attachments];
    }),

  "broadcast-to-sender": () =>
    wrap(Adapter, "broadcast", (broadcast, packet, options) => broadcast(packet, { ...options, except: new Set() })),
  "room-is-everybody": () =>
    wrap(Adapter, "broadcast", (broadcast, packet, options) => broadcast(packet, { ...options, rooms: new Set() })),
  "room-never-left": () => wrap(Adapter, "del", () => {}),
  "volatile-kept": () => changePacket((_, options) => (options.volatile = false)),

  "missed-lost": () =>
    wrap(SessionAwareAdapter, "restoreSession", async (restore, ...args) => ({ ...(await restore(...args)), missedPackets: [] })),
  "missed-doubled": () =>
    wrap(SessionAwareAdapter, "restoreSession", async (restore, ...args) => {
      const session = await restore(...args);
      return session && { ...session, missedPackets: [...session.missedPackets, ...session.missedPackets] };
    }),
  "missed-late": () =>
    wrap(Socket, "packet", function (send, packet, options) {
      if (this.connected || packet.type !== PacketType.EVENT) return send(packet, options);
      setTimeout(send, 20, packet, options);
    }),
  "recovered-after-expiry": () => ({ connectionStateRecovery: { maxDisconnectionDuration: 100000, skipMiddlewares: true } }),
  "recovered-after-leaving": () =>
    wrap(Socket, "_onclose", (close, reason, description) =>
      close(reason.endsWith("namespace disconnect") ? "transport close" : reason, description),
    ),
  "recovered-through-middlewares": () => ({ connectionStateRecovery: { maxDisconnectionDuration: 2000, skipMiddlewares: false } }),

  "cors-everybody": () => ({ cors: { origin: true, credentials: true, methods: ["GET", "POST"], allowedHeaders: ["x-token"], exposedHeaders: ["x-shown"], maxAge: 600 } }),
  "cors-no-credentials": () => ({ cors: { origin: ["http://allowed.example"], methods: ["GET", "POST"] } }),
  "compression-forced": () =>
    wrap(Polling, "doWrite", (write, data, options, callback) => write(data, { ...options, compress: true }, callback)),
  "compression-never": () => ({ httpCompression: false }),
  "not-modified-as-200": () => changeStatus(304, 200),
};

const { values } = parseArgs({
  options: { mutant: { type: "string" }, profile: { type: "string" }, port: { type: "string" } },
});
official.start(values.profile, Number(values.port), MUTANTS[values.mutant]() ?? {});
