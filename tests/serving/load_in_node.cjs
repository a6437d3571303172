// Clients that talk to workers while these are killed: node load_in_node.cjs URL TRANSPORTS CLIENTS SECONDS
// Each asks for an answer, waits for it, and asks again; one that is lost reconnects by itself. Prints what it has seen.
const { io } = require("socket.io-client");

const [url, transports, count, seconds] = process.argv.slice(2);
const seen = { answers: 0, wrong: 0, timeouts: 0, reconnections: 0, heard: 0, left: 0 };
let over = false;

async function talk(number) {
  const socket = io(url, { transports: transports.split(","), forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
  let connections = 0;
  socket.on("connect", () => {
    connections += 1;
    if (connections > 1) seen.reconnections += 1;
  });
  socket.on("echo", () => { seen.heard += 1; });
  for (let place = 0; !over; place += 1) {
    try {
      const answer = await socket.timeout(5000).emitWithAck("answer", number, place);
      if (answer === number || (Array.isArray(answer) && answer[0] === number)) seen.answers += 1;
      else seen.wrong += 1;
    } catch {
      seen.timeouts += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  // At the end everyone must be served again.
  for (let attempt = 0; attempt < 40; attempt += 1) {
    try {
      await socket.timeout(1000).emitWithAck("answer", number, "last");
      socket.close();
      return;
    } catch { /* not yet */ }
  }
  seen.left += 1;
  socket.close();
}

setTimeout(() => { over = true; }, Number(seconds) * 1000);
Promise.all(Array.from({ length: Number(count) }, (_, number) => talk(number))).then(() => {
  console.log(JSON.stringify(seen));
  process.exit(0);
});
