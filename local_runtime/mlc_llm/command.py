"""The `mlc_llm` command: where it is, and the arguments of the three sub-commands that we use (mlc_llm's `cli/*.py`).

It lives in an environment of its own, because MLC's TVM is another package of the same name as ours.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_runtime.errors import BadRequest, BuildFailed
from local_runtime.places import places

NAME = "mlc_llm"
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TVM_LIBRARY_PATH", "TVM_USE_RUNTIME_LIB", "TVM_NUM_THREADS")
"""Variables that would make MLC's Python load our packages, or our TVM's settings."""

_WHEELS = ("mlc_", "tvm", "apache_tvm_ffi")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception): ")


@dataclass(frozen=True, slots=True)
class MlcCommand:
    """An executable, and the device that it compiles for: mlc_llm's `auto`, `cuda`, `metal`, `vulkan`…"""

    executable: Path
    device: str = "auto"

    @property
    def identity(self) -> str:
        """Changes when another mlc_llm, or another TVM beside it, is installed: its libraries are then compiled anew."""
        found = self.executable.stat()
        lib = self.executable.resolve().parent.parent / "lib"
        wheels = sorted(path.name for kind in _WHEELS for path in lib.glob(f"python*/site-packages/{kind}*.dist-info"))
        return f"{self.executable} {found.st_mtime_ns} {found.st_size} {self.device} {wheels}"

    def convert_weight(self, source: Path, quantization: str, out: Path) -> list[str]:
        """Quantise a Hugging Face folder into `tensor-cache.json` and shards."""
        return self._line("convert_weight", source, "--quantization", quantization, "--device", self.device, "-o", out)

    def compile(self, folder: Path, library: Path) -> list[str]:
        """Compile what `mlc-chat-config.json` of `folder` describes."""
        return self._line("compile", folder / "mlc-chat-config.json", "--device", self.device, "-o", library)

    def serve(self, folder: Path, library: Path, port: int) -> list[str]:
        """Serve on this machine alone. Web pages are let in by default; here none is."""
        address = ("--host", "127.0.0.1", "--port", port, "--allow-origins", "[]")
        return self._line("serve", folder, "--model-lib", library, "--device", self.device, "--mode", "local", *address)

    def _line(self, *words: str | Path | int) -> list[str]:
        return [str(self.executable), *map(str, words)]


def find_command(environment: str | None, device: str = "auto") -> MlcCommand:
    """The command of an environment (its folder, or the command itself); without one, the one on PATH. Raises BadRequest."""
    if environment is None:
        found = shutil.which(NAME)
        candidates = [Path(found)] if found else []
    else:
        given = Path(environment).expanduser().absolute()
        candidates = [given / "bin" / NAME, given]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return MlcCommand(path, device)
    where = f"{environment} has no bin/{NAME}" if environment else f"{NAME} is not on PATH"
    raise BadRequest(
        f"{where}: the mlc_llm engine needs an environment with MLC's wheels",
        f'mlc_llm = "/path/to/environment" below [runtime] in {places().config_file}',
    )


def environment() -> dict[str, str]:
    """Our environment without what is ours alone. Nothing that MLC prints is held back: its last line is its last word."""
    return {name: value for name, value in os.environ.items() if name not in _OURS} | {"PYTHONUNBUFFERED": "1"}


def last_words(log: Path) -> str:
    """The last exception of a program's output, else its last line."""
    lines = _COLOUR.sub("", log.read_text(errors="replace")).strip().splitlines()
    exceptions = [line for line in lines if _EXCEPTION.match(line)]
    return (exceptions or lines or ["no message"])[-1][:300]


class Running:
    """One command that runs to its end, and can be ended from another thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def run(self, arguments: Sequence[str], log: Path) -> None:
        """Run, with all output in `log`. Raises BuildFailed with its last words."""
        with log.open("wb") as output:
            with self._lock:
                if self._ended:
                    raise BuildFailed(f"{NAME} was ended")
                self._process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment()
                )
            status = self._process.wait()
        if status != 0:
            raise BuildFailed(f"{NAME} {arguments[1]} ended with status {status}: {last_words(log)}", f"less {log}")

    def end(self) -> None:
        """End what runs, and let nothing else begin."""
        with self._lock:
            self._ended = True
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
