"""Where VS Code shows nothing, and how its user learns why: secrets, switches, a slow model, settings of the editor."""

from __future__ import annotations

import pytest
from echo_daemon import EchoDaemon
from playwright.sync_api import expect
from window import Window

pytestmark = pytest.mark.e2e


def test_silent_in_a_secret_file(window: Window) -> None:
    window.open(".env", b"KEY=\n")
    window.status("echo")
    window.go_to(1)
    window.type("a")
    window.press("Alt+\\")
    window.status_details("The file may hold secrets")  # a menu too soon takes the request back
    window.is_told_why("The file may hold secrets")
    assert window.ghost() == ""
    window.go_to(1)
    window.saves(b"KEY=a\n")


def test_a_new_document_has_no_name_to_tell(window: Window) -> None:
    window.open("a.py", b"\n")
    window.status("echo")
    window.run("File: New Untitled Text File")
    window.press("Alt+\\")
    window.sees("compute(a, b)")
    window.is_told_why("a new document")


def test_switched_off_and_on(window: Window) -> None:
    window.open("a.py", b"\n")
    window.status("echo")
    window.go_to(1)
    window.switch("Switch off in python", back="Switch on in python")
    window.go_to(1)
    window.type("x = ")
    window.status_details("Suggestions are switched off for this language.")
    window.is_told_why("Suggestions are switched off for this language.")
    assert window.ghost() == ""
    window.switch("Switch on in python", back="Switch off in python")
    window.switch("Switch off in this folder", back="Switch on in this folder")
    window.go_to(1)
    window.type("c")
    window.status_details("Suggestions are switched off for this folder.")
    window.is_told_why("Suggestions are switched off for this folder.")
    window.switch("Switch on in this folder", back="Switch off in this folder")
    window.choose("Switch off everywhere")
    window.status("Understudy: off")
    window.choose("Switch on everywhere")
    window.status("echo")
    window.go_to(1)
    window.type("o")
    window.sees("compute(a, b)")


def test_a_slow_model_gives_what_it_has_by_the_deadline(window: Window, echo: EchoDaemon) -> None:
    echo.says("first + ", "second", delay_ms=600_000)
    window.open("a.py", b"\n")
    window.status("echo")
    window.go_to(1)
    window.type("x = ")
    window.sees("first +")


def test_a_model_that_is_too_slow_is_named_and_keys_never_wait(window: Window, echo: EchoDaemon) -> None:
    echo.says("late", first_delay_ms=600_000)
    window.open("a.py", b"\n", {"understudy.deadlineMs": 200})
    window.status("echo")
    window.go_to(1)
    window.type("x = 1 + 2 + 3 + y")
    window.status_details("The model had nothing worth showing by the deadline.")
    window.saves(b"x = 1 + 2 + 3 + y\n")
    window.is_told_why("The model had nothing worth showing by the deadline.")
    assert window.ghost() == ""


def test_settings_that_hide_suggestions_are_told_once_and_mended(own_window: Window) -> None:
    own_window.open("a.py", b"\n", {"editor.inlineSuggest.enabled": False})
    settings = own_window.folder / ".vscode" / "settings.json"
    told = own_window.is_told("editor.inlineSuggest.enabled")
    told.get_by_role("button", name="Switch it on").click()
    expect(told).to_have_count(0)
    own_window.until(lambda: '"editor.inlineSuggest.enabled": true' in settings.read_text(), settings.read_text)
    own_window.configure({"understudy.deadlineMs": 900, "editor.inlineSuggest.enabled": True})
    told = own_window.is_told("VS Code drops what comes after 750 ms")
    told.get_by_role("button", name="Use 600 ms").click()
    expect(told).to_have_count(0)
    own_window.until(lambda: '"understudy.deadlineMs": 600' in settings.read_text(), settings.read_text)
    own_window.status("echo")
    own_window.go_to(1)
    own_window.type("x = ")
    own_window.sees("compute(a, b)")
