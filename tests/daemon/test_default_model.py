"""Which model is served when nobody names one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local_runtime import bundled
from local_runtime.daemon.serving import default_model
from local_runtime.model.chat_config import FILE_NAME
from local_runtime.places import folder, places


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


def _register(name: str, at: int) -> None:
    path = folder(places().models / name)
    (path / FILE_NAME).write_text("{}")
    os.utime(path, (at, at))


def test_the_one_imported_last() -> None:
    _register("first", 1000)
    _register("second", 2000)
    _register("third", 1500)
    assert default_model() == "second"


def test_a_bundled_model_of_an_earlier_installation_gives_way() -> None:
    _register("understudy-old", 2000)
    assert default_model() == bundled.NAME
    assert default_model() == bundled.NAME, "and stays"


def test_the_users_own_choice_outlives_a_new_bundled_model() -> None:
    _register("mine", 3000)
    _register("understudy-old", 2000)
    assert default_model() == "mine"
