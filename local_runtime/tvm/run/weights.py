"""A model's weights as the kernels want them: packed once, kept in the cache, mapped at every start.

`places().packed/<key>/weights.bin` holds the tensors one after the other, `weights.json` says where. The key is the hash of
the folder's weights and of the library's layout, so neither can ever serve the other; the folder is safe to delete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import msgspec
import numpy as np

from local_runtime.errors import BuildFailed
from local_runtime.file_hash import file_sha256
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.tensor_cache import FILE_NAMES
from local_runtime.places import folder, places
from local_runtime.tvm.run.library import Layout, Library, Parameter
from local_runtime.tvm.run.packing import pack_bias, pack_float, pack_scales, pack_words
from local_runtime.tvm.run.tensors import ALIGNMENT

WEIGHTS, DESCRIPTION, UNFINISHED = "weights.bin", "weights.json", ".packing-"
FORMAT = 1
CHUNK_ROWS = 4096
"""Rows packed at a time, so that memory stays small however large a tensor is. A multiple of every block."""
MOST_PACKED = 6
"""Packed models beyond this many are removed, those used longest ago first."""

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[int, int], None]
"""Told how many bytes of how many are packed."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What `weights.json` says."""

    key: str
    sha256: str
    """Of `weights.bin`."""
    signature: tuple[int, int]
    """Size and time of change (ns) of `weights.bin` when it was hashed last."""
    offsets: dict[str, int]


def base_parameters(library: Library) -> list[Parameter]:
    """The parameters that belong to the model, not to an adapter."""
    return [p for p in library.parameters if ".lora_" not in p.name]


def packed_bytes(library: Library) -> int:
    """Size of all packed weights."""
    return sum(_size(p) for p in base_parameters(library))


def load_weights(
    model: ModelFolder, library: Library, n_threads: int, progress: Progress | None = None
) -> dict[str, Array]:
    """All of the model's parameters by name, mapped from the cache; packed first if need be.

    Raises ModelInvalid for a damaged folder, BuildFailed when the disk is full.
    """
    key = _key(model, library)
    home = places().packed / key
    packed = _read(home, key)
    if packed is None:
        try:
            with filelock.FileLock(folder(places().packed) / f"{key}.lock"):
                packed = _read(home, key) or _pack(
                    model, library, key, n_threads, progress or (lambda done, total: None)
                )
        except OSError as problem:
            raise BuildFailed(f"{home}: {problem.strerror}", "free some disk space, or set UNDERSTUDY_HOME") from None
    # Copy-on-write, since DLPack knows no read-only arrays; nobody writes.
    mapped = np.memmap(home / WEIGHTS, np.uint8, "c")
    return {p.name: np.ndarray(_shape(p), p.dtype, mapped, packed.offsets[p.name]) for p in base_parameters(library)}


def _pack(model: ModelFolder, library: Library, key: str, n_threads: int, progress: Progress) -> Packed:
    """Write the folder beside its place, then rename it. The caller holds the key's lock."""
    root = places().packed
    for leftover in root.glob(f"{UNFINISHED}{key}*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{key}", dir=root))
    try:
        offsets, size_bytes = _offsets(library)
        with (unfinished / WEIGHTS).open("wb") as file:
            os.truncate(file.fileno(), size_bytes)
            if hasattr(os, "posix_fallocate") and size_bytes:
                os.posix_fallocate(file.fileno(), 0, size_bytes)  # a full disk is an error here, not a crash later
        _fill(model, library, unfinished / WEIGHTS, offsets, n_threads=n_threads, progress=progress)
        packed = Packed(key, file_sha256(unfinished / WEIGHTS), _signature(unfinished / WEIGHTS), offsets)
        (unfinished / DESCRIPTION).write_bytes(msgspec.json.encode(packed))
        shutil.rmtree(root / key, ignore_errors=True)  # a damaged one
        unfinished.rename(root / key)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _clear_old(keep=key)
    return packed


def _fill(
    model: ModelFolder, library: Library, file: Path, offsets: dict[str, int], *, n_threads: int, progress: Progress
) -> None:
    """Pack every tensor into its place, several chunks at a time."""
    mapped = np.memmap(file, np.uint8, "r+")
    total, done = packed_bytes(library), 0
    with ThreadPoolExecutor(n_threads) as pool:
        for parameter in base_parameters(library):
            target = np.ndarray(_shape(parameter), parameter.dtype, mapped, offsets[parameter.name])
            source = model.tensor(parameter.name.removesuffix(".packed"))
            for _ in pool.map(lambda job: job(), _jobs(parameter, source, target, library.layout)):
                pass
            done += _size(parameter)
            progress(done, total)
    mapped.flush()


def _jobs(parameter: Parameter, source: Array, target: Array, layout: Layout) -> Iterator[Callable[[], None]]:
    """The chunks of one tensor: each part of a fused linear begins a new block of outputs."""
    pack = _packer(parameter.name)
    if pack is None:
        yield lambda: np.copyto(target, source)
        return
    if parameter.name.endswith(".bias.packed"):
        yield lambda: np.copyto(target, pack_bias(source, layout, parameter.parts))
        return
    row = block = 0
    for rows in parameter.parts:
        for start in range(0, rows, CHUNK_ROWS):
            n = min(CHUNK_ROWS, rows - start)
            n_blocks = -(-n // layout.block)

            def job(at: int = row + start, to: int = block, n: int = n, n_blocks: int = n_blocks) -> None:
                target[to : to + n_blocks] = pack(source[at : at + n], layout, (n,))

            yield job
            block += n_blocks
        row += rows


def _packer(name: str) -> Callable[..., Array] | None:
    """What makes a parameter from MLC's tensor; None for those taken as they are."""
    endings = {
        ".q_weight.packed": pack_words,
        ".q_scale.packed": pack_scales,
        ".weight.packed": pack_float,
        ".bias.packed": pack_bias,
    }
    return next((pack for ending, pack in endings.items() if name.endswith(ending)), None)


def _key(model: ModelFolder, library: Library) -> str:
    """What the packed weights are made from: the listing has the hash of every shard, or else the base hash covers them."""
    listing = next(model.path / name for name in FILE_NAMES if (model.path / name).exists())
    made_from = (FORMAT, model.base_hash, model.quantization.name, library.layout, base_parameters(library))
    return hashlib.sha256(msgspec.json.encode(made_from) + b"\0" + listing.read_bytes()).hexdigest()[:32]


def _read(home: Path, key: str) -> Packed | None:
    """The description, if the weights are whole; they are hashed again only if the file has changed since."""
    try:
        packed = msgspec.json.decode((home / DESCRIPTION).read_bytes(), type=Packed)
        signature = _signature(home / WEIGHTS)
    except (OSError, msgspec.MsgspecError):
        return None
    if packed.key != key or (packed.signature != signature and file_sha256(home / WEIGHTS) != packed.sha256):
        return None
    with contextlib.suppress(OSError):
        os.utime(home)  # last used now, for `_clear_old`
    return packed


def _clear_old(keep: str) -> None:
    """Remove the packed models used longest ago, beyond a bounded number."""
    kept = sorted(places().packed.glob(f"*/{DESCRIPTION}"), key=lambda file: file.parent.stat().st_mtime, reverse=True)
    for old in kept[MOST_PACKED:]:
        if old.parent.name != keep:
            shutil.rmtree(old.parent, ignore_errors=True)


def _offsets(library: Library) -> tuple[dict[str, int], int]:
    """Where each tensor begins, and the size of all."""
    offsets, end = {}, 0
    for parameter in base_parameters(library):
        offsets[parameter.name] = end
        end += -(-_size(parameter) // ALIGNMENT) * ALIGNMENT
    return offsets, end


def _shape(parameter: Parameter) -> tuple[int, ...]:
    return tuple(int(n) for n in parameter.shape)


def _size(parameter: Parameter) -> int:
    return int(np.prod(_shape(parameter))) * np.dtype(parameter.dtype).itemsize


def _signature(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
