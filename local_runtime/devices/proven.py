"""Which GPU has computed what the CPU does, on this machine, by `understudy doctor --run`: `auto` takes no other."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import version

from local_runtime import __version__
from local_runtime.devices import cuda_parts
from local_runtime.places import folder, places

FILE = "proven-gpu"


def is_proven(kind: str) -> bool:
    """Whether the best device of that kind has passed, with this version of the code and of the compiler."""
    try:
        return (places().cache / FILE).read_text("utf-8") == _device(kind)
    except (OSError, ValueError):
        return False


def remember(kind: str, passed: bool) -> None:
    """Keep what the self-test found."""
    if passed:
        (folder(places().cache) / FILE).write_text(_device(kind), "utf-8")
    else:
        with suppress(FileNotFoundError):
            (places().cache / FILE).unlink()


def _device(kind: str) -> str:
    gpu = cuda_parts.find_gpu()
    name = f"{gpu.name} {gpu.arch}" if gpu else platform.machine()
    return f"{kind} {name} understudy {__version__} tvm {version('apache-tvm-ffi')}"
