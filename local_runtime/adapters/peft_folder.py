"""Personal adapters on disk: PEFT folders, read without trust.

Only `adapter_config.json`, `adapter_model.safetensors` and, if there is one, `manifest.json` are opened.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import safetensors
from numpy.typing import NDArray

from local_runtime.adapters.peft_config import PeftConfig, parse_config
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid, ModelInvalid, ModelMissing
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.json_file import read_bytes
from local_runtime.model.layout import fused_tensors

CONFIG, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "manifest.json"
CONFIG_BYTES, WEIGHTS_BYTES = 4 << 20, 2 << 30
LARGEST = 65504.0
"""The largest float16: what the kernels can hold."""
_NAME = re.compile(r"base_model\.model\.([A-Za-z0-9_.]{1,200})\.lora_([AB])(?:\.default)?\.weight")
_DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LowRank:
    """What an adapter adds to one linear: `y += strength * b @ (a @ x)`; alpha and rank are folded into `b`."""

    a: Floats
    """`[rank, in]`."""
    b: Floats
    """`[out, rank]`."""


LowRanks = dict[str, LowRank]
"""By Hugging Face's module name, for example `model.layers.0.self_attn.q_proj`."""


class Manifest(msgspec.Struct, frozen=True):
    """What `manifest.json` says of an adapter's origin; the trainer writes more into it."""

    base_hash: str = ""
    parent: str | None = None
    quantization: str = ""


def read_adapter(folder: Path) -> Adapter:
    """Check a PEFT folder and name it by its content. Raises AdapterInvalid."""
    adapter, _ = _read(folder)
    return adapter


def read_low_ranks(adapter: Adapter) -> LowRanks:
    """The matrices of an adapter. Raises AdapterInvalid if the folder is no longer what `adapter` says."""
    found, low_ranks = _read(adapter.path)
    if found.id != adapter.id:
        raise AdapterInvalid(
            f"{adapter.path} has changed since it was chosen: {found.id[:12]}, expected {adapter.id[:12]}"
        )
    return low_ranks


def check_fits(adapter: Adapter, low_ranks: LowRanks, config: DecoderConfig) -> None:
    """Raise AdapterInvalid unless every matrix belongs to a linear of this decoder and has its shape."""
    shapes = {
        part.name.removesuffix(".weight"): fused.part_shape(part)
        for fused in fused_tensors(config)
        for part in fused.parts
        if fused.takes_adapter
    }
    for module, low_rank in low_ranks.items():
        if module not in shapes:
            raise AdapterInvalid(f"{adapter.path}: the model has no linear {module} that takes an adapter")
        found = (low_rank.b.shape[0], low_rank.a.shape[1])
        if found != shapes[module]:
            raise AdapterInvalid(
                f"{adapter.path}: {module} is made for [out, in] {list(found)}, the model has {list(shapes[module])}"
            )


def _read(folder: Path) -> tuple[Adapter, LowRanks]:
    if not (folder / WEIGHTS).is_file():
        pickled = next((f for f in ("adapter_model.bin", "adapter_model.pt") if (folder / f).exists()), None)
        if pickled:
            raise AdapterInvalid(
                f"{folder / pickled} is a pickle, which is never opened: expected {WEIGHTS}",
                "save it with safe_serialization=True",
            )
        raise AdapterInvalid(f"{folder / WEIGHTS} is missing")
    config_bytes, weights_bytes = _content(folder / CONFIG, CONFIG_BYTES), _content(folder / WEIGHTS, WEIGHTS_BYTES)
    config = parse_config(config_bytes, folder / CONFIG)
    low_ranks = dict(_low_ranks(config, weights_bytes, folder / WEIGHTS))
    if not low_ranks:
        raise AdapterInvalid(f"{folder / WEIGHTS} holds no tensor")
    manifest = _manifest(folder / MANIFEST)
    content = hashlib.sha256(
        manifest.base_hash.encode()
        + b"\0"
        + hashlib.sha256(config_bytes).digest()
        + hashlib.sha256(weights_bytes).digest()
    )
    rank = max(low_rank.a.shape[0] for low_rank in low_ranks.values())
    targets = tuple(sorted({module.rpartition(".")[2] for module in low_ranks}))
    return (
        Adapter(content.hexdigest(), manifest.base_hash, folder, rank, targets, manifest.parent, manifest.quantization),
        low_ranks,
    )


def _low_ranks(config: PeftConfig, content: bytes, file: Path) -> Iterator[tuple[str, LowRank]]:
    pairs: dict[str, dict[str, Floats]] = {}
    for name, tensor in _tensors(content, file):
        match = _NAME.fullmatch(name)
        if not match:
            raise AdapterInvalid(
                f"{file}: tensor {name[:200]!r} is none of a LoRA (base_model.model.<module>.lora_A.weight)"
            )
        if match[2] in pairs.setdefault(match[1], {}):
            raise AdapterInvalid(f"{file}: lora_{match[2]} of {match[1]} is there twice")
        pairs[match[1]][match[2]] = tensor
    for module, pair in sorted(pairs.items()):
        if len(pair) != 2:
            raise AdapterInvalid(f"{file}: {module} has only one of lora_A and lora_B")
        a, b, rank = pair["A"], pair["B"], config.rank(module)
        if a.shape[0] != rank or b.shape[1] != rank:
            raise AdapterInvalid(
                f"{file}: {module} has A {list(a.shape)} and B {list(b.shape)}; its rank is {rank} by {CONFIG}"
            )
        b = b * np.float32(config.scaling(module))
        if max(np.abs(a).max(initial=0), np.abs(b).max(initial=0)) > LARGEST:
            raise AdapterInvalid(f"{file}: {module} has values beyond {LARGEST:g}")
        yield module, LowRank(a, b)


def _tensors(content: bytes, file: Path) -> Iterator[tuple[str, Floats]]:
    """All tensors of a safetensors file as finite float32 matrices."""
    try:
        entries: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as problem:
        raise AdapterInvalid(f"{file}: {problem}") from None
    for name, entry in entries:
        shape, dtype = entry["shape"], _DTYPES.get(entry["dtype"])
        if dtype is None or len(shape) != 2 or 0 in shape:
            raise AdapterInvalid(
                f"{file}: {name[:200]} is {entry['dtype']} {shape}; expected a matrix of F32, F16 or BF16"
            )
        values = np.frombuffer(entry["data"], dtype).reshape(shape).astype(np.float32)
        if not np.isfinite(values).all():
            raise AdapterInvalid(f"{file}: {name} holds NaN or infinity: its training went wrong", "understudy train")
        yield name, values


def _manifest(file: Path) -> Manifest:
    if not file.exists():
        return Manifest()
    try:
        return msgspec.json.decode(_content(file, CONFIG_BYTES), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise AdapterInvalid(f"{file}: {problem}") from None


def _content(file: Path, limit_bytes: int) -> bytes:
    try:
        return read_bytes(file, limit_bytes=limit_bytes)
    except (ModelInvalid, ModelMissing) as problem:
        raise AdapterInvalid(problem.message) from None
