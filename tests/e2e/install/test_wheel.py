"""The wheel that `pipx install` would take: it holds no weights, and completes a file far from this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tiny_model

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git tracks alone, so that nothing of a developer's folder can sneak in."""
    folder = tmp_path_factory.mktemp("wheel")
    archive, source = folder / "source.tar", folder / "source"
    source.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    present = b"\0".join(name for name in files.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())
    subprocess.run(["tar", "-cf", archive, "--null", "-T", "-"], cwd=ROOT, input=present, check=True)
    subprocess.run(["tar", "-xf", archive], cwd=source, check=True)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    subprocess.run(build, check=True)
    [built] = folder.glob("understudy-*.whl")
    return built


def test_it_holds_the_general_set_and_neither_weights_nor_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for data in ("general_holes.jsonl", "LICENCES.md"):
        assert f"local_runtime/general_set/{data}" in names
    assert not [name for name in names if name.endswith((".safetensors", ".gguf", ".bin"))]
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "local_runtime",
        "lsp_server",
        "trainer",
    }


def test_it_completes_a_file_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    site, file = tmp_path / "site", tmp_path / "a.py"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    file.write_text("import json\n\ndef load(path):\n    with open(path) as file:\n        return json.\n")
    code = "import local_runtime, local_runtime.cli.command as c, sys; assert sys.argv.pop(1) in local_runtime.__file__; c.main()"
    environment = os.environ | {"PYTHONPATH": str(site), "UNDERSTUDY_HOME": str(tmp_path / "home")}

    def understudy(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", code, str(site), *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True, timeout=300
        )

    said = understudy("complete", f"{file}:5")
    assert said.returncode != 0
    assert "no model yet" in said.stderr
    assert "understudy setup" in said.stderr
    brought = understudy("model", "import", str(tiny_model.FOLDER), "--name", "first")
    assert brought.returncode == 0, brought.stderr
    said = understudy("complete", f"{file}:5")
    assert said.returncode == 0, said.stderr
    assert "model loaded in" in said.stdout
