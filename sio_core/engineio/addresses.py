"""Who counts as one peer."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

__all__ = ["AddressCounts", "network_of"]

PREFIX: Final = 64
"""Bits of an IPv6 address that name a network. RFC 4291 section 2.5.4; the others are the host's to choose."""


def network_of(address: str) -> str:
    """Return what stands for a peer where peers are counted: its address, of IPv6 its network.

    One host has 2^64 addresses of IPv6, and may come from each. What is no address stands for itself.
    """
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return (int(parsed) >> (128 - PREFIX)).to_bytes(PREFIX // 8, "big").hex()


class AddressCounts:
    """How many things each peer has; those that have none are forgotten."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        """How many peers have any."""
        return len(self._counts)

    def count(self, address: str) -> int:
        """How many this peer has."""
        return self._counts.get(network_of(address), 0)

    def add(self, address: str) -> None:
        """This peer has one more."""
        network = network_of(address)
        self._counts[network] = self._counts.get(network, 0) + 1

    def remove(self, address: str) -> None:
        """This peer has one less."""
        network = network_of(address)
        left = self._counts.get(network, 0) - 1
        if left > 0:
            self._counts[network] = left
        else:
            self._counts.pop(network, None)
