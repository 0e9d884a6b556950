"""What of a change may be learnt from, and what of its two texts may be kept: no secret passes here.

A change is looked at run by run. A run that holds a secret or an e-mail address, that only changes formatting, or that moves
text, is not learnt from: it is taken out of the *change* by standing in both texts, as it is in the later one. Lines in which
something was found stand in neither. So a model sees nearly the whole file around what it learns, no such line is ever a
target or a context, and what the journal holds is the file without them. A private key takes the whole file with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from local_runtime.context.secrets import SecretKind, find_secrets
from trainer.collect.changes import Run, lines_of, pieces, runs
from trainer.collect.formatting import is_moved, only_formatting, removed_lines, same_tree
from trainer.collect.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A change without what may not be learnt from. The texts are equal when nothing is left."""

    before: str
    after: str
    refused: dict[Refusal, int]
    """How many runs were taken out, by reason."""

    @property
    def changed(self) -> bool:
        """Whether anything is left to learn from."""
        return self.before != self.after


def cleaned(
    before: str, after: str, path: str, language: str, removed: Counter[str] | None = None
) -> Cleaned | Refusal:
    """`before` and `after` without secrets, and without runs that teach nothing; a refusal when nothing may be kept at all.

    `removed`: lines that the same commit took out of other files, for text that was moved between files.
    """
    withheld_before, withheld_after = _withheld(before, path), _withheld(after, path)
    if isinstance(withheld_before, Refusal) or isinstance(withheld_after, Refusal):
        return Refusal.PRIVATE_KEY
    old, new = _Side(lines_of(before), withheld_before), _Side(lines_of(after), withheld_after)
    if language == "python" and before != after and same_tree(before, after):
        text = new.kept(0, len(new.lines))
        return Cleaned("\n".join(text), "\n".join(text), {Refusal.FORMATTING: 1})
    every = list(runs(old.lines, new.lines))
    gone = removed_lines([line for run in every if not run.equal for line in old.lines[run.i1 : run.i2]])
    gone += removed or Counter()
    kept_old: list[str] = []
    kept_new: list[str] = []
    refused: Counter[Refusal] = Counter()
    for run in (piece for whole in every for piece in _judged(whole, new.lines, gone)):
        reason = None if run.equal else _reason(run, old, new, language, gone)
        if reason:
            refused[reason] += 1
        if run.equal or reason:
            both = new.kept(run.j1, run.j2)
            kept_old += both
            kept_new += both
        else:
            kept_old += old.lines[run.i1 : run.i2]
            kept_new += new.lines[run.j1 : run.j2]
    result = Cleaned("\n".join(kept_old), "\n".join(kept_new), dict(refused))
    if any(_withheld(text, path) for text in (result.before, result.after) if text not in (before, after)):
        return Refusal.SECRET  # what is left, put together, looks like one
    return result


def clean_text(text: str, path: str) -> str | Refusal:
    """A whole file without the lines that are withheld."""
    withheld = _withheld(text, path)
    if isinstance(withheld, Refusal):
        return withheld
    lines = lines_of(text)
    return "\n".join(_Side(lines, withheld).kept(0, len(lines)))


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two texts, and which of its lines may not be kept."""

    lines: list[str]
    withheld: dict[int, Refusal]

    def kept(self, start: int, end: int) -> list[str]:
        return [self.lines[number] for number in range(start, end) if number not in self.withheld]

    def found(self, start: int, end: int) -> set[Refusal]:
        return {self.withheld[number] for number in range(start, end) if number in self.withheld}


def _withheld(text: str, path: str) -> dict[int, Refusal] | Refusal:
    """Numbers of the lines that may not be kept, counted from 0; a refusal when none may."""
    found: dict[int, Refusal] = {}
    for finding in find_secrets(text, path):
        if finding.kind is SecretKind.KEY_FILE:
            return Refusal.PRIVATE_KEY
        if finding.kind is SecretKind.SECRET or finding.line not in found:
            found[finding.line] = Refusal.SECRET if finding.kind is SecretKind.SECRET else Refusal.PERSONAL
    return found


def _judged(run: Run, new: list[str], gone: Counter[str]) -> Iterator[Run]:
    """What is judged as one: paragraphs, so that an address costs no more than its own; a moved text as a whole."""
    return iter([run]) if is_moved(new[run.j1 : run.j2], gone) else pieces(run, new)


def _reason(run: Run, old: _Side, new: _Side, language: str, gone: Counter[str]) -> Refusal | None:
    found = old.found(run.i1, run.i2) | new.found(run.j1, run.j2)
    if found:
        return Refusal.SECRET if Refusal.SECRET in found else Refusal.PERSONAL
    was, is_now = old.lines[run.i1 : run.i2], new.lines[run.j1 : run.j2]
    if only_formatting("\n".join(was), "\n".join(is_now), language):
        return Refusal.FORMATTING
    return Refusal.MOVED if is_moved(is_now, gone - removed_lines(was)) else None
