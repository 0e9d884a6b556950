"""Whether to ask the model at all. Pure: values in, a reason to stay silent or none out."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

from pathspec import GitIgnoreSpec

from .answer import Request
from .settings import Settings
from .skip import Skip
from .switches import Switches

MAX_LINE_CHARS = 2_000
N_BINARY_CHARS = 4_096


class FileRules(Protocol):
    """What is never shown to a model: the ground floor's ignore and secret rules."""

    def is_ignored(self, path: Path, folder: Path | None) -> bool:
        """By .gitignore, .understudyignore, or because it is generated."""
        ...

    def is_secret(self, path: Path) -> bool:
        """By its name or its folder."""
        ...


def refuse(request: Request, settings: Settings, switches: Switches, rules: FileRules) -> Skip | None:
    """The reason not to ask, if there is one; cheap reasons first, and the user's wish before the file's nature."""
    return _by_switch(request, settings, switches) or _by_file(request, settings, rules) or _by_place(request)


def _by_switch(request: Request, settings: Settings, switches: Switches) -> Skip | None:
    language = request.cursor.hole.language
    if not settings.enabled or switches.everywhere_off:
        return Skip.DISABLED
    if language in settings.disabled_languages or language in switches.languages_off:
        return Skip.DISABLED_LANGUAGE
    if request.path and any(request.path.is_relative_to(folder) for folder in switches.folders_off):
        return Skip.DISABLED_FOLDER
    return None


def _by_file(request: Request, settings: Settings, rules: FileRules) -> Skip | None:
    if request.path is None:
        return None if request.cursor.uri.startswith("untitled:") else Skip.SCHEME
    if rules.is_secret(request.path):
        return Skip.SECRET_FILE
    if settings.disabled_globs and _globs(settings.disabled_globs).match_file(request.cursor.hole.path):
        return Skip.IGNORED_FILE
    if not settings.ignored_files and rules.is_ignored(request.path, request.folder):
        return Skip.IGNORED_FILE
    return None


def _by_place(request: Request) -> Skip | None:
    hole, before, after = request.cursor.hole, request.cursor.line_prefix, request.cursor.line_suffix
    if "\0" in hole.prefix[-N_BINARY_CHARS:] or "\0" in hole.suffix[:N_BINARY_CHARS]:
        return Skip.BINARY
    if len(before) + len(after) > MAX_LINE_CHARS:
        return Skip.LONG_LINE
    if not request.invoked and _is_word(before[-1:]) and _is_word(after[:1]):
        return Skip.INSIDE_WORD
    return None


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


@lru_cache(maxsize=8)
def _globs(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(patterns)
