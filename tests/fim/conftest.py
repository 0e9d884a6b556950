"""The tokenizers of all families, trained once per run."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers_of_families

from local_runtime.prompts.families import FAMILIES, Family
from local_runtime.prompts.fim import FimTokenizer


@pytest.fixture(scope="session")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family.name: tokenizers_of_families.write(family, root / family.name) for family in FAMILIES}


@pytest.fixture(scope="session", params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    assert isinstance(request.param, Family)
    return request.param


@pytest.fixture(scope="session")
def fim(family: Family, family_folders: dict[str, Path]) -> FimTokenizer:
    return FimTokenizer.open(family_folders[family.name])


@pytest.fixture(scope="session")
def ours(family_folders: dict[str, Path]) -> FimTokenizer:
    return FimTokenizer.open(family_folders["understudy"])
