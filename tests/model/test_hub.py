"""`understudy model pull`, as a user runs it, against a hub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_hub import COMMIT, REPO, SmallHub, small_hub

from local_runtime.model import registry
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import import_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.places import places

pytestmark = pytest.mark.e2e
UNDERSTUDY = str(Path(sys.executable).with_name("understudy"))
LARGE = DecoderConfig("llama", 512, 512, 2, 8, 8, 64, 8192, 512, tied_embeddings=True)
"""Large enough for several of the pieces of 10 MB in which huggingface_hub hands over what it gets."""
FIRST = "model-00001-of-00002.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    folder = write_folder(tmp_path / "tiny", LARGE, shard_bytes=20 << 20)
    assert (folder / FIRST).exists()
    for unwanted in ("pytorch_model.bin", "modeling_evil.py", "consolidated.safetensors", "README.md"):
        (folder / unwanted).write_bytes(b"not wanted")
    with small_hub(folder) as running:
        yield running


def command(hub: SmallHub, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command and its environment: this hub, no cache of the user's, no token."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(places().cache / "hf"),
    }
    return [UNDERSTUDY, "model", "pull", REPO, *arguments], environment


def pull(hub: SmallHub, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    words, environment = command(hub, *arguments)
    return subprocess.run(words, env=environment, input=answer, capture_output=True, text=True, check=False, timeout=60)


def test_pull_shows_asks_fetches_and_imports(hub: SmallHub) -> None:
    done = pull(hub, answer="y\n")
    assert done.returncode == 0, done.stderr
    for shown in (FIRST, "tokenizer.json", "together", "apache-2.0", "fetch 31"):
        assert shown in done.stdout
    assert {name for name, _ in hub.asked} == {
        *(file.name for file in hub.folder.glob("model-*")), "model.safetensors.index.json",
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    pulled = ModelFolder.open(registry.find("tiny-q8f16_g32"))
    assert pulled.note and (pulled.note.source, pulled.note.license) == (f"{REPO}@{COMMIT}", "apache-2.0")
    direct = ModelFolder.open(import_model(hub.folder, QUANTIZATIONS["q8f16_g32"], "direct"))
    assert pulled.base_hash == direct.base_hash
    assert not (places().cache / "hub" / "someone--tiny").exists()


def test_a_no_fetches_nothing(hub: SmallHub) -> None:
    done = pull(hub, answer="n\n")
    assert done.returncode == 130
    assert hub.asked == [] and registry.names() == []


def test_a_killed_download_goes_on_where_it_stopped(hub: SmallHub) -> None:
    hub.hold_at[FIRST] = 15_000_000
    part = places().cache / "hub" / "someone--tiny" / COMMIT / f"{FIRST}.part"
    words, environment = command(hub, "--yes")
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert hub.holding.wait(60)
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size):
            assert time.monotonic() < deadline
        meanwhile = pull(hub, "--yes")
        assert meanwhile.returncode == 1 and "another process is fetching" in meanwhile.stderr
        process.kill()
    hub.released.set()
    kept_bytes = part.stat().st_size
    hub.asked.clear()
    assert registry.names() == []
    done = pull(hub, "--yes")
    assert done.returncode == 0, done.stderr
    ranges = dict(hub.asked)
    assert 0 < kept_bytes < 15_000_000
    assert ranges[FIRST] == f"bytes={kept_bytes}-"
    assert "config.json" not in ranges
    ModelFolder.open(registry.find("tiny-q8f16_g32"))


def test_a_broken_connection_is_taken_up_again(hub: SmallHub) -> None:
    hub.break_at[FIRST] = 12_000_000
    done = pull(hub, "--yes", "--keep")
    assert done.returncode == 0, done.stderr
    assert sum(name == FIRST for name, _ in hub.asked) == 2
    assert (places().cache / "hub" / "someone--tiny" / COMMIT / FIRST).read_bytes() == (hub.folder / FIRST).read_bytes()


def test_weights_that_are_not_what_the_hub_promised(hub: SmallHub) -> None:
    content = bytearray((hub.folder / FIRST).read_bytes())
    content[-1] ^= 1
    hub.lie[FIRST] = bytes(content)
    done = pull(hub, "--yes")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert FIRST in done.stderr and "expected" in done.stderr and "found" in done.stderr
    assert registry.names() == []
    hub.lie.clear()
    assert pull(hub, "--yes").returncode == 0


def test_what_the_hub_does_not_have(hub: SmallHub) -> None:
    words, environment = command(hub)
    words[3] = "someone/other"
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no such repository" in done.stderr


def test_a_repository_of_pickles_alone(hub: SmallHub) -> None:
    for file in hub.folder.glob("model*"):
        file.unlink()
    done = pull(hub, "--yes")
    assert done.returncode == 1 and "no safetensors weights; pickled ones are never opened" in done.stderr


def test_file_names_that_lead_elsewhere_are_not_wanted(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = hub.model_info()
    honest["siblings"] += [
        {"rfilename": name, "size": 1} for name in ("../../rogue.json", "rogue/config.json", "/rogue/model.safetensors")
    ]
    monkeypatch.setattr(hub, "model_info", lambda: json.loads(json.dumps(honest)))
    done = pull(hub, "--yes")
    assert done.returncode == 0, done.stderr
    assert "rogue" not in done.stdout
    assert not any("rogue" in name for name, _ in hub.asked)


@pytest.mark.parametrize(
    "change",
    [{"siblings": [{"rfilename": "config.json"}]}, {"siblings": 7}, {"sha": None}, {"siblings": [{}]}],
    ids=str,
)
def test_an_answer_that_makes_no_sense(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    answer = hub.model_info() | change
    monkeypatch.setattr(hub, "model_info", lambda: answer)
    done = pull(hub, "--yes")
    assert done.returncode == 1 and f"understudy: {REPO}" in done.stderr and "Traceback" not in done.stderr


def test_offline_is_respected(hub: SmallHub) -> None:
    words, environment = command(hub)
    done = subprocess.run(words, env=environment | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "HF_HUB_OFFLINE is set" in done.stderr
    assert hub.asked == []
