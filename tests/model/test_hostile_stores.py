"""Stores that are broken, foreign or made to harm: each costs one sentence and hides nothing else."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import store_layouts
import tiny_model
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_gguf import write_gguf
from store_layouts import altered

from local_runtime.cli.command import understudy
from local_runtime.errors import BadRequest, ModelMissing
from local_runtime.model.stores import find_models, finding, resolve, walking
from local_runtime.model.stores.finding import describe
from local_runtime.model.stores.local_model import LocalModel

NOBODY = 65534


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in store_layouts.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return folder


def with_layers(user: Path, *others: dict[str, str]) -> Path:
    manifest = store_layouts.ollama(user)
    decoded = json.loads(manifest.read_bytes())
    return store_layouts.put(manifest, json.dumps({"layers": [*decoded["layers"], *others]}))


def ollama_layer(kind: str) -> dict[str, str]:
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": "sha256:" + "0" * 64}


def unfinished(user: Path) -> None:
    store_layouts.ollama(user)
    (largest,) = (file for file in (user / ".ollama/models/blobs").iterdir() if file.stat().st_size > 10_000)
    largest.rename(f"{largest}-partial")


def pipe(user: Path) -> None:
    folder = user / ".lmstudio" / "models" / "a" / "b"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.gguf")


def hub_folder(user: Path, change: Callable[[Path], object]) -> None:
    change(store_layouts.hub_folder(user, tiny_model.FOLDER))


def mlx(snapshot: Path) -> None:
    config = json.loads((snapshot / "config.json").read_bytes()) | {"quantization": {"group_size": 64, "bits": 4}}
    store_layouts.put((snapshot / "config.json").resolve(), json.dumps(config))


def lm_studio(user: Path, **metadata: Any) -> Path:
    return altered(user / ".lmstudio" / "models" / "a" / "b" / "m.gguf", **metadata)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda user: store_layouts.ollama(user).write_text('{"x":' + "[" * 300_000), "manifest cannot be read"),
        (lambda user: store_layouts.ollama(user).write_text('{"x":"' + "y" * (1 << 21) + '"}'), "manifest cannot"),
        (lambda user: with_layers(user, ollama_layer("adapter")), "the adapter would be lost"),
        (lambda user: with_layers(user, ollama_layer("model")), "kept in 2 files"),
        (unfinished, "not yet whole, or removed"),
        (pipe, "expected a plain file"),
        (lambda user: lm_studio(user, architecture="clip"), "sees images"),
        (lambda user: lm_studio(user, general__type="mmproj"), "sees images"),
        (lambda user: lm_studio(user, general__type="adapter"), "it is an adapter"),
        (lambda user: lm_studio(user, qwen2__pooling_type=3), "embeddings"),
        (lambda user: lm_studio(user, architecture="nomic-bert"), "embeddings"),
        (lambda user: lm_studio(user, architecture="gemma4"), "architecture 'gemma4' is not known"),
        (lambda user: lm_studio(user, weights=False), "no weights"),
        (lambda user: lm_studio(user, tokenizer__ggml__pre="new"), "its tokenizer (gpt2, new) is not known"),
        (lambda user: lm_studio(user, tokenizer__ggml__pre=[1, 2]), "is not known"),
        (lambda user: lm_studio(user, qwen2__feed_forward_length=128), "expected shape"),
        (lambda user: hub_folder(user, mlx), "an MLX model"),
        (lambda user: hub_folder(user, lambda it: (it / "tokenizer.json").unlink()), "it has no tokenizer.json"),
        (lambda user: hub_folder(user, lambda it: (it / "model.safetensors").resolve().write_bytes(b"x")), "model.safe"),
    ],
    ids=[
        "deep manifest", "huge manifest", "adapter layer", "two files", "partial blob", "pipe", "clip", "mmproj", "lora",
        "pooling", "bert", "architecture", "vocabulary", "pre", "pre of another type", "shape", "mlx", "no tokenizer", "weights",
    ],
)  # fmt: skip
def test_what_cannot_run_says_why_and_hides_nothing_else(user: Path, make: Callable[[Path], object], said: str) -> None:
    make(user)
    store_layouts.gpt4all(user)
    found = {one.model.reference.partition(":")[0]: one for one in find_models()}
    assert found.pop("gpt4all").problem == ""
    (bad,) = found.values()
    assert said in bad.problem and str(user) not in bad.problem
    with pytest.raises((ModelMissing, BadRequest)):
        resolve("ollama:nothing")


def test_an_intact_folder_of_the_hubs_cache_runs(user: Path) -> None:
    hub_folder(user, lambda snapshot: None)
    (found,) = find_models()
    assert (found.model.reference, found.problem, found.fills_in_the_middle) == ("hf:Maker/Coder", "", True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "general__type", "general__license", "general__license__name", "general__file_type", "qwen2__pooling_type",
                "qwen2__block_count", "qwen2__attention__head_count", "qwen2__rope__freq_base", "qwen2__vocab_size",
                "qwen2__rope__scaling__type", "tokenizer__ggml__model", "tokenizer__ggml__pre", "tokenizer__ggml__tokens",
            ]
        ),
        st.one_of(
            st.text(st.characters(codec="utf-8"), max_size=5), st.booleans(), st.integers(0, 2**32 - 1),
            st.lists(st.integers(0, 9), min_size=1, max_size=3), st.lists(st.text("a\x1b", min_size=1), min_size=1, max_size=3),
        ),
        min_size=1,
    )
)  # fmt: skip
@example({"tokenizer__ggml__model": "\x1b"})
def test_no_metadata_makes_it_raise(tmp_path: Path, metadata: dict[str, Any]) -> None:
    found = describe(LocalModel("x", altered(tmp_path / "m.gguf", **metadata)))
    assert found.problem.isprintable() and found.license_name.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            b"bad-\xff.gguf",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names"),
            id="not UTF-8",
        ),
        pytest.param(b"a\x1b]0;evil\x07\n[red]b.gguf", id="escapes"),
    ],
)
def test_a_files_name_cannot_steer_the_terminal(user: Path, name: bytes) -> None:
    write_gguf(user / "made.gguf")
    (user / "made.gguf").rename(user / os.fsdecode(name))
    done = CliRunner().invoke(understudy, ["model", "find", str(user)])
    assert done.exit_code == 0, done.exception
    assert "\x1b" not in done.output and "\x07" not in done.output and "\ufffd" in done.output
    (row,) = json.loads(CliRunner().invoke(understudy, ["model", "find", str(user), "--json"]).stdout)
    assert os.fsencode(row["path"]).endswith(name)


def test_a_store_that_cannot_be_read_is_said_and_the_others_are_listed(user: Path) -> None:
    store_layouts.gpt4all(user)
    circle = user / ".ollama" / "models" / "manifests"
    circle.parent.mkdir(parents=True)
    circle.symlink_to(circle)
    done = CliRunner().invoke(understudy, ["model", "find", str(user / "misspelt"), "--json"])
    assert done.exit_code == 0 and len(json.loads(done.stdout)) == 1
    assert f"{circle} cannot be read" in done.stderr and f"{user / 'misspelt'} is not there" in done.stderr
    with pytest.raises(ModelMissing, match=r"no ollama:coder; .*manifests cannot be read"):
        resolve("ollama:coder")


@contextmanager
def not_root() -> Iterator[None]:
    """As a user whom permissions bind."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_without_permission_it_is_a_note(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(tempfile.mkdtemp())  # pytest's own folders are their owner's alone
    monkeypatch.setenv("HOME", str(home))
    store_layouts.ollama(home)
    store_layouts.lm_studio(home)
    closed = (home / ".ollama/models/blobs", home / ".lmstudio/models")
    try:
        home.chmod(0o755)
        for folder in closed:
            folder.chmod(0)
        notes: list[str] = []
        with not_root():
            (found,) = find_models(told=notes.append)
        assert found.problem == "its file cannot be read: Permission denied"
        assert notes == [f"{closed[1]} cannot be read: Permission denied"]
    finally:
        for folder in closed:
            folder.chmod(0o700)
        shutil.rmtree(home)


def test_more_than_the_bounds_is_said(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_gguf(store_layouts.put(user / "m" / f"{number}.gguf", b""), seed=number)
    notes: list[str] = []
    monkeypatch.setattr(finding, "MAX_MODELS", 3)
    assert len(find_models([user / "m"], told=notes.append)) == 3 and "more than 3 models" in notes[0]
    monkeypatch.setattr(walking, "MAX_ENTRIES", 3)
    notes.clear()
    assert find_models([user / "m"], told=notes.append) == [] and "more than 3 entries" in notes[0]
