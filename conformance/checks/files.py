"""The client files that a server offers beside the protocol."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Awaitable, Callable

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Check, check, register
from conformance.peer.http import Response

JAVASCRIPT = "application/javascript; charset=utf-8"
SOURCE_MAP = "application/json; charset=utf-8"

NAMES = ("socket.io.js", "socket.io.min.js", "socket.io.msgpack.min.js", "socket.io.esm.min.js")
MINIFIED = "/socket.io/socket.io.min.js"


async def get(bench: Bench, path: str, *headers: tuple[str, str]) -> Response:
    return await bench.request("GET", path, headers)


def served(name: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        response = await get(bench, f"/socket.io/{name}")
        wanted = SOURCE_MAP if name.endswith(".map") else JAVASCRIPT
        expect_equal((response.status, response.header("content-type")), (200, wanted))
        if name.endswith(".map"):
            expect_equal(response.json["version"], 3, "version of the source map")
        else:
            expect("Socket.IO v4" in response.text[:200], "the client's banner", response.text[:200])

    return run


for bundle in NAMES:
    for file_name in (bundle, f"{bundle}.map"):
        register(Check(f"files.served.{file_name}", f"`{file_name}` is served.", OFFICIAL, served(file_name)))


@check("files.query", "A query after the name is ignored.", OFFICIAL)
async def query(bench: Bench) -> None:
    expect_equal((await get(bench, f"{MINIFIED}?buster=1")).status, 200, "status")


@check("files.cache", "The files may be cached, and are asked for anew each time.", OFFICIAL)
async def cache(bench: Bench) -> None:
    response = await get(bench, MINIFIED)
    expect_equal(response.header("cache-control"), "public, max-age=0")
    etag = response.header("etag") or ""
    expect(re.fullmatch(r'"\d+\.\d+\.\d+"', etag) is not None, "the version in quotes", etag)


@check("files.source-map-header", "No header points to the source map.", OFFICIAL)
async def source_map_header(bench: Bench) -> None:
    expect_equal((await get(bench, MINIFIED)).header("x-sourcemap"), None)


@check(
    "files.not-modified", "A matching ETag, strong or weak, is answered with 304 and nothing else.", OFFICIAL
)
async def not_modified(bench: Bench) -> None:
    etag = (await get(bench, MINIFIED)).header("etag") or ""
    for given in (etag, f"W/{etag}"):
        response = await get(bench, MINIFIED, ("If-None-Match", given))
        expect_equal((response.status, response.body), (304, b""))


@check("files.modified", "Another ETag is answered with the file.", OFFICIAL)
async def modified(bench: Bench) -> None:
    response = await get(bench, MINIFIED, ("If-None-Match", '"0.0.0"'))
    expect_equal(response.status, 200, "status")
    expect(len(response.body) > 10_000, "the file", len(response.body))


@check("files.gzip", "A client that takes gzip gets it.", OFFICIAL)
async def gzipped(bench: Bench) -> None:
    response = await get(bench, MINIFIED, ("Accept-Encoding", "gzip"))
    expect_equal(response.header("content-encoding"), "gzip")
    expect(b"Socket.IO v4" in gzip.decompress(response.body)[:200], "the client", response.body[:20])


@check("files.deflate", "A client that takes deflate alone gets it.", OFFICIAL)
async def deflated(bench: Bench) -> None:
    response = await get(bench, MINIFIED, ("Accept-Encoding", "deflate"))
    expect_equal(response.header("content-encoding"), "deflate")
    expect(b"Socket.IO v4" in zlib.decompress(response.body)[:200], "the client", response.body[:20])


@check("files.brotli", "A client that takes brotli alone gets it, or the file as it is.", OFFICIAL)
async def brotli(bench: Bench) -> None:
    response = await get(bench, MINIFIED, ("Accept-Encoding", "br"))
    coding = response.header("content-encoding")
    expect(
        (response.status, coding) in ((200, "br"), (200, None)), "200, with brotli or plain", response.headers
    )
    plain = b"Socket.IO v4" in response.body[:200]
    expect_equal(plain, coding is None, "readable without decoding")


@check("files.identity", "A client that names no coding gets none.", OFFICIAL)
async def identity(bench: Bench) -> None:
    expect_equal((await get(bench, MINIFIED)).header("content-encoding"), None)


@check("files.head", "HEAD has the headers alone.", OFFICIAL)
async def head(bench: Bench) -> None:
    response = await bench.request("HEAD", MINIFIED)
    expect_equal((response.status, response.header("content-type")), (200, JAVASCRIPT))


UNKNOWN = (
    "socket.io.css",
    "other.js",
    "socket.io.js.bak",
    "../package.json",
    "..%2fpackage.json",
    "socket.io.js/x",
)


@check("files.unknown", "Another name is the engine's: a request without transport.", OFFICIAL)
async def unknown(bench: Bench) -> None:
    for name in UNKNOWN:
        response = await get(bench, f"/socket.io/{name}")
        seen = (response.status, response.body)
        expect_equal(seen, (400, b'{"code":0,"message":"Transport unknown"}'), name)


@check("files.off", "With `serveClient: false` no file is served.", OFFICIAL, profile="options")
async def off(bench: Bench) -> None:
    response = await get(bench, "/realtime/socket.io.js")
    expect_equal((response.status, response.json["code"]), (400, 0))
