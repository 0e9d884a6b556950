"""Packed weights: made once, checked, rebuilt when damaged; memory is checked before anything is loaded."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from small_models import GROUPED, UNTIED, engine_logits, imported

from local_runtime.devices.target import detect
from local_runtime.errors import BuildFailed, LibraryStale, OutOfMemory
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places
from local_runtime.tvm.run import opening, weights
from local_runtime.tvm.run.library import Library, ensure_library
from local_runtime.tvm.run.opening import EngineOptions, open_engine
from local_runtime.tvm.run.packing import unpack_float, unpack_scales, unpack_words
from local_runtime.tvm.run.weights import load_weights

Make = Callable[..., Path]
OPTIONS = EngineOptions(kv_cache_tokens=512)
IDS = tuple(range(20, 60))


@pytest.fixture
def opened(make_model: Make) -> tuple[ModelFolder, Library]:
    model = ModelFolder.open(make_model(GROUPED, "q8f16_g32"))
    return model, ensure_library(model.config, model.quantization, detect())


@pytest.fixture
def cache(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of packed weights."""
    found = places()
    monkeypatch.setattr(type(found), "packed", property(lambda _: tmp_path / "packed"))
    return tmp_path / "packed"


@pytest.mark.parametrize(("config", "quantization"), [(GROUPED, "q8f16_g32"), (GROUPED, "q4f16_1"), (UNTIED, "q0f32")])
@pytest.mark.parametrize("chunk_rows", [32, 4096])
def test_packed_weights_are_the_folders(*, config: object, quantization: str, chunk_rows: int, make_model: Make, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(weights, "CHUNK_ROWS", chunk_rows)
    model = ModelFolder.open(make_model(config, quantization))
    kv_dtype = "float32" if quantization == "q0f32" else "float16"
    library = ensure_library(model.config, model.quantization, detect(), kv_dtype)
    found = load_weights(model, library, 2)
    for parameter in weights.base_parameters(library):
        ours, theirs = found[parameter.name], model.tensor(parameter.name.removesuffix(".packed"))
        layout, parts = library.layout, parameter.parts
        if parameter.name.endswith("q_weight.packed"):
            per_word = 32 // layout.bits
            shifts = np.arange(per_word, dtype=np.uint32) * layout.bits
            theirs = (
                (theirs[:, :, None] >> shifts & np.uint32(2**layout.bits - 1)).reshape(len(theirs), -1).astype(np.int16)
            )
            assert np.array_equal(unpack_words(ours, layout, parts), theirs - (2 ** (layout.bits - 1) - 1))
        elif parameter.name.endswith("q_scale.packed"):
            assert np.array_equal(unpack_scales(ours, layout, parts), theirs)
        elif parameter.name.endswith(".weight.packed"):
            assert np.array_equal(unpack_float(ours, layout, parts), theirs)
        elif not parameter.name.endswith(".bias.packed"):
            assert np.array_equal(ours, theirs)
        assert ours.ctypes.data % 64 == 0


def test_weights_are_packed_once(
    opened: tuple[ModelFolder, Library], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[int, int]] = []
    load_weights(*opened, 2, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (weights.packed_bytes(opened[1]),) * 2
    monkeypatch.setattr(weights, "_pack", None)
    load_weights(*opened, 2)


@pytest.mark.parametrize("damage", ["weights.bin", "weights.json", "truncated", "other"])
def test_damaged_packed_weights_are_made_again(damage: str, opened: tuple[ModelFolder, Library], cache: Path) -> None:
    expected = {name: array.copy() for name, array in load_weights(*opened, 2).items()}
    (home,) = (path for path in cache.iterdir() if path.is_dir())
    file = home / ("weights.json" if damage in ("weights.json", "other") else "weights.bin")
    content = file.read_bytes()
    damaged = {"truncated": content[:-1], "other": content.replace(home.name.encode(), b"0" * 32)}
    file.write_bytes(damaged.get(damage, content[:100] + b"?" + content[101:]))
    os.utime(file, ns=(1, 1))
    found = load_weights(*opened, 2)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_full_disk_is_said_and_nothing_is_left(
    opened: tuple[ModelFolder, Library], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(os, "truncate", full)
    with pytest.raises(BuildFailed, match="No space left"):
        load_weights(*opened, 2)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_what_a_killed_process_left_is_removed(opened: tuple[ModelFolder, Library], cache: Path) -> None:
    load_weights(*opened, 2)
    (home,) = (path for path in cache.iterdir() if path.is_dir())
    left = cache / f"{weights.UNFINISHED}{home.name}abc"
    left.mkdir()
    (home / "weights.json").unlink()
    load_weights(*opened, 2)
    assert not left.exists()


def test_too_little_memory_is_said_with_numbers(make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 100 << 20

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    monkeypatch.setattr(opening, "load_weights", None)
    with pytest.raises(OutOfMemory, match=r"needs \d+ MB .* 100 MB are free"):
        open_engine(make_model(GROUPED, "q8f16_g32"))


def test_a_library_that_does_not_load_says_how_to_mend_it(opened: tuple[ModelFolder, Library], make_model: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # fmt: skip
    (tmp_path / "model.so").write_bytes(b"\x7fELF, but not really")
    monkeypatch.setattr(Library, "path", property(lambda _: tmp_path / "model.so"))
    with pytest.raises(LibraryStale, match="does not load") as stale:
        open_engine(opened[0].path, OPTIONS)
    assert "rm -r" in str(stale.value)


def test_two_models_of_one_shape_share_a_library_and_nothing_else(make_model: Make, home: Path) -> None:
    first = open_engine(make_model(GROUPED, "q8f16_g32"), OPTIONS)
    libraries = sorted(places().libraries.glob("*/model.so"))
    before = engine_logits(first, IDS)
    other = home / "source-other"
    if not other.exists():
        imported(other, GROUPED, "q8f16_g32", "mother", seed=5)
    second = open_engine("mother", OPTIONS)
    assert sorted(places().libraries.glob("*/model.so")) == libraries
    assert not np.array_equal(engine_logits(second, IDS), before)
    assert np.array_equal(engine_logits(first, IDS), before)
