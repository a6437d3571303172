// The JavaScript implementations, one request a line: {"codec", "op", ...} in, {"value"} or {"error"} out.
//
// JSON carries neither bytes nor dates nor undefined, and an object could look like our way of writing them.
// So every value but the plain ones is an object with one key: $bytes, $buffer, $date, $undefined, $object.
"use strict";

const path = require("path");
const readline = require("readline");

const root = path.join(__dirname, "..", "..", "node_modules");
const json = require(path.join(root, "socket.io-parser"));
const msgpack = require(path.join(root, "socket.io-msgpack-parser"));
const payload = require(path.join(root, "engine.io", "build", "parser-v3"));

function untag(value) {
  if (Array.isArray(value)) return value.map(untag);
  if (value === null || typeof value !== "object") return value;
  if ("$bytes" in value) return Buffer.from(value.$bytes, "base64");
  if ("$buffer" in value) return new Uint8Array(Buffer.from(value.$buffer, "base64")).buffer;
  if ("$date" in value) return new Date(value.$date);
  if ("$undefined" in value) return undefined;
  return Object.fromEntries(Object.entries(value.$object).map(([key, item]) => [key, untag(item)]));
}

function tag(value) {
  if (value === undefined) return { $undefined: true };
  if (Array.isArray(value)) return value.map(tag);
  if (value === null || typeof value !== "object") return value;
  if (value instanceof ArrayBuffer) return { $bytes: Buffer.from(value).toString("base64") };
  if (ArrayBuffer.isView(value)) return { $bytes: Buffer.from(value).toString("base64") };
  if (value instanceof Date) return { $date: value.getTime() };
  return { $object: Object.fromEntries(Object.entries(value).map(([key, item]) => [key, tag(item)])) };
}

function decodePackets(decoder, messages) {
  const packets = [];
  decoder.on("decoded", (packet) => packets.push(tag(packet)));
  for (const message of messages) decoder.add(message);
  return packets;
}

function v3(request) {
  let result;
  if (request.op === "decode") {
    result = [];
    const body = Buffer.from(request.body, "base64");
    payload.decodePayload(request.binary ? body : body.toString(), null, (packet) => {
      if (packet.type === "error") throw new Error(packet.data);
      result.push([packet.type, tag(packet.data)]);
    });
  } else {
    const packets = request.packets.map(([type, data]) => ({ type, data: untag(data) }));
    payload.encodePayload(packets, request.binary, (body) => (result = Buffer.from(body).toString("base64")));
  }
  return result;
}

function answer(request) {
  if (request.codec === "v3") return v3(request);
  const parser = request.codec === "json" ? json : msgpack;
  if (request.op === "decode") return decodePackets(new parser.Decoder(), request.messages.map(untag));
  return new parser.Encoder().encode(untag(request.packet)).map(tag);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let reply;
  try {
    reply = { value: answer(JSON.parse(line)) };
  } catch (error) {
    reply = { error: String(error.message) };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
});
