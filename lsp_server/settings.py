"""Every setting of the language server, declared once: default, type, unit, limits and words in one place.

Read, later ones winning, from `config.toml` (table `[lsp]`), the editor's `initializationOptions` and its
`workspace/configuration` (section `understudy`). Editors may write `deadlineMs` or nest (`context.neighbours`). A bad value costs
a message and leaves the one before; a key that nobody knows is ignored. The editors' own declarations are made from `declaration()`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

Value = bool | int | float | str | tuple[str, ...]


def _setting(default: Any, doc: str, *, unit: str = "", low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"doc": doc, "unit": unit, "low": low, "high": high})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may change. Units are in the names."""

    enabled: bool = _setting(True, "Show suggestions.")
    disabled_languages: tuple[str, ...] = _setting(
        (), "Languages without suggestions, by LSP identifier, for example `markdown`."
    )
    disabled_globs: tuple[str, ...] = _setting(
        (), "Files without suggestions, as patterns of .gitignore, for example `*.min.js`."
    )
    ignored_files: bool = _setting(False, "Show suggestions in files that .gitignore ignores, too.")
    deadline_ms: int = _setting(600, "Answer an automatic request with what there is after this time. VS Code gives up after 750 ms.", unit="ms", low=50, high=10_000)  # fmt: skip
    invoked_deadline_ms: int = _setting(3_000, "The same for a request made by hand.", unit="ms", low=50, high=60_000)
    debounce_ceiling_ms: int = _setting(120, "Wait at most this long for the next key before asking the model; 0 asks at once.", unit="ms", low=0, high=2_000)  # fmt: skip
    max_lines: int = _setting(12, "Longest block that is suggested.", unit="lines", low=1, high=100)
    max_tokens: int = _setting(96, "Longest text that the model is asked for.", unit="tokens", low=4, high=1_024)
    candidates: int = _setting(3, "How many suggestions a request made by hand brings.", low=1, high=8)
    prefetch: bool = _setting(True, "While idle, prepare what comes after the suggestion that is shown.")
    learned_silence: bool = _setting(True, "Stay silent where the model is less sure than what you accept; needs some history first.")  # fmt: skip
    statistics: bool = _setting(
        True, "Keep what became of suggestions, on this machine, for `understudy stats` and the trainer."
    )
    context_recent: bool = _setting(True, "Show the model places that you edited or looked at recently.")
    context_neighbours: bool = _setting(True, "Show the model similar parts of other open files.")
    context_definitions: bool = _setting(True, "Show the model definitions of what the file imports.")
    context_search: bool = _setting(True, "Show the model similar code from the workspace's search index.")
    context_deadline_ms: int = _setting(
        10, "Time to choose related places; without them after it.", unit="ms", low=0, high=1_000
    )
    start_runtime: bool = _setting(True, "Start the runtime when it does not run.")


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that was not taken."""

    key: str
    value: object
    expected: str
    source: str

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"Understudy: setting {self.key} = {shown[:80]} ({self.source}) is not {self.expected}; the value before it stays."


def merged(settings: Settings, given: object, source: str) -> tuple[Settings, tuple[Problem, ...]]:
    """`settings` with the valid ones of `given` (a mapping as an editor or a file gives it) laid over it."""
    if given is None:
        return settings, ()
    if not isinstance(given, Mapping):
        return settings, (Problem("understudy", given, "a table of settings", source),)
    known = {one.name: one for one in fields(Settings)}
    taken: dict[str, Value] = {}
    problems: list[Problem] = []
    for key, value in _flat(given):
        if key not in known or value is None:
            continue
        checked = _checked(known[key].type, known[key].metadata, value)
        if checked is None:
            problems.append(Problem(key, value, _expected(known[key].type, known[key].metadata), source))
        else:
            taken[key] = checked
    return replace(settings, **taken), tuple(problems)  # type: ignore[arg-type]


def from_file(path: Path) -> tuple[Settings, tuple[Problem, ...]]:
    """Defaults with the table `[lsp]` of `config.toml` over them; a file that cannot be read is a problem, none is not."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), ()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        return Settings(), (Problem(str(path), str(problem), "a readable TOML file", "config.toml"),)
    return merged(Settings(), content.get("lsp"), str(path))


def declaration() -> list[dict[str, object]]:
    """The declaration as plain values: what `understudy settings --json` prints and the editors' manifests are made from."""
    return [
        {
            "key": one.name,
            "name": camel(one.name),
            "type": _expected_type(one.type),
            "default": list(one.default) if isinstance(one.default, tuple) else one.default,
            "unit": one.metadata["unit"],
            "minimum": one.metadata["low"],
            "maximum": one.metadata["high"],
            "doc": one.metadata["doc"],
        }
        for one in fields(Settings)
    ]


def camel(key: str) -> str:
    """`deadline_ms` as editors write it: `deadlineMs`."""
    head, *rest = key.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _flat(given: Mapping[object, object], above: str = "") -> list[tuple[str, object]]:
    """Keys in snake case; a nested table's keys follow its own."""
    pairs: list[tuple[str, object]] = []
    for key, value in given.items():
        snake = above + re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", str(key)).replace(".", "_").replace("-", "_").lower()
        pairs += _flat(value, snake + "_") if isinstance(value, Mapping) else [(snake, value)]
    return pairs


def _checked(kind: object, limits: Mapping[str, Any], value: object) -> Value | None:
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if kind == "int":
        if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
            return None
        return int(value) if limits["low"] <= value <= limits["high"] else None
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def _expected_type(kind: object) -> str:
    return {"bool": "boolean", "int": "integer"}.get(str(kind), "array")


def _expected(kind: object, limits: Mapping[str, Any]) -> str:
    if kind == "bool":
        return "true or false"
    if kind == "int":
        return f"a whole number from {limits['low']} to {limits['high']}" + (
            f" ({limits['unit']})" if limits["unit"] else ""
        )
    return "a list of texts"
