"""What turns object code into a shared library: this machine's C compiler, or ziglang from PyPI. Imports no tvm.

TVM could also link in memory, but only where the whole compiler is loaded, which a process that completes text never
does; so without a linker nothing can be compiled, and `doctor` says so.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_runtime.errors import BuildFailed
from local_runtime.pip_command import pip_command


@dataclass(frozen=True, slots=True)
class Linker:
    """A command that links."""

    name: str
    command: tuple[str, ...]


def remedy() -> str:
    """How to get one."""
    return f"{pip_command('install ziglang')}    (or install a C compiler: apt install gcc, xcode-select --install)"


def find_linker() -> Linker | None:
    """The first that is there: `$CC`, cc, gcc, clang, zig from PyPI; None where nothing can link."""
    for name in (os.environ.get("CC", "").split(" ")[0], "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path:
            return Linker(name, (path,))
    if importlib.util.find_spec("ziglang"):
        return Linker("ziglang", (sys.executable, "-m", "ziglang", "cc"))
    return None


def link(linker: Linker, objects: Sequence[Path], library: Path, *, apple: bool = False) -> None:
    """Link `objects` to a shared library. TVM's own symbols stay open: the runtime that loads it brings them.

    Raises BuildFailed with the linker's last words.
    """
    flags = ["-shared", "-fPIC", *(["-undefined", "dynamic_lookup"] if apple else ["-lm"])]
    command = [*linker.command, *flags, "-o", str(library), *map(str, objects)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-3:]
        raise BuildFailed(f"{linker.name} could not link {library.name}: {' / '.join(words)}", remedy())
