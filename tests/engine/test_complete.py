"""`understudy complete`: places, and one completion in the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_models import GROUPED, write_adapter

from local_runtime.cli.complete import complete, hole_at
from local_runtime.errors import BadRequest

SOURCE = "def add(a, b):\n    return a + b\n\nprint('ünï')"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path / "src" / "a.py"


@pytest.mark.parametrize(
    ("place", "before"),
    [
        ("src/a.py:1", "def add(a, b):"),
        ("src/a.py:1:1", ""),
        ("src/a.py:2:12", "def add(a, b):\n    return "),
        ("src/a.py:3", "def add(a, b):\n    return a + b\n"),
        ("src/a.py:4:10", "def add(a, b):\n    return a + b\n\nprint('ün"),
    ],
)
def test_places(place: str, before: str, file: Path) -> None:
    hole = hole_at(place)
    assert (hole.prefix, hole.suffix) == (before, SOURCE[len(before) :])
    assert (hole.path, hole.language) == ("src/a.py", "python")


@pytest.mark.parametrize(
    "place", ["src/a.py", "src/a.py:0", "src/a.py:5", "src/a.py:1:0", "src/a.py:1:16", "src/b.py:1", "src:1"]
)
def test_places_that_are_none(place: str, file: Path) -> None:
    with pytest.raises(BadRequest):
        hole_at(place)


def test_a_completion_is_printed_in_place(file: Path, make_model: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model(GROUPED, "q8f16_g32").name
    adapter = write_adapter(tmp_path / "adapter", GROUPED)
    arguments = ["src/a.py:2:12", "--model", model, "--max-tokens", "8"]
    plain = CliRunner().invoke(complete, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(plain.stdout)
    assert (found["n_tokens"], found["adapter"], found["stop"]) == (8, None, "length")
    tuned = json.loads(
        CliRunner().invoke(complete, [*arguments, "--json", "--adapter", str(adapter)], catch_exceptions=False).stdout
    )
    assert len(tuned["adapter"]) == 64
    assert tuned["logprob"] != found["logprob"]
    shown = CliRunner().invoke(complete, arguments, catch_exceptions=False).stdout
    assert shown.startswith("def add(a, b):\n    return ")
    assert "8 tokens in" in shown
