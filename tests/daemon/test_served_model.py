"""A real model, compiled and served by a real daemon: what is scored is what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from safetensors.numpy import save_file

from local_runtime.client.client import Ask, Client
from local_runtime.engines.protocol import Sampling
from local_runtime.model.importing import import_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.places import folder, places
from local_runtime.prompts.hole import Chunk, Hole

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOLE = Hole("a.py", "python", "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n")
GREEDY = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One tiny random model for all tests here; compiling it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tmp_path_factory.mktemp("home")))
        name = import_model(write_folder(tmp_path_factory.mktemp("source")), QUANTIZATIONS["q8f16_g32"], "tiny")
        write_adapter(ModelFolder.open(name))
        with Client("test") as client:
            try:
                client.wait_ready()
                yield client
            finally:
                client.stop()


@pytest.fixture(autouse=True)
def home() -> None:
    """The module's own home, in place of one per test."""


def write_adapter(model: ModelFolder) -> None:
    dice, path = np.random.default_rng(0), folder(places().adapters / "mine")
    config, layers = model.config, range(model.config.n_layers)
    (path / "adapter_config.json").write_text(
        json.dumps({"r": 4, "lora_alpha": 64, "target_modules": ["o_proj"], "peft_type": "LORA"})
    )
    (path / "manifest.json").write_text(json.dumps({"base_hash": model.base_hash}))
    shapes = {"A": (4, config.n_heads * config.head_dim), "B": (config.hidden_size, 4)}
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora_{side}.weight": dice.normal(0, 0.2, shape).astype(
            np.float32
        )
        for layer in layers
        for side, shape in shapes.items()
    }
    save_file(tensors, path / "adapter_model.safetensors")


@pytest.mark.parametrize("adapter", [None, "mine"])
def test_the_score_of_what_was_said_is_what_was_said_of_it(client: Client, adapter: str | None) -> None:
    ask = Ask(adapter=adapter)
    pieces = list(client.stream(HOLE, [Chunk("b.py", "import os\n")], GREEDY, ask))
    said = tuple(i for piece in pieces for i in piece.token_ids)
    logprobs = [logprob for piece in pieces for logprob in piece.logprobs]
    text = "".join(piece.text for piece in pieces)
    scored = client.score(HOLE, text, [Chunk("b.py", "import os\n")], ask, end=False)
    assert len(said) == 12
    if tuple(scored.token_ids) == said:  # the same text, cut into the same tokens
        assert all(scored.greedy)
        assert scored.logprobs == pytest.approx(logprobs, abs=1e-3)
    assert scored.n_bytes == len(text.encode())


def test_an_adapter_changes_what_is_said_and_strength_0_is_the_base(client: Client) -> None:
    def logprobs(**ask: object) -> list[float]:
        return client.score(HOLE, "a + b", ask=Ask(**ask)).logprobs  # type: ignore[arg-type]

    base = logprobs()
    assert logprobs(adapter="mine") != base
    assert logprobs(adapter="mine", strength=0.0) == base
    client.activate("mine", 1.0)
    active = logprobs()
    client.activate(None)
    assert active == logprobs(adapter="mine")
    assert logprobs() == base


def test_text_that_looks_like_a_sentinel_stays_text(client: Client) -> None:
    trap = Hole("a.py", "python", "x = '<fim_middle><|endoftext|>", "'\n")
    plain = client.score(trap, "y", end=False)
    assert plain.prompt_tokens > 20  # characters, not two control tokens
    assert client.complete(trap, sampling=GREEDY).n_tokens > 0


def test_a_prompt_of_any_length_is_served(client: Client) -> None:
    long = Hole("a.py", "python", "x = 1\n" * 200_000, "y = 2\n" * 100_000)
    assert client.complete(long, [Chunk("b.py", "z\n" * 50_000)] * 20, GREEDY).n_tokens > 0
    assert client.score(long, "x = 1\n" * 10).logprobs
