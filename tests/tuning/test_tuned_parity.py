"""What was trained is what is served: PyTorch's base with PEFT's adapter, and the compiled engine with the same folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Make

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import open_engine
from trainer.edits import Example
from trainer.tuning.base import Placement, add_adapter, head_weight, hidden_states, load_base, parent_of
from trainer.tuning.recipe import ATTENTION, MLP, Recipe
from trainer.tuning.samples import Sampler
from trainer.tuning.tune import tune

RECIPE = Recipe("parity", rank=8, alpha=16.0, targets=ATTENTION + MLP, rate=1e-4, examples_per_step=4, epochs=3.0)
CPU = Placement("cpu", torch.float32)
ATOL = {"q0f16": 0.02, "q8f16_g32": 0.2}
"""Nats per token, at most: float16 and, for int8, activations that are rounded, too. The mean is a quarter of it."""


@pytest.fixture(scope="module", params=list(ATOL))
def pair(
    request: pytest.FixtureRequest, make_model: Make, examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ModelFolder, CompiledEngine, Adapter]]:
    """A model, an engine that serves it, and an adapter that was trained on it."""
    model = make_model(replace(TINY, hidden_size=128, head_dim=64), request.param)
    run = tmp_path_factory.mktemp("run")
    for _ in tune(model, examples, RECIPE, run, placement=CPU):
        pass
    engine = open_engine(model.path)
    yield model, engine, read_adapter(run / "adapter")
    engine.close()


def torch_logprobs(model: ModelFolder, adapter: Path | None, ids: tuple[int, ...], n_target: int) -> list[float]:
    low_ranks = parent_of(adapter, model, RECIPE)[1] if adapter else None
    adapted = add_adapter(load_base(model, CPU), RECIPE, low_ranks)
    with torch.no_grad():
        logits = hidden_states(adapted, torch.tensor([ids])) @ head_weight(adapted).T
    logprobs = torch.log_softmax(logits[0, :-1], dim=-1)
    return logprobs[range(len(ids) - 1), list(ids[1:])][-n_target:].tolist()


def test_trainer_and_runtime_agree_with_and_without_the_adapter(
    pair: tuple[ModelFolder, CompiledEngine, Adapter], examples: list[Example]
) -> None:
    model, engine, adapter = pair
    fim = FimTokenizer.open(model.path)
    moved = []
    for example in examples[:4]:
        prompt = fim.prompt(example.hole, example.chunks, Sampler(fim, RECIPE, 384)._budget(example, 0))
        target = fim.target(prompt, example.middle)
        for chosen in (None, adapter):
            served = [p for piece in engine.score(prompt, target, chosen) for p in piece.logprobs]
            trained = torch_logprobs(model, chosen.path if chosen else None, prompt.token_ids + target, len(target))
            np.testing.assert_allclose(served, trained, atol=ATOL[model.quantization.name])
            assert np.mean(np.abs(np.subtract(served, trained))) < ATOL[model.quantization.name] / 4
            moved.append(np.mean(trained))
    gained = [with_adapter - base for base, with_adapter in zip(moved[::2], moved[1::2], strict=True)]
    assert min(gained) > ATOL[model.quantization.name], "the adapter changes more than the two may differ"
