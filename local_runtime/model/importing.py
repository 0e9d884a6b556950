"""From a Hugging Face folder or a GGUF file to an MLC folder: tensor by tensor, in memory of about one tensor."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Callable, Mapping
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
from local_runtime.model.gguf.blocks import Grouped
from local_runtime.model.gguf.config import read_config
from local_runtime.model.gguf.file import SPLIT_NAME, GgufFile
from local_runtime.model.gguf.tokenizer import special_ids, tokenizer_json
from local_runtime.model.gguf.weights import GgufWeights, is_tied
from local_runtime.model.json_file import read_json
from local_runtime.model.layout import Fused, fused_tensors
from local_runtime.model.model_folder import NOTE_FILE, ModelFolder, Note, check_groups, stored_tensors
from local_runtime.model.quantization import DEFAULT_QUANTIZATION, QUANTIZATIONS, Quantization, quantize
from local_runtime.model.tensor_cache import ITEM_BYTES, TensorCacheWriter
from local_runtime.model.weights import Weights

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[str, int, int], None]
"""Told after each tensor: its name, float bytes read so far, and all float bytes."""


class EndIds(msgspec.Struct):
    """The ids of `generation_config.json`."""

    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A model that was checked, whatever kind of files it is in."""

    path: Path
    config: DecoderConfig
    weights: Weights
    tokenizer: dict[str, Any]
    n_tokens: int
    bos_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]
    tokenizer_files: Mapping[str, Path | bytes]
    """What belongs to the tokenizer: files to copy, or their content."""


def import_model(
    path: Path,
    quantization: Quantization | None = None,
    name: str | None = None,
    *,
    source: str = "",
    license_name: str = "",
    progress: Progress = lambda tensor, done_bytes, all_bytes: None,
) -> Path:
    """Import a Hugging Face folder or a GGUF file as the model `name`, or copy an MLC folder as it is; return the new folder.

    Without a quantisation, the one that suits the source: see `best_quantization`. The name defaults to the source's and the
    quantisation's. Raises ModelMissing, ModelInvalid, BadRequest, BuildFailed.
    """
    if (path / registry.FILE_NAME).exists():
        return _copy_mlc_folder(path, name or path.resolve().name)
    found = read_source(path)
    quantization = quantization or best_quantization(found)
    check_groups(found.config, quantization, path / "config.json" if path.is_dir() else path)
    name = name or f"{_stem(found.path)}-{quantization.name}"
    with registry.new_model(name, stored_bytes(found.config, quantization)) as written:
        base_hash, kept = _write_weights(found, quantization, written, progress)
        _write_configs(found, quantization, written)
        note = Note(base_hash, source or path.resolve().name, license_name or _license_of(found), kept)
        (written / NOTE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(note), indent=2))
    return registry.find(name)


def read_source(path: Path) -> Source:
    """Check a Hugging Face folder or a GGUF file: configuration, tokenizer, and every tensor's name, shape and dtype."""
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise ModelMissing(f"{path} is not there", "understudy model find")
    return _read_gguf(path)


def best_quantization(found: Source) -> Quantization:
    """int8, but four bits where the file has its linears in the four bits that are ours, too.

    Other 4-bit files lose more when they are rounded to 4 bits again (9 to 13 % of a weight's size) than to 8 (half a percent).
    """
    if isinstance(found.weights, GgufWeights):
        kinds = found.weights.kinds()
        linears = {
            kinds[part.name] for fused in fused_tensors(found.config) if fused.takes_adapter for part in fused.parts
        }
        if linears == {"Q4_0"}:
            return QUANTIZATIONS["q4f16_1"]
    return QUANTIZATIONS[DEFAULT_QUANTIZATION]


def _read_folder(path: Path) -> Source:
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
        tokenizer_files={name: path / name for name in chat_config.TOKENIZER_FILES if (path / name).is_file()},
    )


def _read_gguf(path: Path) -> Source:
    file = GgufFile.open(path)
    config = read_config(file, tied=is_tied(file))
    weights = GgufWeights(file, config)
    tokenizer = tokenizer_json(file.metadata, file.path)
    special = special_ids(file.metadata, file.path)
    content = msgspec.json.encode(tokenizer)
    return Source(
        path=file.path,
        config=config,
        weights=weights,
        tokenizer=tokenizer,
        n_tokens=tokenizer_file.check_content(content, file.path, config.vocab_size),
        bos_ids=special.bos_ids,
        eos_ids=special.eos_ids,
        tokenizer_files={tokenizer_file.FILE_NAME: content},
    )


def _license_of(found: Source) -> str:
    """What a GGUF file says of its own licence."""
    if not isinstance(found.weights, GgufWeights):
        return ""
    licence = found.weights.file.metadata.get("general.license", "")
    return licence[:200] if isinstance(licence, str) else ""


def _stem(path: Path) -> str:
    """What a model is called after its folder or file; a split file's without its number."""
    if path.is_dir():
        return path.resolve().name
    split = SPLIT_NAME.fullmatch(path.name)
    stem = split["stem"] if split else path.name.removesuffix(".gguf")
    return re.sub(r"[^A-Za-z0-9._-]", "-", stem)


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


def _write_weights(found: Source, quantization: Quantization, out: Path, progress: Progress) -> tuple[str, str]:
    """Write all shards; return the hash of what was read, and what became of weights that were quantised already."""
    base = hashlib.sha256(found.config.identity.encode())
    writer = TensorCacheWriter(out)
    done_bytes = 0
    n_kept = n_rounded = 0
    for fused in fused_tensors(found.config):
        stored = {name: np.empty(shape, dtype) for name, (shape, dtype) in stored_tensors(fused, quantization).items()}
        digest = found.weights.digest_of(fused)
        for rows in found.weights.blocks(fused):
            digest.update(rows.raw)
            done_bytes += rows.raw.nbytes
            try:
                parts, is_kept = _store(fused, rows.values, quantization)
                for tensor, part in zip(stored.values(), parts, strict=True):
                    tensor[rows.where] = part
            except ValueError as problem:
                raise ModelInvalid(f"{found.path}: {fused.name}: {problem}") from None
            if fused.quantized:
                n_kept, n_rounded = n_kept + is_kept * rows.n_weights, n_rounded + (not is_kept) * rows.n_weights
        base.update(digest.digest())
        for name, tensor in stored.items():
            writer.add(name, tensor)
        progress(fused.name, done_bytes, found.weights.size_bytes)
    writer.finish()
    return base.hexdigest(), _kept(found, quantization, n_kept, n_rounded)


def _kept(found: Source, quantization: Quantization, n_kept: int, n_rounded: int) -> str:
    if not isinstance(found.weights, GgufWeights):
        return ""
    share = n_kept / max(n_kept + n_rounded, 1)
    kinds = ", ".join(sorted(set(found.weights.kinds().values())))
    return f"of the weights of the file ({kinds}) {share:.1%} are kept bit for bit, the others rounded to {quantization.name}"


def _store(fused: Fused, values: Array | Grouped, quantization: Quantization) -> tuple[tuple[Array, ...], bool]:
    """A block of rows as it is stored, and whether it stands for the very same weights as integers.

    Raises ValueError for a number that is not finite.
    """
    if isinstance(values, Grouped):
        if not np.isfinite(values.scales).all():
            raise ValueError("a scale is not finite")
        if fused.quantized and quantization.grouped and (same := values.stored(quantization)):
            return same, True
        values = values.floats()
    if fused.quantized and quantization.grouped:
        return quantize(values, quantization), False
    with np.errstate(over="ignore"):
        cast = values.astype(quantization.float_dtype)
    if not np.isfinite(cast).all():
        raise ValueError(f"a weight is not finite in {quantization.float_dtype}")
    return (cast,), False


def _write_configs(found: Source, quantization: Quantization, out: Path) -> None:
    for name, origin in found.tokenizer_files.items():
        if isinstance(origin, bytes):
            (out / name).write_bytes(origin)
        else:
            shutil.copyfile(origin, out / name)
    content = chat_config.chat_config(
        found.config,
        quantization,
        tokenizer=found.tokenizer,
        tokenizer_files=list(found.tokenizer_files),
        active_vocab_size=found.n_tokens,
        bos_ids=found.bos_ids,
        eos_ids=found.eos_ids,
    )
    (out / registry.FILE_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))


def _copy_mlc_folder(path: Path, name: str) -> Path:
    """Copy a folder in MLC's format, byte for byte, after checking it."""
    model = ModelFolder.open(path)
    kept = [file for file in path.iterdir() if file.is_file() and file.name in model.files]
    with registry.new_model(name, sum(file.stat().st_size for file in kept)) as written:
        for file in kept:
            shutil.copyfile(file, written / file.name)
    return registry.find(name)
