"""What else the model is shown, gathered while the user works and chosen within milliseconds at a keystroke.

One object per workspace and thread. The events come from an editor's server, or from a replay; reading files and refreshing
the index happen in `learn_imports` and `refresh`, which their owner calls when there is time.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice, zip_longest

from local_runtime.context.chunks import Excerpt, identifiers
from local_runtime.context.definitions import Definitions
from local_runtime.context.ignore import RULE_FILES, Ignored, IgnoreRules, read_source
from local_runtime.context.neighbours import OpenFiles
from local_runtime.context.related import DEFAULT_ROOM, Room, choose
from local_runtime.context.ring import RecentPlaces, around
from local_runtime.context.search import Refreshed, WorkspaceIndex
from local_runtime.context.secrets import has_secret
from local_runtime.prompts.hole import Chunk, Hole

BUDGET_MS = 10.0
_PER_KIND = 6
_FAR_LINES = 32
_MAX_DOCUMENTS = 64
_NEAR_CHARS_BEFORE = 1500
_NEAR_CHARS_AFTER = 500
_UNFINISHED_WORD = re.compile(r"\w+\Z")


class Kind(StrEnum):
    """Where a related piece comes from, cheapest and surest first."""

    DEFINITIONS = "definitions"
    RECENT = "recent"
    NEIGHBOURS = "neighbours"
    SEARCH = "search"


ALL_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Related:
    """The answer to a keystroke."""

    chunks: tuple[Chunk, ...]
    ms: dict[Kind, float] = field(default_factory=dict)
    """Time that each kind took; a kind without an entry was left out because time had run out."""


class WorkspaceContext:
    """Everything that is known of one workspace besides the file at hand."""

    def __init__(
        self,
        rules: IgnoreRules,
        index: WorkspaceIndex | None = None,
        clock: Callable[[], float] = time.monotonic,
        budget_ms: float = BUDGET_MS,
        kinds: frozenset[Kind] = ALL_KINDS,
    ) -> None:
        """`clock` counts seconds; `kinds` leaves some out, for comparisons."""
        self._rules = rules
        self._index = index
        self._clock = clock
        self._budget_s = budget_ms / 1000
        self._kinds = kinds
        self._recent = RecentPlaces()
        self._open = OpenFiles()
        self._definitions = Definitions()
        self._places: dict[str, int] = {}
        self._shown: OrderedDict[str, tuple[Chunk, ...]] = OrderedDict()

    def opened(self, path: str, text: str) -> None:
        """A document was opened or changed. Cheap: nothing is cut or parsed here."""
        if self._rules.ignored(path) is None:
            self._open.put(path, text)

    def visited(self, path: str, text: str, line: int) -> None:
        """The cursor is at a line (counted from 0). A place far from the last one in this file is remembered."""
        last = self._places.get(path)
        if (last is None or abs(line - last) >= _FAR_LINES) and self._rules.ignored(path) is None:
            self._places[path] = line
            self._remember(around(path, text, line))

    def took(self, path: str, text: str, first_line: int = 0) -> None:
        """Text was copied or saved: the user cares for it."""
        if self._rules.ignored(path) is None:
            self._remember(Excerpt(path, text, first_line))

    def closed(self, path: str) -> None:
        """A document was closed; its places stay among the recent ones."""
        self._open.drop(path)
        self._shown.pop(path, None)

    def saved(self, path: str, text: str) -> None:
        """A document was saved: what others import from it may have changed, or the rules themselves."""
        if path.rpartition("/")[2] in RULE_FILES:
            self._rules.forget_rules()
        if self._rules.ignored(path) is None:
            self._definitions.learn(path, text)

    def forget(self, path: str) -> None:
        """Nothing of this file is shown again. The index is told by itself."""
        self.closed(path)
        self._recent.forget(path)
        self._definitions.forget(path)
        self._places.pop(path, None)
        for document, chunks in self._shown.items():
            self._shown[document] = tuple(chunk for chunk in chunks if chunk.path != path)
        if self._index is not None:
            self._index.forget(path)

    def learn_imports(self, hole: Hole, max_files: int = 20) -> int:
        """Read files that the file at hand imports from; returns how many were read. Touches the disk."""
        has_secret("password = 'warm up the scanner'")  # its import takes 80 ms, here rather than at a keystroke
        n_read = 0
        for path in self._definitions.wanted(hole):
            if n_read >= max_files:
                break
            n_read += self._learn(path)
        return n_read

    def refresh(self) -> Iterator[Refreshed]:
        """Bring the index up to date, step by step."""
        if self._index is not None:
            yield from self._index.refresh()

    def related(self, hole: Hole, room: Room = DEFAULT_ROOM) -> Related:
        """The related pieces for a hole, within the budget: a kind that would come too late is left out."""
        deadline = self._clock() + self._budget_s

        def late() -> bool:
            return self._clock() >= deadline

        names = _names_near(hole)
        found: dict[Kind, list[Excerpt]] = {}
        ms: dict[Kind, float] = {}
        for kind in Kind:
            if kind in self._kinds and not late():
                began = self._clock()
                found[kind] = self._of_kind(kind, hole, names, late)
                ms[kind] = (self._clock() - began) * 1000
        previous = self._shown.get(hole.path, ())
        candidates = _ranked(found)
        if late():  # what was not looked up may still be as good as it was
            candidates += [Excerpt(chunk.path, chunk.text) for chunk in previous]
        chunks = choose(candidates, hole, previous, room)
        self._shown[hole.path] = chunks
        self._shown.move_to_end(hole.path)
        if len(self._shown) > _MAX_DOCUMENTS:
            self._shown.popitem(last=False)
        return Related(chunks, ms)

    def _of_kind(self, kind: Kind, hole: Hole, names: frozenset[str], late: Callable[[], bool]) -> list[Excerpt]:
        match kind:
            case Kind.DEFINITIONS:
                return self._definitions.of(hole, names, _PER_KIND)
            case Kind.RECENT:
                return list(islice(self._recent, _PER_KIND))
            case Kind.NEIGHBOURS:
                # Scanned here, when chosen: scanning every part of every open file would take a second.
                similar = self._open.similar(names, hole.path, _PER_KIND, late)
                return [excerpt for excerpt in similar if not late() and not has_secret(excerpt.text, excerpt.path)]
            case Kind.SEARCH:
                return self._index.search(names, hole.path, _PER_KIND, late) if self._index else []

    def _remember(self, excerpt: Excerpt) -> None:
        if not has_secret(excerpt.text, excerpt.path):
            self._recent.add(excerpt)

    def _learn(self, path: str) -> bool:
        """Read one file for its definitions; one that is not there is remembered as empty, so it is asked for once."""
        text: str | Ignored = Ignored.RULE
        if self._rules.ignored(path) is None:
            try:
                text = read_source(self._rules.root / path, self._rules.limits)
            except OSError:
                text = Ignored.OUTSIDE
        self._definitions.learn(path, "" if isinstance(text, Ignored) else text)
        return not isinstance(text, Ignored)


def _names_near(hole: Hole) -> frozenset[str]:
    """Names in the whole lines around the cursor, without the word being typed: the same ones from key to key."""
    above = hole.prefix[-_NEAR_CHARS_BEFORE:]
    if len(hole.prefix) > _NEAR_CHARS_BEFORE:
        above = above[above.find("\n") + 1 :]
    return identifiers(_UNFINISHED_WORD.sub("", above) + "\n" + hole.suffix[:_NEAR_CHARS_AFTER])


def _ranked(found: dict[Kind, list[Excerpt]]) -> list[Excerpt]:
    """Definitions, which are short, then the best of every other kind, then the second best, and so on."""
    others = [found.get(kind, []) for kind in Kind if kind is not Kind.DEFINITIONS]
    taken_in_turn = [excerpt for row in zip_longest(*others) for excerpt in row if excerpt is not None]
    return [*found.get(Kind.DEFINITIONS, []), *taken_in_turn]
