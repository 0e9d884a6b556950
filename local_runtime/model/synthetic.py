"""Writes a Hugging Face folder of any shape with random weights and a small, real tokenizer: for tests and benchmarks.

    python -m local_runtime.model.synthetic OUT --shape 46m [--seed N] [--dtype bfloat16]

The same arguments give the same bytes. Weights are scaled so that activations neither vanish nor explode and logits are
not flat. Memory stays near one shard whatever the shape; the `7b` one writes about 14 GB.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import ml_dtypes
import numpy as np
from safetensors import TensorSpec, serialize_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from local_runtime.model.config_writing import huggingface_config
from local_runtime.model.decoder_config import Activation, DecoderConfig
from local_runtime.model.layout import fused_tensors

TINY = DecoderConfig("llama", 128, 320, 2, 4, 2, 32, 512, 1024, tied_embeddings=True)
_STARCODER = replace(
    TINY, intermediate_size=512, norm_eps=1e-5, qkv_bias=True, o_bias=True, mlp_bias=True, layer_norm=True
)
SHAPES = {
    "tiny": TINY,
    "tiny-qwen3": replace(TINY, family="qwen3", head_dim=48, rope_theta=1e6, qk_norm=True),
    "tiny-granite": replace(
        TINY,
        family="granite",
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        attention_multiplier=0.015625,
        logits_divisor=2.0,
    ),
    "tiny-starcoder2": replace(
        _STARCODER, family="starcoder2", activation=Activation.GELU_TANH, rope_theta=1e5, sliding_window=256
    ),
    "tiny-starcoder": replace(
        _STARCODER, family="gpt_bigcode", activation=Activation.GELU, n_kv_heads=1, learned_positions=1024
    ),
    "46m": DecoderConfig("llama", 512, 1536, 12, 8, 4, 64, 16384, 4096, tied_embeddings=True),
    "qwen-0.5b": DecoderConfig(
        "qwen2", 896, 4864, 24, 14, 2, 64, 151936, 32768, rope_theta=1e6, tied_embeddings=True, qkv_bias=True
    ),
    "7b": DecoderConfig("llama", 4096, 11008, 32, 32, 32, 128, 32768, 16384, norm_eps=1e-5),
}
SENTINELS = ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<repo_name>")
"""Special tokens, with ids from 0 in this order."""
DTYPES = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
SHARD_BYTES = 512 << 20
_TABLES = ("embed_tokens.weight", "wte.weight", "lm_head.weight")


def write_folder(
    out: Path,
    config: DecoderConfig = SHAPES["tiny"],
    *,
    seed: int = 0,
    dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
    transformers: int = 5,
) -> Path:
    """Write a Hugging Face folder into `out` (made if need be) and return it.

    `dtype` is `float32`, `float16` or `bfloat16`. Weights go into one `model.safetensors`, or into several with an index when
    they exceed `shard_bytes`. `transformers` (4 or 5) is whose spelling `config.json` follows.
    """
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "config.json", huggingface_config(config, dtype, transformers=transformers))
    _write_json(out / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 0})
    _write_json(
        out / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SENTINELS[0]}
    )
    byte_level_tokenizer(config.vocab_size).save(str(out / "tokenizer.json"))
    _write_weights(out, config, seed, DTYPES[dtype], shard_bytes)
    return out


def byte_level_tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer learnt from a few lines of code, padded to `vocab_size` with tokens that no text gives.

    It encodes every text and decodes every id. `vocab_size` is at least 262: the bytes and the sentinels.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(alphabet) + len(SENTINELS)
    if vocab_size < least:
        raise ValueError(f"a byte-level vocabulary needs at least {least} tokens, asked for {vocab_size}")
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SENTINELS), initial_alphabet=sorted(alphabet), show_progress=False
    )
    learner.train_from_iterator(_corpus(), trainer)
    learnt = json.loads(learner.to_str())["model"]
    vocab: dict[str, int] = learnt["vocab"]
    vocab |= {f"unused{n}": n for n in range(len(vocab), vocab_size)}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(merge) for merge in learnt["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SENTINELS))
    return tokenizer


def _corpus() -> Iterator[str]:
    """A little code with many different names, so that merges of several lengths are learnt."""
    nouns = ("path", "index", "token", "value", "count", "result", "buffer", "config", "message", "request")
    verbs = ("read", "write", "parse", "make", "find", "send", "merge", "close")
    for verb in verbs:
        for noun in nouns:
            yield f"def {verb}_{noun}(self, {noun}: int = 0) -> str:\n    return self.{noun}s[{noun}] + '{verb}'\n\n"
            yield f"    for {noun} in range(len({noun}s)):\n        if not {noun}:\n            continue\n"
            yield f"import {noun}\nfrom {verb}er import {noun.title()}\n\nclass {verb.title()}{noun.title()}:\n    pass\n"
            yield f"const {noun} = await {verb}({noun}s);\nif ({noun} === null) {{\n  throw new Error('{noun}');\n}}\n"


def _write_weights(out: Path, config: DecoderConfig, seed: int, dtype: np.dtype[Any], shard_bytes: int) -> None:
    wanted = list({part.name: t.part_shape(part) for t in fused_tensors(config) for part in t.parts}.items())
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    filled = 0
    for name, shape in wanted:
        size = int(np.prod(shape)) * dtype.itemsize
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append((name, shape))
        filled += size
    names = [f"model-{n + 1:05}-of-{len(shards):05}.safetensors" for n in range(len(shards))]
    if len(shards) == 1:
        names = ["model.safetensors"]
    for file, shard in zip(names, shards, strict=True):
        arrays = {name: random_weight(name, shape, seed).astype(dtype) for name, shape in shard}
        specs = {
            name: TensorSpec(dtype=a.dtype.name, shape=a.shape, data_ptr=a.ctypes.data, data_len=a.nbytes)
            for name, a in arrays.items()
        }
        serialize_file(specs, str(out / file), {"format": "pt"})
    if len(shards) > 1:
        total = sum(int(np.prod(shape)) for _, shape in wanted) * dtype.itemsize
        places = {name: file for file, shard in zip(names, shards, strict=True) for name, _ in shard}
        _write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def random_weight(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The float32 weight of that Hugging Face name: the same for the same arguments, whatever else is written."""
    random = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
    weight = random.standard_normal(shape, dtype=np.float32)
    if len(shape) == 2:
        gain = 2.0 if name.endswith(_TABLES) else 1.0
        weight *= gain / float(np.sqrt(shape[1]))
    else:
        weight *= 0.1
        weight += 1.0 if name.endswith(".weight") else 0.0  # of a norm
    return weight


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--shape", type=click.Choice(list(SHAPES)), default="tiny", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="bfloat16", show_default=True)
def main(out: Path, shape: str, seed: int, dtype: str) -> None:
    """Write a Hugging Face folder with random weights into OUT."""
    write_folder(out, SHAPES[shape], seed=seed, dtype=dtype)
    click.echo(out)


if __name__ == "__main__":
    main()
