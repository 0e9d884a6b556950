"""What to type to install more depends on who installed this package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local_runtime.pip_command import install_extra, pip_command


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "my tools" / "understudy"
    folder.mkdir(parents=True)
    return folder


def test_an_environment_of_its_users(prefix: Path) -> None:
    assert pip_command("install more==1.0", prefix) == "pip install more==1.0"


def test_an_environment_that_pipx_keeps_for_this_program(prefix: Path) -> None:
    (prefix / "pipx_metadata.json").write_text("{}")
    assert pip_command("install more==1.0", prefix) == "pipx runpip understudy install more==1.0"


def test_pipx_under_another_name(tmp_path: Path) -> None:
    prefix = tmp_path / "pipx" / "venvs" / "understudy_next"
    assert pip_command("install more==1.0", prefix) == "pipx runpip understudy_next install more==1.0"


def test_an_environment_that_uv_keeps_for_this_program(prefix: Path) -> None:
    (prefix / "uv-receipt.toml").write_text("[tool]\n")
    assert pip_command("install more==1.0", prefix) == f"uv pip install --python '{prefix}' more==1.0"


def test_an_extra_of_this_package_where_it_runs(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_extra("train") == "pip install 'understudy[train]'"
    (prefix / "pipx_metadata.json").write_text("{}")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    assert install_extra("train") == "pipx runpip understudy install 'understudy[train]'"
