"""Data packages for tests: wheels made from nothing, and a package index on loopback that can hold or break off a download."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from local_runtime.model.data_packages import Wheel

VERSION = "1.0"


def write_wheel(folder: Path, name: str, member: str, content: bytes, others: dict[str, bytes] | None = None) -> Wheel:
    """A wheel with one data member, and `others`, written into `folder`."""
    stem = f"{name.replace('-', '_')}-{VERSION}"
    path = folder / f"{stem}-py3-none-any.whl"
    about = f"{stem}.dist-info"
    files = {
        member: content,
        **(others or {}),
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, data in files.items():
            archive.writestr(inside, data)
    return described(path, name, member, len(content))


def described(path: Path, name: str, member: str, member_bytes: int) -> Wheel:
    """What a catalogue says of a wheel as it is now."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(name, VERSION, digest, path.stat().st_size, member, member_bytes)


def write_wheels(folder: Path, parts: Sequence[bytes]) -> tuple[Wheel, ...]:
    """`parts` in wheels `understudy-test-part1`, …"""
    folder.mkdir(exist_ok=True)
    return tuple(
        write_wheel(folder, f"understudy-test-part{n}", f"understudy_test_part{n}/data/part.bin", part)
        for n, part in enumerate(parts, 1)
    )


class SmallIndex(ThreadingHTTPServer):
    """A package index of the wheels in a folder. `asked` lists the files that were asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.hold = ""
        """Of the wheel whose name has this in it, send half, and the rest when `released`."""
        self.break_off = ""
        """Of this one, send half and close."""
        self.holding, self.released = threading.Event(), threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


class Handler(BaseHTTPRequestHandler):
    server: SmallIndex

    def do_GET(self) -> None:
        file = self.server.folder / self.path.rpartition("/")[2]
        if self.path.startswith("/files/") and file.is_file():
            self.send_file(file)
            return
        wanted = self.path.removeprefix("/simple/").strip("/").replace("-", "_")
        links = [f'<a href="/files/{one.name}">{one.name}</a>' for one in self.server.folder.glob(f"{wanted}-*.whl")]
        self.send(200 if links else 404, f"<html><body>{''.join(links)}</body></html>".encode(), "text/html")

    def send_file(self, file: Path) -> None:
        self.server.asked.append(file.name)
        content = file.read_bytes()
        hold, break_off = (bool(name) and name in file.name for name in (self.server.hold, self.server.break_off))
        if not (hold or break_off):
            self.send(200, content, "application/octet-stream")
            return
        self.send(200, content[: len(content) // 2], "application/octet-stream", len(content))
        self.wfile.flush()
        if hold:
            self.server.holding.set()
            self.server.released.wait(60)
            with suppress(OSError):  # whoever asked may be gone
                self.wfile.write(content[len(content) // 2 :])

    def send(self, status: int, content: bytes, kind: str, size_bytes: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size_bytes or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@contextmanager
def small_index(folder: Path) -> Iterator[SmallIndex]:
    """A running index."""
    with SmallIndex(folder) as index:
        thread = threading.Thread(target=index.serve_forever)
        thread.start()
        try:
            yield index
        finally:
            index.released.set()
            index.shutdown()
            thread.join()
