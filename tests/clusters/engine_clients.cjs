// Official clients that send and are sent many messages, each with an acknowledgement.
"use strict";

const { io } = require("socket.io-client");

const { obey } = require("./node_commands.cjs");

const sockets = new Map();

function connect({ name, url, transports }) {
  const socket = io(url, { forceNew: true, reconnection: false, ...(transports ? { transports } : {}) });
  const record = { socket, asked: [], reasons: [], error: null };
  sockets.set(name, record);
  socket.on("ask", (number, data, ack) => {
    record.asked.push([number, data]);
    ack(number);
  });
  socket.on("disconnect", (reason, details) => {
    const { description, context } = details ?? {};
    record.reasons.push([reason, String(description), String(context?.responseText)]);
  });
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve({ id: socket.id }));
    socket.once("connect_error", (error) => reject(error));
  });
}

// Send `count` messages, a few at a time, and have the server send as many meanwhile.
async function talk({ name, count }) {
  const { socket, asked, reasons } = sockets.get(name);
  socket.emit("start", count);
  const answers = [];
  for (let number = 0; number < count; number++) {
    answers.push(socket.timeout(20000).emitWithAck("say", number, Buffer.from([number % 256])).catch(String));
    if (number % 10 === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  const said = await Promise.all(answers);
  const deadline = Date.now() + 10000;
  while (asked.length < count && Date.now() < deadline && !reasons.length) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return { said, asked, reasons, transport: socket.io.engine?.transport?.name ?? "" };
}

obey(
  {
    connect,
    talk,
    state: ({ name }) => {
      const { socket, reasons } = sockets.get(name);
      return { connected: socket.connected, reasons };
    },
    close: ({ name }) => {
      sockets.get(name).socket.disconnect();
    },
  },
  {},
);
