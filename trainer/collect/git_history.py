"""The user's own commits as edits: what they wrote before they opted in, and while nobody watched.

`git log --raw` is read as it comes, the texts come from one `git cat-file --batch`, and never more than a few commits are in
memory, however long the history is. Cleaning is what takes time, so it is done by several processes.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

from local_runtime.context.ignore import FileLimits
from local_runtime.errors import BadRequest
from trainer.collect import git
from trainer.collect.changes import added_lines
from trainer.collect.cleaning import cleaned
from trainer.collect.formatting import removed_lines
from trainer.collect.git_log import Commit, FileChange, Objects, commits
from trainer.collect.hygiene import FileRules
from trainer.collect.refusals import Refusal, Refused
from trainer.edits import EditEvent, Origin

MAX_COMMIT_FILES = 50
MAX_COMMIT_LINES = 2000
_INLINE_COMMITS = 30
"""So many are cleaned in this process: starting others takes longer."""

_AHEAD_PER_PROCESS = 3
_W = TypeVar("_W")

Report = Callable[[Refused], None]


@dataclass(frozen=True, slots=True)
class _Texts:
    """One file of a commit, before and after; raw text."""

    path: str
    language: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Result:
    events: tuple[EditEvent, ...]
    refused: tuple[Refused, ...]


def back_fill(
    root: str,
    since: float,
    emails: Sequence[str] = (),
    *,
    revisions: str = "HEAD",
    report: Report = lambda refused: None,
    n_processes: int | None = None,
) -> Iterator[EditEvent]:
    """Edits of the user's own commits below an opted-in folder, oldest first.

    Args:
        root: absolute path of the folder, which may be a part of a repository.
        since: Unix time, seconds; by the time at which the commit was written.
        emails: addresses of the user; by default git's `user.email`.
        revisions: a commit, or a range of them.
        report: is told what was left out.
        n_processes: that clean; by default one per core. 1 starts none.

    Raises BadRequest when git does not know who the user is.
    """
    if git.worktree(root) is None:
        return
    wanted = frozenset(email.lower() for email in emails or git.user_emails(root))
    if not wanted:
        raise BadRequest(f"git does not know your address in {root}", "git config --global user.email YOU@EXAMPLE.ORG")
    rules = FileRules(root)
    with Objects(root, FileLimits().max_bytes) as objects:
        own = (one for one in commits(root, since, revisions) if one.email.lower() in wanted)
        work = ((one, _texts(one, root, rules, objects, report)) for one in own)
        for result in _in_parallel(partial(_cleaned_commit, root), work, n_processes or os.cpu_count() or 1):
            for refused in result.refused:
                report(refused)
            yield from result.events


def _texts(commit: Commit, root: str, rules: FileRules, objects: Objects, report: Report) -> list[_Texts]:
    """The texts of a commit's files that are learnt from."""

    def refuse(change: FileChange, reason: Refusal) -> None:
        report(Refused(change.path, root, reason, last=commit.authored))

    if sum(change.after != "" for change in commit.changes) > MAX_COMMIT_FILES:
        for change in commit.changes:
            refuse(change, Refusal.BULK)
        return []
    found = []
    for change in commit.changes:
        taken = _taken(change, rules, objects)
        if isinstance(taken, Refusal):
            refuse(change, taken)
        else:
            found.append(taken)
    return found


def _taken(change: FileChange, rules: FileRules, objects: Objects) -> _Texts | Refusal:
    refused = rules.refused_by_name(change.path)
    if refused:
        return refused
    language, texts = "", []
    for id_ in (change.before, change.after):
        source = objects.read(id_) if id_ else ""
        taken = source if isinstance(source, Refusal) else rules.taken(change.path, source) if id_ else ("", "")
        if isinstance(taken, Refusal):
            return taken
        language = taken[0] or language
        texts.append(taken[1])
    return _Texts(change.path, language, *texts)


def _cleaned_commit(root: str, item: tuple[Commit, list[_Texts]]) -> _Result:
    """Runs in another process: values in, values out."""
    commit, files = item
    refused: list[Refused] = []
    events: list[EditEvent] = []
    removed = {file.path: removed_lines(added_lines(file.after, file.before)) for file in files}
    removed_anywhere = sum(removed.values(), Counter())
    n_lines = 0
    for file in sorted((file for file in files if file.after), key=lambda one: _sample_key(commit, one)):
        n_lines += len(added_lines(file.before, file.after))
        if n_lines > MAX_COMMIT_LINES:
            refused.append(Refused(file.path, root, Refusal.BULK, last=commit.authored))
            continue
        elsewhere = removed_anywhere - removed[file.path]
        result = cleaned(file.before, file.after, file.path, file.language, elsewhere)
        if isinstance(result, Refusal):
            refused.append(Refused(file.path, root, result, last=commit.authored))
            continue
        refused += [Refused(file.path, root, reason, n, commit.authored) for reason, n in result.refused.items()]
        if result.changed:
            events.append(
                EditEvent(file.path, root, file.language, result.before, result.after, commit.authored, Origin.COMMIT)
            )
    events.sort(key=lambda event: event.path)
    return _Result(tuple(events), tuple(refused))


def _sample_key(commit: Commit, file: _Texts) -> bytes:
    """A commit that is too long is sampled: the same files each time, none preferred."""
    return hashlib.sha256(f"{commit.id}\0{file.path}".encode("utf-8", "surrogateescape")).digest()


def _in_parallel(clean: Callable[[_W], _Result], work: Iterator[_W], n_processes: int) -> Iterator[_Result]:
    """`map`, in order; a long one by processes that are never more than a few commits ahead."""
    yield from map(clean, islice(work, None if n_processes == 1 else _INLINE_COMMITS))
    first = next(work, None)
    if first is None:
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process that has threads may hang
    pool = ProcessPoolExecutor(n_processes, context, initializer=_leave_interrupts_to_the_parent)
    try:
        running: deque[Future[_Result]] = deque([pool.submit(clean, first)])
        for item in work:
            running.append(pool.submit(clean, item))
            if len(running) > _AHEAD_PER_PROCESS * n_processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
