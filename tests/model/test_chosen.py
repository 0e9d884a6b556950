"""Which model answers: what config.toml names, else the one imported last, and never a tiny one by itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from local_runtime.errors import BadRequest, BuildFailed, ModelMissing
from local_runtime.model.chosen import choose, chosen_model
from local_runtime.model.registry import FILE_NAME
from local_runtime.places import folder, places

CONFIG = """\
# mine
[completion]
debounce_ceiling_ms = 50   # fast

[runtime]
port = 0
# the small one answers sooner
model = "old"  # for now

[learn]
threads = 1
"""


def register(name: str, at: int) -> None:
    path = folder(places().models / name)
    (path / FILE_NAME).write_text("{}")
    os.utime(path, (at, at))


def configure(text: str) -> Path:
    folder(places().config)
    places().config_file.write_text(text)
    return places().config_file


def test_the_one_imported_last() -> None:
    register("first", 1000)
    register("second", 2000)
    register("third", 1500)
    assert chosen_model() == "second"


def test_what_the_settings_name_comes_first() -> None:
    register("first", 1000)
    register("second", 2000)
    configure('[runtime]\nmodel = "first"\n')
    assert chosen_model() == "first"


def test_no_model_yet() -> None:
    with pytest.raises(ModelMissing) as fault:
        chosen_model()
    assert (fault.value.message, fault.value.remedy) == ("no model yet", "understudy setup")


def test_the_tiny_model_of_an_earlier_version_serves_only_when_it_is_named() -> None:
    register("understudy-3m-2", 2000)
    with pytest.raises(ModelMissing, match="no model yet"):
        chosen_model()
    register("mine", 1000)
    assert chosen_model() == "mine"
    choose("understudy-3m-2")
    assert chosen_model() == "understudy-3m-2"


def test_the_name_of_a_remote_model_is_none_of_this_machine() -> None:
    configure('[runtime]\nengine = "remote"\naddress = "https://host"\nmodel = "theirs"\n')
    with pytest.raises(ModelMissing):
        chosen_model()
    register("here", 1000)
    assert chosen_model() == "here"


def test_choosing_changes_one_value_and_keeps_the_rest() -> None:
    path = configure(CONFIG)
    choose("new")
    assert path.read_text() == CONFIG.replace('"old"', '"new"')
    assert chosen_model() == "new"


@pytest.mark.parametrize(
    "before", ["", "[learn]\nthreads = 1\n", "[runtime]\n", "[runtime]\nport = 0\n\n[learn]\nthreads = 1\n"]
)
def test_choosing_adds_what_is_not_there(before: str) -> None:
    path = configure(before)
    choose("new")
    assert all(line in path.read_text() for line in before.splitlines())
    assert chosen_model() == "new"


def test_the_first_choice_makes_a_private_file() -> None:
    choose("new")
    assert stat.S_IMODE(places().config_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(places().config.stat().st_mode) == 0o700


def test_settings_that_are_kept_elsewhere_stay_there(tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    kept.write_text("# kept\n")
    folder(places().config)
    places().config_file.symlink_to(kept)
    choose("new")
    assert places().config_file.is_symlink()
    assert 'model = "new"' in kept.read_text()


@pytest.mark.parametrize("text", ["[runtime", "runtime = 3\n", "\xff"])
def test_settings_that_cannot_be_read_are_left_as_they_are(text: str) -> None:
    path = configure("")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadRequest) as fault:
        choose("new")
    assert str(path) in fault.value.message
    assert path.read_bytes() == text.encode("latin-1")


def test_a_file_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    path = configure(CONFIG)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("local_runtime.durable_file.os.fsync", full)
    with pytest.raises(BuildFailed, match="No space left on device"):
        choose("new")
    assert path.read_text() == CONFIG
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
