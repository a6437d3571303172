// Connects, says so, and tells of every disconnection and reconnection, one line each, until its input ends.

"use strict";

const { io } = require("socket.io-client");

const [url, transports] = process.argv.slice(2);
const socket = io(url, { transports: transports.split(","), reconnectionDelay: 20, reconnectionDelayMax: 50 });
const say = (line) => process.stdout.write(line + "\n");

socket.on("connect", async () => say(`connect ${await socket.emitWithAck("answer", "here")}`));
socket.on("disconnect", (reason) => say(`disconnect ${reason}`));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
