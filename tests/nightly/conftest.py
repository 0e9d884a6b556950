"""One tiny model for all nights, imported and compiled once; each test has a home of its own that shares it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from night_worlds import TINY

from local_runtime.client.client import Client
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.places import folder, places


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model `tiny`, whose library is compiled at the first use."""
    home = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(home))
        import_model(write_folder(home / "source", TINY), QUANTIZATIONS["q8f16_g32"], "tiny")
    return home


@pytest.fixture
def world(shared_home: Path, home: Path) -> Iterator[Path]:
    """A home of this test's own with that model; its daemon is ended with the test."""
    for name in ("data/models", "cache/libraries", "cache/packed"):
        folder(shared_home / name)
        folder((home / name).parent)
        (home / name).symlink_to(shared_home / name)
    assert places().models.resolve() == (shared_home / "data" / "models").resolve()
    yield home
    with Client("tests", start=False) as client:
        client.stop()
