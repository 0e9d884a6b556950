"""`understudy model use`: one choice for every command, and a daemon that runs follows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_model
from click.testing import CliRunner

from local_runtime.cli.command import understudy
from local_runtime.client.client import Client
from local_runtime.engines.protocol import Sampling
from local_runtime.errors import BadRequest, ModelMissing
from local_runtime.model.chosen import chosen_model
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.use import adopt_if_first, use_model
from local_runtime.places import folder, places
from local_runtime.prompts.hole import Hole

HOLE = Hole("a.py", "python", "def add(a, b):\n    return ", "\n")


def bring(name: str) -> str:
    import_model(tiny_model.FOLDER, QUANTIZATIONS["q8f16_g32"], name)
    return name


def configure(text: str) -> None:
    folder(places().config)
    places().config_file.write_text(text)


def test_the_first_model_is_chosen_and_the_second_is_not() -> None:
    assert adopt_if_first(bring("first"))
    assert not adopt_if_first(bring("second"))
    assert chosen_model() == "first"


def test_a_model_that_is_not_there_changes_nothing() -> None:
    use_model(bring("first"))
    with pytest.raises(ModelMissing, match="no model other"):
        use_model("other")
    assert chosen_model() == "first"


def test_an_engine_elsewhere_keeps_its_own_model() -> None:
    settings = '[runtime]\nengine = "remote"\naddress = "https://host"\nmodel = "theirs"\n'
    configure(settings)
    with pytest.raises(BadRequest, match="the engine is remote"):
        use_model(bring("first"))
    assert not adopt_if_first("first")
    assert places().config_file.read_text() == settings


def test_settings_that_cannot_be_read_do_not_spoil_an_import() -> None:
    configure("[runtime")
    assert not adopt_if_first(bring("first"))


@pytest.fixture
def client() -> Iterator[Client]:
    with Client("test") as client:
        try:
            yield client
        finally:
            client.stop()


@pytest.mark.e2e
def test_a_running_daemon_follows(client: Client, home: Path) -> None:
    use_model(bring("first"))
    bring("second")
    before = client.wait_ready()
    assert before.model is not None and before.model.id == "first"
    assert not use_model("first")
    said = CliRunner().invoke(understudy, ["model", "use", "second"])
    assert "the daemon loads it now" in said.output
    # The same client goes on, as an open editor does.
    assert client.complete(HOLE, sampling=Sampling(max_tokens=4)).n_tokens > 0
    after = client.health()
    assert after.model is not None and after.model.id == "second" and after.pid != before.pid


def test_no_daemon_is_started_for_it() -> None:
    assert not use_model(bring("first"))
    with Client("test", start=False) as client:
        assert not client.stop()
