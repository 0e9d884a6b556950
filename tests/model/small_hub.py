"""A small Hugging Face hub on loopback: one repository, with ranges, that can break off or hold a file in the middle."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPO = "someone/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class SmallHub(ThreadingHTTPServer):
    """Serves the files of `folder`. `asked` lists each file request with its Range."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[tuple[str, str | None]] = []
        self.break_at: dict[str, int] = {}
        """Close the connection once, after so many bytes of a file."""
        self.hold_at: dict[str, int] = {}
        """Send so many bytes of a file and then no more, until `released`."""
        self.holding, self.released = threading.Event(), threading.Event()
        self.lie: dict[str, bytes] = {}
        """Send this in place of a file."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def model_info(self) -> dict[str, Any]:
        siblings = []
        for file in sorted(self.folder.iterdir()):
            content = file.read_bytes()
            sibling: dict[str, Any] = {"rfilename": file.name, "size": len(content), "blobId": "b"}
            if file.suffix == ".safetensors":
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": REPO, "sha": COMMIT, "siblings": siblings, "cardData": {"license": "apache-2.0"}}


class Handler(BaseHTTPRequestHandler):
    server: SmallHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        name = path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
        if path == f"/api/models/{REPO}":
            self.answer(200, json.dumps(self.server.model_info()).encode(), "application/json")
        elif name != path and (self.server.folder / name).is_file():
            self.send_file(name)
        else:
            self.answer(404, b"{}", "application/json", {"X-Error-Code": "RepoNotFound"})

    def send_file(self, name: str) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((name, wanted))
        content = self.server.lie.get(name, (self.server.folder / name).read_bytes())
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", '"etag"')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if stop := self.server.break_at.pop(name, None):
            self.wfile.write(content[start:stop])
            self.close_connection = True
            return
        if stop := self.server.hold_at.pop(name, None):
            self.wfile.write(content[start:stop])
            self.server.holding.set()
            self.server.released.wait(60)
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def answer(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@contextmanager
def small_hub(folder: Path) -> Iterator[SmallHub]:
    """A running hub that serves `folder`."""
    with SmallHub(folder) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.released.set()
            hub.shutdown()
            thread.join()
