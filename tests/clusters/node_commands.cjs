// Commands for a program: one JSON object a line in, one a line out. Bytes are {"$binary": "<hexadecimal>"}.
"use strict";

const { createInterface } = require("node:readline");

function pack(value) {
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) {
    return { $binary: Buffer.from(value).toString("hex") };
  }
  if (Array.isArray(value)) {
    return value.map(pack);
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, pack(inner)]));
  }
  return value;
}

function unpack(value) {
  if (Array.isArray(value)) {
    return value.map(unpack);
  }
  if (value !== null && typeof value === "object") {
    if (typeof value.$binary === "string") {
      return Buffer.from(value.$binary, "hex");
    }
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unpack(inner)]));
  }
  return value;
}

function write(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

// Tells that the program is ready, and does what it is told until its input ends.
function obey(commands, ready) {
  write({ ready });
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const { id, command, ...options } = unpack(JSON.parse(line));
    try {
      write({ id, result: pack((await commands[command](options)) ?? null) });
    } catch (error) {
      write({ id, error: error.stack });
    }
  });
  lines.on("close", () => process.exit(0));
}

module.exports = { obey };
