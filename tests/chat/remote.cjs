// The official client, told what to do by lines on standard input; prints what happens to it.
const { createInterface } = require("node:readline");
const { io } = require("socket.io-client");

const PATIENCE = 15_000;
const OFFSET = /^[\w-]{8}\.\d+$/;
const sockets = new Map();

function print(name, event, args) {
  process.stdout.write(`${JSON.stringify([name, event, args])}\n`);
}

const actions = {
  connect(name, url, options) {
    const socket = io(url, { forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 100, ...options });
    sockets.set(name, socket);
    socket.on("connect", () => print(name, "connect", [socket.recovered]));
    socket.on("disconnect", (reason) => print(name, "disconnect", [reason]));
    socket.on("connect_error", (error) => print(name, "connect_error", [error.message]));
    socket.onAny((event, ...args) => {
      if (OFFSET.test(args.at(-1))) {
        args.pop(); // what can be recovered carries its place, which is for the client
      }
      print(name, event, args);
    });
    socket.on("chat message", (text, serverOffset) => {
      if (socket.auth?.serverOffset !== undefined) {
        socket.auth.serverOffset = serverOffset;
      }
    });
  },
  emit(name, event, args) {
    sockets.get(name).emit(event, ...args);
  },
  ask(name, event, args, number) {
    const answered = (error, ...answer) => print(name, `answer ${number}`, error ? [{ error: error.message }] : answer);
    sockets.get(name).timeout(PATIENCE).emit(event, ...args, answered);
  },
  cut(name) {
    sockets.get(name).io.engine.close();
  },
  disconnect(name) {
    sockets.get(name).disconnect();
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [action, ...args] = JSON.parse(line);
    actions[action](...args);
  })
  .on("close", () => process.exit());
