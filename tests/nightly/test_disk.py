"""A full disk is known by the system's number, whatever it calls it, wherever it was noticed."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from local_runtime.errors import RuntimeFault
from trainer.disk import DiskFull, disk_fault
from trainer.nightly.training_process import understood
from trainer.tuning import adapter_folder, checkpoint
from trainer.tuning.checkpoint import Standing
from trainer.tuning.recipe import preset

FULL = OSError(errno.EDQUOT, "Plattenplatzbeschränkung überschritten")
BROKEN = OSError(errno.EIO, "the disk is full, says a driver that is wrong", "/data/run.json")


def test_numbers_decide_and_words_do_not() -> None:
    assert isinstance(disk_fault(FULL), DiskFull)
    assert isinstance(disk_fault(OSError(errno.ENOSPC, "")), DiskFull)
    other = disk_fault(BROKEN)
    assert not isinstance(other, DiskFull)
    assert other.message == "/data/run.json: the disk is full, says a driver that is wrong"


def test_the_training_process_says_it_to_its_parent() -> None:
    told = {"type": "fault", "message": "kein Platz", "disk_full": True}
    with pytest.raises(DiskFull, match="the run waits until there is room"):
        understood(json.dumps(told).encode())
    with pytest.raises(RuntimeFault) as other:
        understood(json.dumps(told | {"message": "the disk is full", "disk_full": False}).encode())
    assert not isinstance(other.value, DiskFull)


def stepped() -> tuple[dict[str, torch.nn.Parameter], torch.optim.Optimizer]:
    """A weight after one step."""
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.AdamW([weight])
    torch.autograd.backward((weight * weight).sum())
    optimizer.step()
    return {"a.default.weight": weight}, optimizer


@pytest.mark.parametrize(("problem", "kind"), [(FULL, DiskFull), (BROKEN, RuntimeFault)])
def test_a_checkpoint_without_room_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: OSError, kind: type[RuntimeFault]
) -> None:
    weights, optimizer = stepped()
    checkpoint.save(tmp_path, weights, optimizer, Standing("i", step=1))

    def refused(descriptor: int) -> None:
        raise problem

    monkeypatch.setattr("local_runtime.durable_file.os.fsync", refused)
    with pytest.raises(RuntimeFault) as fault:
        checkpoint.save(tmp_path, weights, optimizer, Standing("i", step=2))
    assert type(fault.value) is kind
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME]
    standing = checkpoint.standing_of(tmp_path)
    assert standing is not None
    assert standing.step == 1
    with safe_open(tmp_path / checkpoint.NAME, "pt") as file:
        assert torch.equal(file.get_tensor("adapter.a.default.weight"), weights["a.default.weight"])


def test_an_adapter_without_room_is_not_there_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr("local_runtime.durable_file.os.fsync", refused)
    with pytest.raises(DiskFull):
        adapter_folder.write(tmp_path, stepped()[0], preset("first-night"), {})
    assert list(tmp_path.iterdir()) == []
