"""`doctor --run`: two computations of one model are compared, and a wrong one is called wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_models import GROUPED

from local_runtime.cli import doctor, doctor_self_test
from local_runtime.cli.command import understudy
from local_runtime.cli.doctor_self_test import Run, compare
from local_runtime.devices.cuda_parts import NvidiaGpu
from local_runtime.devices.target import CPU, HOST, METAL
from local_runtime.errors import BuildFailed
from local_runtime.model.chosen import choose
from local_runtime.places import places

RIGHT = Run("cpu", (-1.0, -2.0, -0.5, -3.0), (True, False, True, False), 16, 0.1)


@pytest.fixture
def small_model(make_model: Callable[..., Path]) -> Iterator[str]:
    """The chosen one: its libraries are compiled for other tests, too."""
    name = make_model(GROUPED, "q4f16_1").name
    choose(name)
    yield name
    places().config_file.unlink()


@pytest.mark.usefixtures("small_model")
def test_without_a_gpu_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_runtime.devices.target.best_kind", lambda: CPU)
    done = CliRunner().invoke(understudy, ["doctor", "--run", "--json"])
    found = [finding for finding in json.loads(done.stdout) if finding["area"] == "self-test"]
    assert [finding["state"] for finding in found] == ["ok", "ok"], done.output
    assert "16 tokens" in found[0]["text"]
    assert found[1]["text"] == "there is no GPU to compare with"


def test_a_gpus_graph_on_the_cpu_says_what_the_cpu_says(small_model: str) -> None:
    finding = doctor_self_test.tested(small_model, HOST, doctor_self_test.run(small_model, CPU))
    assert finding.state == "ok"
    assert "host differs from cpu" in finding.text


@pytest.mark.usefixtures("small_model")
def test_a_device_that_does_not_run_is_bad_and_the_cpu_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = doctor_self_test.run

    def run(name: str, kind: str) -> Run:
        if kind == METAL:
            raise BuildFailed("no metal code for this shape")
        return opened(name, kind)

    monkeypatch.setattr("local_runtime.devices.target.best_kind", lambda: METAL)
    monkeypatch.setattr(doctor_self_test, "run", run)
    first, second = doctor_self_test.self_test()
    assert (first.state, second.state) == ("ok", "bad")
    assert "no metal code" in second.text
    assert second.remedy == doctor.USE_CPU


def test_wrong_results_are_called_wrong() -> None:
    assert compare(RIGHT, replace(RIGHT, device="metal")).state == "ok"
    assert compare(RIGHT, replace(RIGHT, logprobs=(-1.2, -2.0, -0.5, -3.2))).state == "bad"
    assert compare(RIGHT, replace(RIGHT, logprobs=(math.nan, -2.0, -0.5, -3.0))).state == "bad"
    assert compare(RIGHT, replace(RIGHT, most_likely=(True, False, False, False))).state == "bad"
    assert compare(RIGHT, replace(RIGHT, most_likely=(True, False, False, False))).remedy == doctor.USE_CPU


def test_doctor_says_what_a_gpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_runtime.devices.cuda_parts.find_gpu", lambda: NvidiaGpu("RTX 4090", 89, 24 << 30))
    monkeypatch.setattr("local_runtime.devices.cuda_parts.missing_parts", lambda: {"a compiler": "pip install it"})
    [finding] = doctor.gpu()
    assert (finding.state, finding.remedy) == ("note", "pip install it")
    assert "RTX 4090, sm_89, 24,576 MB is not used: a compiler is missing" in finding.text
    monkeypatch.setattr("local_runtime.devices.cuda_parts.missing_parts", dict)
    [finding] = doctor.gpu()
    assert doctor.NOT_RUN in finding.text
    assert "doctor --run" in (finding.remedy or "")
    monkeypatch.setattr("local_runtime.devices.cuda_parts.find_gpu", lambda: NvidiaGpu("GTX 1060", 61, 6 << 30))
    [finding] = doctor.gpu()
    assert "sm_75 to sm_90" in finding.text
