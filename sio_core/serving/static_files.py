"""A directory of files beside Socket.IO: enough for a page, not a web framework.

The files are found when a request comes, but never outside the directory, and never through a link that leads out.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from sio_core.serving.site import Resource
from sio_core.wire.message import Request, Response

__all__ = ["StaticFiles"]

SAFE: Final = ("X-Content-Type-Options", "nosniff")


class StaticFiles(Resource):
    """The files of a directory; ``index.html`` stands for the directory it is in.

    :raises ValueError: if it is no directory.
    """

    __slots__ = ("_root",)

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        if not self._root.is_dir():
            raise ValueError(f"static must be a directory, not {str(root)!r}")

    def respond(self, request: Request) -> Response | None:
        path = self._find(request.path)
        if path is None:
            return None
        if request.method not in {"GET", "HEAD"}:
            return Response(405, [("Allow", "GET, HEAD")], b"")
        try:
            status = path.stat()
            content = path.read_bytes()
        except OSError:
            return None
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        headers = [("Cache-Control", "no-cache"), ("ETag", etag), SAFE]
        known = [
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        ]
        if etag in known:
            return Response(304, headers, b"")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if kind.startswith("text/") or kind in {"application/javascript", "application/json"}:
            kind += "; charset=utf-8"
        return Response(200, [("Content-Type", kind), *headers], content)

    def _find(self, path: str) -> Path | None:
        name = unquote(path)
        if not name.startswith("/") or "\0" in name or "\\" in name:
            return None
        try:
            found = (self._root / name.lstrip("/")).resolve()
            if found.is_dir():
                found = (found / "index.html").resolve()
            return found if found.is_relative_to(self._root) and found.is_file() else None
        except (OSError, RuntimeError):  # too long a name, or links in a circle
            return None
