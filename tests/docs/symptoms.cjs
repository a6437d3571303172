// What the official client says: node symptoms.cjs CASES, a JSON list of [url, options, event?]. Prints a list of
// [message or reason, status], one for each case.
"use strict";

const { io } = require("socket.io-client");

async function observe([url, options, event]) {
  const socket = io(url, { forceNew: true, reconnection: false, ...options });
  const seen = await new Promise((resolve) => {
    socket.on("connect_error", (error) => resolve([error.message, error.description]));
    socket.on("disconnect", (reason, details) => resolve([reason, details && details.description && details.description.description]));
    socket.on("connect", () => (event ? socket.emit(...event) : resolve(["connected"])));
  });
  socket.disconnect();
  return seen.map((value) => (typeof value === "object" ? null : value));
}

(async () => {
  const seen = [];
  for (const one of JSON.parse(process.argv[2])) seen.push(await observe(one));
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
})();
