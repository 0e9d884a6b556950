"""The frozen base in PyTorch: the very weights that the runtime serves, de-quantised, with a LoRA beside its linears."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from local_runtime.adapters.peft_folder import LowRanks, check_fits, read_adapter, read_low_ranks
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid
from local_runtime.model.config_writing import huggingface_config
from local_runtime.model.layout import fused_tensors, peft_targets
from local_runtime.model.model_folder import ModelFolder
from local_runtime.pip_command import install_extra
from trainer.tuning.faults import TrainingFailed
from trainer.tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in which precision training runs."""

    device: str
    """`cpu`, `mps` or `cuda`."""
    dtype: torch.dtype
    """Of products and of the frozen weights (sums and the adapter are float32)."""
    nf4: bool = False
    eight_bit_moments: bool = False
    checkpointing: bool = False


def load_base(model: ModelFolder, placement: Placement) -> nn.Module:
    """A frozen transformers decoder with the weights that `model` stands for, tensor by tensor.

    The peak of memory is the decoder and one tensor. Raises TrainingFailed without bitsandbytes when NF4 is asked for.
    """
    said = huggingface_config(model.config, "float32")
    config = transformers.AutoConfig.for_model(**said)
    with torch.device("meta"):
        automatic: Any = transformers.AutoModelForCausalLM
        decoder = automatic.from_config(config, attn_implementation="sdpa")
    linear_4bit = _four_bit_linear() if placement.nf4 else None
    linears = {part.name for fused in fused_tensors(model.config) if fused.takes_adapter for part in fused.parts}
    for name in model.huggingface_names():
        weight = torch.from_numpy(model.dequantized(name).copy()).to(placement.dtype)
        holder = decoder.get_submodule(name.rpartition(".")[0])
        if linear_4bit is not None and name in linears:
            _replace(decoder, name.rpartition(".")[0], linear_4bit(weight, holder.bias is not None, placement))
        else:
            holder.register_parameter(name.rpartition(".")[2], nn.Parameter(weight.to(placement.device), False))
    decoder.tie_weights()
    if not model.config.learned_positions:
        decoder.model.rotary_emb = type(decoder.model.rotary_emb)(config=config).to(placement.device)
    left = [name for name, value in decoder.named_parameters() if value.is_meta]
    if left:
        raise TrainingFailed(f"{model.path}: the decoder has weights that the folder does not: {', '.join(left[:3])}")
    if placement.nf4:
        decoder.is_loaded_in_4bit = True  # what PEFT asks before it chooses its linear
    decoder.requires_grad_(False)
    if placement.checkpointing:
        decoder.activation_checkpointing_enable()
    decoder.train()  # dropout and checkpointing look at this; the base itself has no dropout
    return decoder  # type: ignore[no-any-return]


def add_adapter(decoder: nn.Module, recipe: Recipe, warm_start: LowRanks | None = None) -> nn.Module:
    """PEFT's LoRA around `decoder`: fresh by the recipe's seed (A random, B zero), or as `warm_start` left it. In float32."""
    peft = import_peft()
    torch.manual_seed(recipe.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PEFT's own use of transformers
        family: str = _decoder(decoder).config.model_type
        adapted = peft.get_peft_model(decoder, lora_config(recipe, family))
    for name, weight in adapted.named_parameters():
        if ".lora_" in name:
            weight.data = weight.data.float()
    if warm_start is not None:
        _put(adapted, recipe, warm_start)
    return adapted  # type: ignore[no-any-return]


def lora_config(recipe: Recipe, family: str) -> Any:
    """PEFT's configuration of the recipe's adapter for a family, whose own names the targets get."""
    return import_peft().LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(peft_targets(family, recipe.targets)),
        bias="none",
    )


def trainable(adapted: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's matrices by their names, in the decoder's order."""
    return {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}


def hidden_states(adapted: nn.Module, token_ids: Tensor) -> Tensor:
    """`[B, T] int64` to `[B, T, hidden]`, normed, as the head takes them. Padding stands at the right, where no real token looks: no mask is needed."""
    decoder = _decoder(adapted)
    states: Tensor = decoder.base_model(input_ids=token_ids, use_cache=False).last_hidden_state
    divisor = getattr(decoder.config, "logits_scaling", 1.0)  # Granite's, of what the head makes of them
    return states if divisor == 1 else states / divisor


def head_weight(adapted: nn.Module) -> Tensor:
    """`[V, hidden]`, frozen."""
    return _decoder(adapted).get_output_embeddings().weight  # type: ignore[no-any-return]


def parent_of(folder: Any, model: ModelFolder, recipe: Recipe) -> tuple[Adapter, LowRanks]:
    """The adapter to start from, checked against the base and the recipe. Raises AdapterInvalid."""
    adapter = read_adapter(folder)
    if adapter.base_hash and adapter.base_hash != model.base_hash:
        raise AdapterInvalid(
            f"{folder} was made for base {adapter.base_hash[:12]}, the model is {model.base_hash[:12]}",
            "understudy train --preset rebuild",
        )
    low_ranks = read_low_ranks(adapter)
    check_fits(adapter, low_ranks, model.config)
    targets = {target.rpartition(".")[2] for target in peft_targets(model.config.family, recipe.targets)}
    if adapter.rank != recipe.rank or set(adapter.targets) != targets:
        raise AdapterInvalid(
            f"{folder} has rank {adapter.rank} on {', '.join(adapter.targets)}; recipe {recipe.name} has rank "
            f"{recipe.rank} on {', '.join(sorted(targets))}",
            "understudy train --preset rebuild",
        )
    return adapter, low_ranks


def import_peft() -> Any:
    """PEFT, without its libraries' chatter, and never online."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # bitsandbytes may look for kernels on the hub
    quiet = logging.getLogger("bitsandbytes")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import peft  # noqa: PLC0415 - seconds, and only training needs it
    finally:
        quiet.setLevel(level)
    return peft


def _decoder(adapted: nn.Module) -> Any:
    """transformers' decoder inside PEFT's wrappers."""
    wrapped: Any = adapted
    return wrapped.base_model.model if hasattr(wrapped, "peft_config") else wrapped


def _put(adapted: nn.Module, recipe: Recipe, low_ranks: LowRanks) -> None:
    """Set the adapter's matrices; alpha and rank, which are folded into `b`, are taken out again."""
    scaling = recipe.alpha / recipe.rank
    parameters = dict(adapted.named_parameters())
    with torch.no_grad():
        for module, low_rank in low_ranks.items():
            for letter, values in (("A", low_rank.a), ("B", low_rank.b / scaling)):
                parameters[f"base_model.model.{module}.lora_{letter}.default.weight"].copy_(torch.from_numpy(values))


def import_bitsandbytes(part: str) -> Any:
    """A part of bitsandbytes, which never looks online. Raises TrainingFailed where it is not installed."""
    import_peft()  # sets what bitsandbytes must not do
    try:
        return importlib.import_module(f"bitsandbytes.{part}")
    except ImportError:
        raise TrainingFailed(
            "4-bit weights and 8-bit moments need bitsandbytes, which is not installed",
            install_extra("train"),
        ) from None


def _four_bit_linear() -> Any:
    four_bit = import_bitsandbytes("nn")

    def make(weight: Tensor, bias: bool, placement: Placement) -> nn.Module:
        n_out, n_in = weight.shape
        linear: nn.Module = four_bit.Linear4bit(n_in, n_out, bias, placement.dtype, True, "nf4", device="meta")
        linear.weight = four_bit.Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
        return linear.to(placement.device)  # moving quantises

    return make


def _replace(decoder: nn.Module, name: str, linear: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(decoder.get_submodule(parent), child, linear)
