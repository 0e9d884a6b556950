"""What a replay says: times of answers, by where they came from, and what taking them would have saved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from lsp_replay_typist import Scene

MIN_TAKEN_CHARS = 4
UNCACHED = ("model", "stream")
"""Sources that have the model work; all others are caches, or refusals without asking."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a side had to say for one key."""

    ms: float | None
    """Until the answer; None if the next key came first."""
    text: str
    source: str


def upcoming(scene: Scene) -> list[str | None]:
    """After each key: what the typist still has to write; None while a mistake stands."""
    rest: list[str | None] = []
    typed = ""
    for key in scene.keys:
        typed = typed[: len(typed) - key.n_back] + key.text
        rest.append(scene.target[len(typed) :] if scene.target.startswith(typed) else None)
    return rest


def session(scene: Scene, answers: list[Answer]) -> dict[str, int]:
    """Keys with a right suggestion visible before the next one, and the characters that taking them would have saved."""
    rest = upcoming(scene)
    right = [
        _first_line(answer.text) if answer.ms is not None and _is_right(answer, wanted) else ""
        for answer, wanted in zip(answers, rest, strict=True)
    ]
    saved, skip_until = 0, len(scene.target) + 1
    for text, wanted in zip(right, rest, strict=True):
        if wanted is None or len(wanted) > skip_until or len(text) < MIN_TAKEN_CHARS:
            continue
        saved += len(text) - 1
        skip_until = len(wanted) - len(text)
    return {"n_right": sum(map(bool, right)), "n_saved": saved}


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip()


def _is_right(answer: Answer, wanted: str | None) -> bool:
    """Its first line is what comes, up to the end of a word."""
    line = _first_line(answer.text)
    return bool(wanted) and bool(line) and wanted.startswith(line)


def percentile(values: list[float], share: float) -> float | None:
    """Rounded to 0.1 ms; None for no values."""
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 1) if values else None


def summed_up(all_scenes: list[Scene], all_answers: list[list[Answer]]) -> dict[str, Any]:
    """One side's figures."""
    answers = [answer for one in all_answers for answer in one]
    sessions = [session(scene, one) for scene, one in zip(all_scenes, all_answers, strict=True)]
    by_source: dict[str, list[float]] = {}
    for answer in answers:
        if answer.ms is not None:
            by_source.setdefault(answer.source if answer.text else "nothing to show", []).append(answer.ms)
    shown = [answer.ms for answer in answers if answer.ms is not None and answer.text]
    return {
        "n_keys": len(answers),
        "answered_share": round(sum(answer.ms is not None for answer in answers) / len(answers), 3),
        "shown_p50_ms": percentile(shown, 0.5),
        "shown_p95_ms": percentile(shown, 0.95),
        "by_source": {
            name: [len(ms), percentile(ms, 0.5), percentile(ms, 0.95)] for name, ms in sorted(by_source.items())
        },
        "right_share": round(sum(one["n_right"] for one in sessions) / len(answers), 3),
        "chars_saved": sum(one["n_saved"] for one in sessions),
        "n_chars": sum(len(scene.target) for scene in all_scenes),
        "unanswered": dict(Counter(answer.source for answer in answers if answer.ms is None)),
    }


def compared(one: list[list[Answer]], other: list[list[Answer]]) -> dict[str, Any]:
    """The keys that both answered and neither had in a cache."""
    pairs = [
        (a.ms, b.ms)
        for mine, their in zip(one, other, strict=True)
        for a, b in zip(mine, their, strict=True)
        if a.ms is not None and b.ms is not None and a.source in UNCACHED and b.source in UNCACHED
    ]
    return {
        "n": len(pairs),
        **{f"{side}_{name}_ms": percentile([pair[at] for pair in pairs], share) for at, side in enumerate(("ours", "theirs")) for name, share in (("p50", 0.5), ("p95", 0.95))},
    }  # fmt: skip
