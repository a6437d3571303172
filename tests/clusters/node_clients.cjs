// Any number of official clients, by name. Each records what it receives.
"use strict";

const { io } = require("socket.io-client");

const { obey } = require("./node_commands.cjs");

const clients = new Map();

class Client {
  constructor(name, url, nsp, transports) {
    this.received = [];
    this.reasons = [];
    this.changed = () => {};
    const socket = io(url + nsp, {
      auth: { name },
      forceNew: true,
      transports,
      reconnection: false,
      autoConnect: false,
    });
    socket.onAny((...args) => {
      this.received.push(args.filter((value) => typeof value !== "function"));
      this.changed();
    });
    socket.on("disconnect", (reason) => {
      this.reasons.push(reason);
      this.changed();
    });
    socket.on("ask", (value, ack) => ack(`${name}:${value}`));
    socket.on("ask in bytes", (value, ack) => ack(Buffer.from([...new Uint8Array(value), 7])));
    this.socket = socket;
  }

  connect() {
    const socket = this.socket;
    return new Promise((resolve, reject) => {
      socket.once("connect", () => resolve({ id: socket.id, recovered: socket.recovered }));
      socket.once("connect_error", reject);
      socket.connect();
    });
  }

  // Resolves as soon as the condition holds, and in any case after so many seconds.
  until(condition, seconds) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.changed = () => {};
        resolve();
      };
      const timer = setTimeout(done, seconds * 1000);
      this.changed = () => condition() && done();
      this.changed();
    });
  }
}

obey(
  {
    async connect({ name, url, nsp = "/", transports = ["websocket"] }) {
      const client = new Client(name, url, nsp, transports);
      clients.set(name, client);
      return client.connect();
    },
    emit: ({ name, event, args }) => void clients.get(name).socket.emit(event, ...args),
    ask: ({ name, event, args }) => clients.get(name).socket.timeout(5000).emitWithAck(event, ...args),
    received: ({ name }) => clients.get(name).received,
    clear: ({ name }) => void clients.get(name).received.splice(0),
    // What the client has received once that holds so many events, or one with this name and these arguments.
    async wait({ name, count, last, seconds }) {
      const client = clients.get(name);
      const wanted = JSON.stringify(last);
      await client.until(
        () =>
          last === undefined
            ? client.received.length >= count
            : client.received.some((args) => JSON.stringify(args.slice(0, last.length)) === wanted),
        seconds,
      );
      return client.received;
    },
    async wait_disconnected({ name, seconds }) {
      const client = clients.get(name);
      await client.until(() => client.reasons.length > 0, seconds);
      return client.reasons;
    },
    // The connection is lost; the client does not come back by itself.
    cut: ({ name }) => void clients.get(name).socket.io.engine.close(),
    // It comes back, here or at another server.
    back({ name, url }) {
      const client = clients.get(name);
      client.socket.io.uri = url;
      return client.connect();
    },
    disconnect: ({ name }) => void clients.get(name).socket.disconnect(),
  },
  {},
);
