// Runs one scenario in Node: `node node.mjs <scenario> <url> <profile>`. The server is stopped and started by
// whoever started this process: a line `control <action>` asks for it, a line on the input says it is done.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { scenarios } from "./scenarios.mjs";

const require = createRequire(import.meta.url);
const [name, url, profile] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin });

async function control(action) {
  const done = new Promise((resolve) => lines.once("line", resolve));
  console.log(`control ${action}`);
  await done;
}

const io = profile === "eio3" ? require("socket.io-client-2") : require("socket.io-client").io;
const parser = profile === "msgpack" ? require("socket.io-msgpack-parser") : undefined;

try {
  await scenarios[name]({ io, parser, url, control, transports: ["polling", "websocket"] });
} catch (error) {
  console.log(`failed ${error.message}`);
  process.exit(1);
}
console.log("passed");
process.exit(0);
