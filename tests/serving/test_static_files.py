"""A directory of files beside Socket.IO."""

from __future__ import annotations

from pathlib import Path

import pytest

from sio_core.serving.static_files import StaticFiles
from sio_core.wire.message import Request


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text("page")
    return root


def fetch(root: Path, path: str) -> bytes | None:
    response = StaticFiles(root).respond(Request(method="GET", target=path, headers={"host": "here"}))
    return None if response is None else response.body


def test_a_directory_stands_for_its_index(root: Path) -> None:
    (root / "sub" / "index.html").write_text("sub")
    assert fetch(root, "/") == b"page"
    assert fetch(root, "/sub/") == fetch(root, "/sub") == b"sub"


def test_links_lead_nowhere_else(root: Path) -> None:
    (root / "file").symlink_to(root.parent / "secret")
    (root / "directory").symlink_to(root.parent)
    (root / "sub" / "index.html").symlink_to(root.parent / "secret")
    (root / "circle").symlink_to(root / "circle")
    for path in ("/file", "/directory/secret", "/sub/", "/sub/index.html", "/circle", "/../secret"):
        assert fetch(root, path) is None
    (root / "inside").symlink_to(root / "index.html")
    assert fetch(root, "/inside") == b"page"


def test_names_that_no_file_can_have(root: Path) -> None:
    for path in ("/" + "a" * 5_000, "/" + "a/" * 4_000, "/a%00b", "/a%5Cb"):
        assert fetch(root, path) is None
