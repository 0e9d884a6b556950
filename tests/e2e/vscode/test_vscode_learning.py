"""Learning from the menu: a night is started, watched, stopped and taken up again, and its report is opened."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import tiny_model
from playwright.sync_api import Locator, expect
from window import PATIENCE_MS, Window

from local_runtime.places import places
from trainer.collect.folders import LearnedFolders

pytestmark = pytest.mark.e2e
TRAINING_MS = 600_000
"""Training has the lowest priority: beside other work a step takes its time."""
EMAIL = "ada@house.invalid"
NOUNS = ("invoice", "parcel", "voucher", "ticket", "badge", "locker", "ledger", "vessel")
HANDLER = """
@handler("{noun}.archive")
def archive_{noun}(ctx, {noun}_id):
    {noun} = ctx.{noun}s.need({noun}_id)
    ctx.audit.note("{noun}.archive", {noun}=str({noun}_id), by=ctx.actor)
    return ctx.done({noun}.archive(at=ctx.now))
"""


@pytest.fixture
def learnt_folder(own_window: Window, served_tiny_model: None) -> Path:
    """The window's folder with a history of its user's, and learning switched on."""

    def run(*command: str) -> None:
        subprocess.run(command, cwd=own_window.folder, check=True, capture_output=True)

    run("git", "init", "-q")
    for noun in NOUNS:
        (own_window.folder / f"{noun}.py").write_text(f"from house import handler\n{HANDLER.format(noun=noun)}")
        run("git", "add", ".")
        run("git", "-c", "user.name=Ada", "-c", f"user.email={EMAIL}", "commit", "-q", "-m", noun)
    understudy = str(Path(sys.executable).parent / "understudy")
    run(understudy, "learn", "on", str(own_window.folder), "--since", "9d", "--author", EMAIL, "--no-service")
    return own_window.folder


def test_a_night_that_cannot_be_says_why(window: Window) -> None:
    """The echo engine is no model that could be trained."""
    window.open("a.py", b"\n")
    window.status("echo")
    window.choose("Train now")
    told = window.is_told("Understudy: no model echo: ")
    expect(told).to_contain_text("To mend it: `understudy model import PATH`")


def test_a_night_without_anything_to_learn_and_a_report(window: Window, served_tiny_model: None) -> None:
    window.open("a.py", b"\n")
    window.status(tiny_model.NAME)
    window.choose("Train now")
    window.is_told("Understudy: nothing to learn from yet: understudy learn on PATH")
    window.choose("Report")
    window.is_told("the whole report is a page")
    expect(window.page.locator(".editor-instance .view-lines")).to_contain_text("the whole report:")


@pytest.mark.skipif(sys.platform == "darwin", reason="a login service would be installed, whatever HOME is")
def test_a_folder_is_learnt_from_once_its_user_agreed(window: Window) -> None:
    window.open("a.py", b"\n")
    window.status("echo")
    window.choose("Learn from this folder…")
    asked = window.page.locator(".monaco-dialog-box")
    expect(asked).to_contain_text(f"Learn from {window.folder}?")
    asked.get_by_role("button", name="Cancel").click()
    expect(asked).to_have_count(0)
    assert LearnedFolders().all() == ()
    window.choose("Learn from this folder…")
    asked.get_by_role("button", name="Learn", exact=True).click()
    window.is_told(f"Understudy: learning from {window.folder} is on")
    assert [one.root for one in LearnedFolders().all()] == [str(window.folder)]


def test_an_open_file_is_forgotten(window: Window) -> None:
    window.open("a.py", b"x = \n")
    window.status("echo")
    window.go_to(1)
    window.gets("compute(a, b)")
    window.press("Tab")
    window.saves(b"x = compute(a, b)\n")
    window.run("Understudy: Forget This File")
    window.is_told(re.compile(rf"{re.escape(str(window.file))} is forgotten; suggestions deleted: [1-9]"))
    window.until(lambda: not running("forget", str(window.file), "--yes"), lambda: "the trainer does not end")


def test_a_night_is_seen_stopped_and_taken_up_again(own_window: Window, learnt_folder: Path) -> None:
    own_window.open("a.py", b"\n")
    own_window.status(tiny_model.NAME)
    train_for_a_step(own_window).get_by_role("button", name="Cancel").click()
    own_window.is_told("the training is stopped; the next one goes on from there")
    (begun,) = nights()
    train_for_a_step(own_window)
    assert nights() == [begun]
    own_window.status("· learning")
    (trainer,) = running("learn", "now")
    own_window.close()
    trainer.wait(PATIENCE_MS / 1000)


def train_for_a_step(window: Window) -> Locator:
    """Start a night and see it train; its notification."""
    window.choose("Train now")
    seen = window.is_told("Understudy: training: ")
    expect(seen).to_contain_text(re.compile(r"step \d+ of \d+"), timeout=TRAINING_MS)
    return seen


def running(*command: str) -> list[psutil.Process]:
    """The processes of `understudy COMMAND` for the home of these tests."""
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = process.environ().get("UNDERSTUDY_HOME") == os.environ["UNDERSTUDY_HOME"]
            if is_ours and process.cmdline()[-len(command) :] == list(command):
                found.append(process)
        except psutil.Error:
            continue
    return found


def nights() -> list[str]:
    """The nights that were begun."""
    return sorted(path.name for path in (places().data / "runs").iterdir() if path.is_dir())
