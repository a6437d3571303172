"""Our cross-origin rules beside those of a framework: one set of headers, whoever decides."""

from __future__ import annotations

import pytest
from httpx import ASGITransport, AsyncClient, Response

from sio_core import Cors, Server

pytestmark = pytest.mark.anyio

PAGE = "https://page.example"
STRANGER = "https://stranger.example"
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


def client(*, ours: bool, theirs: bool) -> AsyncClient:
    """Talk to a FastAPI application in which Socket.IO is mounted."""
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware

    io: Server = Server(cors=Cors(origins=[PAGE], credentials=True) if ours else None)
    app = FastAPI()
    if theirs:
        app.add_middleware(CORSMiddleware, allow_origins=[PAGE], allow_credentials=True, allow_methods=["*"])
    app.mount("/socket.io", io)
    return AsyncClient(transport=ASGITransport(app), base_url="http://api.example")


def cors_headers(response: Response) -> dict[str, list[str]]:
    """The headers that a browser looks at; none may be there twice."""
    return {
        name: response.headers.get_list(name)
        for name in response.headers
        if name.startswith("access-control-") or name == "vary"
    }


@pytest.mark.parametrize("theirs", [True, False])
async def test_the_page_is_let_in(theirs: bool) -> None:
    async with client(ours=True, theirs=theirs) as http:
        preflight = await http.options(
            HANDSHAKE, headers={"origin": PAGE, "access-control-request-method": "POST"}
        )
        assert preflight.status_code in {200, 204}
        headers = cors_headers(preflight)
        assert headers["access-control-allow-origin"] == [PAGE]
        assert headers["access-control-allow-credentials"] == ["true"]
        assert "POST" in headers["access-control-allow-methods"][0]
        opened = await http.get(HANDSHAKE, headers={"origin": PAGE})
        refused = await http.get("/socket.io/?EIO=4&transport=none", headers={"origin": PAGE})
        assert (opened.status_code, refused.status_code) == (200, 400)
        for response in (opened, refused):
            headers = cors_headers(response)
            assert headers["access-control-allow-origin"] == [PAGE]
            assert headers["access-control-allow-credentials"] == ["true"]
            assert len(headers["vary"]) == 1


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
async def test_a_stranger_is_not(ours: bool, theirs: bool) -> None:
    async with client(ours=ours, theirs=theirs) as http:
        refused = await http.get(HANDSHAKE, headers={"origin": STRANGER})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


async def test_rules_of_the_framework_alone_let_nobody_in() -> None:
    """They cover no WebSocket, so what they allow is not what we allow; the answer says who has refused."""
    async with client(ours=False, theirs=True) as http:
        refused = await http.get(HANDSHAKE, headers={"origin": PAGE})
        assert refused.status_code == 403
        assert refused.json() == {"code": 4, "message": "Forbidden"}
        assert refused.headers["access-control-allow-origin"] == PAGE


async def test_the_same_origin_needs_no_rules() -> None:
    async with client(ours=False, theirs=False) as http:
        assert (await http.get(HANDSHAKE, headers={"origin": "http://api.example"})).status_code == 200
