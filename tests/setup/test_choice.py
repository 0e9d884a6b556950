"""Which model is proposed for which machine."""

from __future__ import annotations

import pytest

from local_runtime.errors import ModelMissing
from local_runtime.model.catalogue import entries, find
from local_runtime.setup.choice import Machine, choose
from local_runtime.setup.probe import Speed

GB = 1 << 30
TWO_CORES = Speed(weights_read=250e9, bytes_written=35e9)
"""About what two cores with AVX-512 VNNI do: 680 tokens of the 0.5B read in a second, 68 written."""
SIXTEEN_CORES = Speed(weights_read=2000e9, bytes_written=100e9)
BUSY = Speed(weights_read=200e9, bytes_written=20e9)
ONE_OLD_CORE = Speed(weights_read=20e9, bytes_written=8e9)


def machine(free_gb: float = 12, disk_gb: float = 50, device: str = "cpu") -> Machine:
    return Machine(2, 16 * GB, int(free_gb * GB), int(disk_gb * GB), device)


@pytest.mark.parametrize(
    ("here", "speed", "model", "quantization"),
    [
        pytest.param(machine(), TWO_CORES, "qwen2.5-coder-0.5b", "q8f16_g32", id="two cores"),
        pytest.param(machine(), SIXTEEN_CORES, "qwen2.5-coder-1.5b", "q8f16_g32", id="many cores"),
        pytest.param(
            machine(free_gb=2.6), SIXTEEN_CORES, "qwen2.5-coder-1.5b", "q4f16_1", id="many cores, less memory"
        ),
        pytest.param(machine(free_gb=1.8), SIXTEEN_CORES, "qwen2.5-coder-0.5b", "q8f16_g32", id="little memory"),
        pytest.param(machine(), ONE_OLD_CORE, "qwen2.5-coder-0.5b", "q8f16_g32", id="nothing is quick enough"),
        pytest.param(machine(), BUSY, "qwen2.5-coder-0.5b", "q8f16_g32", id="busy: not worse for being quicker"),
        pytest.param(machine(device="cuda"), TWO_CORES, "qwen2.5-coder-1.5b", "q4f16_1", id="a proven GPU"),
        pytest.param(machine(disk_gb=1.2), SIXTEEN_CORES, "qwen2.5-coder-0.5b", "q8f16_g32", id="little disk"),
    ],
)
def test_what_is_proposed(here: Machine, speed: Speed, model: str, quantization: str) -> None:
    best, _ = choose(here, speed, entries())
    assert (best.entry.name, best.quantization) == (model, quantization)


def test_larger_ones_are_named_with_what_to_expect() -> None:
    best, slower = choose(machine(), TWO_CORES, entries())
    assert [one.entry.name for one in slower] == ["qwen2.5-coder-1.5b"]
    assert slower[0].first_seconds > 3 > best.first_seconds
    assert "at a new place" in slower[0].expectation


def test_only_what_was_tried_and_has_an_open_licence_is_proposed() -> None:
    untried = [entry for entry in entries() if not entry.tried]
    assert untried
    with pytest.raises(ModelMissing, match="no model of the catalogue fits"):
        choose(machine(), SIXTEEN_CORES, untried)
    with pytest.raises(ModelMissing):
        choose(machine(), SIXTEEN_CORES, [find("qwen2.5-coder-3b")])


@pytest.mark.parametrize(
    ("here", "said"), [(machine(free_gb=0.5), "MB of memory"), (machine(disk_gb=0.1), "MB of disk")]
)
def test_a_machine_that_nothing_fits_is_told_why(here: Machine, said: str) -> None:
    with pytest.raises(ModelMissing, match=said):
        choose(here, TWO_CORES, entries())
