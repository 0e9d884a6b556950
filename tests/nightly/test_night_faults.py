"""What goes wrong in a night is said in a sentence; nothing is lost, and what serves goes on serving."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from night_worlds import AWAY, NOUNS, TINY, VERBS, finished, learn_from

from local_runtime.errors import BadRequest, ModelInvalid
from local_runtime.model import registry
from local_runtime.places import folder, places
from trainer.adapters.serving import served_model
from trainer.adapters.versions import Versions
from trainer.collect.journal import Journal, default_path
from trainer.disk import DiskFull
from trainer.nightly import night as nights
from trainer.nightly.night import Night
from trainer.nightly.options import LearnOptions
from trainer.nightly.runs import Reason, Record, Runs, Stage
from trainer.nightly.trainer_lock import TrainerBusy, trainer_lock

OPTIONS = LearnOptions(threads=1)
pytestmark = pytest.mark.e2e


def night(**changes: object) -> Night:
    return Night(OPTIONS, lambda: AWAY, max_steps=4, **changes)  # type: ignore[arg-type]


def runs() -> Runs:
    return Runs(places().data / "runs")


def serving() -> str | None:
    return Versions(base_hash=served_model().base_hash).current().name


def test_nothing_to_learn_from(world: Path) -> None:
    record, _ = finished(night().events())
    assert record.outcome.startswith("nothing to learn from yet")
    assert not record.failed
    assert serving() is None


def test_a_model_without_sentinels_is_refused_before_anything_is_done(world: Path) -> None:
    """A tokenizer of another vocabulary, same size, has no fill-in-the-middle tokens."""
    plain = places().models.resolve() / "plain"
    if not plain.exists():
        import shutil  # noqa: PLC0415

        shutil.copytree(registry.find("tiny"), plain)
        tokenizer = plain / "tokenizer.json"
        tokenizer.write_text(tokenizer.read_text().replace("<fim_", "<not_"))
    folder(places().config)
    places().config_file.write_text('[runtime]\nmodel = "plain"\n')
    try:
        with pytest.raises(ModelInvalid, match="sentinels"):
            list(night().events())
    finally:
        __import__("shutil").rmtree(plain)
    assert list(runs()) == []


def test_a_base_that_changed_in_the_middle_begins_a_new_run(world: Path) -> None:
    left = runs().begin(
        Record(id="", reason=Reason.WARM, model="tiny", base_hash="another", began=1e9, stage=Stage.GATE)
    )
    record, _ = finished(night().events())
    assert record.id != left.record.id
    old = next(run.record for run in runs() if run.record.id == left.record.id)
    assert old.outcome == "the base model was changed in the middle of it"
    assert old.failed


def test_a_run_whose_parent_is_gone_begins_anew(world: Path) -> None:
    base_hash = served_model().base_hash
    runs().begin(Record(id="", reason=Reason.WARM, model="tiny", base_hash=base_hash, began=1e9, parent="personal-9"))
    finished(night().events())
    assert "personal-9, is gone" in runs().finished()[0].record.outcome


def test_a_half_written_run_is_cleared_and_told(world: Path) -> None:
    folder(runs().root / "20260101-000000")
    _, events = finished(night().events())
    assert "20260101-000000 was cut off at its very beginning" in events[0].text
    assert not (runs().root / "20260101-000000").exists()


def test_a_damaged_journal_is_told_of_and_kept(world: Path) -> None:
    folder(places().data)
    default_path().write_bytes(b"this is no database at all" * 100)
    _, events = finished(night().events())
    assert any("was damaged" in event.text and "kept as" in event.text for event in events)
    assert len(list(places().data.glob("journal.sqlite.broken-*"))) == 1
    assert sqlite3.connect(default_path()).execute("PRAGMA quick_check").fetchone() == ("ok",)


def test_another_trainer_is_named(world: Path) -> None:
    with trainer_lock(), pytest.raises(TrainerBusy, match="another trainer is running: process"):
        next(night().events())


def test_too_little_memory_ends_the_run_in_a_sentence(world: Path, tmp_path: Path) -> None:
    learn_from(tmp_path / "shop", NOUNS[:3], VERBS[:3])
    small = Night(LearnOptions(threads=1, memory_cap_mb=256), lambda: AWAY, max_steps=4)
    record, _ = finished(small.events())
    assert record.failed
    assert "more than its cap of 256 MB" in record.outcome
    assert serving() is None


def test_what_the_training_process_cannot_do_ends_the_run_in_its_words(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is no number: nothing of it is kept, and the next night begins a run of its own."""
    script = tmp_path / "child.py"
    word = {"type": "fault", "message": "step 3: the loss is no number any more; nothing of this run is kept"}
    line = json.dumps(word).encode() + b"\n"
    script.write_text(f"import os, sys\nos.write(int(sys.argv[-1]), {line!r})\n")
    with monkeypatch.context() as patch:
        patch.setattr(nights, "python", lambda module, *arguments: [sys.executable, str(script)])
        record, events = finished(night().events())
    assert record.failed
    assert record.outcome == word["message"] == events[-1].text
    assert serving() is None
    again, _ = finished(night().events())
    assert again.id != record.id


def test_a_full_disk_leaves_the_run_to_be_taken_up(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_from(tmp_path / "shop", NOUNS[:3], VERBS[:3])

    def full(self: Versions, source: Path) -> str:
        raise OSError(28, "No space left on device", str(source))

    with monkeypatch.context() as patch:
        patch.setattr(nights.Versions, "stage", full)
        with pytest.raises(DiskFull, match="the disk is full; the run waits"):
            list(night().events())
    left = runs().unfinished()
    assert left is not None
    assert (left.record.stage, left.record.n_faults) == (Stage.STAGE, 1)
    record, events = finished(night().events())
    assert record.id == left.record.id
    assert not any(event.step for event in events)  # it was trained already
    assert record.verdict is not None
    assert "There are" in record.outcome


def test_a_run_that_stops_again_and_again_is_given_up(world: Path) -> None:
    base_hash = served_model().base_hash
    runs().begin(
        Record(id="", reason=Reason.FIRST, model="tiny", base_hash=base_hash, began=1e9, n_faults=3, outcome="no room")
    )
    finished(night().events())
    assert runs().finished()[0].record.outcome == "it stopped 3 times: no room"


def test_training_without_its_packages_says_what_to_install(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nights, "find_spec", lambda name: None)
    with pytest.raises(BadRequest, match=r"torch and peft"):
        next(night().events())


def test_the_journal_and_the_options_of_the_tiny_model_are_what_they_seem(world: Path, tmp_path: Path) -> None:
    """The world of these tests itself."""
    learn_from(tmp_path / "shop", NOUNS[:3], VERBS[:3])
    journal = Journal()
    assert journal.count() == 9
    journal.close()
    assert (
        json.loads((served_model().path / "mlc-chat-config.json").read_text())["model_config"]["hidden_size"]
        == TINY.hidden_size
    )
