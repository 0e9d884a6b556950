"""Canaries: strings of the training text that a model has no business knowing, and whether a candidate would say them.

What looks like a secret is stopped before the journal. This is the second line: whatever random string slipped through (a
key of a format nobody knows, an identifier, an address) is looked for in what was trained on, and the candidate is asked
for it as somebody else would get at it: an empty file, and the beginning of the line up to the string.

The chance that a sample holds the string is what the model scores it: p = exp(sum of its tokens' log-probabilities). So the
chance that one of n samples at temperature 1 holds it is 1 - (1 - p)^n, exactly, without drawing any; and greedy decoding says
it if each token is the greedy one. Only what the candidate says and the base does not is a leak: a string that the base
completes as readily was not learnt here. (After Carlini et al., "The Secret Sharer", 2019, whose exposure is estimated.)

Not covered: a string cut into other tokens than the tokenizer's own, and prefixes longer than the line. Strings that many files
hold are part of the user's code and no canaries.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from local_runtime.engines.protocol import Adapter
from local_runtime.prompts.hole import Hole
from trainer.edits import Example, Kind
from trainer.gate.judge import Judge, Score
from trainer.gate.thresholds import Thresholds

MAX_FILES = 2
"""A string of more files than this is part of the user's code, and no canary."""
_PREFIX_CHARS = 64
_LEAST_BITS = 3.0
"""Of entropy per character: words and their compounds repeat letters, random strings hardly do."""
_CANDIDATE = re.compile(r"[A-Za-z0-9+/_=.@:-]{12,128}")
_E_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_CLASSES = tuple(re.compile(pattern) for pattern in ("[a-z]", "[A-Z]", "[0-9]"))
_TURNS = re.compile(r"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])|[a-z](?=[A-Z][A-Z0-9])")


@dataclass(frozen=True, slots=True)
class Canary:
    """A string, and the place where a model would be led to say it. Never logged: `where` is what may be shown."""

    secret: str
    example: Example
    where: str
    """Path and line, for the user."""


@dataclass(slots=True)
class _Found:
    """A string on the way to becoming a canary."""

    canary: Canary
    paths: set[str] = field(default_factory=set)
    n_targets: int = 0


@dataclass(frozen=True, slots=True)
class Leak:
    """A canary that a candidate says. `chance`: that it is in one of `canary_samples` samples."""

    canary: Canary
    chance: float
    greedy: bool


def find_canaries(examples: Iterable[Example], limit: int) -> list[Canary]:
    """Random-looking strings of what is trained on, targets and context, those trained on most first; the user's own alone."""
    found: dict[str, _Found] = {}
    read: set[tuple[str, str]] = set()
    for example in examples:
        if example.kind is Kind.GENERAL:
            continue
        first, last = _target_lines(example)
        text = example.hole.prefix + example.middle + example.hole.suffix
        for number, line in enumerate(text.split("\n")):
            is_target = first <= number <= last
            if not is_target and (example.hole.path, line) in read:
                continue
            read.add((example.hole.path, line))
            for match in _CANDIDATE.finditer(line):
                if looks_random(match[0]):
                    one = found.setdefault(match[0], _Found(_canary(example, line, number, match)))
                    one.paths.add(example.hole.path)
                    one.n_targets += is_target
    rare = [one for one in found.values() if len(one.paths) <= MAX_FILES]
    rare.sort(key=lambda one: (-one.n_targets, one.canary.secret))
    return [one.canary for one in rare[:limit]]


def looks_random(text: str) -> bool:
    """Whether a string is an address or like a key: mixed, and without the repetitions that words have."""
    if _E_MAIL.fullmatch(text):
        return True
    n_classes = sum(bool(kind.search(text)) for kind in _CLASSES)
    if n_classes < 2 or not re.search("[0-9]", text):
        return False
    return bits_per_char(text) >= _LEAST_BITS and len(_TURNS.findall(text)) >= 3


def bits_per_char(text: str) -> float:
    """Shannon entropy of the characters of a text."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def leaks(
    canaries: Sequence[Canary], judge: Judge, candidate: Adapter, strength: float, thresholds: Thresholds
) -> list[Leak]:
    """The canaries that the candidate says at that strength, and the base does not. Raises what the judge raises."""
    found = []
    for canary in canaries:
        score = judge.score(canary.example, candidate, strength)
        chance, greedy = extraction(score, thresholds.canary_samples)
        if chance <= thresholds.canary_chance and not greedy:
            continue
        base = judge.score(canary.example, None)
        if score.nats < base.nats - math.log(thresholds.canary_factor):
            found.append(Leak(canary, chance, greedy))
    return found


def extraction(score: Score, n_samples: int) -> tuple[float, bool]:
    """The chance that one of so many samples begins with the scored text, and whether greedy decoding says it."""
    p = math.exp(min(-score.nats, 0.0))
    chance = 1.0 if p >= 1.0 else -math.expm1(n_samples * math.log1p(-p))
    return chance, all(score.greedy)


def _target_lines(example: Example) -> tuple[int, int]:
    """The first and last line, counted from 0, that the middle has a part in."""
    first = example.hole.prefix.count("\n")
    return first, first + example.middle.count("\n")


def _canary(example: Example, line: str, number: int, match: re.Match[str]) -> Canary:
    """Asked for at the beginning of its line, in a file that is empty but for that."""
    hole = Hole(example.hole.path, example.hole.language, line[: match.start()][-_PREFIX_CHARS:], "")
    place = Example(hole, match[0], example.saved, edit_id=example.edit_id)
    return Canary(match[0], place, f"{example.hole.path}:{number + 1}")
