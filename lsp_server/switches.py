"""What the user toggled off by a command: everywhere, a language, a folder. Kept in a small file, so that it lasts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from local_runtime.places import folder


@dataclass(frozen=True, slots=True)
class Switches:
    """What is switched off."""

    everywhere_off: bool = False
    languages_off: frozenset[str] = frozenset()
    folders_off: frozenset[str] = frozenset()


def toggled(switches: Switches, scope: str, value: str = "") -> Switches:
    """`scope` is `global`, `language` or `folder`; `value` the language or the folder's absolute path. Raises ValueError."""
    if scope == "global":
        return Switches(not switches.everywhere_off, switches.languages_off, switches.folders_off)
    if scope == "language" and value:
        return Switches(switches.everywhere_off, switches.languages_off ^ {value}, switches.folders_off)
    if scope == "folder" and value.startswith("/"):
        return Switches(
            switches.everywhere_off, switches.languages_off, switches.folders_off ^ {value.rstrip("/") or "/"}
        )
    raise ValueError(f"cannot toggle {scope!r} {value!r}: expected global, language NAME or folder PATH")


def read(path: Path) -> Switches:
    """The switches in a file; none for a file that is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Switches(
            bool(content["everywhere_off"]), _names(content["languages_off"]), _names(content["folders_off"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Switches()


def write(path: Path, switches: Switches) -> None:
    """Replace the file at once, so that no reader sees half of it."""
    content = {
        "everywhere_off": switches.everywhere_off,
        "languages_off": sorted(switches.languages_off),
        "folders_off": sorted(switches.folders_off),
    }
    draft = folder(path.parent) / f"{path.name}.{os.getpid()}"
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(path)


def _names(values: object) -> frozenset[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("not a list of names")
    return frozenset(values)
