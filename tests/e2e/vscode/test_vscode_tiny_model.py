"""The tiny model in VS Code: a real suggestion on the screen, and another one as soon as an adapter serves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny_model
from other_voice import other_voices
from playwright.sync_api import Page
from vscode_extension import EXTENSION
from window import Window

from local_runtime.prompts.hole import Hole

pytestmark = pytest.mark.e2e

NOTES = '''\
"""Notes: small texts in a folder, one file each."""

import json
from dataclasses import dataclass


@dataclass
class Note:
    title: str
    body: str

    def to_dict(self):
        return {"title": self.title, "body": self.body}


class Notebook:
    def __init__(self, folder, notes):
        self.folder = folder
'''
NEXT = (
    "        self.",
    "notes = notes\n\n    def ",
    "add(self, note):\n        ",
    "self.notes.append(note)\n        return ",
)
"""What is typed after it, until the model has something to say."""
MAX_PICTURE_BYTES = 150_000


def test_the_model_and_an_adapter(window: Window, served_tiny_model: None, update_golden: bool) -> None:
    window.open("notes.py", NOTES.encode())
    window.status(tiny_model.NAME)
    window.go_to(NOTES.count("\n") + 1)
    typed = said_something(window)
    base = window.ghost()
    window.status(" ms")
    if update_golden:
        take_picture(window.page)
    hole = Hole("notes.py", "python", NOTES + typed, "")
    with ThreadPoolExecutor(1) as aside:  # the browser's driver has this thread's event loop
        voices = aside.submit(other_voices, tiny_model.FOLDER, hole).result()

    def serves_another(voice: str) -> bool:
        window.choose("Base model or mine…", voice)
        window.status(f"+ {voice}")
        return window.asked(lambda ghost: ghost not in ("", base))

    assert any(serves_another(voice) for voice in voices), f"{voices} all say {window.ghost()!r}, as the base model"
    window.choose("Strength of the adapter…", "0.5")
    window.status("× 0.5")
    window.choose("Base model or mine…", "Base model")
    window.gets(base)
    window.press("Tab")
    window.saves((NOTES + typed + base).encode())


def said_something(window: Window) -> str:
    """Type one thing after another until the model suggests something; all that was typed."""
    typed = ""
    for more in NEXT:
        window.page.keyboard.insert_text(more)  # without the editor's own indentation and brackets
        typed += more
        if window.asked():
            return typed
    raise AssertionError("the model had nothing to say")


def take_picture(page: Page) -> None:
    """For the README of the extension."""
    path = EXTENSION / "docs" / "vscode.png"
    path.parent.mkdir(exist_ok=True)
    page.screenshot(path=path)
    assert path.stat().st_size < MAX_PICTURE_BYTES
