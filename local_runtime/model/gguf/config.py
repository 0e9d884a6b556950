"""From the metadata of a GGUF file to a DecoderConfig, by way of the fields that Hugging Face's `config.json` would have.

Keys: the `gguf` package's `constants.py`. What a key does not say is read off the tensors: biases, and llama3's rope scaling,
which is written as a table of factors alone (llama.cpp's `conversion/llama.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from local_runtime.errors import ModelInvalid
from local_runtime.model.config_json import ARCHITECTURES, ConfigJson, decoder_config
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.gguf.file import GgufFile, Value

FAMILIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "granite": "granite",
    "starcoder2": "starcoder2",
    "starcoder": "gpt_bigcode",
}
"""llama.cpp's architectures and the family whose computation they are. Mistral's models are called `llama` there."""
ROPE_FACTORS = "rope_freqs.weight"
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What all of Llama 3.1 and 3.2 have; the file keeps only what follows from it."""


def read_config(file: GgufFile, *, tied: bool) -> DecoderConfig:
    """The decoder of a file whose head is, or is not, the embedding. Raises ModelInvalid, naming the key that is wrong."""
    family = FAMILIES.get(file.architecture)
    if family is None:
        raise ModelInvalid(
            f"{file.path}: architecture {file.architecture[:40]!r} is not known; known are {', '.join(FAMILIES)}"
        )
    keys = _Keys(file)
    if keys.whole("expert_count", 0):
        raise ModelInvalid(f"{file.path}: a mixture of experts is not served")
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    rows = file.tensors["token_embd.weight"].n_rows if "token_embd.weight" in file.tensors else 0
    vocab_size = keys.whole("vocab_size", rows)
    if vocab_size != rows or not isinstance(tokens, list) or len(tokens) > rows:
        n_tokens = len(tokens) if isinstance(tokens, list) else 0
        raise ModelInvalid(
            f"{file.path}: {file.architecture}.vocab_size is {vocab_size}, token_embd.weight has {rows} rows,"
            f" tokenizer.ggml.tokens {n_tokens}"
        )
    shared = {
        "architectures": [next(name for name, its in ARCHITECTURES.items() if its == family)],
        "vocab_size": vocab_size,
        "tie_word_embeddings": tied,
        **_shape(keys, family),
        **_norms(keys, family),
        **_rope(keys, family),
        **_multipliers(keys, family),
        **_biases(file, family),
    }
    try:
        found = msgspec.convert(shared, ConfigJson)
    except msgspec.ValidationError as problem:
        raise ModelInvalid(f"{file.path}: {problem}") from None
    return decoder_config(found, family, file.path)


class _Keys:
    """The keys `ARCHITECTURE.…`, each of the type that is asked for."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file

    def get(self, name: str, kinds: type | tuple[type, ...], default: Value | None = None) -> Any:
        key = f"{self.file.architecture}.{name}"
        value = self.file.metadata.get(key, default)
        if value is None:
            raise ModelInvalid(f"{self.file.path}: {key} is missing")
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise ModelInvalid(f"{self.file.path}: {key} is {str(value)[:40]!r}; expected another type")
        return value

    def has(self, name: str) -> bool:
        return f"{self.file.architecture}.{name}" in self.file.metadata

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number, or a list that says the same one for each layer."""
        value = self.get(name, (int, list), default)
        if isinstance(value, list):
            if not value or any(one != value[0] for one in value):
                raise self.wrong(name, f"{str(value)[:60]}: layers that differ are not served")
            value = value[0]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, f"{str(value)[:40]!r}; expected a whole number")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        value = self.get(name, (float, int), default)
        # The file has float32: the shortest number that it may stand for is the one that was meant.
        return float(str(np.float32(value)))

    def wrong(self, name: str, sentence: str) -> ModelInvalid:
        return ModelInvalid(f"{self.file.path}: {self.file.architecture}.{name} is {sentence}")


def _shape(keys: _Keys, family: str) -> dict[str, Any]:
    hidden, n_heads = keys.whole("embedding_length"), keys.whole("attention.head_count")
    if n_heads <= 0:
        raise keys.wrong("attention.head_count", f"{n_heads}; expected a positive number")
    head_dim = keys.whole("attention.key_length", hidden // n_heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if (found := keys.whole(name, head_dim)) != head_dim:
            raise keys.wrong(name, f"{found}; expected {head_dim}, the size of a head")
    shape: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": keys.whole("feed_forward_length"),
        "num_hidden_layers": keys.whole("block_count"),
        "num_attention_heads": n_heads,
        "max_position_embeddings": keys.whole("context_length"),
    }
    n_kv_heads = keys.whole("attention.head_count_kv", n_heads)
    if family == "gpt_bigcode":
        if n_kv_heads != 1:
            raise keys.wrong("attention.head_count_kv", f"{n_kv_heads}; expected 1")
        return shape
    shape |= {"num_key_value_heads": n_kv_heads, "head_dim": head_dim}
    if window := keys.whole("attention.sliding_window", 0):
        # StarCoder2's is computed; that of the others ends the context.
        shape |= {"sliding_window": window, "use_sliding_window": family != "starcoder2"}
    return shape


def _norms(keys: _Keys, family: str) -> dict[str, float]:
    if family in ("starcoder2", "gpt_bigcode"):
        eps = keys.real("attention.layer_norm_epsilon")
        return {"norm_epsilon": eps, "layer_norm_epsilon": eps}
    return {"rms_norm_eps": keys.real("attention.layer_norm_rms_epsilon")}


def _multipliers(keys: _Keys, family: str) -> dict[str, float]:
    if family != "granite":
        return {}
    return {
        "embedding_multiplier": keys.real("embedding_scale"),
        "residual_multiplier": keys.real("residual_scale"),
        "attention_multiplier": keys.real("attention.scale"),
        "logits_scaling": keys.real("logit_scale"),
    }


def _biases(file: GgufFile, family: str) -> dict[str, bool]:
    has_bias = "blk.0.attn_q.bias" in file.tensors
    if family == "starcoder2":
        return {"use_bias": has_bias}
    return {"attention_bias": has_bias, "mlp_bias": "blk.0.ffn_up.bias" in file.tensors}


def _rope(keys: _Keys, family: str) -> dict[str, Any]:
    """Theta and scaling. Only Llama's converter leaves theta out where it is the default."""
    if family == "gpt_bigcode":
        return {}
    theta = keys.real("rope.freq_base", 10000.0 if family == "llama" else None)
    if ROPE_FACTORS in keys.file.tensors:
        return {"rope_theta": theta, "rope_scaling": _llama3(keys, theta)}
    kind = keys.get("rope.scaling.type", str, "none")
    if kind == "none" and keys.has("rope.scale_linear"):  # the key of older files
        factor = keys.real("rope.scale_linear")
        return {"rope_theta": theta, "rope_scaling": {"rope_type": "linear", "factor": factor}}
    if kind == "none":
        return {"rope_theta": theta}
    if kind not in ("linear", "yarn"):
        raise keys.wrong("rope.scaling.type", f"{kind[:40]!r}; expected none, linear or yarn")
    scaling: dict[str, Any] = {"rope_type": kind, "factor": keys.real("rope.scaling.factor")}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = keys.whole("rope.scaling.original_context_length")
        for name in ("beta_fast", "beta_slow"):
            if keys.has(f"rope.scaling.yarn_{name}"):
                scaling[name] = keys.real(f"rope.scaling.yarn_{name}")
        for name in ("attn_factor", "yarn_attn_factor"):
            if keys.real(f"rope.scaling.{name}", 1.0) != 1.0:
                raise keys.wrong(f"rope.scaling.{name}", "another than 1, which is not served")
    return {"rope_theta": theta, "rope_scaling": scaling}


def _llama3(keys: _Keys, theta: float) -> dict[str, Any]:
    """The scaling whose factors `rope_freqs.weight` lists, one per frequency."""
    tensor = keys.file.tensors[ROPE_FACTORS]
    head_dim = keys.whole("rope.dimension_count", keys.whole("embedding_length") // keys.whole("attention.head_count"))
    if tensor.kind.name != "F32" or tensor.shape != (head_dim // 2,):
        raise ModelInvalid(f"{keys.file.path}: {ROPE_FACTORS} is not {head_dim // 2} float32 numbers")
    found = tensor.read(0, tensor.n_rows).reshape(-1).view("<f4")
    scaling = {"rope_type": "llama3", "factor": float(found[-1]), **LLAMA3}
    expected = llama3_factors(theta, head_dim, float(found[-1]))
    if not np.isfinite(found).all() or not np.allclose(found, expected, rtol=1e-3):
        raise ModelInvalid(f"{keys.file.path}: the factors of {ROPE_FACTORS} are not those of Llama 3, and not served")
    return scaling


def llama3_factors(theta: float, head_dim: int, factor: float) -> Sequence[float]:
    """What each frequency is divided by (transformers' `modeling_rope_utils`, `_compute_llama3_parameters`)."""
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    original = LLAMA3["original_max_position_embeddings"]
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * theta ** (i / head_dim)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors
