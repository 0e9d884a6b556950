"""The command is found beside the interpreter that is chosen in the Python extension, whenever it is chosen.

The extension itself is on a marketplace that tests cannot reach: another one of its name has its API, as far as we use it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from window import Window

pytestmark = pytest.mark.e2e
PYTHON = Path(sys.executable).absolute()


def test_the_command_is_looked_for_again_when_another_python_is_chosen(
    window_with_python: Window, chosen_python: Path
) -> None:
    window = window_with_python
    window.open("a.py", b"\n")
    window.status("no command")
    chosen_python.write_text(str(PYTHON))
    window.status("echo")
    window.go_to(1)
    window.type("x = ")
    window.gets("compute(a, b)")
    window.press("Tab")
    window.saves(b"x = compute(a, b)\n")
