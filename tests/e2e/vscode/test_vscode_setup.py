"""VS Code without a model: it says so, suggests nothing, and a click sets one up, compiled here."""

from __future__ import annotations

import os

import psutil
import pytest
import tiny_model
from echo_daemon import EchoDaemon, daemons
from playwright.sync_api import Locator, expect
from window import LIST, PATIENCE_MS, QUICK_INPUT, STATUS_ITEM, TO_EDITOR, Window

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
NAME = "tiny_model-q8f16_g32"
CODE = """\
import json
from pathlib import Path


def read_notes(folder):
    return [json.loads(path.read_text()) for path in Path(folder).iterdir()]


class Note:
    def __init__(self, title, body):
        self.title = title
        self."""
NO_MODEL = "Understudy: no model yet"
STEP = "understudy.understudy#start#model"


@pytest.fixture
def window_without_model(own_window: Window, echo: EchoDaemon) -> Window:
    (echo.home / "config" / "config.toml").unlink()
    own_window.open("notes.py", CODE.encode())
    own_window.status(NO_MODEL)
    return own_window


def test_no_model_yet_until_one_is_set_up(window_without_model: Window, echo: EchoDaemon) -> None:
    window = window_without_model
    window.is_told("Understudy has no model yet, so it suggests nothing.").get_by_role("button", name="Clear").click()
    window.go_to(len(CODE.splitlines()))
    window.press("Alt+\\")
    window.run("Understudy: Why Was There Nothing?")
    reason = window.page.locator(LIST, has_text="There is no model yet; `understudy setup` brings one.")
    expect(reason.first).to_be_visible(timeout=PATIENCE_MS)
    window.press("Escape", TO_EDITOR)
    assert window.ghost() == ""
    assert daemons(echo.home) == [], "a daemon was started that has nothing to serve"
    window.page.locator(f"{STATUS_ITEM} a").click()
    proposed = dialog(window, "Licence: ")
    for words in ("Set up ", "Download: ", "Disk: ", "Why this one: "):
        expect(proposed).to_contain_text(words)
    proposed.get_by_role("button", name="Another…").click()
    window.page.locator(LIST, has_text="By name or path…").click()
    window.page.locator(QUICK_INPUT).fill(str(tiny_model.FOLDER))
    window.press("Enter")
    proposed = dialog(window, "Set up tiny_model, q8f16_g32?")
    expect(proposed).to_contain_text("Licence: not said")
    expect(proposed).to_contain_text("Download: nothing")
    proposed.get_by_role("button", name="Set Up", exact=True).click()
    window.is_told("Understudy: setting up tiny_model")
    window.is_told(f"Understudy: {NAME} answers now")
    window.status("tiny_model")
    window.press(TO_EDITOR)
    window.go_to(len(CODE.splitlines()))
    window.until(window.asked, lambda: "the model that was set up suggests nothing")


def test_a_step_of_the_walkthrough_sets_one_up_and_is_done_when_there_is_one(window_without_model: Window) -> None:
    window = window_without_model
    window.run("Understudy: First Steps")
    step = window.page.locator(f'[data-done-step-id="{STEP}"]')
    expect(step).to_have_attribute("aria-checked", "false", timeout=PATIENCE_MS)
    window.page.locator(f'[data-step-id="{STEP}"]').click()
    window.page.locator(f'[data-step-id="{STEP}"]').get_by_role("button", name="Set Up a Model…").click()
    dialog(window, "Licence: ").get_by_role("button", name="Cancel").click()
    expect(step).to_have_attribute("aria-checked", "false")
    tiny_model.choose()
    window.status(tiny_model.NAME)
    expect(step).to_have_attribute("aria-checked", "true", timeout=PATIENCE_MS)


def test_a_set_up_can_be_cancelled(window_without_model: Window) -> None:
    window = window_without_model
    window.page.locator(f"{STATUS_ITEM} a").click()
    looking = window.is_told("Understudy: looking for a model that fits")
    process = set_up_process(window)
    process.suspend()  # so that it cannot end before it is cancelled
    window.run("Understudy: Set Up a Model…")
    window.is_told("Understudy: a model is being set up already")
    looking.get_by_role("button", name="Cancel").click()
    process.resume()
    process.wait(PATIENCE_MS / 1000)
    expect(looking).to_have_count(0, timeout=PATIENCE_MS)
    expect(window.page.locator(".monaco-dialog-box")).to_have_count(0)
    window.status(NO_MODEL)


def dialog(window: Window, text: str) -> Locator:
    """Wait for a question that says this."""
    asked = window.page.locator(".monaco-dialog-box", has_text=text)
    expect(asked).to_be_visible(timeout=PATIENCE_MS)
    return asked


def set_up_process(window: Window) -> psutil.Process:
    """Wait for `understudy setup` of these tests."""
    found: list[psutil.Process] = []

    def runs() -> bool:
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("UNDERSTUDY_HOME") == os.environ["UNDERSTUDY_HOME"]
                if is_ours and process.cmdline()[-2:] == ["setup", "--json"]:
                    found[:] = [process]
            except (psutil.Error, KeyError):
                continue
        return bool(found)

    window.until(runs, lambda: "no set-up was started")
    return found[0]
