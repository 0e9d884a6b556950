"""`python -m local_runtime.mlc_llm.watched COMMAND…`: runs a command, and ends it when standard input closes.

The daemon holds the other end: however it ends, the system closes it, and no server stays on the graphics card.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from local_runtime.mlc_llm.command import environment

END_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    """Run, and return the command's status."""
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=environment())
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(target=_end_with_starter, args=(process,), daemon=True).start()
    return process.wait()


def _end_with_starter(process: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
