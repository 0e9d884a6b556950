"""Compiled libraries: found by what made them, or built, each in a folder of its own under `places().libraries`.

`<key>/model.so` holds the functions, `<key>/library.json` describes them (`Library`). The key is the hash of the decoder's
shape, the quantisation, the KV dtype, the target's CPU features, TVM's version and the compiler's own source; weights,
adapters, rotary tables and the context's length come at run time and never enter it. A library is loaded from this
cache alone, and only when its hash is the one that was written beside it. Imports no tvm: compiling is a process of its
own, `python -m local_runtime.tvm.build`.

How to call a library of a CPU (those of GPUs: `local_runtime.tvm.build.gpu_decoder`)
-----------------------------------------------------------------------------------
`vm = tvm_ffi.load_module(model.so)["vm_load_executable"]()`, `vm["vm_initialization"](1, 0, 1)` (CPU 0, the naive
allocator: the pooled one, 2, keeps a buffer for every prompt length), then `vm["decode"]` and so on. All functions have
one signature:

    f(ids, positions, table, keys, values, cos, sin, strength, addresses) -> [logits, greedy, normalizer]

    ids        [M] int32              tokens; M is 1 for `decode`
    positions  [M] int32              consecutive positions in the sequence
    table      [P] int32              pages of the sequence in order, at least position/32 + 1 of them
    keys       [n_layers, pages, n_kv_heads, head_dim, 32] kv_dtype    updated in place; start from zeros
    values     [n_layers, pages, n_kv_heads, 32, head_dim] kv_dtype    updated in place; start from zeros
    cos, sin   [positions, head_dim/2] float32     cos(position * frequency), any scaling already in them; 1 and 0 where
                                                   positions are learned
    strength   [1] float32            of the adapter; 0 skips it, bit for bit the base
    addresses  [n] int64              of the tensors in the order of `Library.parameters`, then the adapter's ranks:
                                      `packing.address_table` checks and makes it; the tensors must outlive it

    logits     [M or 1, vocab padded to 32] float32   only the first `vocab_size` columns count
    greedy     [M or 1] int32         first largest logit
    normalizer [M or 1] float32       log(sum(exp(logits))): a token's log-probability is its logit minus this

`decode` and `verify` give all M rows, `prefill` the last one alone. Rows agree bit for bit between the three and however
a prompt was cut. All tensors are contiguous and aligned to 64 bytes; all calls come from one thread.

Parameters (`local_runtime.tvm.run.packing` makes them): `X.packed` from MLC's tensor `X`; names without `.packed` are
vectors of norms, MLC's own as float32; `X.lora_a.words`, `.scales`, `X.lora_b.words`, `.scales` belong to the
adapter (in float libraries `.words` alone, which are floats). Shapes with a symbol (`rank_qkv`, `rank_o`, `rank_gate_up`,
`rank_down`) take any number of 16-rank blocks from 0 to 4, the same for all of one symbol: a projection without an
adapter takes 0 blocks and costs nothing.

Threads: TVM starts `TVM_NUM_THREADS` of them at the first kernel of each calling thread (so set it before, and call
from one thread), pins them unless `TVM_BIND_THREADS=0`, and lets them spin after a call `TVM_THREAD_POOL_SPIN_COUNT`
times (300,000 by default: tens of milliseconds of an idle core). `runtime_environment` gives values for all three.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import filelock
import msgspec

from local_runtime.devices.target import CPU, HOST, Target
from local_runtime.errors import BuildFailed
from local_runtime.file_hash import file_sha256
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.quantization import Quantization
from local_runtime.places import folder, places

LIBRARY_FILE = "model.so"
DESCRIPTION_FILE = "library.json"
SOURCE_FILE = "device.source"
UNFINISHED = ".building-"
MOST_LIBRARIES = 24
"""Libraries beyond this many are removed, those used longest ago first."""
CPU_FUNCTIONS = ("decode", "prefill", "verify")
GPU_FUNCTIONS = (*CPU_FUNCTIONS, *(f"{name}_adapted" for name in CPU_FUNCTIONS), "create_cache")
RANK_SYMBOLS = ("rank_qkv", "rank_o", "rank_gate_up", "rank_down")
"""Symbols in shapes of adapters: blocks of 16 ranks of each kind of linear."""
RUN_TIME_FIELDS = ("context_tokens", "rope_theta", "rope_scaling")
"""Fields of a configuration that reach the kernels as tables, at run time."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What a library is made from."""

    config: DecoderConfig
    quantization: Quantization
    target: Target
    kv_dtype: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor of the list that every call takes."""

    name: str
    shape: tuple[int | str, ...]
    """A symbol's name where the adapter's rank decides."""
    dtype: str
    parts: tuple[int, ...]
    """Outputs of each of the fused linears behind it, before they are padded; empty for norms."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How `local_runtime.tvm.run.packing` lays weights and adapters out."""

    bits: int
    float_dtype: str
    """dtype of the weights' scales, or of float weights."""
    group: int
    block: int
    offset: int
    """Added to quantised weights when they are stored."""
    adapter_bits: int
    """8: A and B are int8 with float32 scales; 16 or 32: floats."""
    adapter_offset: int
    rank_block: int
    max_rank: int
    page_tokens: int


@dataclass(frozen=True, slots=True)
class Library:
    """A compiled library and its description."""

    key: str
    made_from: dict[str, object]
    """What went into the key."""
    sha256: str
    """Of `model.so`."""
    functions: tuple[str, ...]
    kv_dtype: str
    layout: Layout
    parameters: tuple[Parameter, ...]

    @property
    def path(self) -> Path:
        """Where the shared library is."""
        return places().libraries / self.key / LIBRARY_FILE

    @property
    def target_kind(self) -> str:
        """The kind of device that it was built for."""
        target = self.made_from.get("target")
        return str(target.get("kind")) if isinstance(target, dict) else "an unknown device"


@dataclass(frozen=True, slots=True)
class BuildMessage:
    """What the compiling process says: a phase, a fault, or at last the result."""

    phase: str | None = None
    fault: str | None = None
    remedy: str | None = None
    layout: Layout | None = None
    parameters: tuple[Parameter, ...] = ()


def library_key(request: BuildRequest) -> tuple[str, dict[str, object]]:
    """The name of the library that a request makes, and what the name is made from."""
    shape = msgspec.to_builtins(request.config)
    for name in RUN_TIME_FIELDS:
        del shape[name]
    made_from = {
        "decoder": shape,
        "quantization": request.quantization.name,
        "kv_dtype": request.kv_dtype,
        "target": request.target.key_parts(),
        "tvm": version("apache-tvm"),
        "kernels": kernel_source_hash(),
    }
    canonical = msgspec.json.encode(made_from, order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:32], made_from


def kernel_source_hash() -> str:
    """Hash of the compiler's source: a changed kernel is a new library."""
    digest = hashlib.sha256()
    sources = sorted((Path(__file__).parents[1] / "build").glob("*.py"))
    assert sources, "the compiler was moved: without its sources in the key, stale kernels would be served"
    for file in sources:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _request(config: DecoderConfig, quantization: Quantization, target: Target, kv_dtype: str) -> BuildRequest:
    """A GPU's keys and values are of the same kind as its activations."""
    if target.kind != CPU:
        kv_dtype = "float32" if target.kind == HOST else quantization.float_dtype
    return BuildRequest(config, quantization, target, kv_dtype)


def runtime_environment(n_threads: int) -> dict[str, str]:
    """Environment for TVM's threads, to be set before its first kernel."""
    return {
        "TVM_NUM_THREADS": str(n_threads),
        "TVM_BIND_THREADS": "0",
        "TVM_THREAD_POOL_SPIN_COUNT": "20000",
    }


def find_library(
    config: DecoderConfig, quantization: Quantization, target: Target, kv_dtype: str = "float16"
) -> Library | None:
    """The library that fits, if it was built here and is whole; a damaged one counts as absent."""
    return _read(library_key(_request(config, quantization, target, kv_dtype))[0])


def ensure_library(
    config: DecoderConfig,
    quantization: Quantization,
    target: Target,
    kv_dtype: str = "float16",
    progress: Callable[[str], None] | None = None,
) -> Library:
    """The library that fits, compiled now if need be (a few seconds). `progress` is told each phase.

    Raises BuildFailed when the shape has no kernels, nothing can link, the disk is full or the compiler crashes.
    """
    request = _request(config, quantization, target, kv_dtype)
    key, made_from = library_key(request)
    found = _read(key)
    if found:
        return found
    try:
        home = folder(places().libraries)
        with filelock.FileLock(home / f"{key}.lock"):
            found = _read(key)
            return found or _build(request, key, made_from, progress or (lambda _phase: None))
    except OSError as problem:
        where = problem.filename or places().libraries
        raise BuildFailed(f"{where}: {problem.strerror}", "free some disk space, or set UNDERSTUDY_HOME") from None


def write_device_source(
    config: DecoderConfig,
    quantization: Quantization,
    target: Target,
    file: Path,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Write the source of a GPU's kernels to `file`: needs neither the device nor a compiler for it. Raises BuildFailed."""
    request = _request(config, quantization, target, "")
    with tempfile.TemporaryDirectory() as scratch:
        _compile(request, Path(scratch), progress or (lambda _phase: None), "--source")
        shutil.move(Path(scratch) / SOURCE_FILE, file)


def _read(key: str) -> Library | None:
    home = places().libraries / key
    try:
        library = msgspec.json.decode((home / DESCRIPTION_FILE).read_bytes(), type=Library)
        whole = library.key == key and library.sha256 == file_sha256(home / LIBRARY_FILE)
    except (OSError, msgspec.MsgspecError):
        return None
    if not whole:
        return None
    os.utime(home)  # last used now, for `_clear_old`
    return library


def _build(request: BuildRequest, key: str, made_from: dict[str, object], progress: Callable[[str], None]) -> Library:
    """Compile in a temporary folder and move it into place. The caller holds the key's lock."""
    home = places().libraries
    for leftover in home.glob(f"{UNFINISHED}{key}*"):  # of a compiler that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished = folder(home / f"{UNFINISHED}{key}")
    try:
        result = _compile(request, unfinished, progress)
        assert result.layout is not None
        library = Library(
            key=key,
            made_from=made_from,
            sha256=file_sha256(unfinished / LIBRARY_FILE),
            functions=CPU_FUNCTIONS if request.target.kind == CPU else GPU_FUNCTIONS,
            kv_dtype=request.kv_dtype,
            layout=result.layout,
            parameters=result.parameters,
        )
        for scrap in unfinished.iterdir():
            if scrap.name != LIBRARY_FILE:
                scrap.unlink()
        (unfinished / DESCRIPTION_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(library), indent=1))
        shutil.rmtree(home / key, ignore_errors=True)  # a damaged one
        unfinished.rename(home / key)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _clear_old(keep=key)
    return library


def _compile(request: BuildRequest, unfinished: Path, progress: Callable[[str], None], *options: str) -> BuildMessage:
    """Run the compiling process to its end. Its standard input stays open: when this process dies, it goes too."""
    log = unfinished / "compiler.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "local_runtime.tvm.build", str(unfinished), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        with suppress(BrokenPipeError):  # it died at once: its log says why
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            process.stdin.flush()
        for line in process.stdout:
            message = msgspec.json.decode(line, type=BuildMessage)
            if message.phase:
                progress(message.phase)
            elif message.fault:
                raise BuildFailed(message.fault, message.remedy)
            else:
                return message
        process.wait()
        words = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise BuildFailed(f"the compiler ended with status {process.returncode}: {' '.join(words) or 'no message'}")
    finally:
        process.kill()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait()


def _clear_old(keep: str) -> None:
    """Remove the libraries used longest ago, beyond a bounded number."""
    home = places().libraries
    libraries = sorted(home.glob(f"*/{DESCRIPTION_FILE}"), key=lambda file: file.parent.stat().st_mtime, reverse=True)
    for old in libraries[MOST_LIBRARIES:]:
        if old.parent.name != keep:
            shutil.rmtree(old.parent, ignore_errors=True)
            (home / f"{old.parent.name}.lock").unlink(missing_ok=True)
