"""The browser client, served under the engine's path as the official server does.

The files come from the npm package ``socket.io-client``, taken in when the package is built or the project set up.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Final

from sio_core.serving.site import Resource
from sio_core.wire.cors import Cors, cors_headers, preflight
from sio_core.wire.http import choose_coding
from sio_core.wire.message import Request, Response

__all__ = ["ClientFiles"]

DIRECTORY: Final = Path(__file__).with_name("client_dist")
BUNDLES: Final = ("socket.io.js", "socket.io.min.js", "socket.io.msgpack.min.js", "socket.io.esm.min.js")
NAMES: Final = frozenset([*BUNDLES, *[name + ".map" for name in BUNDLES]])


class ClientFiles(Resource):
    """The bundles and their source maps. Other names are left to the engine.

    :param prefix: the engine's path.
    """

    __slots__ = ("_cache", "_cors", "_directory", "_prefix", "_version")

    def __init__(self, prefix: str, cors: Cors | None, directory: Path = DIRECTORY) -> None:
        self._prefix = prefix if prefix.endswith("/") else prefix + "/"
        self._cors = cors
        self._directory = directory
        self._cache: dict[tuple[str, str], bytes] = {}
        try:
            package = json.loads((directory / "package.json").read_bytes())
            self._version: str | None = str(package["version"])
        except FileNotFoundError:
            self._version = None

    def respond(self, request: Request) -> Response | None:
        if not request.path.startswith(self._prefix):
            return None
        name = request.path[len(self._prefix) :]
        if name not in NAMES or self._version is None:
            return None
        headers: list[tuple[str, str]] = []
        if self._cors is not None:
            answer = preflight(self._cors, request)
            if answer is not None:
                return answer
            headers.extend(cors_headers(self._cors, request))
        etag = f'"{self._version}"'
        if request.headers.get("if-none-match") in {etag, "W/" + etag}:
            return Response(304, headers, b"")
        kind = "application/json" if name.endswith(".map") else "application/javascript"
        headers.extend(
            [
                ("Cache-Control", "public, max-age=0"),
                ("Content-Type", f"{kind}; charset=utf-8"),
                ("ETag", etag),
            ]
        )
        coding = choose_coding(request.headers.get("accept-encoding", ""))
        if coding:
            headers.append(("Content-Encoding", coding))
        return Response(200, headers, self._content(name, coding))

    def _content(self, name: str, coding: str) -> bytes:
        content = self._cache.get((name, coding))
        if content is None:
            content = (self._directory / name).read_bytes()
            if coding == "gzip":
                content = gzip.compress(content)
            elif coding == "deflate":
                content = zlib.compress(content)
            self._cache[name, coding] = content
        return content
