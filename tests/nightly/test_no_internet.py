"""No internet socket is opened by what the trainer imports or asks, not even to see whether one could be."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import socket, sys

def refuse(event, arguments):
    if event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6):
        raise SystemExit(f"an internet socket: {arguments}")

sys.addaudithook(refuse)
from local_runtime.context.secrets import has_secret
import trainer.nightly.learning_process
import trainer.nightly.watching
import trainer.forget_command, trainer.report.command
assert has_secret("password = 'abcD123!xyz9'", "a.py")
"""


def test_imports_and_the_secret_scanner_open_none() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
