"""One window of VS Code, as its user sees it: keys go in, what is on the screen comes out."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Locator, Page, TimeoutError, expect
from vscode_server import VsCodeServer

PATIENCE_MS = 180_000
SOON_MS = 10_000
POLL_MS = 25
TO_EDITOR = "Control+1"
"""The key that brings the cursor back from a menu."""
PUT_AWAY = "Control+Alt+Shift+F12"
"""What it does stands with the server's settings."""
QUICK_INPUT = ".quick-input-widget input:visible"
STATUS_ITEM = '[id="understudy.understudy.status"]'
LIST = ".quick-input-list .monaco-list-row"
GHOST = """() => {
    const editor = document.querySelector('.editor-instance .monaco-editor');
    const texts = (selector) => [...editor?.querySelectorAll(selector) ?? []].map((node) => node.textContent);
    const first = texts('.ghost-text-decoration, .ghost-text-decoration-preview').join('');
    return [first, ...texts('.suggest-preview-text .view-line')].join('\\n').replaceAll('\\u00a0', ' ');
}"""
"""The first line's ghost lies within the line itself, further lines in a zone below; blanks are no-break spaces."""


class Window:
    """A workbench on one folder, with one file open."""

    def __init__(self, server: VsCodeServer, folder: Path, page: Page) -> None:
        self.server = server
        self.folder = folder
        self.page = page
        self.file = folder

    def open(self, name: str, content: bytes = b"", settings: dict[str, object] | None = None) -> None:
        """Bring a file to the front, in a workbench that is loaded if it is not there yet; a language server starts."""
        self.file = self.folder / name
        self.file.write_bytes(content)
        self.configure(settings or {})
        if self.page.url.startswith(self.server.address):
            self.press("Control+P")
            self.page.locator(QUICK_INPUT).fill(str(self.file), timeout=PATIENCE_MS)
            self._row(name).click(timeout=PATIENCE_MS)
        else:
            payload = [["openFile", self.server.remote(self.file)], ["skipWelcome", "true"]]
            self.page.goto(f"{self.server.address}/?folder={self.folder}&payload={quote(json.dumps(payload))}")
        expect(self.page.locator(".editor-instance .view-lines")).to_be_visible(timeout=PATIENCE_MS)

    def rest(self) -> None:
        """Put everything away but the workbench: files, unsaved or not, notifications, and the language server."""
        self.configure({"understudy.command": str(self.folder / "nowhere")})
        self.press("Escape", TO_EDITOR, PUT_AWAY)
        expect(self.page.locator(".editor-instance, .notification-list-item")).to_have_count(0, timeout=PATIENCE_MS)
        self.status("no command")
        for path in self.folder.iterdir():
            if path.is_dir() and path.name != ".vscode":
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()

    def close(self) -> None:
        """As its user closes it, unsaved changes or not: its processes end, and are not kept for a return."""
        self.page.on("dialog", lambda dialog: dialog.accept())
        with self.page.expect_event("close"):
            self.page.close(run_before_unload=True)

    def configure(self, settings: dict[str, object]) -> None:
        """The workspace's settings, as a file."""
        (self.folder / ".vscode").mkdir(exist_ok=True)
        (self.folder / ".vscode" / "settings.json").write_text(json.dumps(settings))

    def status(self, text: str) -> None:
        """Wait until the status item says this."""
        expect(self.page.locator(STATUS_ITEM)).to_contain_text(text, timeout=PATIENCE_MS)

    def status_details(self, text: str) -> None:
        """Wait until the status item's details (its tooltip, as a screen reader tells it) hold this."""
        label = re.compile(re.escape(text))
        expect(self.page.locator(STATUS_ITEM)).to_have_attribute("aria-label", label, timeout=PATIENCE_MS)

    def go_to(self, line: int) -> None:
        """Put the cursor at the end of a line (from 1)."""
        self.page.locator(".editor-instance .view-lines").click()
        self.press("Control+Home", *["ArrowDown"] * (line - 1), "End")

    def type(self, text: str) -> None:
        """Key by key, as fast as the editor takes them."""
        self.page.keyboard.type(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, *labels: str) -> None:
        """Open the menu behind the status item, and choose an entry of it, and of what opens then."""
        self.until(lambda: self._chosen_in_menu(labels[0]), lambda: f"the menu has no entry {labels[0]!r}")
        for label in labels[1:]:
            self._pick(label, PATIENCE_MS)

    def switch(self, done: str, back: str) -> None:
        """Choose an entry of the menu, and wait until it has taken effect: the menu offers the way back."""
        self.choose(done)
        self.until(lambda: self._offered(back), lambda: f"the menu does not offer {back!r}")

    def run(self, title: str) -> None:
        """Run a command by its title, as the palette has it."""
        self.press("F1")
        self._pick(title, PATIENCE_MS, ">")

    def _offered(self, label: str) -> bool:
        self.press("Escape")
        try:
            self.page.locator(f"{STATUS_ITEM} a").click(timeout=SOON_MS)
            self._row(label).wait_for(timeout=SOON_MS / 5)
        except TimeoutError:
            return False
        finally:
            self.press("Escape", TO_EDITOR)
        return True

    def _chosen_in_menu(self, label: str) -> bool:
        """A window that is still loading may close a menu again."""
        try:
            self.page.locator(f"{STATUS_ITEM} a").click(timeout=SOON_MS)
            self._pick(label, SOON_MS)
        except TimeoutError:
            self.press("Escape")
            return False
        return True

    def _pick(self, label: str, patience_ms: float, sign: str = "") -> None:
        """Type the label, as rows out of sight are not in the page, and click its row. `sign`: what VS Code wants before it."""
        self.page.locator(QUICK_INPUT).fill(sign + label, timeout=patience_ms)
        self._row(label).click(timeout=patience_ms)

    def _row(self, label: str) -> Locator:
        named = re.compile(rf"^\s*{re.escape(label)}$")
        return self.page.locator(f"{LIST} .label-name", has_text=named).first

    def is_told_why(self, text: str) -> None:
        """Ask why there was nothing until a row of the answer says this: a list that is open does not grow."""
        self.until(lambda: self._reads_why(text), lambda: f"no request ended with {text!r}")

    def _reads_why(self, text: str) -> bool:
        self.choose("Why was there nothing?")
        try:
            self.page.locator(LIST, has_text=text).first.wait_for(timeout=SOON_MS)
        except TimeoutError:
            return False
        finally:
            self.press("Escape", TO_EDITOR)
        return True

    def is_told(self, text: str | re.Pattern[str]) -> Locator:
        """Wait for a notification that says this."""
        toast = self.page.locator(".notification-list-item", has_text=text).first
        expect(toast).to_be_visible(timeout=PATIENCE_MS)
        return toast

    def ghost(self) -> str:
        """What is shown in grey, lines and all."""
        return str(self.page.evaluate(GHOST))

    def sees(self, ghost: str) -> None:
        """Wait until exactly this is shown in grey. Where a busy machine had nothing by the deadline, type on, as users do."""

        def seen() -> bool:
            if self.shows(lambda shown: shown == ghost):
                return True
            if not self.ghost():
                self.press("q", "Backspace")
            return False

        self.until(seen, lambda: f"the ghost is {self.ghost()!r}, expected {ghost!r}")

    def gets(self, ghost: str) -> None:
        """As `sees`, but ask by hand, again and again: a request that meets a starting daemon may end at its deadline."""
        self.until(
            lambda: self.asked(lambda seen: seen == ghost),
            lambda: f"the ghost is {self.ghost()!r}, expected {ghost!r}",
        )

    def asked(self, fits: Callable[[str], bool] = bool) -> bool:
        """Ask by hand; whether what is then shown fits."""
        self.press(TO_EDITOR, "Escape", "Alt+\\")
        return self.shows(fits)

    def shows(self, fits: Callable[[str], bool] = bool) -> bool:
        """Whether something that fits (anything) is shown in grey before a user would have gone on."""
        deadline = time.monotonic() + SOON_MS / 1000
        while not fits(self.ghost()) and time.monotonic() < deadline:
            self.page.wait_for_timeout(POLL_MS)
        return fits(self.ghost())

    def saves(self, content: bytes) -> None:
        """Save, again if what was accepted just before was not in the document yet; the file on disk is exactly this."""

        def saved() -> bool:
            self.press("Control+S")
            deadline = time.monotonic() + SOON_MS / 1000
            while self.file.read_bytes() != content and time.monotonic() < deadline:
                self.page.wait_for_timeout(POLL_MS)
            return self.file.read_bytes() == content

        self.until(saved, lambda: f"on disk is {self.file.read_bytes()!r}, expected {content!r}")

    def until(self, holds: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        """Wait until something holds that the browser cannot be asked to wait for."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not holds():
            assert time.monotonic() < deadline, otherwise()
            self.page.wait_for_timeout(POLL_MS)
