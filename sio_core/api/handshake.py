"""How a client came."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from sio_core.wire.message import Request

__all__ = ["Handshake"]


class Handshake:
    """How the client came: its first HTTP request, and what it sent with CONNECT.

    :ivar auth: the payload of the CONNECT packet, ``{}`` if there was none.
    :ivar issued: milliseconds since 1970, as JavaScript counts.
    """

    __slots__ = ("_request", "auth", "issued")

    def __init__(self, request: Request | None, auth: dict[str, Any], issued: int) -> None:
        self._request = request
        self.auth = auth
        self.issued = issued

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request, their names in lower case."""
        return self._request.headers if self._request is not None else {}

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the request."""
        return self._request.params if self._request is not None else {}

    @property
    def url(self) -> str | None:
        """The target of the request, as it was received."""
        return self._request.target if self._request is not None else None

    @property
    def address(self) -> str:
        """The peer's IP address."""
        return self._request.address if self._request is not None else ""

    @property
    def secure(self) -> bool:
        """Whether it came by TLS."""
        return self._request is None or self._request.secure

    @property
    def xdomain(self) -> bool:
        """Whether the request names an origin."""
        return "origin" in self.headers

    @property
    def time(self) -> str:
        """``issued`` as an HTTP date."""
        return formatdate(self.issued / 1000, usegmt=True)
