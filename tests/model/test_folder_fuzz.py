"""Whatever is done to a folder, opening it gives a model or a RuntimeFault: never another error, never a crash."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from folders import LLAMA, imported
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_runtime.errors import RuntimeFault
from local_runtime.model.importing import import_model, read_source
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder

JSON_FILES = ["tensor-cache.json", "mlc-chat-config.json", "tokenizer.json", "understudy.json"]
SOURCE_FILES = ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors.index.json"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["../../etc/passwd", "/dev/zero", "float16", "uint32", "float32", "raw", "llama", 0, 1, -1, 2**31, 2**63, 1e308]
    )
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
HOW = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound source of several files and a sound model, to be copied and damaged."""
    root = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(root / "home"))
        shutil.copytree(imported(root / "one"), root / "model")
    write_folder(root / "source", LLAMA, shard_bytes=60_000)
    return root


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a JSON value; of a long list or object a few."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path] + [spot for key, inner in list(inside)[:40] for spot in spots(inner, (*path, key))]


def mutated(content: Any, data: st.DataObject) -> Any:
    for _ in range(data.draw(st.integers(1, 3))):
        spot = data.draw(st.sampled_from(spots(content)))
        if not spot:
            return data.draw(VALUES)
        holder = content
        for key in spot[:-1]:
            holder = holder[key]
        match data.draw(st.sampled_from(["replace", "delete", "nudge", "double"])):
            case "delete":
                del holder[spot[-1]]
            case "nudge" if isinstance(holder[spot[-1]], int):
                holder[spot[-1]] += data.draw(st.integers(-4, 4))
            case "double" if isinstance(holder, list):
                holder.append(holder[spot[-1]])
            case _:
                holder[spot[-1]] = data.draw(VALUES)
    return content


def damage_json(file: Path, data: st.DataObject) -> None:
    content = mutated(json.loads(file.read_text()), data)
    # A lone surrogate is JSON, but no UTF-8.
    file.write_bytes(json.dumps(content).encode("utf-8", "surrogatepass"))


def damage_bytes(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    how = data.draw(st.sampled_from(["cut", "flip", "grow", "empty", "head"]))
    dice = random.Random(data.draw(st.integers(0, 2**32)))
    if how == "cut":
        del content[dice.randrange(len(content)) :]
    elif how == "grow":
        content += bytes(dice.randrange(1, 100))
    elif how == "empty":
        content.clear()
    for _ in range(dice.randrange(1, 8) if how in ("flip", "head") and content else 0):
        content[dice.randrange(min(len(content), 400 if how == "head" else len(content)))] = dice.randrange(256)
    file.write_bytes(content)


def use(folder: Path) -> None:
    """Open a folder and read all of it."""
    try:
        model = ModelFolder.open(folder)
    except RuntimeFault as fault:
        assert str(fault)
        return
    for name in model.huggingface_names():
        model.dequantized(name)


def take(source: Path, whole: bool) -> None:
    """Check a Hugging Face folder, or import it wholly."""
    try:
        if whole:
            import_model(source, QUANTIZATIONS["q4f16_1"])
        else:
            read_source(source)
    except RuntimeFault as fault:
        assert str(fault)


@HOW
@given(data=st.data())
def test_a_model_with_mutated_json(kept: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(kept / "model", tmp_path)
    damage_json(folder / data.draw(st.sampled_from(JSON_FILES)), data)
    use(folder)


@HOW
@given(data=st.data())
def test_a_model_with_damaged_files(kept: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(kept / "model", tmp_path)
    names = [file.name for file in folder.iterdir()]
    damage_bytes(folder / data.draw(st.sampled_from(sorted(names))), data)
    if data.draw(st.booleans()):
        os.truncate(folder / "tensor-cache.json", data.draw(st.integers(0, 5000)))
    use(folder)


@HOW
@given(data=st.data())
def test_a_source_with_mutated_json(kept: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(kept / "source", tmp_path)
    damage_json(folder / data.draw(st.sampled_from(SOURCE_FILES)), data)
    take(folder, whole=data.draw(st.booleans()))


@HOW
@given(data=st.data())
def test_a_source_with_damaged_or_swapped_files(kept: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = copied(kept / "source", tmp_path)
    names = sorted(file.name for file in folder.iterdir())
    first, second = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    if data.draw(st.booleans()):
        damage_bytes(folder / first, data)
    else:
        (folder / first).write_bytes((folder / second).read_bytes())
    take(folder, whole=data.draw(st.booleans()))


def copied(kept: Path, tmp_path: Path) -> Path:
    """A fresh copy, and an empty home: nothing is remembered from the example before."""
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    return Path(shutil.copytree(kept, folder))
