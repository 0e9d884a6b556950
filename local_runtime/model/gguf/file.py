"""A GGUF file, or all parts of a split one: metadata, and where each tensor lies. Format: ggml's `docs/gguf.md`, versions 2 and 3.

The `gguf` package knows the types and how they are de-quantised. Its reader is not used: it makes an object of every element
of an array before anything is checked, so a few hostile bytes would cost gigabytes. Here every count is held against what
the file has left.
"""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from local_runtime.errors import ModelInvalid, ModelMissing
from local_runtime.model.plain_file import open_plain

MAGIC = b"GGUF"
VERSIONS = (2, 3)
HEADER_BYTES = 256 << 20
"""A vocabulary of 256,000 tokens with its merges has about 15 MB."""
STRING_BYTES = 64 << 20
ARRAY_ITEMS = 1 << 22
NAMES = 1 << 16
"""Keys, and tensors, of one file."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}")
SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<part>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
MOST_PARTS = 1000
AGAIN = "fetch the file again"

Value = str | int | float | bool | list[Any]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_SCALARS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor and where it lies."""

    name: str
    shape: tuple[int, ...]
    """Rows first, as numpy and Hugging Face have it; the file lists the fastest dimension first."""
    kind: GGMLQuantizationType
    file: Path
    offset: int
    """Of its first byte in the file."""

    @property
    def n_rows(self) -> int:
        """Of a matrix `[rows, columns]`; elements of a vector count as rows of one column each."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Size of one row as it is stored."""
        return self.n_bytes // self.n_rows

    @property
    def n_bytes(self) -> int:
        """Size as it is stored."""
        block, block_bytes = GGML_QUANT_SIZES[self.kind]
        return math.prod(self.shape) // block * block_bytes

    def read(self, first: int, n_rows: int) -> Bytes:
        """Rows as stored: `[n_rows, row_bytes]` uint8. Raises ModelInvalid if the file has become shorter."""
        try:
            read = np.fromfile(
                self.file, np.uint8, n_rows * self.row_bytes, offset=self.offset + first * self.row_bytes
            )
        except OSError as problem:
            raise ModelInvalid(f"{self.file} cannot be read: {problem.strerror}") from None
        if read.size != n_rows * self.row_bytes:
            raise ModelInvalid(f"{self.file}: {self.name} ends early", AGAIN)
        return read.reshape(n_rows, self.row_bytes)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A checked header: every tensor lies within its file, on its own bytes, and is of a known type."""

    path: Path
    """The first part of a split file."""
    metadata: dict[str, Value]
    tensors: dict[str, Tensor]
    parts: tuple[Path, ...]

    @property
    def architecture(self) -> str:
        """`general.architecture`, for example `llama` or `qwen2`."""
        name = self.metadata.get("general.architecture")
        if not isinstance(name, str):
            raise ModelInvalid(f"{self.path}: general.architecture is missing")
        return name

    @property
    def size_bytes(self) -> int:
        """Of all tensors as they are stored."""
        return sum(tensor.n_bytes for tensor in self.tensors.values())

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Read the header of `path`, and of its sister files if it is one of a split model. Raises ModelMissing, ModelInvalid."""
        parts = split_parts(path)
        metadata, tensors = _read_header(parts[0])
        if metadata.get("split.count", 1) != len(parts):
            raise ModelInvalid(
                f"{parts[0]}: split.count is {metadata.get('split.count')!s:.20}, its name says {len(parts)}",
                "keep the names that the parts had: NAME-00001-of-0000N.gguf",
            )
        for number, part in enumerate(parts[1:], 1):
            its_metadata, its_tensors = _read_header(part)
            if (its_metadata.get("split.no"), its_metadata.get("split.count")) != (number, len(parts)):
                raise ModelInvalid(f"{part}: split.no and split.count are not those of part {number + 1}", AGAIN)
            for name in its_tensors.keys() & tensors.keys():
                raise ModelInvalid(f"{part}: tensor {name} is in another part too", AGAIN)
            tensors |= its_tensors
        total = metadata.get("split.tensors.count", len(tensors))
        if total != len(tensors):
            raise ModelInvalid(f"{parts[0]}: split.tensors.count is {total!s:.20}, found {len(tensors)}", AGAIN)
        return cls(parts[0], metadata, tensors, parts)


def is_gguf(path: Path) -> bool:
    """Whether a plain file begins as GGUF files do. Never waits, never raises."""
    try:
        with open_plain(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (ModelInvalid, ModelMissing, OSError):
        return False


def split_parts(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` is a part of, by their names; just `path` for one that is whole."""
    found = SPLIT_NAME.fullmatch(path.name)
    if not found:
        return (path,)
    count = int(found["count"])
    if not 1 <= count <= MOST_PARTS or not 1 <= int(found["part"]) <= count:
        raise ModelInvalid(f"{path}: part {int(found['part'])} of {count} is not a part of a split file")
    return tuple(path.with_name(f"{found['stem']}-{n:05}-of-{count:05}.gguf") for n in range(1, count + 1))


def _read_header(path: Path) -> tuple[dict[str, Value], dict[str, Tensor]]:
    with open_plain(path) as file:
        reader = _Reader(path, file)
        if reader.bytes(4) != MAGIC:
            raise ModelInvalid(f"{path}: expected a GGUF file")
        version = reader.number("I")
        if version & 0xFFFF == 0:
            raise ModelInvalid(f"{path}: big-endian GGUF is not read")
        if version not in VERSIONS:
            raise ModelInvalid(f"{path}: GGUF version {version} is not read; expected 2 or 3")
        n_tensors, n_keys = reader.count("tensors", 24, NAMES), reader.count("keys", 13, NAMES)
        metadata = dict(reader.metadata(n_keys))
        infos = dict(reader.infos(n_tensors))
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise ModelInvalid(f"{path}: general.alignment {alignment!s:.20} is not a power of two up to 1048576")
        start = -(-reader.position // alignment) * alignment
        tensors = {
            name: Tensor(name, shape, kind, path, start + offset) for name, (shape, kind, offset) in infos.items()
        }
        _check_places(path, tensors, alignment, start, reader.size)
        return metadata, tensors


def _check_places(path: Path, tensors: dict[str, Tensor], alignment: int, start: int, size: int) -> None:
    end = start
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.offset):
        if (tensor.offset - start) % alignment:
            raise ModelInvalid(f"{path}: {tensor.name} is not aligned to {alignment} bytes", AGAIN)
        if tensor.offset < end:
            raise ModelInvalid(f"{path}: {tensor.name} overlaps the tensor before it", AGAIN)
        end = tensor.offset + tensor.n_bytes
        if end > size:
            raise ModelInvalid(f"{path}: {tensor.name} ends at byte {end}, the file at {size}", AGAIN)


class _Reader:
    """Values out of a header. Raises ModelInvalid where the file ends, or says more than it can hold."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.position = 0
        self.size = os.fstat(file.fileno()).st_size
        self._file = file

    def bytes(self, n: int) -> bytes:
        if self.position + n > min(self.size, HEADER_BYTES):
            what = "the file ends" if self.position + n > self.size else f"more than {HEADER_BYTES:,} bytes"
            raise ModelInvalid(f"{self.path}: {what} within the header", AGAIN)
        read = self._file.read(n)
        if len(read) != n:
            raise ModelInvalid(f"{self.path}: the file ends within the header", AGAIN)
        self.position += n
        return read

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.bytes(struct.calcsize("<" + code)))[0]

    def count(self, what: str, least_bytes: int, most: int = 1 << 48) -> int:
        """A count of things that have at least `least_bytes` each."""
        n: int = self.number("Q")
        if n > most or n * least_bytes > min(self.size, HEADER_BYTES) - self.position:
            raise ModelInvalid(f"{self.path}: {n} {what} are more than it can hold", AGAIN)
        return n

    def string(self, what: str) -> str:
        content = self.bytes(self.count(f"bytes of {what}", 1, STRING_BYTES))
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise ModelInvalid(f"{self.path}: {what} is not UTF-8", AGAIN) from None

    def name(self, what: str) -> str:
        name = self.string(what)
        if not NAME.fullmatch(name) or ".." in name:
            raise ModelInvalid(f"{self.path}: {name[:80]!r} is not a valid {what}")
        return name

    def metadata(self, n_keys: int) -> Iterator[tuple[str, Value]]:
        seen: set[str] = set()
        for _ in range(n_keys):
            key = self.name("key")
            if key in seen:
                raise ModelInvalid(f"{self.path}: key {key} is there twice", AGAIN)
            seen.add(key)
            yield key, self._value(key)

    def _value(self, key: str) -> Value:
        kind = self._value_type(key)
        if kind is GGUFValueType.STRING:
            return self.string(key)
        if kind in _SCALARS:
            value: Value = self.number(_SCALARS[kind])
            return value
        kind = self._value_type(key)
        if kind is GGUFValueType.STRING:
            return [self.string(key) for _ in range(self.count(f"elements of {key}", 8, ARRAY_ITEMS))]
        if kind not in _SCALARS:
            raise ModelInvalid(f"{self.path}: {key} is an array of arrays, which is not read")
        code = _SCALARS[kind]
        n = self.count(f"elements of {key}", struct.calcsize("<" + code), ARRAY_ITEMS)
        return list(struct.unpack(f"<{n}{code}", self.bytes(n * struct.calcsize("<" + code))))

    def _value_type(self, key: str) -> GGUFValueType:
        kind = self.number("I")
        try:
            return GGUFValueType(kind)
        except ValueError:
            raise ModelInvalid(f"{self.path}: {key} is of unknown type {kind}") from None

    def infos(self, n_tensors: int) -> Iterator[tuple[str, tuple[tuple[int, ...], GGMLQuantizationType, int]]]:
        seen: set[str] = set()
        for _ in range(n_tensors):
            name = self.name("tensor name")
            if name in seen:
                raise ModelInvalid(f"{self.path}: tensor {name} is there twice", AGAIN)
            seen.add(name)
            n_dims = self.number("I")
            if not 1 <= n_dims <= 4:
                raise ModelInvalid(f"{self.path}: {name} has {n_dims} dimensions; expected 1 to 4")
            dims = struct.unpack(f"<{n_dims}Q", self.bytes(8 * n_dims))
            kind, offset = self.number("I"), self.number("Q")
            if kind not in GGML_QUANT_SIZES:
                raise ModelInvalid(f"{self.path}: {name} is of unknown type {kind}")
            if 0 in dims or math.prod(dims) > 1 << 48 or dims[0] % GGML_QUANT_SIZES[GGMLQuantizationType(kind)][0]:
                raise ModelInvalid(f"{self.path}: {name} has the impossible shape {list(dims[::-1])}")
            yield name, (dims[::-1], GGMLQuantizationType(kind), offset)
