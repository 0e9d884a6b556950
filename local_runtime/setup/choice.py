"""Which model suits a machine. Pure: everything that it weighs is an argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from local_runtime.errors import ModelMissing
from local_runtime.model.catalogue import Entry
from local_runtime.setup.probe import Speed

FIRST_PROMPT_TOKENS = 1200
"""Read at a place that was not visited before."""
TYPED_TOKENS, WRITTEN_TOKENS = 8, 12
"""Read and written for a suggestion while its user types."""
TYPING_SECONDS, FIRST_SECONDS = 0.3, 3.0
"""What a model should stay within: while typing, and at a new place."""
CONTEXT_TOKENS = 8192
SPARE_BYTES = 1 << 30
"""Of free memory, for editors and for what the daemon needs beside weights, keys and values."""
QUANTIZATIONS = {"cpu": ("q8f16_g32", "q4f16_1"), "cuda": ("q4f16_1",), "metal": ("q4f16_1",)}
"""By device, the more exact one first."""
GPU_FACTOR = 10.0
"""How much faster than this machine's CPU a GPU is taken to be at the least. It decides nothing but what is proposed."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a choice depends on."""

    n_cores: int
    memory_bytes: int
    free_memory_bytes: int
    free_disk_bytes: int
    device: str
    """`cpu`, or a GPU that `understudy doctor --run` has proven."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model in one quantisation, with what it would do here."""

    entry: Entry
    quantization: str
    memory_bytes: int
    disk_bytes: int
    """While it is brought: the download and what becomes of it."""
    typing_seconds: float
    first_seconds: float
    against: str = ""
    """Why it is not proposed; empty: it could be."""

    @property
    def expectation(self) -> str:
        """How fast it is here, in words."""
        return f"about {self.typing_seconds * 1000:.0f} ms while you type, {self.first_seconds:.1f} s at a new place"


def candidates(machine: Machine, speed: Speed, entries: Sequence[Entry]) -> Iterator[Candidate]:
    """Every model in every quantisation that the device runs."""
    for entry in entries:
        for quantization in QUANTIZATIONS[machine.device]:
            yield _judged(machine, speed, entry, quantization)


def choose(machine: Machine, speed: Speed, entries: Sequence[Entry]) -> tuple[Candidate, list[Candidate]]:
    """The largest model that is quick enough, and larger ones that would be better but slower. Raises ModelMissing."""
    found = list(candidates(machine, speed, entries))
    # Of each model the most exact quantisation that fits: rounding to 4 bits again costs more quality than speed is worth.
    fitting: dict[str, Candidate] = {}
    for one in found:
        if not one.against:
            fitting.setdefault(one.entry.name, one)
    possible = list(fitting.values())
    if not possible:
        reasons = "; ".join(f"{one.entry.name} {one.quantization}: {one.against}" for one in found if one.entry.tried)
        raise ModelMissing(f"no model of the catalogue fits this machine: {reasons}", "understudy model get --list")
    quick = [one for one in possible if one.typing_seconds <= TYPING_SECONDS and one.first_seconds <= FIRST_SECONDS]
    best = max(quick, key=_size) if quick else min(possible, key=_size)
    return best, [one for one in possible if _size(one) > _size(best)]


def _judged(machine: Machine, speed: Speed, entry: Entry, quantization: str) -> Candidate:
    factor = 1.0 if machine.device == "cpu" else GPU_FACTOR
    weights = entry.weight_bytes(quantization)
    embedding = entry.config.vocab_size * entry.config.hidden_size
    passed = entry.n_parameters - embedding * (1 if entry.config.tied_embeddings else 2)
    read = passed / (speed.weights_read * factor)
    write = weights / (speed.bytes_written * factor)
    memory = weights + CONTEXT_TOKENS * entry.kv_bytes_per_token
    disk = weights + entry.download_bytes
    candidate = Candidate(
        entry,
        quantization,
        memory,
        disk,
        TYPED_TOKENS * read + WRITTEN_TOKENS * write,
        FIRST_PROMPT_TOKENS * read + WRITTEN_TOKENS * write,
    )
    return replace(candidate, against=_against(machine, candidate))


def _against(machine: Machine, one: Candidate) -> str:
    if not one.entry.tried:
        return "we have not tried it"
    if one.entry.non_commercial:
        return f"its licence: {one.entry.license_text}"
    if not one.entry.fills_in_the_middle:
        return "it does not fill in the middle"
    if one.memory_bytes + SPARE_BYTES > machine.free_memory_bytes:
        return f"it takes {one.memory_bytes >> 20:,} MB of memory, and {machine.free_memory_bytes >> 20:,} MB are free"
    if one.disk_bytes > machine.free_disk_bytes:
        return f"it takes {one.disk_bytes >> 20:,} MB of disk, and {machine.free_disk_bytes >> 20:,} MB are free"
    return ""


def _size(one: Candidate) -> int:
    return one.entry.n_parameters
