// An official emitter; obeys the commands of python_emitter.py.
//
// Usage: node_emitter.cjs '{"driver": ..., "url": ..., "options": {...}}'
"use strict";

const { emitters } = require("./node_adapters.cjs");
const { obey } = require("./node_commands.cjs");

const settings = JSON.parse(process.argv[2]);

async function main() {
  const emitter = await emitters[settings.driver](settings.url, settings.options);

  function target({ nsp = "/", rooms = [], except = [], volatile, compress }) {
    let operator = (nsp === "/" ? emitter : emitter.of(nsp)).to(rooms).except(except);
    if (volatile) {
      operator = operator.volatile;
    }
    return compress === undefined ? operator : operator.compress(compress);
  }

  obey(
    {
      emit: (options) => void target(options).emit(options.event, ...options.args),
      sockets_join: (options) => void target(options).socketsJoin(options.names),
      sockets_leave: (options) => void target(options).socketsLeave(options.names),
      disconnect_sockets: (options) => void target(options).disconnectSockets(options.close),
      server_side_emit: ({ event, args }) => void emitter.serverSideEmit(event, ...args),
    },
    {},
  );
}

main();
