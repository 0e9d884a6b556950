"""Ghost text in VS Code: seen, typed through, accepted whole, by word and by line, dismissed, cycled. Bytes on disk decide."""

from __future__ import annotations

import pytest
from echo_daemon import EchoDaemon
from window import Window

pytestmark = pytest.mark.e2e


def test_seen_typed_through_and_accepted(window: Window) -> None:
    window.open("a.py", b"def f(a, b):\n    \n")
    window.status("echo")
    window.go_to(2)
    window.type("x = ")
    window.sees("compute(a, b)")
    window.type("com")
    window.sees("pute(a, b)")
    window.press("Backspace")
    window.sees("mpute(a, b)")
    window.press("Tab")
    window.saves(b"def f(a, b):\n    x = compute(a, b)\n")


def test_accepted_by_word_and_the_rest_dismissed(window: Window) -> None:
    window.open("a.py", b"x = \n")
    window.status("echo")
    window.go_to(1)
    window.type(" ")
    window.press("Backspace")
    window.sees("compute(a, b)")
    window.press("Control+ArrowRight")
    window.sees("(a, b)")
    window.press("Escape")
    window.sees("")
    window.saves(b"x = compute\n")


def test_accepted_by_line(window: Window, echo: EchoDaemon) -> None:
    echo.says("total = 0\n", "    for one in items:\n", "        total += one\n", "    return total\n")
    window.open("a.py", b"def add(items):\n    \n\n\nprint(add([1]))\n")
    window.status("echo")
    window.go_to(2)
    window.gets("total = 0\n    for one in items:\n        total += one\n    return total")
    window.press("Shift+Tab")
    window.sees("    for one in items:\n        total += one\n    return total")
    window.press("Shift+Tab")
    window.sees("        total += one\n    return total")
    window.press("Escape")
    window.saves(b"def add(items):\n    total = 0\n    for one in items:\n\n\n\nprint(add([1]))\n")


def test_cycled(window: Window, echo: EchoDaemon) -> None:
    echo.write({"scripts": [{"pieces": [text]} for text in ("one()", "two()", "three()")]})
    window.open("a.py", b"x = \n", {"understudy.prefetch": False})
    window.status("echo")
    window.go_to(1)
    window.press("Alt+\\")
    window.sees("one()")
    window.press("Alt+]")
    window.sees("two()")
    window.press("Alt+]")
    window.sees("three()")
    window.press("Alt+[")
    window.sees("two()")
    window.press("Tab")
    window.saves(b"x = two()\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a = 1\r\nb = \r\nc = 3\r\n", b"a = 1\r\nb = compute(a, b)\r\nc = 3\r\n"),
        ("😀 = '👩‍👩‍👧'\n'😀é', x = \n".encode(), "😀 = '👩‍👩‍👧'\n'😀é', x = compute(a, b)\n".encode()),
        (b"if a:\n\tb = \n", b"if a:\n\tb = compute(a, b)\n"),
    ],
    ids=["crlf", "emoji", "tabs"],
)
def test_bytes(window: Window, before: bytes, after: bytes) -> None:
    window.open("a.py", before)
    window.status("echo")
    window.go_to(2)
    window.press("Backspace")
    window.type(" ")
    window.sees("compute(a, b)")
    window.press("Tab")
    window.saves(after)
