// The official client as a page of this address would use it: node through_proxy.cjs URL. Prints one line of JSON.
"use strict";

const { io } = require("socket.io-client");

const url = process.argv[2];

async function talk(transports) {
  const options = { forceNew: true, reconnection: false, extraHeaders: { origin: url } };
  const socket = io(url, transports ? { ...options, transports } : options);
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  const engine = socket.io.engine;
  if (!transports && engine.transport.name !== "websocket") {
    await new Promise((resolve) => engine.once("upgrade", resolve));
  }
  const bytes = Buffer.alloc(300_000, 7);
  const [text, echoed] = await socket.timeout(10_000).emitWithAck("echo", "täxt", bytes);
  let pings = 0;
  await new Promise((resolve, reject) => {
    socket.once("disconnect", reject);
    engine.on("packet", (packet) => packet.type === "ping" && ++pings === 3 && resolve());
  });
  const seen = { transport: engine.transport.name, text, intact: bytes.equals(Buffer.from(echoed)) };
  socket.removeAllListeners("disconnect");
  socket.disconnect();
  return seen;
}

(async () => {
  const seen = [await talk(), await talk(["polling"]), await talk(["websocket"])];
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
