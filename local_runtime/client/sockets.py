"""Where the daemon's socket, lock and token are, and that nobody else can reach them."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import sys
from pathlib import Path

from local_runtime.errors import DaemonUnreachable
from local_runtime.places import folder, places

SHORT_ROOT = Path("/tmp")
"""For socket paths that the platform could not bind: short, and the same for every process of the user."""


def longest_socket_path() -> int:
    """Bytes of `sockaddr_un.sun_path` without its final zero: 108 on Linux, 104 on macOS and the BSDs."""
    return 107 if sys.platform.startswith("linux") else 103


def socket_path() -> Path:
    """The daemon's Unix socket; a short path under /tmp, named after the real one, if the real one is too long."""
    runtime = places().runtime
    path = runtime / "daemon.sock"
    if len(os.fsencode(path)) <= longest_socket_path():
        return path
    digest = hashlib.sha256(os.fsencode(runtime)).hexdigest()[:16]
    return SHORT_ROOT / f"understudy-{os.getuid()}-{digest}" / "daemon.sock"


def lock_path() -> Path:
    """Locked by the daemon for its whole life, and naming its process."""
    return places().runtime / "daemon.lock"


def token_path() -> Path:
    """The loopback port's token. Kept, so that an editor's settings go on to fit."""
    return places().config / "port.token"


def log_path() -> Path:
    """What the daemon did. Numbers and outcomes, no texts."""
    return places().data / "logs" / "daemon.log"


def crash_path() -> Path:
    """The daemon's stderr: tracebacks of a start that failed."""
    return places().data / "logs" / "daemon.err"


def private_folder(path: Path) -> Path:
    """A folder of this user alone, made if need be.

    Raises DaemonUnreachable if it belongs to somebody else, or if somebody else could put another one in its place.
    """
    folder(path)
    for parent in path.resolve().parents:
        found = parent.stat()
        shared = found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in (0, os.getuid()) or shared:
            raise DaemonUnreachable(
                f"{parent} can be changed by other users; the daemon would not be safe in it", f"ls -ld {parent}"
            )
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise DaemonUnreachable(
            f"{path} is not a folder of this user; the daemon's socket would not be safe in it", f"ls -ld {path}"
        )
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


def bind_unix(path: Path) -> socket.socket:
    """Bind the daemon's socket with mode 0600, over a stale one. Only the holder of the lock may call this."""
    private_folder(path.parent)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(before)
    path.chmod(0o600)
    listening.listen(128)
    listening.setblocking(False)
    return listening


def bind_loopback(port: int) -> socket.socket:
    """Bind a TCP port on 127.0.0.1; 0 lets the system choose. Raises OSError if it is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
    except BaseException:
        listening.close()
        raise
    listening.listen(128)
    listening.setblocking(False)
    return listening
