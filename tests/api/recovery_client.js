// The npm client, told by lines of JSON what to do; it prints what happens to it.
const { io } = require("socket.io-client");
const lines = require("readline").createInterface({ input: process.stdin });

const sockets = {};

function print(value) {
  console.log(JSON.stringify(value));
}

function open({ url, namespace, options }) {
  const socket = io(url + namespace, {
    reconnectionDelay: 10,
    reconnectionDelayMax: 20,
    randomizationFactor: 0,
    ...options,
  });
  sockets[namespace] = socket;
  socket.on("connect", () =>
    print({ kind: "connect", namespace, id: socket.id, recovered: socket.recovered ?? false, pid: socket._pid }),
  );
  socket.on("disconnect", (reason) => print({ kind: "disconnect", namespace, reason }));
  socket.on("connect_error", (error) => {
    if (!socket.active) print({ kind: "refused", namespace, message: error.message });
  });
  socket.on("message", (number, ...rest) => {
    const binary = rest.filter((value) => Buffer.isBuffer(value)).map((value) => value.toString());
    const last = rest.at(-1);
    print({ kind: "message", namespace, number, binary, offset: typeof last === "string" ? last : null });
  });
}

const commands = {
  open,
  connect: ({ namespace, auth }) => {
    sockets[namespace].auth = auth;
    sockets[namespace].connect();
  },
  set: ({ namespace, pid, offset }) => {
    if (pid !== undefined) sockets[namespace]._pid = pid;
    if (offset !== undefined) sockets[namespace]._lastOffset = offset;
  },
  emit: ({ namespace, args }) => sockets[namespace].emit(...args),
  disconnect: ({ namespace }) => sockets[namespace].disconnect(),
};

lines.on("line", (line) => {
  const { command, ...rest } = JSON.parse(line);
  commands[command](rest);
});
lines.on("close", () => process.exit(0));
