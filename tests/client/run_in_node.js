// Usage: node run_in_node.js URL TRANSPORTS [SCENARIO...]; prints one JSON object: scenario -> result.

"use strict";

const { io } = require("socket.io-client");
const { names, runScenario } = require("./scenarios.js");

const [url, transports, ...chosen] = process.argv.slice(2);

(async () => {
  const names_ = chosen.length ? chosen : names;
  const results = {};
  for (const name of names_) {
    results[name] = await runScenario(io, url, transports.split(","), name);
  }
  process.stdout.write(JSON.stringify(results), () => process.exit(0));
})();
