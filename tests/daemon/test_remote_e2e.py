"""Two real daemons: the one serves a compiled model on its loopback port, the other has it for its remote engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from local_runtime.cli import runtime_commands as commands
from local_runtime.client import lifecycle
from local_runtime.client.client import Client
from local_runtime.client.sockets import log_path, token_path
from local_runtime.daemon.guard import read_token
from local_runtime.engines.protocol import Sampling
from local_runtime.errors import BadRequest, NotReady
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.remote.address import TOKEN_VARIABLE
from trainer.adapters.serving import served_model

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOLE = Hole("a.py", "python", "def add(a, b):\n    return (", "\n\nprint(add(1, 2))\n")
CHUNKS = [Chunk("b.py", "def sub(a, b):\n    return a - b\n")]
GREEDY = Sampling(max_tokens=12)


@dataclass(frozen=True)
class Team:
    """The daemon that has the model."""

    port: int
    token: str
    tokenizer: Path
    answer: str
    log: Path


@contextmanager
def at_home(home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(home))
        yield


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    home = tmp_path_factory.mktemp("team")
    with at_home(home):
        folder = import_model(write_folder(tmp_path_factory.mktemp("source")), QUANTIZATIONS["q8f16_g32"], "tiny")
        with Client(overrides={"port": 0}) as client:
            port = client.wait_ready().port
            answer = client.complete(HOLE, CHUNKS, GREEDY).text
        assert port is not None
        yield Team(port, read_token(token_path()), folder, answer, log_path())
        lifecycle.kill()


@pytest.fixture
def here(team: Team, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose settings name the team's daemon."""
    config = home / "config"
    config.mkdir(parents=True)
    settings = f'engine = "remote"\naddress = "http://127.0.0.1:{team.port}"\ntokenizer = "{team.tokenizer}"\n'
    (config / "config.toml").write_text(f"[runtime]\n{settings}")
    monkeypatch.setenv(TOKEN_VARIABLE, team.token)
    yield home
    lifecycle.kill()


def test_it_says_what_the_team_s_daemon_says_and_that_it_is_elsewhere(team: Team, here: Path) -> None:
    host = f"127.0.0.1:{team.port}"
    with Client() as client:
        health = client.wait_ready()
        assert health.remote == host
        assert health.model is not None
        assert (health.model.id, health.model.device) == ("tiny", f"remote: {host}")
        done = client.complete(HOLE, CHUNKS, GREEDY)
        assert done.text == team.answer != ""
        assert done.n_tokens == 12
        assert done.logprob < 0
        with pytest.raises(BadRequest, match="scores nothing"):
            client.score(HOLE, "a + b)")
    shown = CliRunner().invoke(commands.runtime, ["status"]).output
    assert f"prompts are sent to {host}" in shown
    for log in (log_path(), team.log):
        assert "add(" not in log.read_text()
        assert team.token not in log.read_text()


def test_nothing_is_learnt_for_a_model_elsewhere(team: Team, here: Path) -> None:
    for _ in range(2):  # by the settings alone, then by what the daemon says
        with pytest.raises(BadRequest, match="learning and adapters need a model on this machine"):
            served_model()
        with Client() as client:
            client.wait_ready()


def test_a_team_that_is_gone_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "another-token")
    with Client() as client, pytest.raises(NotReady, match="refuses the token"):
        client.wait_ready()
    assert "another-token" not in log_path().read_text()
