"""What became of each suggestion, worked out from the edits, the accept command, saves and closings: for every editor alike.

Suggestion and text are followed by offsets through the edits of a document. Whoever accepts inserts the rest of the shown
text in one edit; whoever types it brings a character at a time. Nothing here touches the disk: outcomes go to `report`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from local_runtime.records.outcomes import Fate, Outcome

from .documents import Document, Edit

SEEN_SECONDS = 0.3
"""What was visible for less was not read."""
MIN_ACCEPTED_CHARS = 4
"""Fewer at once may be a burst of keys that the editor sent as one edit."""
KEPT_SECONDS = 30.0
UNDONE_SECONDS = 10.0
WIPED_SHARE = 0.8
WATCHED_SECONDS = 1_800.0
"""How long a save is waited for."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(slots=True)
class _Story:
    """A suggestion from its appearance on. `start` to `end` hold what was accepted of it."""

    outcome: Outcome
    accepted_at: float = 0.0
    start: int = 0
    end: int = 0
    accepted: str = ""


@dataclass(slots=True)
class _Visible:
    story: _Story
    offset: int
    rest: str
    others: tuple[str, ...]


@dataclass(slots=True)
class _Page:
    visible: _Visible | None = None
    accepted: list[_Story] = field(default_factory=list)


class Outcomes:
    """Follows suggestions in all open documents. `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float], report: Callable[[Outcome], None]) -> None:
        self._clock = clock
        self._report = report
        self._pages: dict[str, _Page] = {}

    def shown(self, uri: str, offset: int, outcome: Outcome, others: Sequence[str] = ()) -> Outcome:
        """`outcome.text` appears at `offset`. The rest of what is visible already stays the suggestion that it was."""
        page = self._pages.setdefault(uri, _Page())
        visible = page.visible
        if visible is not None and visible.offset == offset and outcome.text.startswith(visible.rest):
            visible.rest = outcome.text  # the same, perhaps with more that the model has said since
            return visible.story.outcome
        self._hide(page)
        page.visible = _Visible(_Story(outcome), offset, outcome.text, tuple(others))
        return outcome

    def edited(self, uri: str, edits: Sequence[Edit]) -> Outcome | None:
        """The document changed; returns the suggestion that was accepted by it, if one was."""
        page = self._pages.get(uri)
        accepted: Outcome | None = None
        for edit in edits if page else ():
            assert page is not None
            for story in page.accepted:
                self._follow(story, edit)
            accepted = self._advance(page, edit) or accepted
        return accepted

    def accepted(self, uri: str, outcome_id: str) -> None:
        """The editor ran the item's command. Usually its edit came before and has told already."""
        page = self._pages.get(uri)
        visible = page.visible if page else None
        if page is not None and visible is not None and visible.story.outcome.id == outcome_id:
            self._accept(page, visible, visible.rest, len(visible.rest))

    def saved(self, document: Document) -> None:
        """Measure what is left of accepted texts."""
        page = self._pages.get(document.uri)
        for story in page.accepted if page else ():
            if story.outcome.kept_at_save is None:
                self._tell(story, kept_at_save=_kept(story, document))

    def closed(self, uri: str) -> None:
        """The document is gone, and what was visible in it."""
        page = self._pages.pop(uri, None)
        if page:
            self._hide(page)

    def tick(self, find: Callable[[str], Document | None]) -> None:
        """Now and then: measure what was accepted 30 s ago, and stop following what is old."""
        now = self._clock()
        for uri, page in self._pages.items():
            document = find(uri)
            for story in page.accepted:
                if (
                    document is not None
                    and story.outcome.kept_after_30s is None
                    and now - story.accepted_at >= KEPT_SECONDS
                ):
                    self._tell(story, kept_after_30s=_kept(story, document))
            page.accepted = [story for story in page.accepted if now - story.accepted_at < WATCHED_SECONDS]

    def forget(self, path: str) -> None:
        """Stop following anything in a file."""
        for uri, page in list(self._pages.items()):
            stories = [*page.accepted, *([page.visible.story] if page.visible else [])]
            if any(story.outcome.path == path for story in stories):
                del self._pages[uri]

    def _advance(self, page: _Page, edit: Edit) -> Outcome | None:
        """Hold an edit against what is visible: typed along, accepted, elsewhere, or something else."""
        visible = page.visible
        if visible is None:
            return None
        inserted = edit.inserted.replace("\r\n", "\n").replace("\r", "\n")
        head = visible.offset - edit.offset  # what an editor replaces by itself on the way to the cursor
        if head > len(edit.removed):
            visible.offset += len(edit.inserted) - len(edit.removed)
            return None
        new = inserted[max(head, 0) :]
        if head < 0 or edit.removed[:head] != inserted[:head] or (edit.removed[head:] and not new):
            self._hide(page)
            return None
        n_raw = len(edit.inserted) - head
        chosen = next((text for text in (visible.rest, *visible.others) if new == text), None)
        if chosen is not None and len(new) >= MIN_ACCEPTED_CHARS:
            return self._accept(page, visible, chosen, n_raw)
        if new and visible.rest.startswith(new):
            return self._go_on(page, visible, new, n_raw)
        if new:
            self._hide(page)
        return None

    def _go_on(self, page: _Page, visible: _Visible, new: str, n_raw: int) -> Outcome | None:
        """`new`, the next part of the shown text, was typed, or accepted as a word or a line."""
        story = visible.story
        if len(new) >= MIN_ACCEPTED_CHARS and new.strip():
            self._accept(page, visible, new, n_raw)
            return story.outcome
        story.outcome = replace(story.outcome, n_typed_chars=story.outcome.n_typed_chars + len(new))
        visible.offset += n_raw
        visible.rest = visible.rest[len(new) :]
        visible.others = ()
        if not visible.rest:
            page.visible = None
            self._tell(story, fate=Fate.PARTLY if story.accepted else Fate.TYPED)
        return None

    def _accept(self, page: _Page, visible: _Visible, text: str, n_raw: int) -> Outcome:
        story, whole = visible.story, text != visible.rest[: len(text)] or len(text) == len(visible.rest)
        if not story.accepted:
            story.start = visible.offset
            page.accepted.append(story)
        story.accepted += text
        story.accepted_at = self._clock()
        story.end = visible.offset + n_raw
        if text in visible.others and text != visible.rest:
            story.outcome = replace(story.outcome, text=text)
        fate = Fate.ACCEPTED if whole else Fate.PARTLY
        self._tell(story, fate=fate, n_accepted_chars=story.outcome.n_accepted_chars + len(text))
        visible.offset += n_raw
        visible.rest = visible.rest[len(text) :]
        visible.others = ()
        if whole:
            page.visible = None
        return story.outcome

    def _follow(self, story: _Story, edit: Edit) -> None:
        """Move an accepted text's borders with an edit."""
        end, delta = edit.offset + len(edit.removed), len(edit.inserted) - len(edit.removed)
        if edit.offset >= story.end:
            return
        if end <= story.start:
            story.start += delta
            story.end += delta
            return
        gone = min(end, story.end) - max(edit.offset, story.start)
        wiped = not edit.inserted.strip() and gone >= WIPED_SHARE * (story.end - story.start)
        story.start = min(story.start, edit.offset)
        story.end = max(story.start, max(story.end, end) + delta)
        if wiped and self._clock() - story.accepted_at <= UNDONE_SECONDS and not story.outcome.is_undone:
            self._tell(story, is_undone=True, kept_after_30s=0.0)

    def _hide(self, page: _Page) -> None:
        visible, page.visible = page.visible, None
        if visible is None or visible.story.accepted:
            return
        seen = self._clock() - visible.story.outcome.shown_at >= SEEN_SECONDS
        self._tell(visible.story, fate=Fate.REJECTED if seen else Fate.UNSEEN)

    def _tell(self, story: _Story, **changes: Any) -> None:
        story.outcome = replace(story.outcome, **changes)
        self._report(story.outcome)


def _kept(story: _Story, document: Document) -> float:
    """Share of the accepted tokens that stand between the borders, as multisets."""
    accepted = Counter(_TOKEN.findall(story.accepted))
    left = Counter(_TOKEN.findall(document.text[story.start : story.end]))
    return (accepted & left).total() / accepted.total() if accepted else 1.0
