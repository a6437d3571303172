"""sio_core.engineio.options: each error names its option."""

from __future__ import annotations

from typing import Any

import pytest

from sio_core.engineio.options import Cookie, EngineOptions
from sio_core.limits import Limits


@pytest.mark.feature(28, 29, 30)
@pytest.mark.parametrize(
    ("cookie", "header"),
    [
        (Cookie(), "io=sid; Path=/; HttpOnly; SameSite=Lax"),
        (Cookie(name="sticky", path=None, http_only=False, same_site=None), "sticky=sid"),
        (Cookie(path=""), "io=sid; HttpOnly; SameSite=Lax"),
        (
            Cookie(
                max_age=86_400,
                domain="example.org",
                path="/chat",
                expires="Wed, 21 Oct 2026 07:28:00 GMT",
                secure=True,
                partitioned=True,
                priority="high",
                same_site="none",
            ),
            "io=sid; Max-Age=86400; Domain=example.org; Path=/chat; Expires=Wed, 21 Oct 2026 07:28:00 GMT; "
            "HttpOnly; Secure; Partitioned; Priority=High; SameSite=None",
        ),
        (Cookie(max_age=0, same_site="strict"), "io=sid; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"),
    ],
)
def test_the_cookie(cookie: Cookie, header: str) -> None:
    assert cookie.header("sid") == header


def test_the_value_is_encoded() -> None:
    cookie = Cookie(path=None, http_only=False, same_site=None)
    assert cookie.header("a-Z_0.!'()*~") == "io=a-Z_0.!'()*~"
    assert cookie.header("a;b=c d/€") == "io=a%3Bb%3Dc%20d%2F%E2%82%AC"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "a;b"),
        ("path", "/;x"),
        ("path", "/\r\nx"),
        ("path", 5),
        ("domain", "a;b"),
        ("domain", "é"),
        ("expires", "soon;"),
        ("same_site", "Lax"),
        ("same_site", "any"),
        ("priority", "urgent"),
        ("max_age", 1.5),
        ("max_age", True),
    ],
)
def test_a_bad_cookie_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"cookie\.{name} "):
        Cookie(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", "engine.io"),
        ("path", ""),
        ("path", "/a?b"),
        ("path", "/a b"),
        ("path", None),
        ("transports", ()),
        ("transports", ("polling", "webtransport")),
        ("transports", "polling"),
        ("ping_interval", 0),
        ("ping_interval", -1.0),
        ("ping_interval", float("nan")),
        ("ping_interval", float("inf")),
        ("ping_interval", True),
        ("ping_interval", "25"),
        ("ping_timeout", 0),
        ("upgrade_timeout", 0),
        ("destroy_upgrade_timeout", 0),
        ("max_http_buffer_size", 0),
        ("max_http_buffer_size", 1e6),
        ("max_http_buffer_size", True),
        ("http_compression", -1),
        ("http_compression", True),
        ("http_compression", "1024"),
        ("allow_upgrades", 1),
        ("check_origin", None),
        ("allow_eio3", "yes"),
        ("add_trailing_slash", 0),
        ("destroy_upgrade", None),
        ("allow_request", True),
        ("generate_id", "id"),
        ("cors", "*"),
        ("cookie", True),
        ("per_message_deflate", True),
        ("initial_packet", 5),
        ("limits", {}),
        ("trusted_proxies", "10.0.0.1"),
    ],
)
def test_a_bad_option_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must"):
        EngineOptions(**{name: value})


def test_an_unknown_option_is_refused() -> None:
    options: dict[str, Any] = {"ping_intervall": 25}
    with pytest.raises(TypeError, match="ping_intervall"):
        EngineOptions(**options)


def test_the_defaults_are_those_of_the_official_server() -> None:
    options = EngineOptions()
    assert (options.ping_interval, options.ping_timeout, options.upgrade_timeout) == (25, 20, 10)
    assert options.max_http_buffer_size == 1_000_000
    assert options.transports == ("polling", "websocket")
    assert options.path == "/engine.io/"
    assert options.allow_upgrades
    assert not options.allow_eio3
    assert options.limits == Limits()


@pytest.mark.parametrize(
    ("path", "slash", "prefix"),
    [
        ("/engine.io/", True, "/engine.io/"),
        ("/engine.io", True, "/engine.io/"),
        ("/engine.io/", False, "/engine.io"),
        ("/engine.io", False, "/engine.io"),
        ("/", True, "/"),
    ],
)
def test_what_a_target_must_start_with(path: str, slash: bool, prefix: str) -> None:
    assert EngineOptions(path=path, add_trailing_slash=slash).prefix == prefix


def test_transports_are_kept_in_any_sequence() -> None:
    assert EngineOptions(transports=["websocket"]).transports == ("websocket",)
