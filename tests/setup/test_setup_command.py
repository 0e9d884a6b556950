"""`understudy setup` as its user and an editor run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_model
from click.testing import CliRunner
from echo_daemon import end_daemons

from local_runtime.cli.command import understudy
from local_runtime.client.client import Client
from local_runtime.model import registry
from local_runtime.model.chosen import choose, chosen_model
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.setup import probe, steps
from local_runtime.setup.probe import Speed

NAME = "tiny_model-q8f16_g32"
EVENTS = {
    "machine": {"n_cores", "memory_bytes", "free_memory_bytes", "free_disk_bytes", "device"},
    "plan": {
        "model", "title", "quantization", "licence", "non_commercial", "download_bytes", "disk_bytes", "reason", "alternatives",
    },
    "progress": {"stage", "done", "total", "text"},
    "done": {"model", "changed", "seconds"},
    "failed": {"message", "fix"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_daemon_left(home: Path) -> Iterator[None]:
    yield
    end_daemons(home)


def run(*words: str) -> tuple[int, str]:
    command = [sys.executable, "-P", "-c", "from local_runtime.cli.command import main; main()", "setup", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + ("" if "--json" in words else done.stderr)


def events(text: str) -> list[dict[str, Any]]:
    """Each is of a known kind, with exactly its fields."""
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert one.keys() - {"event"} == EVENTS[one["event"]]
    return found


@pytest.mark.e2e
def test_a_model_is_brought_and_answers_and_the_second_time_nothing_changes() -> None:
    code, said = run("--model", str(tiny_model.FOLDER), "--yes", "--json")
    found = events(said)
    assert code == 0
    assert [one["event"] for one in found if one["event"] != "progress"] == ["machine", "plan", "done"]
    stages = [one["stage"] for one in found if one["event"] == "progress"]
    assert list(dict.fromkeys(stages)) == ["import", "compile", "warm"]
    assert found[-1]["changed"] is True and found[-1]["model"] == NAME == chosen_model()
    with Client("test", start=False) as client:
        health = client.health()
    assert health.status == "ready" and health.model is not None and health.model.id == NAME
    written = registry.find(NAME).stat().st_mtime_ns
    code, said = run("--json")
    assert code == 0 and [(one["event"], one.get("changed")) for one in events(said)] == [("done", False)]
    assert registry.find(NAME).stat().st_mtime_ns == written
    code, said = run()
    assert code == 0 and "nothing to do" in said


def test_a_program_that_does_not_say_yes_gets_the_plan_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "measure", lambda: Speed(250e9, 35e9))  # the probe compiles: it has a test of its own
    done = CliRunner().invoke(understudy, ["setup", "--json"])
    found = events(done.output)
    assert [one["event"] for one in found] == ["machine", "progress", "plan"]
    plan = found[-1]
    assert (plan["title"], plan["licence"]) == ("Qwen2.5-Coder 0.5B Instruct", "Apache-2.0")
    assert plan["download_bytes"] > 4e8 and plan["disk_bytes"] > plan["download_bytes"]
    assert registry.names() == []


@pytest.mark.parametrize("quantization", list(QUANTIZATIONS))
def test_the_model_of_a_plan_can_be_asked_for(quantization: str) -> None:
    """As an editor does once its user agreed: it is the same model, in the same quantization, without measuring again."""
    _, said = run("--model", "qwen2.5-coder-0.5b", "--quantization", quantization, "--json")
    first = events(said)[-1]
    code, said = run("--model", first["model"], "--json")
    again = events(said)
    assert code == 0 and [one["event"] for one in again] == ["machine", "plan"]
    assert again[-1] == first | {"reason": f"you asked for {first['model']}"}


def test_one_who_says_no_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "measure", lambda: Speed(250e9, 35e9))
    done = CliRunner().invoke(understudy, ["setup"], input="n\n")
    assert done.exit_code == 1 and "Apache-2.0" in done.output and "download" in done.output
    assert registry.names() == []


def test_offline_without_anything_says_so() -> None:
    code, said = run("--offline", "--yes", "--json")
    failed = events(said)[-1]
    assert code == 1 and failed["event"] == "failed"
    assert "offline" in failed["message"] and failed["fix"].startswith("understudy ")


@pytest.mark.parametrize("wanted", ["nowhere/model.gguf", "ollama:none"])
def test_a_model_that_is_not_there(wanted: str) -> None:
    code, said = run("--model", wanted, "--yes", "--json")
    assert code == 1 and wanted in events(said)[-1]["message"]


def test_an_imported_model_is_taken_before_anything_is_fetched() -> None:
    import_model(tiny_model.FOLDER, QUANTIZATIONS["q8f16_g32"], "mine")
    code, said = run("--dry-run", "--json")
    plan = events(said)[-1]
    assert code == 0 and (plan["model"], plan["download_bytes"]) == ("mine", 0)


def test_the_tiny_model_of_tests_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "measure", lambda: Speed(250e9, 35e9))
    tiny_model.ensure_imported()
    done = CliRunner().invoke(understudy, ["setup", "--json"])
    assert events(done.output)[-1]["model"].startswith("qwen2.5-coder")
    choose(tiny_model.NAME)  # by name it may
    assert events(CliRunner().invoke(understudy, ["setup", "--json"]).output)[-1]["event"] in ("plan", "done")


@pytest.mark.slow
def test_the_probe_measures_and_leaves_nothing() -> None:
    speed = probe.measure()
    assert speed.weights_read > 0 and speed.bytes_written > 0
    assert registry.names() == []
