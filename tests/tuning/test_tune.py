"""Training: learns, leaves a complete folder, resumes bit-equally after kill -9, and says what goes wrong."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Make, some_examples
from peft import PeftModel
from safetensors.numpy import load_file, save_file

from local_runtime.adapters.peft_folder import check_fits, read_adapter, read_low_ranks
from local_runtime.errors import AdapterInvalid, BadRequest, ModelInvalid, OutOfMemory
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import Budget, FimTokenizer
from trainer.batches import pad_together
from trainer.edits import Example
from trainer.examples.general import general_examples
from trainer.examples.store import write_examples
from trainer.head_loss import CHUNK_TOKENS, HeadDivergence
from trainer.tuning import checkpoint
from trainer.tuning import tune as tuning
from trainer.tuning.base import Placement, add_adapter, load_base, parent_of
from trainer.tuning.faults import TrainingFailed
from trainer.tuning.recipe import Precision, Recipe, preset, presets
from trainer.tuning.samples import Sampler, judged, order
from trainer.tuning.tune import Pause, StepReport, drift, tune

CPU = Placement("cpu", torch.float32)
SHORT = Budget(related_tokens=48, prefix_tokens=64, suffix_tokens=32, line_tokens=32)
SMALL = Recipe("small", rank=4, alpha=8.0, rate=1e-4, examples_per_step=4, epochs=4.0, budgets=((1.0, SHORT),))


def train(
    model: ModelFolder, examples: list[Example], run: Path, recipe: Recipe = SMALL, **options: object
) -> list[StepReport]:
    options = {"placement": CPU, **options}
    return list(tune(model, examples, recipe, run, **options))  # type: ignore[arg-type]


def test_a_run_learns_and_leaves_a_complete_adapter(
    model: ModelFolder, examples: list[Example], tmp_path: Path
) -> None:
    reports = train(model, examples, tmp_path / "run")
    assert [one.step for one in reports] == list(range(1, reports[0].n_steps + 1))
    assert reports[-1].loss < reports[0].loss - 0.5
    adapter = read_adapter(tmp_path / "run" / "adapter")
    assert adapter.base_hash == model.base_hash
    assert adapter.rank == 4
    check_fits(adapter, read_low_ranks(adapter), model.config)
    said = json.loads((tmp_path / "run" / "adapter" / "manifest.json").read_text())
    assert {"base_hash", "parent", "corpus_hash", "recipe", "versions"} <= said.keys()
    assert not (tmp_path / "run" / checkpoint.NAME).exists(), "the state is of no more use"
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["steps"] == len(reports)
    assert record["peak_bytes"] > 1 << 20
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0


def test_peft_itself_reads_the_adapter(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    train(model, examples, tmp_path / "run")
    with pytest.warns(FutureWarning):  # PEFT's own use of transformers
        theirs = PeftModel.from_pretrained(load_base(model, CPU), tmp_path / "run" / "adapter")
    saved = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    for name, weight in theirs.named_parameters():
        if "lora_" in name:
            np.testing.assert_array_equal(weight.detach().numpy(), saved[name.replace(".default.", ".")])


def test_the_same_training_gives_the_same_bytes(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    """Also when the journal's rows differ: a rebuild without a forgotten file equals one that never knew it."""
    other_rows = [replace(one, edit_id=one.edit_id + 5) for one in examples]
    train(model, examples, tmp_path / "one")
    torch.rand(3)
    train(model, other_rows, tmp_path / "two")
    for name in ("adapter_model.safetensors", "adapter_config.json", "manifest.json"):
        assert (tmp_path / "one" / "adapter" / name).read_bytes() == (tmp_path / "two" / "adapter" / name).read_bytes()


def test_a_run_that_is_done_is_not_done_again(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    assert train(model, examples, tmp_path / "run")
    assert train(model, examples, tmp_path / "run") == []
    assert train(model, examples[:-1], tmp_path / "run"), "other examples are another run"


_CHILD = """
import sys, os, signal
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_tune import CPU, SMALL
from local_runtime.model.model_folder import ModelFolder
from trainer.examples.store import read_examples
from trainer.tuning import tune as tuning
tuning.SAVE_EVERY_SECONDS = 0.0
run = Path({run!r})
for report in tuning.tune(ModelFolder.open(Path({model!r})), read_examples(Path({examples!r})), SMALL, run, placement=CPU):
    print(report.step, repr(report.loss), flush=True)
    if report.step == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def _child(model: ModelFolder, examples: Path, run: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    code = _CHILD.format(
        tests=str(Path(__file__).parent), run=str(run), model=str(model.path), examples=str(examples), kill_at=kill_at
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )


@pytest.mark.e2e
def test_a_run_killed_twice_equals_an_uninterrupted_one(
    model: ModelFolder, examples: list[Example], tmp_path: Path
) -> None:
    """kill -9 by the process itself, at two steps; the losses that follow and the adapter's bytes are the same."""
    file = tmp_path / "examples.jsonl"
    write_examples(file, examples)
    whole = _child(model, file, tmp_path / "whole", kill_at=0)
    assert whole.returncode == 0, whole.stderr
    said: list[str] = []
    for kill_at in (3, 7, 0):
        part = _child(model, file, tmp_path / "parts", kill_at)
        assert part.returncode == (-signal.SIGKILL if kill_at else 0), part.stderr
        said += part.stdout.splitlines()
    lines = dict(line.split(" ", 1) for line in whole.stdout.splitlines())
    assert len(said) > len(lines) >= 12, "what came after the last save was done again"
    assert all(lines[step] == loss for step, loss in (line.split(" ", 1) for line in said))
    for name in ("adapter_model.safetensors", "adapter_config.json", "manifest.json"):
        assert (tmp_path / "whole/adapter" / name).read_bytes() == (tmp_path / "parts/adapter" / name).read_bytes()


def test_without_its_moments_a_resumed_run_would_differ(
    model: ModelFolder, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: the optimiser's state is needed."""
    monkeypatch.setattr(tuning, "SAVE_EVERY_SECONDS", 0.0)
    whole = [one.loss for one in train(model, examples, tmp_path / "whole")]
    steps = tune(model, examples, SMALL, tmp_path / "run", placement=CPU)
    for _ in range(6):
        next(steps)
    steps.close()  # type: ignore[attr-defined]
    file = tmp_path / "run" / checkpoint.NAME
    tensors = load_file(file)
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
    step = json.loads(metadata["standing"])["step"]
    save_file({k: np.zeros_like(v) if "exp_avg" in k else v for k, v in tensors.items()}, file, metadata)
    resumed = [one.loss for one in train(model, examples, tmp_path / "run")]
    assert resumed[0] == whole[step]
    assert resumed[-1] != whole[-1]


def test_a_damaged_checkpoint_is_said_and_left_behind(
    model: ModelFolder, examples: list[Example], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / checkpoint.NAME).write_bytes(b"half of a state")
    reports = train(model, examples, tmp_path / "run")
    assert reports[0].step == 1
    assert "damaged" in caplog.text
    assert read_adapter(tmp_path / "run" / "adapter")


def test_a_state_of_another_training_is_not_gone_on_from(
    model: ModelFolder,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tuning, "SAVE_EVERY_SECONDS", 0.0)
    steps = tune(model, examples, SMALL, tmp_path / "run", placement=CPU)
    for _ in range(4):
        next(steps)
    steps.close()  # type: ignore[attr-defined]
    fewer = train(model, examples[:8], tmp_path / "run")
    assert fewer[0].step == 1
    assert "another training" in caplog.text
    assert fewer == _without_times(fewer, train(model, examples[:8], tmp_path / "fresh"))


def _without_times(like: list[StepReport], found: list[StepReport]) -> list[StepReport]:
    return [
        replace(one, seconds=a.seconds, resident_bytes=a.resident_bytes) for a, one in zip(like, found, strict=True)
    ]


def test_warm_nights_go_on_from_the_parent(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    cold = train(model, examples, tmp_path / "first")
    parent = tmp_path / "first" / "adapter"
    warm = train(model, examples, tmp_path / "second", warm_start=parent)
    assert warm[0].loss < cold[0].loss - 0.5
    assert warm[0].loss == pytest.approx(cold[-1].loss, abs=1.0)
    assert read_adapter(tmp_path / "second" / "adapter").parent == read_adapter(parent).id


def test_a_parent_that_does_not_fit_is_refused(
    model: ModelFolder, make_model: Make, examples: list[Example], tmp_path: Path
) -> None:
    train(model, examples, tmp_path / "first")
    parent = tmp_path / "first" / "adapter"
    with pytest.raises(AdapterInvalid, match="rank 4"):
        train(model, examples, tmp_path / "second", replace(SMALL, rank=8), warm_start=parent)
    other = make_model(replace(TINY, intermediate_size=128), "q8f16_g32")
    with pytest.raises(AdapterInvalid, match="made for base"):
        train(other, examples, tmp_path / "third", warm_start=parent)


def test_a_loss_that_is_no_number_ends_the_run(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    poisoned = [*examples[:5], replace(examples[5], weight=float("nan")), *examples[6:]]
    with pytest.raises(TrainingFailed, match="step 2: the loss is no number"):
        train(model, poisoned, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()


def test_more_memory_than_the_cap_ends_the_run(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="cap of 64 MB"):
        train(model, examples, tmp_path / "run", memory_cap_bytes=64 << 20)


def test_a_model_without_sentinels_is_refused_before_it_is_loaded(
    make_model: Make, examples: list[Example], tmp_path: Path
) -> None:
    found = make_model(replace(TINY, n_layers=1), "q8f16_g32")
    said = json.loads(found.tokenizer_file.read_text())
    said["added_tokens"] = [one for one in said["added_tokens"] if "fim" not in one["content"]]
    for token in ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"):
        said["model"]["vocab"][f"no{token}"] = said["model"]["vocab"].pop(token)
    found.tokenizer_file.write_text(json.dumps(said))
    with pytest.raises(ModelInvalid, match="sentinels of no family"):
        train(found, examples, tmp_path / "run")


def test_nothing_to_learn_from(model: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="nothing to learn from"):
        train(model, [], tmp_path / "run")


@pytest.mark.e2e
def test_a_disk_that_takes_no_more_is_said(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    """In a process that may write files of 20 kB at most."""
    file = tmp_path / "examples.jsonl"
    write_examples(file, examples)
    code = _CHILD.format(
        tests=str(Path(__file__).parent),
        run=str(tmp_path / "run"),
        model=str(model.path),
        examples=str(file),
        kill_at=0,
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1
    assert "the run could not be written" in done.stderr
    assert not (tmp_path / "run" / checkpoint.NAME).exists()
    assert not list((tmp_path / "run").glob("*.part*"))


def test_training_makes_way_between_forwards(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    asked: list[str] = []

    def wanted() -> bool:
        asked.append("wanted?")
        return len(asked) == 3

    reports = train(model, examples, tmp_path / "run", pause=Pause(wanted, lambda: asked.append("waited")))
    assert asked.count("waited") == 1
    assert len(asked) > len(reports)
    undisturbed = train(model, examples, tmp_path / "other")
    assert undisturbed == _without_times(undisturbed, reports)


def test_the_callers_random_numbers_are_left_alone(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    train(model, examples, tmp_path / "run")
    assert torch.equal(torch.rand(2), expected)


def test_the_seeds_recipe_runs_on_a_tiny_model(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    """Its rank, targets, 4-bit base and checkpointing, for two of its two thousand steps."""
    pytest.importorskip("bitsandbytes")
    recipe = replace(preset("starcoder-qlora"), max_steps=2)
    placement = replace(CPU, nf4=recipe.precision is Precision.NF4, checkpointing=bool(recipe.checkpointing))
    reports = train(model, examples, tmp_path / "run", recipe, placement=placement)
    assert len(reports) == 2
    adapter = read_adapter(tmp_path / "run" / "adapter")
    assert adapter.rank == 32
    assert len(adapter.targets) == 7


def test_a_four_bit_base_learns(model: ModelFolder, examples: list[Example], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    reports = train(model, examples, tmp_path / "run", placement=replace(CPU, nf4=True))
    assert reports[-1].loss < reports[0].loss - 0.5


def test_samples_are_the_runtimes_prompts(model: ModelFolder, examples: list[Example]) -> None:
    fim = FimTokenizer.open(model.path)
    sampler = Sampler(fim, SMALL, model.config.context_tokens)
    for example in [*examples, *(replace(one, weight=1.5) for one in examples)]:
        sample = sampler.sample(example)
        prompt = fim.prompt(example.hole, example.chunks, SHORT)
        n = len(prompt.token_ids)
        assert sample.token_ids == (*prompt.token_ids, *fim.target(prompt, example.middle))
        assert set(sample.weights[n:]) == {example.weight}
        assert all(
            w == (0.0 if i in fim.stop_ids else 0.1)
            for i, w in zip(sample.token_ids[:n], sample.weights[:n], strict=True)
        )


def test_a_sample_never_exceeds_the_context(model: ModelFolder) -> None:
    fim = FimTokenizer.open(model.path)
    huge = replace(some_examples(1)[0], middle="x = call(argument)\n" * 90)
    sample = Sampler(fim, SMALL, 200).sample(huge)
    assert len(sample.token_ids) == len(sample.weights) == 200
    assert sample.weights[-1] == 1.0
    assert judged(fim, [huge], SHORT, 200) == []


def test_every_example_is_seen_as_often() -> None:
    plan = order(10, 5, replace(SMALL, examples_per_step=4))
    seen = [index for step in plan for _, index in step]
    assert seen[:10] == list(range(10))
    assert sorted(seen[10:]) == list(range(10))
    assert seen[10:] != seen[:10]


def test_recipes_that_cannot_be() -> None:
    with pytest.raises(BadRequest, match="rank 65"):
        Recipe("x", rank=65)
    with pytest.raises(BadRequest, match="targets"):
        Recipe("x", targets=("embed_tokens",))
    with pytest.raises(BadRequest, match="known are first-night"):
        preset("of somebody else")
    assert {one.name for one in presets()} >= {"first-night", "warm-night", "rebuild", "starcoder-qlora"}


def test_an_anchor_keeps_what_the_base_says_of_other_code(
    model: ModelFolder, examples: list[Example], tmp_path: Path
) -> None:
    """The same lesson, with other code beside it and without: that code is predicted much as before, and the lesson is learnt."""
    general = general_examples(16, seed=5)
    fim = FimTokenizer.open(model.path)
    sampler = Sampler(fim, SMALL, model.config.context_tokens)
    batches = pad_together([sampler.anchor(one) for one in general], 2048, fim.end_id)

    def drifted(anchor: float) -> tuple[float, float]:
        recipe = replace(SMALL, anchor=anchor)
        run = tmp_path / str(anchor)
        reports = train(model, [*examples, *(general if anchor else [])], run, recipe)
        adapted = add_adapter(load_base(model, CPU), recipe, parent_of(run / "adapter", model, recipe)[1])
        with torch.no_grad():
            return sum(drift(adapted, one.token_ids, one.weights).item() for one in batches), reports[-1].loss

    (free, free_loss), (held, held_loss) = drifted(0.0), drifted(10.0)
    assert 0 < held < 0.5 * free
    assert held_loss < free_loss + 0.5


def test_the_divergence_and_its_gradient_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHUNK_TOKENS, "cpu", 5)
    torch.manual_seed(0)
    hidden, reference = torch.randn(13, 8, requires_grad=True), torch.randn(13, 8)
    head, weights = torch.randn(11, 8), torch.rand(13)
    ours = HeadDivergence.apply(hidden, head, reference, weights)  # type: ignore[no-untyped-call]
    (slope,) = torch.autograd.grad(2 * ours, hidden)
    kl = torch.nn.functional.kl_div(
        (hidden @ head.T).log_softmax(1), (reference @ head.T).log_softmax(1), reduction="none", log_target=True
    )
    theirs = (kl.sum(1) * weights).sum()
    (expected,) = torch.autograd.grad(2 * theirs, hidden)
    assert torch.allclose(ours, theirs, rtol=1e-5)
    assert torch.allclose(slope, expected, atol=1e-5)
