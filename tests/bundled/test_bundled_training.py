"""Training: a killed run resumes bit for bit, learns, cools down, and exports what transformers computes alike."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from local_runtime.fim import FimTokenizer
from trainer.batches import pad_together
from trainer.head_loss import CHUNK_TOKENS, HeadLoss
from trainer.pretrain import checkpoint
from trainer.pretrain.checkpoint import Standing
from trainer.pretrain.corpus import Document
from trainer.pretrain.decoder import SHAPES, Decoder
from trainer.pretrain.export import export
from trainer.pretrain.optimizer import Cooldown, rate_at
from trainer.pretrain.samples import SampleMaker
from trainer.pretrain.train import Run, StepReport, finished, held_out_loss, train_for

STANDING = Standing(SHAPES["tiny"], seed=3, samples_per_step=2, step=0, n_tokens=0, seconds=0.0)
MICRO_TOKENS = 1024


@pytest.fixture(scope="module")
def maker(fim: FimTokenizer, documents: list[Document]) -> SampleMaker:
    return SampleMaker(fim, documents, seed=3)


def train(run: Run, maker: SampleMaker, n_steps: int) -> list[StepReport]:
    return list(islice(run.steps(maker, MICRO_TOKENS), n_steps))


def weights(run: Run) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy().copy() for name, weight in run.model.named_parameters()}


def test_a_resumed_run_is_bit_equal(maker: SampleMaker, tmp_path: Path) -> None:
    """Six steps in one go, and three, a checkpoint, a new process's worth of objects, and three."""
    whole = Run.begin(STANDING)
    losses = [step.loss for step in train(whole, maker, 6)]
    first = Run.begin(STANDING)
    train(first, maker, 3)
    first.save(tmp_path)
    second = Run.resume(tmp_path)
    assert second.standing.step == 3
    assert [step.loss for step in train(second, maker, 3)] == losses[3:]
    assert second.standing.n_tokens == whole.standing.n_tokens
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(second)[name], err_msg=name)


def test_prefetching_processes_change_nothing(maker: SampleMaker) -> None:
    """What a machine with a GPU does."""
    alone, helped = Run.begin(STANDING), Run.begin(STANDING)
    losses = [step.loss for step in train(alone, maker, 3)]
    steps = helped.steps(maker, MICRO_TOKENS, n_workers=2)
    assert [step.loss for step in islice(steps, 3)] == losses
    steps.close()  # type: ignore[attr-defined]


def test_a_forgotten_optimiser_would_be_seen(maker: SampleMaker, tmp_path: Path) -> None:
    """The test above can fail: the same without the optimiser's state differs."""
    run = Run.begin(STANDING)
    train(run, maker, 3)
    run.save(tmp_path)
    train(run, maker, 2)
    bare = Run.begin(checkpoint.standing(tmp_path))
    checkpoint.load(tmp_path, bare.model)
    train(bare, maker, 2)
    assert any((value != weights(bare)[name]).any() for name, value in weights(run).items())


def test_a_resumed_cooldown_decays_alike(maker: SampleMaker, tmp_path: Path) -> None:
    run = Run.begin(STANDING)
    train(run, maker, 2)
    run.cool_down(3)
    train(run, maker, 1)
    run.save(tmp_path)
    resumed = Run.resume(tmp_path)
    assert resumed.standing.cooldown == Cooldown(2, 3)
    assert len(train(resumed, maker, 100)) == 2
    assert finished(resumed.standing)


def test_the_rate_rises_stays_and_falls() -> None:
    cooldown = Cooldown(first_step=10, n_steps=4)
    rates = [rate_at(step, 4, cooldown) for step in range(14)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]


def test_it_learns(maker: SampleMaker) -> None:
    run = Run.begin(STANDING)
    held_out = pad_together([maker.sample(n) for n in range(10_000, 10_008)], MICRO_TOKENS, maker.fim.end_id)
    before = held_out_loss(run, held_out)
    train(run, maker, 40)
    assert held_out_loss(run, held_out) < before - 0.5


def test_a_sitting_saves_and_cools_down(maker: SampleMaker, tmp_path: Path) -> None:
    run = Run.begin(STANDING)
    seen: list[StepReport] = []
    train_for(run, tmp_path, run.steps(maker, MICRO_TOKENS), seconds=0.0, report=seen.append)
    assert finished(run.standing)
    assert seen[-1].rate_share == 0
    assert checkpoint.standing(tmp_path) == run.standing


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = Decoder(SHAPES["tiny"])
    ids = torch.randint(6, 512, (1, 40))
    padded = torch.cat((ids, torch.zeros(1, 24, dtype=torch.int64)), dim=1)
    with torch.no_grad():
        np.testing.assert_allclose(model(padded)[:, :40], model(ids), atol=2e-6)


def test_the_exported_folder_is_what_transformers_computes(
    maker: SampleMaker, tokenizer_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    run = Run.begin(STANDING)
    train(run, maker, 3)
    run.save(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((tokenizer_folder / "tokenizer.json").read_bytes())
    (tmp_path / "steps.jsonl").write_text("")
    out = tmp_path / "out"
    export(tmp_path, out)
    assert {weight.dtype for weight in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    theirs = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ours = Decoder(SHAPES["tiny"])
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            weight.copy_(load_file(out / "model.safetensors")[name].float())
        ids = torch.randint(6, 512, (2, 50), generator=torch.Generator().manual_seed(1))
        np.testing.assert_allclose(ours(ids), theirs(ids).logits, atol=1e-4)


def test_the_head_loss_is_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and both gradients, over several chunks, one of them short."""
    monkeypatch.setitem(CHUNK_TOKENS, "cpu", 16)
    torch.manual_seed(2)
    hidden, head = torch.randn(50, 32, requires_grad=True), torch.randn(100, 32, requires_grad=True)
    targets, wanted = torch.randint(0, 100, (50,)), torch.rand(50)
    loss = HeadLoss.apply(hidden, head, targets, wanted)  # type: ignore[no-untyped-call]
    ours = torch.autograd.grad(loss / 7, (hidden, head))
    reference = (F.cross_entropy(hidden @ head.T, targets, reduction="none") * wanted).sum()
    theirs = torch.autograd.grad(reference / 7, (hidden, head))
    torch.testing.assert_close(loss, reference)
    torch.testing.assert_close(ours, theirs)
