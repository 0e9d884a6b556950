"""Windows of a real VS Code, with the packaged extension, the real language server and the real daemon behind it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import tiny_model
from echo_daemon import EchoDaemon, end_daemons
from set_up import CannotSetUp, set_up
from vscode_server import TRUSTING, VsCodeServer, serving
from window import PATIENCE_MS, Window

STAND_IN = Path(__file__).parent / "stand_in_python"


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
    end_daemons(shared_home)


@pytest.fixture
def echo(home: Path) -> EchoDaemon:
    """What the model says."""
    return EchoDaemon(home)


@pytest.fixture
def served_tiny_model(echo: EchoDaemon) -> None:
    """The tiny model, in place of what `echo` says."""
    (echo.home / "config" / "config.toml").unlink()
    tiny_model.choose()


@pytest.fixture(scope="package")
def kept_window() -> Iterator[list[Window]]:
    """The window that tests hand to each other, if there is one."""
    kept: list[Window] = []
    yield kept
    for window in kept:
        window.page.context.close()


@pytest.fixture
def window(
    vscode: VsCodeServer,
    echo: EchoDaemon,
    kept_window: list[Window],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Window]:
    """A window on an empty folder; `open` a file in it. Its last picture stays beside VS Code's log.

    Loading a workbench takes most of a test's time: it is handed on, without files and language server. Each test has a new
    language server, daemon and home; after a failed one, there is a new window.
    """
    one = kept_window.pop() if kept_window else new(vscode, tmp_path_factory.mktemp("w"))
    n_failed = request.session.testsfailed
    yield one
    picture(one, request)
    with ExitStack() as stack:
        stack.callback(one.page.context.close)
        if request.session.testsfailed == n_failed:
            one.rest()
            kept_window.append(one)
            stack.pop_all()


@pytest.fixture
def own_window(
    vscode: VsCodeServer, echo: EchoDaemon, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Window]:
    """As `window`, for what happens when a window is loaded or closed."""
    with opened(vscode, tmp_path / "w", request) as one:
        yield one


@pytest.fixture
def untrusted_window(
    vscode: VsCodeServer, echo: EchoDaemon, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Window]:
    """As `own_window`, on a folder that its user does not trust."""
    with vscode.another("untrusting") as server, opened(server, tmp_path / "w", request) as one:
        yield one


@pytest.fixture
def chosen_python(tmp_path: Path) -> Path:
    """Where the chosen interpreter stands: at first one without us."""
    path = tmp_path / "choice"
    path.write_text(str(tmp_path / "elsewhere" / "bin" / "python"))
    return path


@pytest.fixture
def window_with_python(
    vscode: VsCodeServer, echo: EchoDaemon, chosen_python: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Window]:
    """A window with the Python extension, where no `understudy` is on the PATH."""
    extensions = tmp_path / "extensions"
    shutil.copytree(vscode.folder / "extensions", extensions, ignore=shutil.ignore_patterns("extensions.json"))
    shutil.copytree(STAND_IN, extensions / "ms-python.python-0.0.1")
    on_path = vscode.environment["PATH"].split(os.pathsep)
    without = os.pathsep.join(folder for folder in on_path if not (Path(folder) / "understudy").exists())
    options = (TRUSTING, "--extensions-dir", extensions)
    with (
        vscode.another("with-python", *options, CHOSEN_PYTHON=str(chosen_python), PATH=without) as server,
        opened(server, tmp_path / "w", request) as one,
    ):
        yield one


@contextmanager
def opened(vscode: VsCodeServer, folder: Path, request: pytest.FixtureRequest) -> Iterator[Window]:
    """A window on a new folder, closed as its user does at the end unless the test has closed it."""
    folder.mkdir()
    one = new(vscode, folder)
    yield one
    if not one.page.is_closed():
        picture(one, request)
        one.close()
    one.page.context.close()


def new(vscode: VsCodeServer, folder: Path) -> Window:
    page = vscode.browser.new_context(viewport={"width": 900, "height": 420}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    return Window(vscode, folder, page)


def picture(window: Window, request: pytest.FixtureRequest) -> None:
    window.page.screenshot(path=window.server.folder / f"{request.node.name}.png")
