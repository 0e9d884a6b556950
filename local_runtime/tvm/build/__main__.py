"""`python -m local_runtime.tvm.build FOLDER [--source]`: compile one library; the process that `library.ensure_library` starts.

With `--source` the source of a GPU's kernels is written in its place.

Standard input: one line, a `BuildRequest` as JSON; it stays open as long as the caller lives, and when it closes the
folder is removed, so that a killed caller leaves nothing. Standard output: one JSON message a line.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import msgspec

from local_runtime.tvm.build.linker import find_linker, remedy
from local_runtime.errors import BuildFailed
from local_runtime.tvm.run.library import BuildMessage, BuildRequest
from local_runtime.devices.target import CPU


def main() -> int:
    """Compile; every outcome is a message."""
    folder = Path(sys.argv[1])
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=BuildRequest)
    threading.Thread(target=_leave_with_caller, args=(folder,), daemon=True).start()
    try:
        linker = find_linker()
        if linker is None:
            raise BuildFailed("nothing here can link: neither a C compiler nor ziglang was found", remedy())
        _say(BuildMessage(phase="loading the compiler"))
        if request.target.kind == CPU:
            from local_runtime.tvm.build.build import build_library as build  # noqa: PLC0415 (0.7 s: said first)
        elif "--source" in sys.argv:
            from local_runtime.tvm.build.gpu_build import write_source as build  # noqa: PLC0415 (the same)
        else:
            from local_runtime.tvm.build.gpu_build import build_library as build  # noqa: PLC0415 (the same)

        layout, parameters = build(request, linker, folder, lambda phase: _say(BuildMessage(phase=phase)))
        _say(BuildMessage(layout=layout, parameters=parameters))
    except BuildFailed as fault:
        _say(BuildMessage(fault=fault.message, remedy=fault.remedy))
    except OSError as problem:
        _say(BuildMessage(fault=f"{folder}: {os.strerror(problem.errno or 0)}", remedy="free some disk space"))
    return 0


def _say(message: BuildMessage) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _leave_with_caller(folder: Path) -> None:
    """Wait for the end of standard input: the caller is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
