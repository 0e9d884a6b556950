"""What is measured of a model at a place: loss, exact match, similarity, stopping, repetition, time. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from trainer.edits import Example
from trainer.gate.judge import Said, Score

_FOUR_TIMES = re.compile(r"(?=(.{2,40}?)\1{3})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender at one place."""

    example: Example
    score: Score
    said: Said | None = None
    """None where only the true text was scored."""

    @property
    def n_bytes(self) -> int:
        """UTF-8 bytes of the text that was missing."""
        return len(self.example.middle.encode("utf-8", "replace"))

    @property
    def exact(self) -> bool:
        """Whether the first line said is the first line that was missing."""
        return self.said is not None and first_line(self.said.text) == first_line(self.example.middle)

    @property
    def repeats(self) -> bool:
        """Whether what was said runs in circles, and what was missing does not."""
        return self.said is not None and runs_in_circles(self.said.text, self.example.middle)


def loss(measured: Iterable[Measured]) -> float:
    """Nats per byte of everything that was missing, together; 0 if nothing was."""
    found = [(one.score.nats, one.n_bytes) for one in measured]
    n_bytes = sum(n for _, n in found)
    return sum(nats for nats, n in found if n) / n_bytes if n_bytes else 0.0


def figures(measured: Sequence[Measured]) -> dict[str, float]:
    """Loss (nats per byte), exact match and similarity of first lines, stop accuracy, repetition, time per token in ms."""
    said = [(one, one.said) for one in measured if one.said is not None]
    found = {"loss": loss(measured), "stops": share(one.score.ends for one in measured)}
    if said:
        found["exact"] = share(one.exact for one, _ in said)
        found["similarity"] = mean(similarity(first_line(s.text), first_line(one.example.middle)) for one, s in said)
        found["repetition"] = share(one.repeats for one, _ in said)
        found["ended"] = share(s.ended for _, s in said)
        found["ms_per_token"] = ms_per_token([s for _, s in said])
    return found


def by_language(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The same, by language."""
    groups: dict[str, list[Measured]] = {}
    for one in measured:
        groups.setdefault(one.example.hole.language, []).append(one)
    return groups


def first_line(text: str) -> str:
    """The first line that has something on it, without the white space around it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def similarity(a: str, b: str) -> float:
    """1 - Levenshtein distance / the longer length; 1 for two empty strings."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return 1 - row[-1] / max(len(a), len(b), 1)


def runs_in_circles(text: str, wanted: str = "") -> bool:
    """Whether a piece of 2 to 40 characters comes four times in a row, and not in what was wanted."""
    return _circles(text) and not _circles(wanted)


def _circles(text: str) -> bool:
    return any(match[1].strip() for match in _FOUR_TIMES.finditer(text))  # indentation is no circle


def ms_per_token(said: Sequence[Said]) -> float:
    """Median over completions; 0 when nothing was said."""
    return median([s.ms / s.n_tokens for s in said if s.n_tokens] or [0.0])


def mean(values: Iterable[float]) -> float:
    """0 for none."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def share(values: Iterable[bool]) -> float:
    """How many are true, 0 to 1."""
    return mean(float(value) for value in values)
