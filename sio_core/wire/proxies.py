"""Who a request is from, when a reverse proxy stands in front.

The ``X-Forwarded-*`` headers count only where the peer is a proxy that the application trusts: anybody can send them.
Of several hops the right-most that is no trusted proxy is the client; what stands left of it is the client's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sio_core.wire.message import Request

__all__ = ["TrustedProxies"]

SECURE = {"http": False, "ws": False, "https": True, "wss": True}


class TrustedProxies:
    """The addresses and networks whose word is taken.

    :raises ValueError: if one is neither an address nor a network.
    """

    __slots__ = ("_networks",)

    def __init__(self, addresses: Sequence[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(address) for address in addresses]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        """Whether this is the address of a trusted proxy."""
        return address is not None and any([address in network for network in self._networks])

    def see_through(self, request: Request) -> None:
        """Put the client's address and scheme, and the host it asked for, in the place of the proxy's."""
        if not self.trusts(parse_address(request.address)):
            return
        headers = request.headers
        for hop in reversed(headers.get("x-forwarded-for", "").split(",")):
            address = parse_address(hop.strip())
            if address is None:
                break
            request.address = str(address)
            if not self.trusts(address):
                break
        scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        request.secure = SECURE.get(scheme, request.secure)
        host = headers.get("x-forwarded-host", "").rpartition(",")[2].strip()
        if host:
            headers["host"] = host


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address, without the port that some proxies add; ``None`` if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ip_address(text)
    except ValueError:
        return None
