"""The command line: ``python -m chat_app --port 3000``."""

from __future__ import annotations

import argparse
from pathlib import Path

from sio_core import Server, Socket

STATIC = Path(__file__).with_name("static")


def main() -> None:
    """Serve the chat until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m chat_app", description="A chat on sio_core.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    io: Server[dict[str, object]] = Server()

    def chat_message(socket: Socket[dict[str, object]], text: str) -> None:
        io.emit("chat message", text)

    io.on("chat message", chat_message)
    print(f"The chat is at http://{arguments.host}:{arguments.port}", flush=True)
    io.run(arguments.host, arguments.port, static=STATIC)


if __name__ == "__main__":
    main()
