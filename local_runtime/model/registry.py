"""The models of this user: one folder each under `places().models`. Nothing half-written is ever seen there.

A new folder is written beside its place, under a name that begins with a dot, and renamed when it is complete. Only one process
writes at a time (a lock); what a killed one left behind is removed by the next.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from local_runtime.errors import BadRequest, BuildFailed, ModelMissing
from local_runtime.places import folder, places

FILE_NAME = "mlc-chat-config.json"
"""A folder with it is a model's."""
UNFINISHED = ".unfinished-"


def names() -> list[str]:
    """Names of all models, sorted."""
    root = places().models
    found = root.iterdir() if root.is_dir() else iter(())
    return sorted(path.name for path in found if not path.name.startswith(".") and (path / FILE_NAME).exists())


def find(name: str) -> Path:
    """The folder of a model: by its name, or a path with a slash. Raises ModelMissing."""
    path = Path(name).expanduser() if "/" in name else places().models / checked_name(name)
    if not (path / FILE_NAME).exists():
        known = ", ".join(names()) or "none"
        raise ModelMissing(f"no model {name}: {path} is not there; known are {known}", "understudy model import PATH")
    return path


def checked_name(name: str) -> str:
    """`name`, if it can be a model's. Raises BadRequest."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise BadRequest(
            f"{name[:100]!r} is no name for a model: expected letters, digits, dots, dashes and underscores"
        )
    return name


def check_new(name: str) -> None:
    """Raises BadRequest if `name` is taken or no name."""
    if (places().models / checked_name(name)).exists():
        raise BadRequest(f"there is a model {name} already", f"understudy model remove {name}, or choose --name")


def remove(name: str) -> int:
    """Delete a model and return how many bytes that freed. Raises ModelMissing."""
    path = places().models / checked_name(name)
    with _lock():
        if not path.is_dir():
            raise ModelMissing(f"no model {name}: {path} is not there")
        freed = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        # Out of sight first: whoever looks sees the whole model or none.
        doomed = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
        path.rename(doomed / name)
        shutil.rmtree(doomed)
    return freed


@contextlib.contextmanager
def new_model(name: str, needed_bytes: int) -> Iterator[Path]:
    """An empty folder that becomes the model `name` when the block ends well, and vanishes when it does not.

    Raises BadRequest if there is such a model already or another process is writing one, BuildFailed if the disk is full or fails.
    """
    root = folder(places().models)
    with _lock():
        _remove_unfinished(root)
        check_new(name)
        free_bytes = shutil.disk_usage(root).free
        if needed_bytes > free_bytes:
            raise BuildFailed(f"{root}: expected {needed_bytes:,} bytes free, found {free_bytes:,}")
        written = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=root))
        try:
            yield written
            written.rename(root / name)
        except OSError as problem:
            if problem.errno is None:
                raise
            reason = "the disk is full" if problem.errno in (errno.ENOSPC, errno.EDQUOT) else problem.strerror
            raise BuildFailed(f"{root}: {name} could not be written: {reason}") from None
        finally:
            shutil.rmtree(written, ignore_errors=True)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """Held while models are written or removed; the system gives it back when its holder dies."""
    try:
        with filelock.FileLock(folder(places().models) / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        raise BadRequest("another process is importing or removing a model; wait until it is done") from None


def _remove_unfinished(root: Path) -> None:
    for left_over in root.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left_over, ignore_errors=True)
