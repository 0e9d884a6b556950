"""Libraries are found by what made them; whatever goes wrong leaves nothing and says what to do."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import Compile

from local_runtime.devices.target import Isa, cpu_target, detect
from local_runtime.errors import BuildFailed
from local_runtime.model.decoder_config import DecoderConfig, RopeScaling
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.places import places
from local_runtime.tvm.build.linker import find_linker
from local_runtime.tvm.run import library
from local_runtime.tvm.run.library import BuildRequest, Library, ensure_library, find_library, library_key

CONFIG = DecoderConfig("llama", 128, 256, 2, 4, 2, 32, 1000, 512)
Q8 = QUANTIZATIONS["q8f16_g32"]
NOBODY = 65_534
TARGET = cpu_target({"avx2", "fma", "f16c", "bmi2"}, "linux", "x86_64", 2)


def key(
    config: DecoderConfig = CONFIG, quantization: str = "q8f16_g32", target: object = TARGET, kv: str = "float16"
) -> str:
    return library_key(BuildRequest(config, QUANTIZATIONS[quantization], target, kv))[0]  # type: ignore[arg-type]


def leftovers() -> list[str]:
    home = places().libraries
    return [path.name for path in home.iterdir() if not path.name.endswith(".lock")] if home.exists() else []


def test_the_key_is_shape_quantisation_target_and_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {
        key(dataclasses.replace(CONFIG, n_layers=3)),
        key(dataclasses.replace(CONFIG, qkv_bias=True)),
        key(quantization="q4f16_1"),
        key(kv="float32"),
        key(target=cpu_target({"avx2", "fma", "f16c", "bmi2", "avx_vnni"}, "linux", "x86_64", 2)),
        key(target=cpu_target(set(), "linux", "x86_64", 2)),
        key(target=dataclasses.replace(TARGET, mattr=("+avxvnni",))),
    }
    assert len(other) == 7
    assert key() not in other
    same = key()
    monkeypatch.setattr(library, "version", lambda _name: "0.0.1")
    assert key() != same


def test_weights_positions_and_threads_are_no_part_of_the_key() -> None:
    """A request has no room for weights or adapters; what reaches kernels as tables does not count either."""
    assert {field.name for field in dataclasses.fields(BuildRequest)} == {
        "config",
        "quantization",
        "target",
        "kv_dtype",
    }
    stretched = dataclasses.replace(
        CONFIG, rope_theta=1e6, context_tokens=32768, rope_scaling=RopeScaling("linear", 2.0)
    )
    assert key(stretched) == key(target=dataclasses.replace(TARGET, n_threads=64)) == key()


def test_damage_is_noticed_and_mended(compiled: Compile) -> None:
    whole = compiled(CONFIG, "q8f16_g32")
    assert find_library(CONFIG, Q8, detect()) == whole
    code = whole.path.read_bytes()
    whole.path.unlink()  # a new file: the old one may be loaded in this process, and is run once more when it ends
    whole.path.write_bytes(code[:-1] + b"\0x")
    assert find_library(CONFIG, Q8, detect()) is None
    whole.path.write_bytes(code)
    assert find_library(CONFIG, Q8, detect()) == whole
    description = whole.path.parent / "library.json"
    text = description.read_bytes()
    description.write_bytes(text[: len(text) // 2])
    assert find_library(CONFIG, Q8, detect()) is None
    phases: list[str] = []
    mended = ensure_library(CONFIG, Q8, detect(), progress=phases.append)
    assert "writing machine code" in phases
    assert mended.parameters == whole.parameters
    assert sorted(path.name for path in mended.path.parent.iterdir()) == ["library.json", "model.so"]


def test_a_library_of_another_name_is_not_taken(compiled: Compile) -> None:
    """A folder renamed by hand to another key."""
    whole = compiled(CONFIG, "q8f16_g32")
    other = places().libraries / key(kv="float32")
    whole.path.parent.rename(other)
    try:
        assert find_library(CONFIG, Q8, TARGET, "float32") is None
    finally:
        other.rename(whole.path.parent)


def test_without_a_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    if importlib.util.find_spec("ziglang"):
        pytest.skip("ziglang links here")
    assert find_linker() is None
    with pytest.raises(BuildFailed, match="nothing here can link") as failure:
        ensure_library(CONFIG, Q8, detect())
    assert "pip install ziglang" in str(failure.value.remedy)
    assert leftovers() == []


def test_a_linker_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    linker = tmp_path / "cc"
    linker.write_text("#!/bin/sh\necho 'ld: cannot find -lc' >&2\nexit 1\n")
    linker.chmod(0o700)
    monkeypatch.setenv("CC", str(linker))
    with pytest.raises(BuildFailed, match="cannot find -lc") as failure:
        ensure_library(CONFIG, Q8, detect())
    assert "ziglang" in str(failure.value.remedy)
    assert leftovers() == []


def test_a_compiler_that_crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'Segmentation fault' >&2\nkill -SEGV $$\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(BuildFailed, match="status -11: Segmentation fault"):
        ensure_library(CONFIG, Q8, detect())
    assert leftovers() == []


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may write anywhere: whoever runs these tests as root is nobody meanwhile."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(own)


def test_a_folder_that_cannot_be_written(home: Path) -> None:
    home.mkdir(mode=0o500)
    with somebody_else(), pytest.raises(BuildFailed, match="Permission denied"):
        ensure_library(CONFIG, Q8, TARGET)
    assert not list(home.iterdir())


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Library:
        raise OSError(28, "No space left on device", "model.so")

    monkeypatch.setattr(library, "_build", full)
    with pytest.raises(BuildFailed, match="No space left on device") as failure:
        ensure_library(CONFIG, Q8, detect())
    assert "disk space" in str(failure.value.remedy)


@pytest.mark.e2e
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_build_leaves_nothing(home: Path, how: signal.Signals) -> None:
    """Ctrl-C and kill -9 of the caller: the compiling process goes, and its folder with it."""
    script = (
        "from local_runtime.tvm.run.library import ensure_library\n"
        "from local_runtime.model.decoder_config import DecoderConfig\n"
        "from local_runtime.model.quantization import QUANTIZATIONS\n"
        "from local_runtime.devices.target import detect\n"
        "config = DecoderConfig('llama', 128, 256, 2, 4, 2, 32, 1000, 512)\n"
        "ensure_library(config, QUANTIZATIONS['q8f16_g32'], detect(), progress=lambda phase: print(phase, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as caller:
        assert caller.stdout is not None
        while caller.stdout.readline().strip() != "writing machine code":
            assert caller.poll() is None
        (unfinished,) = places().libraries.glob(".building-*")
        caller.send_signal(how)
        caller.stdout.read()  # ends when the caller, and the compiler behind it, are gone
    for _ in range(10_000):
        if not unfinished.exists():
            break
        os.sched_yield()
    assert leftovers() in ([], [unfinished.name])
    assert ensure_library(CONFIG, Q8, detect()).path.exists()
    assert len(leftovers()) == 1


def test_old_libraries_are_cleared(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = compiled(CONFIG, "q8f16_g32")
    old = places().libraries / ("0" * 32)
    old.mkdir()
    (old / "library.json").write_text("{}")
    os.utime(old, (1, 1))
    monkeypatch.setattr(library, "MOST_LIBRARIES", len([p for p in places().libraries.iterdir() if p.is_dir()]) - 1)
    library._clear_old(keep=newest.key)
    assert not old.exists()
    assert newest.path.exists()


def test_instruction_sets_have_libraries_of_their_own() -> None:
    keys = {key(target=cpu_target(set(), "linux", "x86_64", 2, isa)) for isa in Isa if isa is not Isa.NEON}
    assert len(keys) == 4
