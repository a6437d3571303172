"""Who counts as one peer."""

from __future__ import annotations

import pytest

from sio_core.engineio.addresses import AddressCounts, network_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8::1", "2001:DB8:0::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "192.0.2.1", False),
        ("no: address", "no: address", True),
        ("no: address", "no: other", False),
    ],
)
def test_one_network_is_one_peer(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


def test_who_has_nothing_is_forgotten() -> None:
    counts = AddressCounts()
    counts.add("2001:db8::1")
    counts.add("2001:db8::2")
    counts.add("192.0.2.1")
    assert (counts.count("2001:db8::3"), counts.count("192.0.2.1"), len(counts)) == (2, 1, 2)
    counts.remove("2001:db8::1")
    counts.remove("192.0.2.1")
    assert (counts.count("2001:db8::3"), counts.count("192.0.2.1"), len(counts)) == (1, 0, 1)
    counts.remove("2001:db8::2")
    counts.remove("2001:db8::2")  # one too many
    assert len(counts) == 0
