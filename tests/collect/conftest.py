"""A journal per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.collect.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty journal."""
    journal = Journal(tmp_path / "state" / "journal.sqlite")
    yield journal
    journal.close()
