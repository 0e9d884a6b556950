"""The repository as it stood before an edit, as far as edits tell; and what the runtime's context would have shown there.

Only text that the journal holds is shown: what nobody saved, or what was forgotten, is not learnt from as context either.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from types import TracebackType

from local_runtime.context.ignore import IgnoreRules
from local_runtime.context.search import WorkspaceIndex
from local_runtime.context.workspace import WorkspaceContext
from trainer.edits import EditEvent, Example
from trainer.examples.identity import by_time

RECENT_FILES = 8
"""The files edited last are taken to be open, as they would be in an editor."""
_NO_HURRY_MS = 1e9


class Repository:
    """One root's history in a scratch folder of its own, which goes away with it. A context manager.

    `with_chunks` moves it to the time before an edit; going forward costs what changed, going back starts anew.
    """

    def __init__(self, edits: Iterable[EditEvent]) -> None:
        """`edits` of one root; more than are asked about make its past richer."""
        self._edits = by_time(edits)
        self._of_path: defaultdict[str, list[EditEvent]] = defaultdict(list)
        for edit in self._edits:
            self._of_path[edit.model_path].append(edit)
        self._scratch = tempfile.TemporaryDirectory(prefix="understudy-past-")  # 0700; the texts are private
        self._root = Path(self._scratch.name) / "root"
        self._root.mkdir()
        self._rules = IgnoreRules(self._root)
        self._index = WorkspaceIndex(Path(self._scratch.name) / "index.sqlite", self._rules)
        self._texts: dict[str, str] = {}
        self._now = float("-inf")
        self._n_written = 0

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the scratch folder."""
        self._index.close()
        self._scratch.cleanup()

    def text(self, path: str, at: float) -> str:
        """A file just before the time `at`: as last saved until then, or as it was before it was first edited later."""
        edits = self._of_path[path]
        n_before = bisect_left(edits, at, key=lambda edit: edit.saved)
        return edits[n_before - 1].after if n_before else edits[0].before

    def with_chunks(self, edit: EditEvent, examples: Sequence[Example]) -> list[Example]:
        """`examples` of `edit`, each with the related pieces that the runtime would have chosen there."""
        if not examples:
            return []
        self._move_to(edit.saved)
        context = WorkspaceContext(self._rules, self._index, budget_ms=_NO_HURRY_MS)
        for path in reversed(self._open_files(edit)):
            context.opened(path, self._texts[path])
        context.learn_imports(examples[0].hole)
        return [replace(example, chunks=context.related(example.hole).chunks) for example in examples]

    def _open_files(self, edit: EditEvent) -> list[str]:
        """The other files that were saved last before the edit, last first."""
        n_before = bisect_left(self._edits, edit.saved, key=lambda one: one.saved)
        earlier = (one.model_path for one in reversed(self._edits[:n_before]) if one.model_path != edit.model_path)
        return [path for path in islice(dict.fromkeys(earlier), RECENT_FILES) if path in self._texts]

    def _move_to(self, at: float) -> None:
        """Make the scratch folder and the index what they were just before `at`."""
        if at == self._now:
            return
        changed = False
        for path in self._of_path:
            text = self.text(path, at)
            if text != self._texts.get(path, ""):
                self._write(path, text)
                changed = True
        if changed:
            for _ in self._index.refresh():
                pass
        self._now = at

    def _write(self, path: str, text: str) -> None:
        inside = PurePosixPath(path)
        if inside.is_absolute() or ".." in inside.parts:
            return
        file = self._root / inside
        if not text:
            self._texts.pop(path, None)
            file.unlink(missing_ok=True)
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", errors="replace", newline="")
            self._n_written += 1
            os.utime(
                file, ns=(self._n_written, self._n_written)
            )  # the index looks at the time: no two writes share one
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return  # a folder of the past is a file of today, or the reverse: shown as neither
        self._texts[path] = text
