"""Versions on disk, without a daemon: promoted, rolled back, pruned, and killed at every moment."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from gate_worlds import BASE_HASH, write_adapter

from local_runtime.adapters.shelf import memory_file
from local_runtime.errors import AdapterInvalid, BadRequest
from local_runtime.file_hash import file_sha256
from local_runtime.places import places
from trainer.adapters.files import read_record
from trainer.adapters.versions import KEEP_CANDIDATES, KEEP_VERSIONS, Versions
from trainer.edits import Verdict

YES = Verdict(True, ("It is better.",), 0.8, {"candidate.loss": 0.9})


@pytest.fixture
def versions() -> Versions:
    return Versions(base_hash=BASE_HASH)


def promoted(versions: Versions, tmp_path: Path, seed: int, strength: float = 0.8) -> str:
    source = tmp_path / f"run-{seed}"
    write_adapter(source, seed=seed)
    return versions.promote(versions.stage(source), Verdict(True, (f"Night {seed}.",), strength))


def content(name: str) -> str:
    return file_sha256(places().adapters / name / "adapter_model.safetensors")


def test_a_candidate_is_there_by_name_and_does_not_serve(versions: Versions, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "run", seed=1)
    name = versions.stage(source.path)
    assert versions.adapter(name).id == source.id
    assert versions.current().name is None
    assert [one.name for one in versions.candidates()] == [name]
    assert versions.stage(source.path) == name  # again, after a crash


def test_promoting_serves_and_keeps_the_verdict(versions: Versions, tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "run", seed=1, corpus_hash="abc")
    name = versions.promote(versions.stage(source.path), YES)
    assert name == "personal-1"
    current = versions.current()
    assert (current.name, current.strength, current.adapter and current.adapter.id) == (name, 0.8, source.id)
    manifest = json.loads((places().adapters / name / "manifest.json").read_text())
    assert manifest["corpus_hash"] == "abc"
    assert manifest["gate"]["reasons"] == ["It is better."]
    assert manifest["gate"]["metrics"] == {"candidate.loss": 0.9}
    assert versions.candidates() == ()


def test_what_the_gate_refused_is_never_promoted(versions: Versions, tmp_path: Path) -> None:
    name = versions.stage(write_adapter(tmp_path / "run").path)
    refused = Verdict(False, ("It forgets.",), 1.0, {"x": float("nan")})
    with pytest.raises(BadRequest, match="It forgets"):
        versions.promote(name, refused)
    versions.reject(name, refused)
    record = read_record(places().adapters / name)
    assert record is not None and record.reasons == ["It forgets."] and not record.promoted
    assert versions.current().name is None


def test_rolling_back_brings_the_very_same_bytes_and_strength(versions: Versions, tmp_path: Path) -> None:
    first = promoted(versions, tmp_path, 1, strength=0.6)
    before = content(first)
    second = promoted(versions, tmp_path, 2)
    assert versions.current().name == second
    back = versions.rollback("it was worse")
    assert back and (back.adapter, back.strength) == (first, 0.6)
    assert (versions.current().name, versions.current().strength) == (first, 0.6)
    assert content(first) == before
    newest = versions.history()[0]
    assert newest.name == second and newest.record and newest.record.rolled_back == "it was worse"
    assert versions.rollback() is None
    with pytest.raises(BadRequest, match="nothing to roll back"):
        versions.rollback()


def test_rolling_back_passes_over_what_was_rolled_back_before(versions: Versions, tmp_path: Path) -> None:
    first, second = promoted(versions, tmp_path, 1), promoted(versions, tmp_path, 2)
    versions.rollback()
    third = promoted(versions, tmp_path, 3)
    versions.serving.select(second)  # chosen by hand, although it was rolled back
    versions.rollback()
    assert versions.current().name == first
    versions.serving.select(third)
    versions.rollback()
    assert versions.current().name == first


def test_rolling_back_passes_over_what_is_damaged(versions: Versions, tmp_path: Path) -> None:
    first, second, third = (promoted(versions, tmp_path, seed) for seed in (1, 2, 3))
    for name in (second, third):  # what serves, too
        (places().adapters / name / "adapter_model.safetensors").write_bytes(b"damaged")
    assert versions.current().name is None
    versions.rollback()
    assert versions.current().name == first
    assert versions.serving.problem() is None


def test_an_imported_adapter_is_left_for_the_newest_version(versions: Versions, tmp_path: Path) -> None:
    Versions(base_hash="f" * 64).promote(
        Versions(base_hash="f" * 64).stage(write_adapter(tmp_path / "theirs", "f" * 64).path), YES
    )
    mine = promoted(versions, tmp_path, 1)
    promoted(Versions(base_hash=BASE_HASH), tmp_path, 2)
    versions.rollback()
    write_adapter(places().adapters / "team", seed=9)
    versions.serving.select("team")
    versions.rollback()
    assert versions.current().name == mine


def test_an_adapter_of_another_base_never_serves(versions: Versions, tmp_path: Path) -> None:
    write_adapter(places().adapters / "theirs", "f" * 64)
    with pytest.raises(AdapterInvalid, match="made for base ffffffffffff"):
        versions.serving.select("theirs")
    assert versions.current().name is None


def test_seven_versions_and_what_serves_are_kept(versions: Versions, tmp_path: Path) -> None:
    oldest = promoted(versions, tmp_path, 1)
    for seed in range(2, KEEP_VERSIONS + 3):
        promoted(versions, tmp_path, seed)
    names = [version.name for version in versions.history()]
    assert names == [f"personal-{n}" for n in range(KEEP_VERSIONS + 2, 2, -1)]
    assert not (places().adapters / oldest).exists()
    versions.serving.select(names[-1])
    promoted(versions, tmp_path, 100)
    assert names[-1] not in [version.name for version in versions.history()] or len(versions.history()) == KEEP_VERSIONS


def test_a_version_that_serves_is_never_pruned(versions: Versions, tmp_path: Path) -> None:
    mixed = promoted(versions, tmp_path, 1)
    other = promoted(versions, tmp_path, 2)
    versions.serving.select(f"{mixed}*0.5+{other}*0.5")
    for seed in range(3, 14):
        write_adapter(tmp_path / f"r{seed}", seed=seed)
        versions.reject(versions.stage(tmp_path / f"r{seed}"), Verdict(False, ("No.",)))
    assert len(versions.candidates()) == KEEP_CANDIDATES
    assert {version.name for version in versions.history()} == {mixed, other}


def test_an_adapter_of_another_base_is_not_staged(versions: Versions, tmp_path: Path) -> None:
    with pytest.raises(AdapterInvalid, match="made for base ffffffffffff"):
        versions.stage(write_adapter(tmp_path / "run", base_hash="f" * 64).path)


def test_two_bases_have_each_their_own(versions: Versions, tmp_path: Path) -> None:
    other = Versions(base_hash="f" * 64)
    mine = promoted(versions, tmp_path, 1)
    theirs = other.promote(other.stage(write_adapter(tmp_path / "theirs", "f" * 64).path), YES)
    assert (versions.current().name, other.current().name) == (mine, theirs)
    assert [version.name for version in versions.history()] == [mine]


def test_a_damaged_version_leaves_the_base(versions: Versions, tmp_path: Path) -> None:
    name = promoted(versions, tmp_path, 1)
    (places().adapters / name / "adapter_model.safetensors").write_bytes(b"damaged")
    assert versions.current().name is None
    assert "cannot be read" in (versions.serving.problem() or "")
    assert versions.history() == ()


def test_deleting_what_serves_leaves_the_base(versions: Versions, tmp_path: Path) -> None:
    name = promoted(versions, tmp_path, 1)
    versions.delete([name])
    assert versions.current().name is None
    assert not (places().adapters / name).exists()
    assert "personal" not in memory_file().read_text()


def die_at(n_write: int) -> None:
    """Kill this process -9 at its n-th rename, sync or new folder from now on."""
    n_done = 0

    def deadly(name: str) -> None:
        whole = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal n_done
            n_done += 1
            if n_done == n_write:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*args, **kwargs)

        setattr(os, name, call)

    for name in ("rename", "replace", "fsync", "mkdir"):
        deadly(name)


def promote_in_a_process_that_dies(source: Path, n_write: int) -> bool:
    """Whether it died before it had ended."""
    pid = os.fork()
    if pid == 0:
        try:
            die_at(n_write)
            own = Versions(base_hash=BASE_HASH)
            own.promote(own.stage(source), YES)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.e2e
def test_kill_9_at_any_write_leaves_a_complete_judged_adapter_and_the_promotion_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every n there is, the process dies at its n-th rename, sync or new folder."""
    source = write_adapter(tmp_path / "next", seed=2)
    serving = {}
    for n_write in range(1, 100):
        monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / f"home-{n_write}"))
        versions = Versions(base_hash=BASE_HASH)
        first = promoted(versions, tmp_path, 1)
        died = promote_in_a_process_that_dies(source.path, n_write)
        current = versions.current()
        assert current.name is not None and current.adapter is not None
        record = read_record(current.adapter.path)
        assert record is not None and record.promoted
        assert versions.adapter(current.name).id == current.adapter.id
        serving[current.name] = serving.get(current.name, 0) + 1
        # Whatever was left, doing it again ends well, and nothing half-written stays.
        again = versions.promote(versions.stage(source.path), YES)
        assert versions.current().name == again
        assert versions.adapter(again).id == source.id
        assert not list(places().adapters.rglob(".unfinished-*"))
        assert [version.name for version in versions.history()] == [again, first]
        if not died:
            break
    # Deaths before and after the new one was chosen were both met.
    assert serving["personal-1"] >= 10
    assert serving["personal-2"] >= 1
