"""A small corpus of this interpreter's own library, and its tokenizer."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from local_runtime.fim import FimTokenizer
from trainer.pretrain.corpus import Document
from trainer.pretrain.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    found = []
    for module in ("json", "logging", "asyncio"):
        folder = Path(sysconfig.get_paths()["stdlib"]) / module
        for path in sorted(folder.glob("*.py"))[:8]:
            text = path.read_text()
            if len(text) > 500:
                found.append(Document("training", module, f"{module}/{path.name}", "python", text))
    return found


@pytest.fixture(scope="session")
def tokenizer_folder(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    train_tokenizer((d.text for d in documents), 512).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def fim(tokenizer_folder: Path) -> FimTokenizer:
    return FimTokenizer.open(tokenizer_folder)
