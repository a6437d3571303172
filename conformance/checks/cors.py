"""CORS headers: preflights, actual requests, and origins that are not allowed."""

from __future__ import annotations

from conformance.bench import Bench
from conformance.expect import expect_equal
from conformance.model import OFFICIAL, check
from conformance.peer.http import Response

ALLOWED = ("Origin", "http://allowed.example")
OTHER = ("Origin", "http://other.example")
PREFIX = "access-control-"


def cors_headers(response: Response) -> dict[str, str]:
    """The CORS headers of a response, their common prefix left out."""
    return {
        name.lower().removeprefix(PREFIX): value
        for name, value in response.headers
        if name.lower().startswith(PREFIX)
    }


PREFLIGHT = {
    "allow-origin": "http://allowed.example",
    "allow-credentials": "true",
    "allow-methods": "GET,POST",
    "allow-headers": "x-token",
    "max-age": "600",
    "expose-headers": "x-shown",
}
ACTUAL = {
    "allow-origin": "http://allowed.example",
    "allow-credentials": "true",
    "expose-headers": "x-shown",
}


def without_origin(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "allow-origin"}


async def preflight(bench: Bench, origin: tuple[str, str]) -> Response:
    asked = [origin, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-asked")]
    return await bench.request("OPTIONS", bench.target(), asked)


@check("cors.off.headers", "Without `cors` no CORS header is sent.", OFFICIAL)
async def off_headers(bench: Bench) -> None:
    expect_equal(cors_headers(await bench.request("GET", bench.target(), [ALLOWED])), {})


@check("cors.preflight.headers", "A preflight is answered with what is configured.", OFFICIAL, profile="cors")
async def preflight_headers(bench: Bench) -> None:
    expect_equal(cors_headers(await preflight(bench, ALLOWED)), PREFLIGHT)


@check("cors.preflight.status", "It is answered with 204 and an empty body.", OFFICIAL, profile="cors")
async def preflight_status(bench: Bench) -> None:
    response = await preflight(bench, ALLOWED)
    expect_equal((response.status, response.header("content-length") or "0"), (204, "0"))


@check("cors.preflight.vary", "It varies with the origin.", OFFICIAL, profile="cors")
async def preflight_vary(bench: Bench) -> None:
    values = ",".join((await preflight(bench, ALLOWED)).all("vary")).lower()
    expect_equal("origin" in [value.strip() for value in values.split(",")], True, "Origin in Vary")


@check(
    "cors.preflight.other-origin", "To another origin the allowed one is not named.", OFFICIAL, profile="cors"
)
async def preflight_other(bench: Bench) -> None:
    response = await preflight(bench, OTHER)
    expect_equal((response.status, cors_headers(response)), (204, without_origin(PREFLIGHT)))


@check(
    "cors.preflight.any-options",
    "Every OPTIONS request is a preflight, one of a session too.",
    OFFICIAL,
    profile="cors",
)
async def preflight_any(bench: Bench) -> None:
    session = await bench.polling()
    for target in (session.target, bench.target(transport="none"), bench.target().replace("/?", "/x?")):
        expect_equal((await bench.request("OPTIONS", target)).status, 204, f"status of {target}")
    await session.send("40")


@check(
    "cors.actual.headers",
    "An actual request has the headers that concern it alone.",
    OFFICIAL,
    profile="cors",
)
async def actual_headers(bench: Bench) -> None:
    response = await bench.request("GET", bench.target(), [ALLOWED])
    expect_equal((response.status, cors_headers(response)), (200, ACTUAL))


@check("cors.actual.second-origin", "Each configured origin is echoed.", OFFICIAL, profile="cors")
async def actual_second(bench: Bench) -> None:
    response = await bench.request("GET", bench.target(), [("Origin", "http://localhost:8765")])
    expect_equal(cors_headers(response).get("allow-origin"), "http://localhost:8765")


@check("cors.actual.other-origin", "CORS refuses nothing: the browser does.", OFFICIAL, profile="cors")
async def actual_other(bench: Bench) -> None:
    response = await bench.request("GET", bench.target(), [OTHER])
    expect_equal(cors_headers(response), without_origin(ACTUAL))


@check("cors.actual.similar-origin", "An origin is compared as a whole.", OFFICIAL, profile="cors")
async def actual_similar(bench: Bench) -> None:
    for origin in (
        "http://allowed.example.evil",
        "http://xallowed.example",
        "https://allowed.example",
        "null",
    ):
        response = await bench.request("GET", bench.target(), [("Origin", origin)])
        expect_equal(cors_headers(response), without_origin(ACTUAL), origin)


@check(
    "cors.actual.error",
    "A refused request has them too, or the page could not read why.",
    OFFICIAL,
    profile="cors",
)
async def actual_error(bench: Bench) -> None:
    response = await bench.request("GET", bench.target(transport="none"), [ALLOWED])
    expect_equal((response.status, cors_headers(response)), (400, ACTUAL))


@check("cors.actual.session", "So have polls and POSTs.", OFFICIAL, profile="cors")
async def actual_session(bench: Bench) -> None:
    session = await bench.polling([ALLOWED])
    posted = await session.post("40", [ALLOWED])
    polled = await session.get([ALLOWED])
    expect_equal([cors_headers(posted), cors_headers(polled)], [ACTUAL, ACTUAL])


@check("cors.actual.websocket", "So has the 101 of a WebSocket.", OFFICIAL, profile="cors")
async def actual_websocket(bench: Bench) -> None:
    session = await bench.websocket([ALLOWED])
    expect_equal(cors_headers(session.websocket.response), ACTUAL)


@check("cors.actual.client-files", "So have the client files.", OFFICIAL, profile="cors")
async def actual_files(bench: Bench) -> None:
    response = await bench.request("GET", "/socket.io/socket.io.min.js", [ALLOWED])
    expect_equal((response.status, cors_headers(response)), (200, ACTUAL))


@check("cors.any.actual", "`*` is sent as it is, and nothing varies.", OFFICIAL, profile="cors-any")
async def any_actual(bench: Bench) -> None:
    response = await bench.request("GET", bench.target(), [OTHER])
    expect_equal((cors_headers(response), response.header("vary")), ({"allow-origin": "*"}, None))


@check(
    "cors.any.preflight",
    "By default six methods are allowed, and the headers that were asked for.",
    OFFICIAL,
    profile="cors-any",
)
async def any_preflight(bench: Bench) -> None:
    response = await preflight(bench, OTHER)
    wanted = {
        "allow-origin": "*",
        "allow-methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
        "allow-headers": "x-asked",
    }
    expect_equal(cors_headers(response), wanted)
    expect_equal(response.header("vary"), "Access-Control-Request-Headers", "Vary")


@check("cors.any.websocket", "Any origin may open a WebSocket then.", OFFICIAL, profile="cors-any")
async def any_websocket(bench: Bench) -> None:
    await bench.websocket([OTHER])
