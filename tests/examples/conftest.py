"""A tokenizer for examples."""

from __future__ import annotations

import pytest

from local_runtime.model.synthetic import byte_level_tokenizer
from local_runtime.prompts.fim import FimTokenizer


@pytest.fixture(scope="session")
def fim(tmp_path_factory: pytest.TempPathFactory) -> FimTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    byte_level_tokenizer(512).save(str(folder / "tokenizer.json"))
    return FimTokenizer.open(folder)
