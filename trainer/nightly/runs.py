"""The runs on disk: one folder per night under `places().data / "runs"`, so that a killed night is taken up where it was.

`run.json` says where a run stands and is replaced as a whole. A folder without a readable one is a beginning that was cut off: it
is cleared. What a run leaves for the report (its record, its corpus, its steps) is small and kept; weights are not.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from local_runtime.durable_file import write_durably
from local_runtime.errors import BadRequest
from local_runtime.places import folder
from trainer.edits import Verdict

RECORD = "run.json"
N_KEPT = 60
"""Records that the report can look back on."""
_SMALL = frozenset({RECORD, "corpus.json", "steps.jsonl", "figures.json", "verdict.json", "tuning.log"})


class Stage(StrEnum):
    """Where a run stands; it is taken up at the beginning of this stage after a kill."""

    COLLECT = "collect"
    TUNE = "tune"
    STAGE = "stage"
    GATE = "gate"
    PROMOTE = "promote"
    DONE = "done"


class Reason(StrEnum):
    """Why a night begins where it does."""

    WARM = "warm"  # from the adapter that serves
    WEEKLY = "weekly"  # from the base: a week has passed
    FIRST = "first"  # from the base: there is no adapter yet
    BASE_CHANGED = "base changed"
    REFUSED = "refused"  # from the base: three nights in a row were not promoted
    FORGET = "forget"  # from the base, as if something had never been seen
    ASKED = "asked"  # from the base: the user said so

    @property
    def is_warm(self) -> bool:
        """Whether training goes on from the serving adapter."""
        return self is Reason.WARM

    @property
    def rebuilds(self) -> bool:
        """Whether all that is left is learnt anew, by the rebuild's recipe and mix."""
        return self not in (Reason.WARM, Reason.FIRST)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands, and in the end what became of it."""

    id: str
    reason: Reason
    model: str
    """Registered name of the base model."""
    base_hash: str
    began: float
    """Unix time, seconds."""
    seed: int = 0
    threads: int = 1
    preset: str = ""
    max_steps: int = 0
    """0: the recipe's."""
    parent: str | None = None
    """Version that it was trained from; None: the base."""
    serving: str | None = None
    """Version that served when it began; None: the base."""
    seen_until: float = 0.0
    """Unix time, seconds, up to which what serves may have been trained on edits: they can judge nothing."""
    trained_until: float = 0.0
    """Unix time, seconds, of the newest edit that it is trained on."""
    stage: Stage = Stage.COLLECT
    n_faults: int = 0
    """How often it stopped at something that may pass: a daemon that died, a full disk."""
    candidate: str | None = None
    """Version under which the result was staged."""
    ended: float | None = None
    outcome: str = ""
    """In a sentence, once it has ended: promoted, kept what serves, nothing to learn, failed."""
    verdict: Verdict | None = None
    failed: bool = False
    seconds: dict[str, float] = {}
    """By stage, without pauses."""
    paused_seconds: float = 0.0
    peak_memory_bytes: int = 0
    """Of the training process."""
    n_steps: int = 0

    @property
    def promoted(self) -> bool:
        """Whether its adapter came to serve."""
        return self.verdict is not None and self.verdict.promote and self.ended is not None and not self.failed


class Run:
    """One run's folder."""

    def __init__(self, path: Path, record: Record) -> None:
        self.path = path
        self.record = record

    def update(self, **changes: object) -> None:
        """Replace fields of the record, on disk first."""
        record = msgspec.structs.replace(self.record, **changes)
        if record.verdict is not None:  # JSON has no NaN
            finite = {name: value for name, value in record.verdict.metrics.items() if math.isfinite(value)}
            verdict = dataclasses.replace(record.verdict, metrics=finite)
            record = msgspec.structs.replace(record, verdict=verdict)
        write_durably(self.path / RECORD, msgspec.json.encode(record))
        self.record = record

    def finish(self, outcome: str, now: float, *, failed: bool = False) -> None:
        """It is over; only what the report needs stays."""
        self.update(stage=Stage.DONE, ended=now, outcome=outcome, failed=failed)
        self.drop_weights()

    def drop_weights(self) -> None:
        """Delete checkpoints and adapter files."""
        for entry in self.path.iterdir():
            if entry.name in _SMALL:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


class Runs:
    """All runs below `root`, by the order of their beginning."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __iter__(self) -> Iterator[Run]:
        """Readable runs, oldest first."""
        for path in self._folders():
            record = read_record(path)
            if record is not None:
                yield Run(path, record)

    def begin(self, record: Record) -> Run:
        """A new folder for a new run; `record.id` is replaced by a free one."""
        folder(self.root)
        name = datetime.fromtimestamp(record.began).strftime("%Y%m%d-%H%M%S")
        for number in range(1, 1000):
            path = self.root / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            run = Run(path, msgspec.structs.replace(record, id=path.name))
            run.update()
            return run
        raise BadRequest(f"{self.root}: more than a thousand runs began in one second")

    def unfinished(self) -> Run | None:
        """The newest run that was cut off, if any."""
        return next((run for run in reversed(list(self)) if run.record.stage is not Stage.DONE), None)

    def finished(self) -> list[Run]:
        """Runs that ended, oldest first."""
        return [run for run in self if run.record.stage is Stage.DONE]

    def clear_broken(self) -> list[str]:
        """Delete folders whose record is missing or unreadable; their names."""
        broken = [path for path in self._folders() if read_record(path) is None]
        for path in broken:
            shutil.rmtree(path, ignore_errors=True)
        return [path.name for path in broken]

    def prune(self, keep: int = N_KEPT) -> None:
        """Delete the oldest records beyond `keep`; of all that ended, what is left of their weights."""
        ended = self.finished()
        for run in ended:
            run.drop_weights()
        for run in ended[: max(0, len(ended) - keep)]:
            shutil.rmtree(run.path, ignore_errors=True)

    def clear(self) -> int:
        """Delete all runs, finished or not; how many there were."""
        paths = self._folders()
        for path in paths:
            shutil.rmtree(path)
        return len(paths)

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_record(path: Path) -> Record | None:
    """The record of a run's folder; None if there is none, or not a whole one."""
    try:
        return msgspec.json.decode((path / RECORD).read_bytes(), type=Record)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
