"""Small files that outlive a crash: a reader, or a power cut, sees the old content or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file, readable by this user alone, for good. Raises OSError; the old content is there then."""
    write_whole(path, content)
    sync(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """As `write_durably`, but a power cut soon after may bring the old content back. Half the time, where a disk is slow to sync."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
