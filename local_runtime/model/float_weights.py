"""Reads the float weights of a Hugging Face folder: safetensors in one file or sharded, a block of rows at a time."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open

from local_runtime.errors import ModelInvalid, ModelMissing
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.json_file import read_json
from local_runtime.model.layout import Fused, Part, fused_tensors
from local_runtime.model.tensor_cache import PLAIN_NAME
from local_runtime.model.weights import Rows

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
INDEX_BYTES = 64 << 20
DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
BUFFERS = ("rotary_emb.inv_freq", "masked_bias", "attn.bias")
"""Endings of tensors that old folders carry and that are computed, not learnt."""
AGAIN = "fetch the model again from where it came from"

Array = np.ndarray[Any, np.dtype[Any]]


class Index(msgspec.Struct):
    """`model.safetensors.index.json`."""

    weight_map: dict[str, str]


class FloatWeights:
    """The tensors of a Hugging Face folder, checked against a decoder. Maps one tensor at a time: memory stays small."""

    def __init__(self, folder: Path, config: DecoderConfig) -> None:
        """Check names, shapes and dtypes of all tensors. Raises ModelMissing or ModelInvalid."""
        self.folder = folder
        self.config = config
        self._files = self._find()
        self._dtypes: dict[str, str] = {}
        wanted = {part.name: fused.part_shape(part) for fused in fused_tensors(config) for part in fused.parts}
        for name, shape in wanted.items():
            if name not in self._files:
                raise ModelInvalid(f"{folder}: tensor {name} is missing", AGAIN)
            self._check(name, shape)
        for name in self._files.keys() - wanted.keys():
            if not name.endswith(BUFFERS) and not (config.tied_embeddings and name == "lm_head.weight"):
                raise ModelInvalid(f"{self._files[name]}: tensor {name[:200]} belongs to no such decoder")
        self.size_bytes = sum(
            math.prod(fused.part_shape(part)) * DTYPES[self._dtypes[part.name]].itemsize
            for fused in fused_tensors(config)
            for part in fused.parts
        )

    def blocks(self, fused: Fused) -> Iterator[Rows]:
        """The rows of one of MLC's fused tensors and their values, block by block, in the dtype of the file."""
        for part in fused.parts:
            for rows, values in self._part_blocks(fused, part):
                raw = np.ascontiguousarray(values).view(np.uint8).data
                yield Rows(slice(part.start + rows.start, part.start + rows.stop), values, raw)

    def digest_of(self, fused: Fused) -> hashlib._Hash:
        """A running hash that begins with what identifies a fused tensor; the caller adds the bytes of its blocks."""
        dtypes = [self._dtypes[part.name] for part in fused.parts]
        return hashlib.sha256(repr((fused.name, fused.shape, dtypes)).encode())

    def _part_blocks(self, fused: Fused, part: Part) -> Iterator[tuple[slice, Array]]:
        shape, file = fused.part_shape(part), self._files[part.name]
        row_bytes = 4 * (shape[1] if len(shape) == 2 else 1)
        try:
            # Opened anew for every tensor: closing gives the mapped pages back.
            with safe_open(file, framework="np") as opened:
                stored = opened.get_slice(part.name)
                for rows in blocks(shape[0], row_bytes):
                    yield rows, stored[rows.start : rows.stop]
        except (SafetensorError, OSError) as problem:
            raise ModelInvalid(f"{file}: {problem}", AGAIN) from None

    def _find(self) -> dict[str, Path]:
        """Which file each tensor is in."""
        if (self.folder / INDEX).exists():
            listed = read_json(self.folder / INDEX, Index, limit_bytes=INDEX_BYTES).weight_map
            for file in set(listed.values()):
                if not re.fullmatch(PLAIN_NAME, file) or not file.endswith(".safetensors"):
                    raise ModelInvalid(f"{self.folder / INDEX}: expected a safetensors file here, found {file[:100]!r}")
            names = sorted(set(listed.values()))
        elif (self.folder / SINGLE).exists():
            listed, names = {}, [SINGLE]
        else:
            pickled = any(self.folder.glob("*.bin")) or any(self.folder.glob("*.pt"))
            hint = "; what is there is pickled and is never opened" if pickled else ""
            raise ModelMissing(f"{self.folder / SINGLE} is not there{hint}", "fetch the model's safetensors files")
        found: dict[str, Path] = {}
        for file in names:
            for tensor in self._names_in(self.folder / file):
                if listed.get(tensor, file) != file or tensor in found:
                    raise ModelInvalid(f"{self.folder / file}: {tensor[:200]} is in another file too", AGAIN)
                found[tensor] = self.folder / file
        for tensor in listed.keys() - found.keys():
            raise ModelInvalid(f"{self.folder / listed[tensor]}: tensor {tensor[:200]} is missing", AGAIN)
        return found

    def _names_in(self, file: Path) -> list[str]:
        if not file.is_file():
            raise ModelMissing(f"{file} is not there", AGAIN)
        try:
            with safe_open(file, framework="np") as opened:
                return list(opened.keys())
        except (SafetensorError, OSError) as problem:
            raise ModelInvalid(f"{file}: {problem}", AGAIN) from None

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        file = self._files[name]
        with safe_open(file, framework="np") as opened:
            stored = opened.get_slice(name)
            found_shape, dtype = tuple(stored.get_shape()), stored.get_dtype()
        if found_shape != shape:
            raise ModelInvalid(f"{file}: {name}: expected shape {list(shape)}, found {list(found_shape)}")
        if dtype not in DTYPES:
            raise ModelInvalid(f"{file}: {name}: expected one of {', '.join(DTYPES)}, found {dtype}")
        self._dtypes[name] = dtype


def blocks(n_rows: int, row_bytes: int, block_bytes: int = 16 << 20) -> Iterator[slice]:
    """Slices that cut `n_rows` into pieces of about `block_bytes`, so that a large tensor is worked on piece by piece."""
    step = max(1, block_bytes // max(1, row_bytes))
    for start in range(0, n_rows, step):
        yield slice(start, min(n_rows, start + step))
