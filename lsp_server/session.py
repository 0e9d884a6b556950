"""One editor window: its documents, what is suggested in them and what became of it. No LSP types."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from local_runtime.records.outcomes import Answer as AnswerRow
from local_runtime.records.outcomes import Fate, Outcome

from .answer import Answer, Request, Suggestion
from .completer import Completer
from .confidence import Confidence
from .cursor import cursor_at, shown_path
from .documents import Change, Document, Documents, Position
from .files import RULE_FILES, Files
from .metrics import Metrics, is_taken
from .outcomes import Outcomes
from .runtime import Runtime
from .settings import Settings
from .skip import Skip
from .surroundings import Surroundings

N_REMEMBERED_ANSWERS = 100
N_LEARNED = 1_000


@dataclass(frozen=True, slots=True)
class Selected:
    """The entry that is selected in the editor's completion popup, and what it would replace (wire columns)."""

    start: Position
    end: Position
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """A suggestion for the wire: replace `start` to `end` (wire columns) with `text`."""

    id: str
    text: str
    start: Position
    end: Position


class Session:
    """Holds it all together. Everything runs on one event loop; `answered` is called after each request."""

    def __init__(self, runtime: Runtime, metrics: Metrics, answered: Callable[[AnswerRow], None]) -> None:
        self.documents = Documents()
        self.files = Files()
        self.surroundings = Surroundings(self.documents)
        self.confidence = Confidence()
        self.runtime = runtime
        self.completer = Completer(runtime, self.surroundings, self.files, self.confidence)
        self.outcomes = Outcomes(time.time, self._report)
        self.answers: deque[AnswerRow] = deque(maxlen=N_REMEMBERED_ANSWERS)
        self._metrics = metrics
        self._answered = answered
        self._learned: OrderedDict[str, None] = OrderedDict()

    def use(self, settings: Settings) -> None:
        """Take over new settings."""
        self.completer.settings = settings
        self.surroundings.settings = settings
        self.runtime.start = settings.start_runtime

    def opened(self, uri: str, language: str, version: int, text: str) -> None:
        """A document was opened."""
        document = self.documents.open(uri, language, version, text)
        self._ask_rules(document)
        self.surroundings.opened(document)

    def use_folders(self, folders: tuple[Path, ...]) -> None:
        """Take over other workspace folders: each has rules of its own, for documents that are open, too."""
        self.documents.folders = folders
        self._ask_rules_anew()

    def changed(self, uri: str, version: int, changes: list[Change]) -> None:
        """A document was edited."""
        edits = self.documents.change(uri, version, changes)
        document = self.documents.get(uri)
        if document is None or not edits:
            return
        self.completer.debounce.key(time.monotonic() * 1000)
        accepted = self.outcomes.edited(uri, edits)
        if accepted is not None or self.completer.is_busy(uri):
            request = self._request(document, edits[-1].end)
            self.completer.moved(request.cursor)
            if accepted is not None:
                self.completer.accepted(request)
        self.surroundings.changed(document, edits[-1].end.line)

    def saved(self, uri: str) -> None:
        """A document was saved."""
        document = self.documents.get(uri)
        if document is None:
            return
        self.outcomes.saved(document)
        if document.path is not None and document.path.name in RULE_FILES:
            self._ask_rules_anew()
        self.surroundings.saved(document)

    def closed(self, uri: str) -> None:
        """A document was closed."""
        self.completer.closed(uri)
        self.outcomes.closed(uri)
        document = self.documents.close(uri)
        if document is not None:
            self.surroundings.closed(document)

    async def complete(
        self, uri: str, position: Position, invoked: bool, selected: Selected | None = None
    ) -> list[Item]:
        """Suggestions for a place (wire columns); none, and a noted reason, where there is nothing to show."""
        document = self.documents.get(uri)
        if document is None:
            self._note("", 0, "", Answer(skip=Skip.NOT_OPEN))
            return []
        version = document.version
        place = document.locate(position, self.documents.encoding)
        request = replace(self._request(document, place), invoked=invoked)
        if selected is not None:
            start = document.locate(selected.start, self.documents.encoding)
            end = document.locate(selected.end, self.documents.encoding)
            if start.line == end.line == place.line and start <= place:
                request = replace(request, cursor=request.cursor.with_selected(start, end, selected.text))
            else:
                selected = None
        try:
            answer = await self.completer.complete(
                request, lambda: self.documents.get(uri) is document and document.version == version
            )
        except asyncio.CancelledError:
            self._note(_path(document), place.line, document.language, Answer(skip=Skip.CANCELLED))
            raise
        # After the answer has been written: nobody waits for a record of it.
        loop = asyncio.get_running_loop()
        loop.call_later(0, self._note, _path(document), place.line, document.language, answer)
        return self._items(document, place, selected, answer) if answer.suggestions else []

    def accepted(self, uri: str, outcome_id: str) -> None:
        """The editor ran an item's command."""
        self.outcomes.accepted(uri, outcome_id)

    async def forget(self, uri: str) -> int:
        """Drop all that is known about a document's file; returns how many suggestions were on record."""
        document = self.documents.get(uri)
        if document is None or document.path is None:
            return 0
        path = document.path
        self.completer.cache.forget(shown_path(self.documents, document))
        self.outcomes.forget(str(path))
        self.surroundings.forget(document)
        self.answers = deque((row for row in self.answers if row.path != str(path)), maxlen=N_REMEMBERED_ANSWERS)
        n_deleted = await asyncio.to_thread(self._metrics.forget, path)
        self.learn(await asyncio.to_thread(self._metrics.history))
        return n_deleted

    def learn(self, history: list[tuple[str, float, bool]]) -> None:
        """Take over what is known of earlier days: language, mean log-probability, taken or not."""
        self.confidence.forget()
        for language, logprob, taken in history:
            self.confidence.learn(language, logprob, taken)

    def tick(self) -> None:
        """Called every few seconds."""
        self.outcomes.tick(self.documents.get)
        self.runtime.look_again()

    async def close(self) -> None:
        """End all that runs, and note what was visible."""
        for document in self.documents.all():
            self.closed(document.uri)
        self.completer.close()
        self.surroundings.close()
        await self.runtime.close()
        await asyncio.to_thread(self._metrics.close)

    def _ask_rules(self, document: Document) -> None:
        """Now, so that no keystroke has to read them."""
        if document.path is not None:
            self.files.is_ignored(document.path, self.documents.folder_of(document.path))

    def _ask_rules_anew(self) -> None:
        self.files.forget_rules()
        self.surroundings.forget_rules()
        for document in self.documents.all():
            self._ask_rules(document)

    def _request(self, document: Document, place: Position) -> Request:
        folder = self.documents.folder_of(document.path) if document.path else None
        return Request(cursor_at(self.documents, document, place), document.path, folder, invoked=False)

    def _items(self, document: Document, place: Position, selected: Selected | None, answer: Answer) -> list[Item]:
        start = self.documents.wire(document, place)
        lead, typed = "", 0
        if selected is not None:
            start, lead = selected.start, selected.text
            typed = place.column - document.locate(selected.start, self.documents.encoding).column
        items = []
        for one in answer.suggestions:
            end = self.documents.wire(document, Position(place.line, place.column + one.covers))
            items.append(Item(one.id, lead + one.text, start, max(end, selected.end) if selected else end))
        first = answer.suggestions[0]
        outcome = self._outcome(document, place, first, (lead + first.text)[typed:], answer)
        others = [(lead + one.text)[typed:] for one in answer.suggestions[1:]]
        known = self.outcomes.shown(document.uri, document.offset(place), outcome, others)
        items[0] = replace(items[0], id=known.id)
        return items

    def _outcome(self, document: Document, place: Position, first: Suggestion, text: str, answer: Answer) -> Outcome:
        state = self.runtime.state
        return Outcome(
            id=first.id,
            shown_at=time.time(),
            path=_path(document),
            line=place.line,
            language=document.language,
            model=state.model,
            adapter=state.adapter or "",
            strength=state.strength,
            source=answer.source or "",
            latency_ms=answer.latency_ms,
            logprob=first.logprob,
            text=text,
            fate=Fate.UNSEEN,
        )

    def _note(self, path: str, line: int, language: str, answer: Answer) -> None:
        source, adapter = answer.source or "", self.runtime.state.adapter or ""
        row = AnswerRow(time.time(), path, line, language, source, answer.skip or "", answer.latency_ms, adapter)
        self.answers.append(row)
        if self.completer.settings.statistics:
            self._metrics.put(row)
        self._answered(row)

    def _report(self, outcome: Outcome) -> None:
        if self.completer.settings.statistics:
            self._metrics.put(outcome)
        if (
            outcome.fate is not Fate.UNSEEN
            and outcome.id not in self._learned
            and self.completer.settings.learned_silence
        ):
            self._learned[outcome.id] = None
            if len(self._learned) > N_LEARNED:
                self._learned.popitem(last=False)
            self.confidence.learn(outcome.language, outcome.logprob, is_taken(outcome.fate))


def _path(document: Document) -> str:
    return str(document.path) if document.path else ""
