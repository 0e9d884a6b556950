"""A typist: real code, key by key, at a human rhythm, with mistakes that are noticed and taken back."""

from __future__ import annotations

import random
from dataclasses import dataclass

from local_runtime.general_set import general_holes

MEDIAN_GAP_MS = 130.0
SPREAD = 0.35
LINE_PAUSE_MS = 350.0
WORD_PAUSE_MS = 40.0
MISTAKES = 0.03
NEAR = "asdfghjklqwertyuiopzxcvbnm"


@dataclass(frozen=True, slots=True)
class Key:
    """One edit at the cursor: `n_back` characters left of it go, `text` comes."""

    at_ms: float
    text: str
    n_back: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A file with a piece missing, which is typed in; and what else is open."""

    path: str
    language: str
    before: str
    after: str
    target: str
    keys: tuple[Key, ...]
    neighbours: tuple[tuple[str, str], ...]
    """Path and text of files of the same package."""


def scenes(n_files: int, n_chars: int, seed: int = 0) -> list[Scene]:
    """Files of the general set, which no model of ours was trained on; the piece begins at a line in a function."""
    rng = random.Random(seed)
    files: dict[str, dict[str, str]] = {}
    for one in general_holes():
        if one.hole.language == "python":
            text = one.hole.prefix + one.middle + one.hole.suffix
            known = files.setdefault(one.package, {})
            if len(text) > len(known.get(one.hole.path, "")):
                known[one.hole.path] = text
    found = []
    packages = sorted(files)
    while len(found) < n_files:
        package = packages[len(found) % len(packages)]
        path = rng.choice(sorted(files[package]))
        text = files[package][path]
        starts = [at + 1 for at, character in enumerate(text) if character == "\n" and text[at + 1 : at + 5] == "    "]
        starts = [
            at for at in starts if len(text) // 4 < at < len(text) - n_chars and text[at:].lstrip()[:1] not in "#\"'"
        ]
        if not starts:
            continue
        start = rng.choice(starts)
        end = text.find("\n", start + n_chars)
        start += len(text[start:]) - len(text[start:].lstrip(" "))
        target = text[start : end if end > 0 else start + n_chars]
        others = [(name, files[package][name]) for name in sorted(files[package]) if name != path]
        keys = tuple(typed(target, rng))
        found.append(Scene(path, "python", text[:start], text[start + len(target) :], target, keys, tuple(others[:2])))
    return found


def typed(target: str, rng: random.Random) -> list[Key]:
    """The keys for a text. After Enter, the editor brings the indentation along."""
    keys: list[Key] = []
    now, at = 0.0, 0
    while at < len(target):
        now += rng.lognormvariate(0, SPREAD) * MEDIAN_GAP_MS
        character = target[at]
        if character == "\n":
            indent = len(target[at + 1 :]) - len(target[at + 1 :].lstrip(" "))
            keys.append(Key(now, target[at : at + 1 + indent]))
            now += LINE_PAUSE_MS
            at += 1 + indent
            continue
        if character.isalpha() and rng.random() < MISTAKES:
            wrong = rng.choice(NEAR) + target[at + 1 : at + 1 + rng.randrange(2)].replace("\n", "")
            for slip in wrong:
                keys.append(Key(now, slip))
                now += rng.lognormvariate(0, SPREAD) * MEDIAN_GAP_MS
            for _ in wrong:
                keys.append(Key(now + 120, "", 1))
                now += 120
            now += rng.lognormvariate(0, SPREAD) * MEDIAN_GAP_MS
        keys.append(Key(now, character))
        now += WORD_PAUSE_MS if character == " " else 0
        at += 1
    return keys
