"""What is known about each opted-in folder, what would be learnt from, and what was left out: values, for commands to print."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from trainer.collect.changes import added_lines
from trainer.collect.cleaning import cleaned
from trainer.collect.folders import LearnedFolder, LearnedFolders, Pause
from trainer.collect.hygiene import FileRules
from trainer.collect.journal import Journal
from trainer.collect.refusals import Refusal, Refused

MAX_FILES = 20_000


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What the journal knows of one opted-in folder."""

    folder: LearnedFolder
    is_there: bool
    """Whether the folder exists."""
    n_edits: int
    n_files: int
    """Files with at least one edit."""
    last_saved: float
    """Unix time, seconds, of the newest edit; 0 when there is none."""
    left_out: dict[Refusal, int]
    """How much was left out, by reason."""


@dataclass(frozen=True, slots=True)
class Status:
    """What learning stands at."""

    folders: tuple[FolderStatus, ...]
    pause: Pause | None
    size_bytes: int
    """Of the journal."""
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EditedFile:
    """A file of which edits would be learnt from."""

    path: str
    language: str
    n_edits: int
    n_added_lines: int
    last_saved: float
    """Unix time, seconds."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a night would learn from, and what it would not."""

    files: tuple[EditedFile, ...]
    """The most recently saved first."""
    left_out: tuple[Refused, ...]
    """What was left out of edits so far."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder holds, as the rules see it; nothing of it is stored."""

    n_wanted: int
    """Files whose future edits would be learnt from."""
    by_language: dict[str, int]
    left_out: tuple[Refused, ...]
    is_whole: bool
    """Whether all of the folder was looked at; a huge one is not."""
    n_withheld: dict[Refusal, int] = field(default_factory=dict)
    """Places in wanted files that would be withheld, by reason."""


def status(folders: LearnedFolders, journal: Journal, now: float) -> Status:
    """Every opted-in folder, from the journal alone: fast."""
    found = tuple(_status_of(folder, journal) for folder in folders.all())
    problems = tuple(problem for problem in (folders.problem, journal.problem) if problem)
    return Status(found, folders.paused(now), journal.size_bytes(), problems)


def preview(journal: Journal, root: str | None = None, since: float = 0.0) -> Preview:
    """The edits since a Unix time, by file; of one opted-in folder, if one is named."""
    files: dict[str, EditedFile] = {}
    for edit in journal.edits(since, root=root):
        known = files.get(edit.path, EditedFile(edit.path, edit.language, 0, 0, 0.0))
        n_lines = known.n_added_lines + sum(bool(line.strip()) for line in added_lines(edit.before, edit.after))
        files[edit.path] = EditedFile(edit.path, edit.language, known.n_edits + 1, n_lines, edit.saved)
    newest_first = sorted(files.values(), key=lambda one: (-one.last_saved, one.path))
    return Preview(tuple(newest_first), tuple(journal.refusals(root)))


def survey(root: Path, max_files: int = MAX_FILES) -> Survey:
    """Look through a folder, opted in or not, as the watcher would: which files are wanted, which are not, and why."""
    rules = FileRules(root.resolve().as_posix())
    left_out: list[Refused] = []
    languages: Counter[str] = Counter()
    withheld: Counter[Refusal] = Counter()
    n_seen = 0

    def leave_out(path: str, reason: Refusal) -> None:
        left_out.append(Refused(path, rules.root, reason))

    for path, _ in islice(rules.files(leave_out), max_files):
        n_seen += 1
        try:
            taken = rules.read(path)
        except OSError:
            continue
        if isinstance(taken, Refusal):
            leave_out(path, taken)
            continue
        language, text = taken
        result = cleaned("", text, path, language)
        if isinstance(result, Refusal):
            leave_out(path, result)
            continue
        languages[language] += 1
        withheld.update(
            {reason: n for reason, n in result.refused.items() if reason in (Refusal.SECRET, Refusal.PERSONAL)}
        )
    left_out.sort(key=lambda one: one.path)
    return Survey(languages.total(), dict(languages.most_common()), tuple(left_out), n_seen < max_files, dict(withheld))


def _status_of(folder: LearnedFolder, journal: Journal) -> FolderStatus:
    n_edits, n_files, last_saved = journal.amount(folder.root)
    left_out: Counter[Refusal] = Counter()
    for one in journal.refusals(folder.root):
        left_out[one.reason] += one.n
    return FolderStatus(folder, Path(folder.root).is_dir(), n_edits, n_files, last_saved, dict(left_out.most_common()))
