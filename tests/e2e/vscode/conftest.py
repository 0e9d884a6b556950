"""Windows of a real VS Code, with the packaged extension, the real language server and the real daemon behind it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from echo_daemon import EchoDaemon
from set_up import CannotSetUp, set_up
from vscode_server import VsCodeServer, serving
from window import PATIENCE_MS, Window

from local_runtime.daemon import lifecycle


@pytest.fixture(scope="package")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One UNDERSTUDY_HOME for all windows: the processes of VS Code's server have it in their environment."""
    return tmp_path_factory.mktemp("u") / "home"


@pytest.fixture(scope="package")
def vscode(tmp_path_factory: pytest.TempPathFactory, shared_home: Path) -> Iterator[VsCodeServer]:
    """VS Code, set up and serving. What this machine cannot have is a reason to skip."""
    try:
        installed = set_up()
    except CannotSetUp as problem:
        pytest.skip(str(problem))
    folder = tmp_path_factory.mktemp("vscode")
    environment = os.environ | {
        "HOME": str(folder),
        "UNDERSTUDY_HOME": str(shared_home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "VSCODE_CLI": "1",  # take this environment as it is, and ask no login shell for another
    }
    with serving(installed, folder, environment) as server:
        yield server


@pytest.fixture(autouse=True)
def home(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The shared home, emptied before each test but for what was compiled; its daemon ends with the test."""
    shared_home.mkdir(parents=True, exist_ok=True)
    for folder in shared_home.iterdir():
        if folder.name != "cache":
            shutil.rmtree(folder, ignore_errors=True)
    monkeypatch.setenv("UNDERSTUDY_HOME", str(shared_home))
    yield shared_home
    lifecycle.kill()


@pytest.fixture
def echo(home: Path) -> EchoDaemon:
    """What the model says."""
    return EchoDaemon(home)


@pytest.fixture
def bundled_model(echo: EchoDaemon) -> None:
    """The bundled model, in place of what `echo` says."""
    (echo.home / "config" / "config.toml").unlink()


@pytest.fixture
def window(vscode: VsCodeServer, echo: EchoDaemon, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Window]:
    """A window on an empty folder; `open` a file in it. Its last picture stays beside VS Code's log."""
    folder = tmp_path / "w"
    folder.mkdir()
    page = vscode.browser.new_context(viewport={"width": 900, "height": 420}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    one = Window(vscode, folder, page)
    yield one
    if not page.is_closed():
        page.screenshot(path=vscode.folder / f"{request.node.name}.png")
        one.close()
    page.context.close()
