"""MLC's weight files: `tensor-cache.json` (older: `ndarray-cache.json`) and `params_shard_*.bin`, read and written.

A shard is the bytes of its records, one after the other; the JSON says where each lies. Records are packed into shards of
at most 32 MiB, a larger one has a shard to itself, as in `tvm/contrib/tvmjs.py`. A float32 record is stored `raw`, or, half
as large, `f32-to-bf16`; MLC always writes the latter, and we when no bit is lost. Both are read by both.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import ml_dtypes
import msgspec
import numpy as np

from local_runtime.errors import ModelInvalid, ModelMissing
from local_runtime.model.json_file import read_json

FILE_NAMES = ("tensor-cache.json", "ndarray-cache.json")
SHARD_BYTES = 32 << 20
LISTING_BYTES = 64 << 20
"""A 70B model's listing has 0.5 MB."""
PLAIN_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}"
"""The name of a file in the same folder, whatever the system."""
ITEM_BYTES = {"float16": 2, "float32": 4, "uint32": 4}

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
Array = np.ndarray[Any, np.dtype[Any]]


class Record(msgspec.Struct):
    """Where a tensor lies in its shard."""

    name: str
    shape: list[Count]
    dtype: Literal["float16", "float32", "uint32"]
    format: Literal["raw", "f32-to-bf16"]
    nbytes: Count
    byteOffset: Count = 0  # noqa: N815, RUF100  MLC's spelling

    @property
    def is_bfloat16(self) -> bool:
        """Whether the bytes are the upper halves of float32."""
        return self.format == "f32-to-bf16" and self.dtype == "float32"


class Shard(msgspec.Struct):
    """One `params_shard_*.bin`."""

    dataPath: str  # noqa: N815, RUF100
    format: Literal["raw-shard"]
    nbytes: Count
    records: list[Record]
    md5sum: str | None = None


class Listing(msgspec.Struct):
    """`tensor-cache.json`."""

    records: list[Shard]
    metadata: dict[str, Any] = {}


class TensorCache:
    """Reads one folder's tensors, as views of its mapped shards."""

    def __init__(self, folder: Path) -> None:
        """Check the listing and every shard's size. Raises ModelMissing or ModelInvalid."""
        found = [folder / name for name in FILE_NAMES if (folder / name).exists()]
        if not found:
            raise ModelMissing(f"{folder / FILE_NAMES[0]} is not there")
        self.file = found[0]
        self.folder = folder
        self.shards = read_json(self.file, Listing, limit_bytes=LISTING_BYTES).records
        self._mapped: dict[str, np.memmap[Any, np.dtype[np.uint8]]] = {}
        self._places: dict[str, tuple[Shard, Record]] = {}
        for name, times in Counter(shard.dataPath for shard in self.shards).items():
            if times > 1:
                raise ModelInvalid(f"{self.file}: {name[:100]!r} is listed twice")
        for shard in self.shards:
            self._check_shard(shard)
            for record in shard.records:
                if record.name in self._places:
                    raise ModelInvalid(f"{self.file}: {record.name} is listed twice")
                self._places[record.name] = (shard, record)

    @property
    def records(self) -> dict[str, Record]:
        """What is there, by name."""
        return {name: record for name, (_, record) in self._places.items()}

    def file_of(self, name: str) -> Path:
        """The shard a tensor lies in."""
        return self.folder / self._places[name][0].dataPath

    def tensor(self, name: str) -> Array:
        """A tensor: a read-only view of its shard, or, if it is stored as bfloat16, a float32 copy."""
        shard, record = self._places[name]
        if shard.dataPath not in self._mapped and shard.nbytes:
            self._mapped[shard.dataPath] = np.memmap(self.folder / shard.dataPath, np.uint8, "r")
        mapped = self._mapped.get(shard.dataPath)
        dtype = np.dtype(ml_dtypes.bfloat16 if record.is_bfloat16 else record.dtype)
        view = np.ndarray(tuple(record.shape), dtype, mapped, record.byteOffset)
        return view.astype(np.float32) if record.is_bfloat16 else view

    def _check_shard(self, shard: Shard) -> None:
        """Sizes, bounds and overlaps of what the listing says, and the file's size."""
        name = shard.dataPath
        if not re.fullmatch(PLAIN_NAME, name):
            raise ModelInvalid(f"{self.file}: expected the name of a file in the same folder, found {name[:100]!r}")
        end = 0
        for record in sorted(shard.records, key=lambda record: record.byteOffset):
            item_bytes = 2 if record.is_bfloat16 else ITEM_BYTES[record.dtype]
            expected = math.prod(record.shape) * item_bytes
            if record.nbytes != expected:
                raise ModelInvalid(f"{self.file}: {record.name}: expected {expected} bytes, found {record.nbytes}")
            if record.byteOffset < end:
                raise ModelInvalid(f"{self.file}: {record.name} overlaps the record before it")
            end = record.byteOffset + record.nbytes
        if end > shard.nbytes:
            raise ModelInvalid(f"{self.file}: records of {name} end at {end}, the shard at {shard.nbytes}")
        file = self.folder / name
        if not file.is_file():
            raise ModelMissing(f"{file} is not there", "fetch or import the model again")
        if (size := file.stat().st_size) != shard.nbytes:
            raise ModelInvalid(
                f"{file}: expected {shard.nbytes} bytes, found {size}", "fetch or import the model again"
            )


class TensorCacheWriter:
    """Writes tensors into a folder; `finish` writes the listing. Holds at most one shard in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: list[Shard] = []
        self._records: list[Record] = []
        self._pending = bytearray()

    def add(self, name: str, tensor: Array) -> None:
        """Append a float16, float32 or uint32 tensor."""
        data, stored_as = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False), "raw"
        if tensor.dtype == np.float32:
            halves = tensor.astype(ml_dtypes.bfloat16)
            if np.array_equal(halves.astype(np.float32), tensor):
                data, stored_as = halves, "f32-to-bf16"
        record = Record(name, list(tensor.shape), tensor.dtype.name, stored_as, data.nbytes)  # type: ignore[arg-type]
        content = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
        if len(self._pending) + data.nbytes >= SHARD_BYTES:
            if data.nbytes * 2 >= SHARD_BYTES:
                self._write_shard(content.data, [record])
                return
            self._flush()
        record.byteOffset = len(self._pending)
        self._records.append(record)
        self._pending += content.data

    def finish(self) -> None:
        """Write the last shard and the listing."""
        self._flush()
        records = [record for shard in self._shards for record in shard.records]
        n_bytes = sum(record.nbytes for record in records)
        metadata = {"ParamSize": len(records), "ParamBytes": float(n_bytes)}
        listing = msgspec.json.encode(Listing(self._shards, metadata))
        (self.folder / FILE_NAMES[0]).write_bytes(msgspec.json.format(listing, indent=2))

    def _flush(self) -> None:
        if self._records:
            self._write_shard(memoryview(self._pending), self._records)
            self._records, self._pending = [], bytearray()

    def _write_shard(self, data: memoryview, records: list[Record]) -> None:
        name = f"params_shard_{len(self._shards)}.bin"
        (self.folder / name).write_bytes(data)
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self._shards.append(Shard(name, "raw-shard", data.nbytes, records, digest))


def md5_of(file: Path) -> str:
    """MD5 of a file's content, as MLC lists it: against damage, not against malice."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
