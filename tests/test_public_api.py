"""The public names: a list that applications rely on, held here word for word."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import sio_core

PUBLIC = {
    *(
        "Server",
        "EngineServer",
        "Namespace",
        "Socket",
        "BroadcastOperator",
        "RemoteSocket",
        "Session",
        "Handshake",
    ),
    *("Ack", "event", "Cookie", "Cors", "Deflate", "Limits", "Recovery", "Request", "Response"),
    *("Parser", "Decoder", "Packet", "JsonParser", "MsgpackParser", "Adapter", "BroadcastOptions"),
    *(
        "SioError",
        "ProtocolError",
        "RemoteProtocolError",
        "LocalProtocolError",
        "InvalidPacket",
        "InvalidPayload",
    ),
    *("UnexpectedPacket", "PayloadTooLarge", "ConnectError", "SocketClosed", "AckTimeout", "AdapterError"),
    "ClusterTimeout",
}

EMITTING = {"emit", "emit_with_ack", "call", "send"}
CHAIN = {"to", "in_", "except_", "timeout", "volatile", "local", "compress"}
UTILITIES = {"fetch_sockets", "sockets_join", "sockets_leave", "disconnect_sockets"}
LISTENING = {"on", "once", "off", "event", "use", "on_server_event"}
CATCH_ALL = {
    *("on_any", "prepend_any", "off_any", "listeners_any"),
    *("on_any_outgoing", "prepend_any_outgoing", "off_any_outgoing", "listeners_any_outgoing"),
}

MEMBERS = {
    "Server": {
        *(EMITTING | CHAIN | UTILITIES | LISTENING | CATCH_ALL),
        *(
            "server_side_emit",
            "server_side_emit_with_ack",
            "of",
            "register",
            "on_error",
            "run",
            "listen",
            "close",
        ),
        *("wrap", "lifespan", "uvicorn_protocol", "stats"),
    },
    "Namespace": {*(EMITTING | CHAIN | UTILITIES | LISTENING | CATCH_ALL), "server_side_emit"},
    "Socket": {
        *(EMITTING | CHAIN | CATCH_ALL),
        *("broadcast", "on", "once", "off", "use", "join", "leave", "disconnect", "spawn", "rooms", "conn"),
    },
    "BroadcastOperator": EMITTING | CHAIN | UTILITIES,
    "RemoteSocket": {*EMITTING, "timeout", "join", "leave", "disconnect"},
    "EngineServer": {"run", "listen", "close", "wrap"},
}


def test_the_public_names_are_these() -> None:
    assert set(sio_core.__all__) == PUBLIC
    assert sorted(sio_core.__all__) == list(sio_core.__all__)
    for name in PUBLIC:
        assert hasattr(sio_core, name)


@pytest.mark.parametrize("owner", MEMBERS)
def test_their_members_are_these(owner: str) -> None:
    missing = {member for member in MEMBERS[owner] if not hasattr(getattr(sio_core, owner), member)}
    assert not missing


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_has_a_docstring(name: str) -> None:
    value = getattr(sio_core, name)
    assert value.__doc__
    if not inspect.isclass(value):
        return
    for member, attribute in vars(value).items():
        if member.startswith("_") or not (inspect.isfunction(attribute) or isinstance(attribute, property)):
            continue
        inherited = any(getattr(getattr(base, member, None), "__doc__", None) for base in value.__mro__)
        assert attribute.__doc__ or inherited, f"{name}.{member} has no docstring"


@pytest.mark.parametrize("folder", ["chat_app", "benchmarks", "conformance"])
def test_programs_use_exported_names_only(folder: str) -> None:
    for path in (Path(__file__).parent.parent / folder).rglob("*.py"):
        if path.parts[-2] == "micro":
            continue  # it measures the inner layers
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sio_core":
                public = node.module == "sio_core" and {a.name for a in node.names} <= PUBLIC
                documented = node.module.startswith(
                    ("sio_core.adapters.", "sio_core.emitters.", "sio_core.testing")
                )
                assert public or documented, f"{path}: from {node.module} import ..."
