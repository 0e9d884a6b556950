"""Processes die, are missing, are replaced: the window goes on, and says what happened."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from echo_daemon import EchoDaemon
from window import Window

from local_runtime.client import lock
from local_runtime.client.sockets import lock_path

pytestmark = pytest.mark.e2e


def daemon_pid() -> int:
    holder = lock.holder(lock_path())
    assert holder is not None
    return holder.pid


def servers(folder: Path) -> list[psutil.Process]:
    """The language servers of VS Code's windows: they live in the home of the tests' VS Code.

    A child that one starts is not counted: until it becomes the program it is to be, it looks like its parent.
    """
    parents = {}
    for process in psutil.process_iter():
        try:
            if "lsp" in process.cmdline() and process.environ().get("HOME") == str(folder):
                parents[process] = process.ppid()
        except psutil.Error:
            continue
    pids = {process.pid for process in parents}
    return [process for process, parent in parents.items() if parent not in pids]


def one_server(window: Window, besides: psutil.Process | None = None) -> psutil.Process:
    """Wait until one language server runs that is not `besides`: that of a window before may still be ending."""

    found: list[psutil.Process] = []

    def is_one() -> bool:
        found[:] = [one for one in servers(window.server.folder) if one != besides]
        return len(found) == 1

    window.until(is_one, lambda: f"language servers: {found}")
    return found[0]


def test_a_killed_daemon_is_replaced(window: Window) -> None:
    window.open("a.py", b"\n")
    window.status("echo")
    window.go_to(1)
    window.type("x = ")
    window.sees("compute(a, b)")
    killed = daemon_pid()
    os.kill(killed, signal.SIGKILL)
    window.press("Escape", "Enter")
    window.type("y = ")
    window.gets("compute(a, b)")
    assert daemon_pid() != killed
    window.press("Tab")
    window.saves(b"x = \ny = compute(a, b)\n")


def test_a_killed_language_server_is_started_again_and_ends_with_its_window(own_window: Window) -> None:
    own_window.open("a.py", b"\n")
    own_window.status("echo")
    first = one_server(own_window)
    first.kill()
    second = one_server(own_window, besides=first)
    own_window.status("echo")
    own_window.go_to(1)
    own_window.type("x = ")
    own_window.gets("compute(a, b)")
    assert second.is_running()
    own_window.close()
    second.wait(60)


def test_restarted_from_the_menu(window: Window) -> None:
    window.open("a.py", b"\n")
    window.status("echo")
    server, daemon = one_server(window), daemon_pid()
    window.choose("Restart")
    one_server(window, besides=server)
    window.status("echo")
    window.go_to(1)
    window.type("x = ")
    window.gets("compute(a, b)")
    assert daemon_pid() != daemon


def test_loading_a_model_is_seen(window: Window, echo: EchoDaemon) -> None:
    echo.write({"default": {"pieces": ["compute"]}, "load_seconds": 3.0})
    window.open("a.py", b"\n")
    window.status("Understudy: loading")
    window.status("echo")


def test_a_missing_command_is_told_and_found_when_the_setting_is_mended(own_window: Window) -> None:
    missing = str(own_window.folder / "nowhere" / "understudy")
    own_window.open("a.py", b"\n", {"understudy.command": missing})
    own_window.status("no command")
    told = own_window.is_told(f"understudy.command names {missing}")
    told.get_by_role("button", name="How to get it").click()
    own_window.page.get_by_text("First steps with Understudy").first.wait_for()
    own_window.configure({})
    own_window.status("echo")


def test_an_untrusted_folder_gets_suggestions_and_runs_nothing_of_its_own(untrusted_window: Window) -> None:
    window, ran = untrusted_window, untrusted_window.folder / "ran"
    planted = window.folder / "understudy"
    planted.write_text(f"#!/bin/sh\ntouch {ran}\n")
    planted.chmod(0o755)
    window.open("a.py", b"\n", {"understudy.command": str(planted)})
    window.page.get_by_text("Restricted Mode").first.wait_for()
    window.status("echo")
    window.go_to(1)
    window.type("x = ")
    window.gets("compute(a, b)")
    window.press("Tab")
    window.saves(b"x = compute(a, b)\n")
    assert not ran.exists()


def test_the_command_is_looked_for_again_when_another_python_is_chosen(
    window_with_python: Window, chosen_python: Path, tmp_path: Path
) -> None:
    """The Python extension is on a marketplace that tests cannot reach: one of its name has its API, as far as we use it."""
    window, understudy = window_with_python, Path(sys.executable).with_name("understudy")
    window.open("a.py", b"\n")
    window.status("no command")
    chosen_python.write_text(sys.executable)
    window.status("echo")
    first = one_server(window)
    assert str(understudy) in first.cmdline()
    another = tmp_path / "another" / "bin"
    another.mkdir(parents=True)
    (another / "understudy").symlink_to(understudy)
    chosen_python.write_text(str(another / "python"))
    second = one_server(window, besides=first)
    assert str(another / "understudy") in second.cmdline()
    first.wait(60)
    window.status("echo")
    window.go_to(1)
    window.type("x = ")
    window.gets("compute(a, b)")
