"""Whose word is taken about where a request came from."""

from __future__ import annotations

import pytest

from sio_core.wire.message import Request
from sio_core.wire.proxies import TrustedProxies


def make_request(address: str = "10.0.0.1", **headers: str) -> Request:
    fields = {"host": "inner", **{f"x-forwarded-{name}": value for name, value in headers.items()}}
    return Request(method="GET", target="/", headers=fields, address=address)


def seen(request: Request, *proxies: str) -> tuple[str, bool, str]:
    TrustedProxies(proxies).see_through(request)
    return request.address, request.secure, request.headers["host"]


FORGED = {"for": "1.2.3.4", "proto": "https", "host": "evil"}


def test_nobody_is_trusted_by_default() -> None:
    assert not TrustedProxies([])
    assert seen(make_request(**FORGED)) == ("10.0.0.1", False, "inner")


def test_a_stranger_is_not_believed() -> None:
    assert seen(make_request("8.8.8.8", **FORGED), "10.0.0.0/8") == ("8.8.8.8", False, "inner")


def test_a_trusted_proxy_is_believed() -> None:
    request = make_request(**{"for": "203.0.113.9", "proto": "https", "host": "chat.example"})
    assert seen(request, "10.0.0.1") == ("203.0.113.9", True, "chat.example")


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),  # what the client claimed stands left of what the proxy saw
        ("6.6.6.6, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("10.0.0.8, 10.0.0.7", "10.0.0.8"),
        ("203.0.113.9:51234", "203.0.113.9"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("203.0.113.9, not an address", "10.0.0.1"),
    ],
)
def test_the_right_most_untrusted_hop_is_the_client(forwarded: str, expected: str) -> None:
    assert seen(make_request(**{"for": forwarded}), "10.0.0.0/8")[0] == expected


@pytest.mark.parametrize(
    ("scheme", "secure"), [("https", True), ("WSS", True), ("http", False), ("gopher", False)]
)
def test_the_scheme(scheme: str, secure: bool) -> None:
    assert seen(make_request(proto=scheme), "10.0.0.1")[1] is secure


def test_proxies_are_addresses_or_networks() -> None:
    with pytest.raises(ValueError, match="nginx"):
        TrustedProxies(["nginx"])
