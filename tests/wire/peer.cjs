// Node.js and the packages ws, cors and accepts, one request a line: {"op", ...} in, {"value"} or {"error"} out.
// Bytes are base64.
"use strict";

const http = require("http");
const path = require("path");
const readline = require("readline");
const { Duplex } = require("stream");

const root = path.join(__dirname, "..", "..", "node_modules");
const { WebSocketServer } = require(path.join(root, "ws"));
const accepts = require(path.join(root, "accepts"));
const cors = require(path.join(root, "cors"));

class Socket extends Duplex {
  constructor() {
    super();
    this.sent = [];
  }

  _read() {}

  _write(chunk, encoding, callback) {
    this.sent.push(chunk);
    callback();
  }

  get data() {
    return Buffer.concat(this.sent);
  }
}

function upgrade(request, accepted) {
  const socket = new Socket();
  const server = new WebSocketServer({ noServer: true, ...request.options });
  const message = { method: request.method || "GET", headers: request.headers };
  let open = false;
  server.handleUpgrade(message, socket, Buffer.alloc(0), (ws) => {
    open = true;
    accepted(ws, socket);
  });
  if (!open) socket.once("close", () => accepted(null, socket));
}

// Call back once what was pushed has been read and answered.
function whenIdle(receiver, socket, callback, idle = 0) {
  const busy = socket.readableLength > 0 || (receiver.writableLength > 0 && !receiver.errored);
  if (!busy && idle > 2) callback();
  else setImmediate(whenIdle, receiver, socket, callback, busy ? 0 : idle + 1);
}

const operations = {
  handshake(request, reply) {
    upgrade(request, (ws, socket) => reply(socket.data.toString("base64")));
  },

  frames(request, reply) {
    upgrade(request, (ws, socket) => {
      const messages = [];
      let error = "";
      socket.sent = [];
      ws.on("message", (data, binary) => messages.push([binary, data.toString("base64")]));
      ws.on("error", (reason) => (error = reason.message));
      ws.on("close", () => reply({ messages, error, sent: socket.data.toString("base64") }));
      socket.push(Buffer.from(request.data, "base64"));
      whenIdle(ws._receiver, socket, () => socket.push(null));
    });
  },

  cors(request, reply) {
    const headers = [];
    const find = (name) => headers.find((header) => header[0].toLowerCase() === name.toLowerCase());
    const response = {
      statusCode: 200,
      getHeader: (name) => (find(name) || [])[1],
      setHeader(name, value) {
        if (find(name)) find(name)[1] = value;
        else headers.push([name, value]);
      },
      end: () => reply({ status: response.statusCode, headers, ended: true }),
    };
    cors(request.options)({ method: request.method, headers: request.headers }, response, () =>
      reply({ status: 0, headers, ended: false })
    );
  },

  coding(request, reply) {
    reply(accepts({ headers: { "accept-encoding": request.header } }).encodings(["gzip", "deflate"]) || "");
  },

  query(request, reply) {
    reply(Object.fromEntries(new URL("/?" + request.query, "http://a").searchParams.entries()));
  },

  headers(request, reply) {
    const message = new http.IncomingMessage(null);
    const flat = request.lines.flat();
    message._addHeaderLines(flat, flat.length);
    reply(message.headers);
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const answer = (value) => process.stdout.write(JSON.stringify(value) + "\n");
  try {
    const request = JSON.parse(line);
    operations[request.op](request, (value) => answer({ value }));
  } catch (error) {
    answer({ error: String(error.message) });
  }
});
