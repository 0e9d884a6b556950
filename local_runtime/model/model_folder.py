"""A model folder in MLC's format, ours or made by MLC's own tools: opened, checked, and read tensor by tensor."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from local_runtime.errors import ModelInvalid
from local_runtime.model import chat_config, registry, tokenizer_file
from local_runtime.model.config_json import token_ids
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.json_file import read_json
from local_runtime.model.layout import Fused, fused_tensors
from local_runtime.model.quantization import GROUP_SIZE, Quantization, dequantize
from local_runtime.model.tensor_cache import TensorCache
from local_runtime.model.verified import Verified

NOTE_FILE = "understudy.json"
Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


class Note(msgspec.Struct):
    """`understudy.json`: what has no home in MLC's files. mlc_llm ignores it."""

    base_hash: str
    """SHA-256 of the float model's configuration and weights."""
    source: str = ""
    license: str = ""
    kept: str = ""
    """What became of weights that were quantised already, in a sentence."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """An opened folder: everything is there, in the right shape, and undamaged."""

    path: Path
    config: DecoderConfig
    quantization: Quantization
    base_hash: str
    """Of the float model, which kin quantisations share; for a folder of MLC's own tools, of its quantised weights."""
    bos_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]
    note: Note | None
    _cache: TensorCache
    _fused: dict[str, Fused]
    """By Hugging Face name."""

    @classmethod
    def open(cls, path: Path) -> ModelFolder:
        """Open and check. Raises ModelMissing or ModelInvalid.

        The MD5 sums are computed when a file is new or has changed since; this is remembered in the cache folder.
        """
        found, config, quantization = chat_config.read_chat_config(path)
        cache = TensorCache(path)
        by_name = _check_tensors(cache, config, quantization)
        verified = Verified(path)
        note = _read_note(path / NOTE_FILE)
        digests = verified.shard_digests(cache)
        verified.check_once(
            path / tokenizer_file.FILE_NAME,
            f"fits {config.vocab_size}",
            lambda file: tokenizer_file.check_tokenizer(file, config.vocab_size),
        )
        verified.remember()
        return cls(
            path=path,
            config=config,
            quantization=quantization,
            base_hash=note.base_hash if note else _hash_of(config, quantization, digests),
            bos_ids=token_ids(found.bos_token_id, config.vocab_size),
            eos_ids=token_ids(found.eos_token_id, config.vocab_size),
            note=note,
            _cache=cache,
            _fused=by_name,
        )

    @property
    def tokenizer_file(self) -> Path:
        """The `tokenizer.json`."""
        return self.path / tokenizer_file.FILE_NAME

    @property
    def files(self) -> set[str]:
        """Names of the files that make up the model."""
        shards = {shard.dataPath for shard in self._cache.shards}
        return shards | {self._cache.file.name, registry.FILE_NAME, NOTE_FILE, *chat_config.TOKENIZER_FILES}

    @property
    def weight_bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.nbytes for shard in self._cache.shards)

    def tensor(self, name: str) -> Array:
        """A tensor by MLC's name, read-only: a view of the mapped file (a copy only of float32 stored as bfloat16).

        Group-quantised ones are two: `….q_weight` and `….q_scale`; the others end in `.weight` or `.bias`.
        """
        return self._cache.tensor(name)

    def dequantized(self, name: str) -> Floats:
        """A float32 weight by Hugging Face's name: exactly what the quantised ones stand for."""
        fused = self._fused[name]
        rows = fused.rows_of(name)
        if not (fused.quantized and self.quantization.grouped):
            return self.tensor(fused.name)[rows].astype(np.float32)
        stem = fused.name.removesuffix("weight")
        q_weight, q_scale = self.tensor(f"{stem}q_weight"), self.tensor(f"{stem}q_scale")
        return dequantize(q_weight[rows], q_scale[rows], self.quantization)

    def huggingface_names(self) -> list[str]:
        """All names that `dequantized` knows."""
        return list(self._fused)


def stored_tensors(fused: Fused, quantization: Quantization) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name, shape and dtype of what a fused tensor is stored as."""
    if not (fused.quantized and quantization.grouped):
        return {fused.name: (fused.shape, quantization.float_dtype)}
    stem = fused.name.removesuffix("weight")
    n, k = fused.shape
    return {
        f"{stem}q_weight": ((n, k // quantization.per_word), "uint32"),
        f"{stem}q_scale": ((n, k // GROUP_SIZE), quantization.float_dtype),
    }


def check_groups(config: DecoderConfig, quantization: Quantization, where: Path) -> None:
    """Raises ModelInvalid if the rows of a weight cannot be cut in groups of 32."""
    sizes = {"hidden_size": config.hidden_size, "intermediate_size": config.intermediate_size}
    sizes["heads together"] = config.n_heads * config.head_dim
    for name, size in sizes.items():
        if quantization.grouped and size % GROUP_SIZE:
            raise ModelInvalid(f"{where}: {name} {size} is not a multiple of {GROUP_SIZE}", "use --quantization q0f16")


def _check_tensors(cache: TensorCache, config: DecoderConfig, quantization: Quantization) -> dict[str, Fused]:
    """All fused tensors by Hugging Face name, after checking that exactly they are stored, as they should be."""
    check_groups(config, quantization, cache.folder)
    records = cache.records
    # Before anything is listed: a hostile number of layers must not cost memory.
    if config.n_layers > len(records):
        raise ModelInvalid(f"{cache.file}: expected {config.n_layers} layers, found {len(records)} tensors")
    by_name: dict[str, Fused] = {}
    for fused in fused_tensors(config):
        by_name = {part.name: fused for part in fused.parts} | by_name  # a tied head comes last and is the embedding
        for name, (shape, dtype) in stored_tensors(fused, quantization).items():
            record = records.pop(name, None)
            if record is None:
                raise ModelInvalid(f"{cache.file}: tensor {name} is missing", "import the model again")
            if tuple(record.shape) != shape or record.dtype != dtype:
                found = f"{record.dtype} {record.shape}"
                raise ModelInvalid(f"{cache.file}: {name}: expected {dtype} {list(shape)}, found {found[:200]}")
    for name in records:
        raise ModelInvalid(f"{cache.file}: tensor {name[:200]} belongs to no such decoder")
    return by_name


def _read_note(file: Path) -> Note | None:
    if not file.exists():
        return None
    note = read_json(file, Note)
    if not re.fullmatch("[0-9a-f]{64}", note.base_hash):
        raise ModelInvalid(f"{file}: expected a SHA-256 as base_hash", "import the model again")
    return note


def _hash_of(config: DecoderConfig, quantization: Quantization, digests: dict[str, str]) -> str:
    """Hash of a folder that does not know its float model."""
    identity = repr((config.identity, quantization.name, sorted(digests.items())))
    return hashlib.sha256(identity.encode()).hexdigest()
