"""The house keeps its own promises: notices, documented commands, a code map without gaps."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import code_map
import pytest
from code_map import ROOT

MAX_LINES = 450
PAGES = ("README.md", "ARCHITECTURE.md", "BENCHMARKS.md", "CONTRIBUTING.md", "SECURITY.md", "docs/commands.md")


def _tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def _pinned() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = [*project["dependencies"], *(d for group in project["optional-dependencies"].values() for d in group)]
    return [dependency.split("==")[0].split("[")[0] for dependency in every]


def test_every_dependency_is_pinned_and_has_a_reason() -> None:
    """A dependency is a decision: one version, one sentence."""
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r'^  "[A-Za-z0-9_.\[\]-]+==', line):
            assert "#" in line, f"no reason given: {line.strip()}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all("==" in dependency for dependency in project["dependencies"])


def test_every_dependency_is_in_the_notices() -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text().lower()
    missing = [name for name in _pinned() if f"| {name.lower()} |" not in notices]
    assert not missing, f"THIRD_PARTY_NOTICES.md lacks {missing}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_scripts_and_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for script in re.findall(r"benchmarks/[a-z0-9_]+\.py", text):
        assert (ROOT / script).is_file(), f"{page} names {script}"
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"


def test_make_runs_every_area() -> None:
    """`tests/e2e` has no part in it: real editors and installed wheels run last, by their mark."""
    areas = re.search(r"^AREAS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.M)
    folders = {str(Path(path).parent) for path in _tracked(":(glob)tests/*/test_*.py")} - {"tests/e2e"}
    assert areas is not None
    assert set(areas[1].replace("\\\n", " ").split()) == folders | set(_tracked(":(glob)tests/test_*.py"))


def test_code_map_is_current() -> None:
    """Every module is in the code map, in its own words."""
    assert code_map.MAP.read_text() == code_map.code_map(), "python tests/code_map.py"


@pytest.mark.parametrize("path", code_map.modules(), ids=str)
def test_a_module_can_be_read_at_a_sitting(path: Path) -> None:
    n_lines = len((ROOT / path).read_text().splitlines())
    assert n_lines <= MAX_LINES, f"{path} has {n_lines} lines"


def test_no_lock_file_carries_an_address() -> None:
    assert not _tracked("uv.lock")
    for lock in _tracked("*package-lock.json"):
        assert '"resolved"' not in (ROOT / lock).read_text(), f"{lock}: set omit-lockfile-registry-resolved=true"
