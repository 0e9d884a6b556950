"""The base in PyTorch is what the folder stands for, and the adapter beside it obeys LoRA's laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from conftest import TINY, Make

from local_runtime.model.config_writing import huggingface_config
from local_runtime.model.decoder_config import DecoderConfig, RopeScaling
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.synthetic import SHAPES
from trainer.tuning.base import Placement, add_adapter, head_weight, hidden_states, load_base, trainable
from trainer.tuning.memory import estimate_bytes
from trainer.tuning.recipe import ATTENTION, MLP, Recipe, preset
from trainer.tuning.tune import weighted_nats

CPU = Placement("cpu", torch.float32)
SMALL = Recipe("small", rank=4, alpha=8.0, targets=ATTENTION + MLP)
QWEN2 = DecoderConfig("qwen2", 64, 96, 2, 4, 2, 16, 320, 256, rope_theta=1e6, tied_embeddings=True, qkv_bias=True)
UNTIED = DecoderConfig("llama", 64, 96, 2, 2, 2, 32, 320, 256, qkv_bias=True, o_bias=True, mlp_bias=True)
STRETCHED = replace(TINY, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 128))
IDS = torch.arange(5, 85).view(2, 40)


def logits(adapted: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return hidden_states(adapted, IDS) @ head_weight(adapted).T


FAMILIES = {
    "llama": TINY,
    "qwen2": QWEN2,
    "untied": UNTIED,
    "stretched": STRETCHED,
} | {name: SHAPES[f"tiny-{name}"] for name in ("qwen3", "granite", "starcoder2", "starcoder")}


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_the_base_is_what_transformers_computes_with_the_folders_weights(
    make_model: Make, config: DecoderConfig
) -> None:
    model = make_model(config, "q8f16_g32")
    ours = load_base(model, CPU)
    theirs = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**huggingface_config(config, "float32")), attn_implementation="eager"
    )
    weights = {name: torch.from_numpy(model.dequantized(name).copy()) for name in model.huggingface_names()}
    assert not theirs.load_state_dict(weights, strict=False).unexpected_keys
    theirs.tie_weights()
    with torch.no_grad():
        expected = theirs.eval()(IDS).logits
    np.testing.assert_allclose(logits(ours).numpy(), expected.numpy(), atol=2e-4)


@pytest.mark.parametrize("name", ["qwen3", "granite", "starcoder2", "starcoder"])
def test_every_family_learns_on_the_linears_that_are_meant(make_model: Make, name: str) -> None:
    """Fresh it changes nothing; all its matrices get gradients; its size is what the estimate says."""
    model = make_model(FAMILIES[name], "q8f16_g32")
    for recipe in (SMALL, replace(SMALL, targets=MLP)):
        adapted = add_adapter(load_base(model, CPU), recipe)
        assert torch.equal(logits(adapted), logits(load_base(model, CPU)))
        torch.autograd.backward(weighted_nats(adapted, IDS, torch.ones(IDS.shape)))
        matrices = trainable(adapted)
        assert all(w.grad is not None and w.grad.abs().max() > 0 for n, w in matrices.items() if ".lora_B." in n)
        size = sum(w.numel() for w in matrices.values())
        assert estimate_bytes(model, recipe, CPU)["adapter and gradients"] == size * 8
        assert {".mlp." in n for n in matrices} == ({True} if recipe.targets == MLP else {True, False})


def test_a_fresh_adapter_changes_nothing_and_its_size_is_the_formulas(model: ModelFolder) -> None:
    before = logits(load_base(model, CPU))
    adapted = add_adapter(load_base(model, CPU), SMALL)
    assert torch.equal(logits(adapted), before)
    inner, hidden, heads, narrow = 96, 64, 64, 32
    sizes = {"q": (hidden, heads), "k": (hidden, narrow), "v": (hidden, narrow), "o": (heads, hidden)}
    per_layer = 4 * sum(map(sum, sizes.values())) + 4 * 3 * (hidden + inner)
    assert sum(w.numel() for w in trainable(adapted).values()) == 2 * per_layer
    parts = estimate_bytes(model, SMALL, CPU)
    assert parts["adapter and gradients"] == 2 * per_layer * 8


def test_the_first_adapter_is_the_seeds(model: ModelFolder) -> None:
    def first(seed: int) -> list[torch.Tensor]:
        return [w.detach() for w in trainable(add_adapter(load_base(model, CPU), replace(SMALL, seed=seed))).values()]

    torch.manual_seed(99)
    again = first(1)
    assert all(torch.equal(a, b) for a, b in zip(first(1), again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first(2), again, strict=True))


def test_checkpointing_changes_memory_alone(model: ModelFolder) -> None:
    weights = torch.ones(IDS.shape)
    found = []
    for placement in (CPU, replace(CPU, checkpointing=True)):
        adapted = add_adapter(load_base(model, placement), SMALL)
        loss = weighted_nats(adapted, IDS, weights)
        loss.backward()
        found.append((loss.item(), [w.grad.clone() for w in trainable(adapted).values() if w.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert len(found[0][1]) == len(found[1][1]) > 0
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other)
    assert (
        estimate_bytes(model, SMALL, replace(CPU, checkpointing=True))["activations"]
        < estimate_bytes(model, SMALL, CPU)["activations"]
    )


def test_logits_are_made_only_where_something_is_asked(model: ModelFolder) -> None:
    """The loss of a few positions is the sum over them of the full cross-entropy."""
    adapted = add_adapter(load_base(model, CPU), SMALL)
    weights = torch.zeros(IDS.shape)
    weights[0, 7], weights[1, -1] = 1.0, 0.5
    with torch.no_grad():
        full = torch.log_softmax(hidden_states(adapted, IDS) @ head_weight(adapted).T, dim=-1)
    expected = -(full[0, 6, IDS[0, 7]] + 0.5 * full[1, -2, IDS[1, -1]])
    assert weighted_nats(adapted, IDS, weights).item() == pytest.approx(expected.item(), rel=1e-4)


def test_padding_is_seen_by_nobody(model: ModelFolder) -> None:
    adapted = add_adapter(load_base(model, CPU), SMALL)
    weights = torch.ones(1, 40)
    alone = weighted_nats(adapted, IDS[:1], weights).item()
    padded = torch.cat((IDS[:1], torch.zeros(1, 24, dtype=torch.int64)), dim=1)
    with_padding = weighted_nats(adapted, padded, torch.cat((weights, torch.zeros(1, 24)), dim=1)).item()
    assert with_padding == pytest.approx(alone, rel=1e-5)


def test_the_base_in_four_bits_is_near_the_base(model: ModelFolder) -> None:
    """NF4 keeps the norms and the embedding, and only its linears' last digits are lost."""
    pytest.importorskip("bitsandbytes")
    four_bit = load_base(model, replace(CPU, nf4=True))
    kinds = {type(module).__name__ for name, module in four_bit.named_modules() if name.endswith("_proj")}
    assert kinds == {"Linear4bit"}
    exact, near = logits(load_base(model, CPU)), logits(add_adapter(four_bit, SMALL))
    error = ((near - exact).norm() / exact.norm()).item()
    assert 0.001 < error < 0.5


def test_the_seeds_recipe_is_as_published() -> None:
    """ "Personal Copilot": https://huggingface.co/blog/personal-copilot, `run_peft.sh` for StarCoder."""
    recipe = preset("starcoder-qlora")
    assert (recipe.rank, recipe.alpha, recipe.dropout, recipe.rate) == (32, 64.0, 0.0, 5e-4)
    assert (recipe.max_steps, recipe.examples_per_step, recipe.warmup_steps) == (2000, 16, 30)
    assert recipe.precision == "nf4"
    assert recipe.checkpointing
    assert recipe.budgets[0][1].n_tokens == 2048
