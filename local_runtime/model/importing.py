"""From a Hugging Face folder to an MLC folder: tensor by tensor, in memory of about one tensor."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from local_runtime.errors import ModelInvalid, ModelMissing
from local_runtime.model import chat_config, registry, tokenizer_file
from local_runtime.model.config_json import ConfigJson, decoder_config, family_of, token_ids
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.float_weights import FloatWeights
from local_runtime.model.json_file import read_json
from local_runtime.model.layout import Fused, fused_tensors
from local_runtime.model.model_folder import NOTE_FILE, ModelFolder, Note, check_groups, stored_tensors
from local_runtime.model.quantization import Quantization, quantize
from local_runtime.model.tensor_cache import ITEM_BYTES, TensorCacheWriter

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[str, int, int], None]
"""Told after each tensor: its name, float bytes read so far, and all float bytes."""


class EndIds(msgspec.Struct):
    """The ids of `generation_config.json`."""

    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A checked Hugging Face folder."""

    path: Path
    config: DecoderConfig
    weights: FloatWeights
    tokenizer: dict[str, Any]
    n_tokens: int
    bos_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]


def import_model(
    path: Path,
    quantization: Quantization,
    name: str | None = None,
    *,
    source: str = "",
    license_name: str = "",
    progress: Progress = lambda tensor, done_bytes, all_bytes: None,
) -> Path:
    """Import a Hugging Face folder as the model `name`, or copy an MLC one as it is; return the new folder.

    The name defaults to the folder's and the quantisation's. Raises ModelMissing, ModelInvalid, BadRequest, BuildFailed.
    """
    if not path.is_dir():
        raise ModelMissing(f"{path} is no folder")
    if (path / chat_config.FILE_NAME).exists():
        return _copy_mlc_folder(path, name or path.resolve().name)
    found = read_source(path)
    check_groups(found.config, quantization, path / "config.json")
    name = name or f"{path.resolve().name}-{quantization.name}"
    with registry.new_model(name, stored_bytes(found.config, quantization)) as written:
        base_hash = _write_weights(found, quantization, written, progress)
        _write_configs(found, quantization, written)
        note = Note(base_hash, source or path.resolve().name, license_name)
        (written / NOTE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(note), indent=2))
    return registry.find(name)


def read_source(path: Path) -> Source:
    """Check a Hugging Face folder: configuration, tokenizer, and every tensor's name, shape and dtype."""
    file = path / "config.json"
    found = read_json(file, ConfigJson)
    config = decoder_config(found, family_of(found, file), file)
    ends = EndIds()
    if (path / "generation_config.json").exists():
        ends = read_json(path / "generation_config.json", EndIds)
    tokenizer, n_tokens = _read_tokenizer(path, config.vocab_size)
    return Source(
        path=path,
        config=config,
        weights=FloatWeights(path, config),
        tokenizer=tokenizer,
        n_tokens=n_tokens,
        bos_ids=token_ids(ends.bos_token_id or found.bos_token_id, config.vocab_size),
        eos_ids=token_ids(found.eos_token_id if ends.eos_token_id is None else ends.eos_token_id, config.vocab_size),
    )


def stored_bytes(config: DecoderConfig, quantization: Quantization) -> int:
    """Size of all weights in a quantisation."""
    return sum(
        math.prod(shape) * ITEM_BYTES[dtype]
        for fused in fused_tensors(config)
        for shape, dtype in stored_tensors(fused, quantization).values()
    )


def _read_tokenizer(path: Path, vocab_size: int) -> tuple[dict[str, Any], int]:
    file = path / tokenizer_file.FILE_NAME
    if not file.exists():
        raise ModelMissing(
            f"{file} is not there", "save the tokenizer as tokenizer.json with transformers' AutoTokenizer"
        )
    n_tokens = tokenizer_file.check_tokenizer(file, vocab_size)
    decoded = read_json(file, dict[str, Any], limit_bytes=tokenizer_file.TOKENIZER_BYTES)
    return decoded, n_tokens


def _write_weights(found: Source, quantization: Quantization, out: Path, progress: Progress) -> str:
    """Write all shards and return the hash of the float model."""
    base = hashlib.sha256(found.config.identity.encode())
    writer = TensorCacheWriter(out)
    done_bytes = 0
    for fused in fused_tensors(found.config):
        stored = {name: np.empty(shape, dtype) for name, (shape, dtype) in stored_tensors(fused, quantization).items()}
        digest = found.weights.digest_of(fused)
        for rows, values in found.weights.blocks(fused):
            digest.update(np.ascontiguousarray(values).view(np.uint8).data)
            done_bytes += values.nbytes
            try:
                for tensor, part in zip(stored.values(), _store(fused, values, quantization), strict=True):
                    tensor[rows] = part
            except ValueError as problem:
                raise ModelInvalid(f"{found.path}: {fused.name}: {problem}") from None
        base.update(digest.digest())
        for name, tensor in stored.items():
            writer.add(name, tensor)
        progress(fused.name, done_bytes, found.weights.size_bytes)
    writer.finish()
    return base.hexdigest()


def _store(fused: Fused, values: Array, quantization: Quantization) -> tuple[Array, ...]:
    """A block of rows as it is stored. Raises ValueError for a number that is not finite."""
    if fused.quantized and quantization.grouped:
        return quantize(values, quantization)
    with np.errstate(over="ignore"):
        cast = values.astype(quantization.float_dtype)
    if not np.isfinite(cast).all():
        raise ValueError(f"a weight is not finite in {quantization.float_dtype}")
    return (cast,)


def _write_configs(found: Source, quantization: Quantization, out: Path) -> None:
    files = [name for name in chat_config.TOKENIZER_FILES if (found.path / name).is_file()]
    for name in files:
        shutil.copyfile(found.path / name, out / name)
    content = chat_config.chat_config(
        found.config,
        quantization,
        tokenizer=found.tokenizer,
        tokenizer_files=files,
        active_vocab_size=found.n_tokens,
        bos_ids=found.bos_ids,
        eos_ids=found.eos_ids,
    )
    (out / chat_config.FILE_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))


def _copy_mlc_folder(path: Path, name: str) -> Path:
    """Copy a folder in MLC's format, byte for byte, after checking it."""
    model = ModelFolder.open(path)
    kept = [file for file in path.iterdir() if file.is_file() and file.name in model.files]
    with registry.new_model(name, sum(file.stat().st_size for file in kept)) as written:
        for file in kept:
            shutil.copyfile(file, written / file.name)
    return registry.find(name)
