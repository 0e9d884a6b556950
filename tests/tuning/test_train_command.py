"""`understudy train`, on a journal of a small project and a tiny model."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import TINY, Make

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.errors import BadRequest, NotReady
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places
from trainer.collect.journal import Journal
from trainer.edits import EditEvent
from trainer.tuning import memory
from trainer.tuning.commands import train
from trainer.tuning.memory import estimate
from trainer.tuning.recipe import preset


@pytest.fixture
def journal(tmp_path: Path, home: Path) -> Path:
    root = str(tmp_path / "shop")
    with closing(Journal()) as opened:
        text = ""
        for n in range(6):
            after = text + f"def total_{n}(items):\n    return sum(price_of(item) for item in items) * {n}\n\n\n"
            opened.add([EditEvent(f"{root}/cart.py", root, "python", text, after, 1.7e9 + n * 3600)])
            text = after
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_training_by_hand_leaves_an_adapter_that_serves_nobody(model: ModelFolder, journal: Path) -> None:
    said = run("--model", model.path.name, "--steps", "3", "--out", str(journal / "run"), "--device", "cpu")
    assert "understudy learn now" in said
    assert "3 steps" in said
    assert read_adapter(journal / "run" / "adapter").base_hash == model.base_hash
    assert not (places().adapters).exists()
    again = run("--model", model.path.name, "--steps", "3", "--out", str(journal / "run"), "--device", "cpu")
    assert "3 steps" in again, "what is done is not done again, and still told"


def test_the_estimate_names_every_part(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROBE_SECONDS", 0.2)
    said = run("--model", model.path.name, "--estimate", "--device", "cpu")
    for word in ("base", "adapter and gradients", "optimiser", "activations", "logits", "together", "minutes"):
        assert word in said


def test_unknown_names_are_refused(model: ModelFolder) -> None:
    with pytest.raises(BadRequest, match="no preset 'nobody'"):
        run("--model", model.path.name, "--preset", "nobody")


def test_an_empty_journal_says_what_to_do(model: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(model.path) + "/"
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "empty"))
    with pytest.raises(NotReady, match="no edits"):
        run("--model", name)


def test_a_bigger_model_is_estimated_bigger(make_model: Make) -> None:
    from dataclasses import replace  # noqa: PLC0415

    recipe = preset("first-night")
    small = estimate(make_model(TINY, "q8f16_g32"), recipe, "cpu", probe=False)
    large = estimate(make_model(replace(TINY, n_layers=4), "q8f16_g32"), recipe, "cpu", probe=False)
    for part in ("base", "adapter and gradients", "optimiser", "activations"):
        assert large.bytes_by_part[part] > small.bytes_by_part[part]
    assert small.minutes == 0.0
