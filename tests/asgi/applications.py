"""The applications that the servers of these tests run: one Socket.IO server, and what it is put into."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sio_core import Cors, Server, Socket

SECRET = "of the tests"


def make_io(**options: Any) -> Server[Any]:
    """A server with the events that ``client.cjs`` uses."""
    io: Server[Any] = Server(**options)

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        socket.emit("welcome", b"\x00\xff")

    @io.on("echo")
    def echo(socket: Socket[Any], *args: Any) -> list[Any]:
        return list(args)

    @io.on("count")
    def count(socket: Socket[Any], numbers: int) -> None:
        for number in range(numbers):
            socket.emit("number", number)

    @io.on("handshake")
    async def handshake(socket: Socket[Any]) -> dict[str, Any]:
        shown = socket.handshake
        return {
            "address": shown.address,
            "secure": shown.secure,
            "url": shown.url,
            "way": shown.query["way"],
            "host": shown.headers["host"],
        }

    @io.on("kick")
    def kick(socket: Socket[Any]) -> None:
        socket.disconnect(True)

    @io.on("disconnect")
    async def left(socket: Socket[Any], reason: str) -> None:
        socket.namespace.emit("left", socket.id, reason)

    return io


def journal(**entry: Any) -> None:
    """Write what happens to an application to the standard error, one JSON text a line."""
    print(json.dumps(entry), file=sys.stderr, flush=True)


def alone(io: Server[Any]) -> Any:
    """As it is."""
    return io


async def own_page(scope: Any, receive: Any, send: Any) -> None:
    """An application without a lifespan."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"a page"})


def wrapped(io: Server[Any]) -> Any:
    return io.wrap(own_page)


def fastapi(io: Server[Any]) -> Any:
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        journal(lifespan="startup")
        async with io.lifespan():
            yield
        journal(lifespan="shutdown")

    app = FastAPI(lifespan=lifespan)

    @app.get("/page")
    async def page() -> str:
        return "a page"

    app.mount("/socket.io", io)
    return app


def fastapi_bare(io: Server[Any]) -> Any:
    """Mounted without a lifespan, above its own path."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/page")
    async def page() -> str:
        return "a page"

    app.mount("/api", io)
    return app


def starlette(io: Server[Any]) -> Any:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("a page")

    return Starlette(
        routes=[Route("/page", page), Mount("/socket.io", io)], middleware=[Middleware(GZipMiddleware)]
    )


def litestar(io: Server[Any]) -> Any:
    from litestar import Litestar, asgi, get

    @get("/page", sync_to_thread=False)
    def page() -> str:
        return "a page"

    return Litestar(
        route_handlers=[page, asgi("/socket.io", is_mount=True, copy_scope=True)(io)],
        lifespan=[io.lifespan],
        openapi_config=None,
    )


def quart(io: Server[Any]) -> Any:
    from quart import Quart

    app = Quart("quart")

    @app.before_serving
    async def startup() -> None:
        journal(lifespan="startup")

    @app.after_serving
    async def shutdown() -> None:
        journal(lifespan="shutdown")

    @app.get("/page")
    async def page() -> str:
        return "a page"

    return io.wrap(app)


def django(io: Server[Any]) -> Any:
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("a page")

    settings.configure(
        ROOT_URLCONF=(path("page", page),),
        ALLOWED_HOSTS=["*"],
        SECRET_KEY=SECRET,
        LOGGING_CONFIG=None,
    )
    return io.wrap(get_asgi_application())


def fastapi_browser(io: Server[Any]) -> Any:
    """With cross-origin rules and a session in a cookie of its own."""
    from fastapi import FastAPI, Response
    from fastapi.middleware.cors import CORSMiddleware
    from starlette.middleware.sessions import SessionMiddleware

    @io.on("who am I")
    def who_am_i(socket: Socket[Any]) -> str:
        return user_of(socket.handshake.headers.get("cookie", ""))

    app = FastAPI(lifespan=io.lifespan)
    app.add_middleware(SessionMiddleware, secret_key=SECRET)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[os.environ["ALLOWED_ORIGIN"]],
        allow_credentials=True,
        allow_methods=["GET", "POST"],
        allow_headers=["x-token"],
    )

    async def login(request: Any) -> Response:
        request.session["user"] = request.query_params["user"]
        return Response()

    app.add_route("/login", login, methods=["POST"])
    app.mount("/socket.io", io)
    return app


def user_of(cookies: str) -> str:
    """The user in the session cookie, which Starlette signs."""
    from itsdangerous import TimestampSigner

    for cookie in cookies.split("; "):
        name, _, value = cookie.partition("=")
        if name == "session":
            signed = TimestampSigner(SECRET).unsign(value, max_age=60)
            user: str = json.loads(base64.b64decode(signed))["user"]
            return user
    return ""


def browser_options() -> dict[str, Any]:
    return {"cors": Cors(origins=[os.environ["ALLOWED_ORIGIN"]], credentials=True)}


def build(name: str) -> tuple[Any, Server[Any]]:
    """An application by its name, and the server in it."""
    io = make_io(**(browser_options() if name == "fastapi_browser" else {}))
    return APPLICATIONS[name](io), io


APPLICATIONS: dict[str, Callable[[Server[Any]], Any]] = {
    build.__name__: build
    for build in (alone, wrapped, fastapi, fastapi_bare, starlette, litestar, quart, django, fastapi_browser)
}
