"""Models that other programs keep: every layout, read only, and nothing of them trusted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import store_layouts
import tiny_model
from click.testing import CliRunner
from small_gguf import write_gguf

from local_runtime.cli.command import understudy
from local_runtime.errors import BadRequest, ModelMissing
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.stores import find_models, resolve
from local_runtime.model.stores.roots import roots


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in store_layouts.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return folder


def fingerprint(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in root.rglob("*")
        if not path.is_relative_to(root / "understudy")
    }


@pytest.mark.parametrize(
    ("make", "reference", "licence"),
    [
        (store_layouts.ollama, "ollama:coder:1.5b", "Apache-2.0"),
        (store_layouts.lm_studio, "lmstudio:maker/coder-GGUF/coder-q8_0.gguf", ""),
        (store_layouts.hub, "hf:Maker/Coder-GGUF/coder-q8_0.gguf", ""),
        (store_layouts.llama_cpp, "llamacpp:maker_coder_coder-q8_0.gguf", ""),
        (store_layouts.jan, "jan:maker/coder", ""),
        (store_layouts.gpt4all, "gpt4all:coder.Q8_0.gguf", ""),
    ],
)
def test_each_store_is_found_and_imported_from(
    user: Path, make: Callable[[Path], Path], reference: str, licence: str
) -> None:
    make(user)
    before = fingerprint(user)
    (found,) = find_models()
    assert (found.model.reference, found.architecture, found.problem) == (reference, "qwen2", "")
    assert found.quantization == "Q8_0" and found.fills_in_the_middle and found.size_bytes > 10_000
    done = CliRunner().invoke(understudy, ["model", "import", reference, "--name", "mine"])
    assert done.exit_code == 0, done.output
    note = ModelFolder.open(registry.find("mine")).note
    assert note is not None and note.source == reference and note.license == licence
    assert fingerprint(user) == before


def test_mlcs_folder_is_found(user: Path) -> None:
    imported = registry.find(tiny_model.ensure_imported())
    store_layouts.mlc(user, imported)
    (found,) = find_models()
    assert found.model.reference == "mlc:mlc-ai/Coder-q4f16_1-MLC" and found.problem == ""
    assert resolve(found.model.reference).path.is_dir()


def test_a_hugging_face_folder_is_found_where_its_user_says(user: Path) -> None:
    (found,) = find_models([tiny_model.FOLDER])
    assert found.model.reference == str(tiny_model.FOLDER) and found.quantization == "floats" and not found.problem


def test_one_file_is_listed_once_however_it_is_linked(user: Path) -> None:
    file = store_layouts.lm_studio(user)
    (user / ".cache" / "llama.cpp").mkdir(parents=True)
    os.link(file, user / ".cache" / "llama.cpp" / "again.gguf")
    (user / "models").mkdir()
    (user / "models" / "linked.gguf").symlink_to(file)
    assert len(find_models([user / "models"])) == 1


def test_names_as_their_own_programs_write_them(user: Path) -> None:
    store_layouts.ollama(user, "registry.ollama.ai/library/coder/latest")
    store_layouts.ollama(user, "registry.ollama.ai/maker/coder/7b")
    store_layouts.ollama(user, "hf.co/maker/coder/Q8_0")
    assert resolve("ollama:coder").reference == "ollama:coder:latest"
    assert resolve("ollama:maker/coder:7b").path.exists()
    assert resolve("ollama:hf.co/maker/coder:Q8_0").path.exists()
    store_layouts.ollama(user, "localhost:5000/team/coder/latest")
    assert resolve("ollama:localhost:5000/team/coder").path.exists()
    file = store_layouts.lm_studio(user)
    assert resolve("lmstudio:maker/coder-GGUF").path == file
    write_gguf(file.with_name("coder-q4_0.gguf"))
    with pytest.raises(BadRequest, match="has several"):
        resolve("lmstudio:maker/coder-GGUF")
    with pytest.raises(ModelMissing) as fault:
        resolve("ollama:other")
    assert fault.value.remedy == "understudy model find"


def test_files_of_earlier_snapshots_are_found_by_their_revision(user: Path) -> None:
    link = store_layouts.hub(user)
    older = store_layouts.older_snapshot(link)
    references = [one.model.reference for one in find_models()]
    assert references == ["hf:Maker/Coder-GGUF/coder-q8_0.gguf", "hf:Maker/Coder-GGUF/coder-old.gguf@ffffffffffff"]
    old = older / "coder-old.gguf"
    assert resolve(references[1]).path == resolve("hf:Maker/Coder-GGUF/coder-old.gguf").path == old
    store_layouts.put(link.parents[2] / "refs" / "pr" / "1", older.name)
    assert resolve("hf:Maker/Coder-GGUF/coder-q8_0.gguf@pr/1").path == older / link.name
    assert resolve("hf:Maker/Coder-GGUF/coder-q8_0.gguf@main").path == link == resolve("hf:Maker/Coder-GGUF").path
    assert resolve(f"hf:Maker/Coder-GGUF@{store_layouts.COMMIT}").path == link
    with pytest.raises(BadRequest, match="has several"):
        resolve("hf:Maker/Coder-GGUF@fffffff")
    for revision in ("other", "f", "eeeeeee"):
        with pytest.raises(ModelMissing):
            resolve(f"hf:Maker/Coder-GGUF/coder-old.gguf@{revision}")


def test_a_cache_without_links_has_its_files_in_the_snapshot(user: Path) -> None:
    link = store_layouts.hub(user)
    shutil.copyfile(link, link.with_suffix(".copy"))
    link.with_suffix(".copy").replace(link)
    (found,) = find_models()
    assert not link.is_symlink() and found.problem == "" and resolve("hf:Maker/Coder-GGUF").path == link


def test_a_path_may_be_a_folder_that_holds_one_file(user: Path) -> None:
    file = write_gguf(user / "one.gguf")
    assert resolve("~").path == file == resolve(str(file)).path
    assert [one.model.path for one in find_models([Path("~/one.gguf")])] == [file]
    write_gguf(user / "two.gguf")
    with pytest.raises(BadRequest, match=r"has several: .*one\.gguf, .*two\.gguf"):
        resolve(str(user))


@pytest.mark.parametrize(
    "reference", ["~nobody-has-this-name/x", "x" * 5000, "a\0b", "ollama:" + "x" * 5000, "hf:@", "jan:"]
)
def test_a_reference_that_means_nothing_is_missing(user: Path, reference: str) -> None:
    with pytest.raises(ModelMissing):
        resolve(reference)


def test_a_folder_may_have_a_stores_name(user: Path) -> None:
    write_gguf(store_layouts.put(user / "manifests" / "m.gguf", b""))
    assert len(find_models([user / "manifests"])) == 1


def test_the_licence_is_the_stores_else_the_files(user: Path) -> None:
    file = store_layouts.altered(
        user / "m" / "a.gguf", general__license="other", general__license__name="qwen-research"
    )
    (found,) = find_models([user / "m"])
    assert found.license_name == resolve(str(file)).license_name == "qwen-research"
    store_layouts.altered(file, general__license="mit")
    assert resolve(str(file)).license_name == "mit"
    store_layouts.ollama(user)
    assert resolve("ollama:coder:1.5b").license_name == "Apache-2.0"


def test_a_split_file_is_one_model(user: Path) -> None:
    for number in (1, 2):
        store_layouts.put(user / "m" / f"big-0000{number}-of-00002.gguf", b"GGUF")
    (found,) = find_models([user / "m"])
    assert found.model.reference.endswith("big-00001-of-00002.gguf") and found.size_bytes == 8 and found.problem


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda user: store_layouts.ollama(user).write_text("{"), "manifest cannot be read"),
        (
            lambda user: store_layouts.ollama(user).write_text(
                json.dumps(
                    {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../x"}]}
                )
            ),
            "its file is not there",
        ),
        (
            lambda user: store_layouts.ollama(user).write_text(
                json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.tensor", "digest": "sha256:00"}]})
            ),
            "not kept as GGUF",
        ),
        (lambda user: store_layouts.lm_studio(user).write_bytes(b"GGUF\x03\0\0\0"), "ends"),
        (
            lambda user: (
                store_layouts.jan(user).with_name("model.yml").write_text("model_path: ../../../../../etc/passwd")
            ),
            "outside",
        ),
        (lambda user: store_layouts.jan(user).with_name("model.yml").write_text("name: x"), "names no file"),
        (lambda user: store_layouts.put(user / ".lmstudio/models/a/b/config.json", "{}"), "an MLX model"),
    ],
    ids=["manifest", "digest", "tensors", "header", "outside", "no path", "mlx"],
)
def test_what_cannot_be_used_says_why_and_hides_nothing_else(
    user: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(user)
    store_layouts.gpt4all(user)
    bad, good = sorted(find_models(), key=lambda one: one.problem == "")
    assert said in bad.problem and good.problem == ""


def test_a_link_out_of_the_hubs_cache_is_not_followed(user: Path, tmp_path: Path) -> None:
    link = store_layouts.hub(user)
    link.unlink()
    link.symlink_to(write_gguf(tmp_path / "elsewhere.gguf"))
    (found,) = find_models()
    assert "a link to somewhere else" in found.problem
    with pytest.raises(ModelMissing):
        resolve("hf:Maker/Coder-GGUF")


def test_folders_that_cannot_be_read_or_run_in_circles(user: Path) -> None:
    store_layouts.gpt4all(user)
    circle = user / ".lmstudio" / "models" / "a"
    circle.mkdir(parents=True)
    (circle / "b").symlink_to(circle)
    (user / "loop").symlink_to(user / "loop")
    assert len(find_models([user / "loop", user / "missing"])) == 1


def test_the_command_lists_and_says_where_it_looked(user: Path) -> None:
    nothing = CliRunner().invoke(understudy, ["model", "find"]).output
    assert "no models in" in nothing and ".ollama" in nothing and "understudy setup" in nothing
    store_layouts.ollama(user)
    long = store_layouts.gguf(user / ".lmstudio/models" / ("maker" * 9) / ("coder" * 9) / "coder.gguf")
    narrow = CliRunner().invoke(understudy, ["model", "find"], env={"COLUMNS": "80"}).output
    assert "ollama:coder:1.5b" in narrow and f"lmstudio:{'maker' * 9}/{'coder' * 9}/coder.gguf" in narrow
    long.unlink()
    (row,) = json.loads(CliRunner().invoke(understudy, ["model", "find", "--json"]).stdout)
    assert row["reference"] == "ollama:coder:1.5b" and row["licence"] == "Apache-2.0" and row["problem"] == ""


def test_places_by_platform_and_environment(tmp_path: Path) -> None:
    def first(kind: str, platform: str = "linux", **environment: str) -> Path:
        return roots(environment, tmp_path, platform)[kind][0]

    assert first("ollama", OLLAMA_MODELS="/big") == Path("/big")
    assert first("hf", HF_HOME="/hf") == Path("/hf/hub")
    assert first("hf", LLAMA_CACHE="/l", HF_HUB_CACHE="/h") == Path("/l")
    assert first("mlc", MLC_LLM_HOME="/m") == Path("/m")
    assert first("llamacpp", "darwin") == tmp_path / "Library" / "Caches" / "llama.cpp"
    assert first("jan", "darwin").parts[-4:] == ("Library", "Application Support", "Jan", "data")
    assert first("gpt4all", "win32", LOCALAPPDATA="/x") == Path("/x/nomic.ai/GPT4All")
    (tmp_path / ".lmstudio-home-pointer").write_text("/moved\n")
    assert first("lmstudio") == Path("/moved/models")
    (tmp_path / ".lmstudio-home-pointer").write_text("relative")
    assert first("lmstudio") == tmp_path / ".lmstudio" / "models"
