"""The versions of the personal adapter: which candidates there are, which were promoted, which one serves, and the way back.

Folders below `places().adapters`: `candidates/<id>` are staged, and the daemon loads them for whoever names them; `personal-<n>`
were promoted. A folder is moved from the one to the other by one rename, after the gate's record has been written
into it; only then is it chosen. So at any moment what serves is a complete, judged adapter, or the base.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
import msgspec

from local_runtime.adapters.peft_folder import CONFIG, read_adapter
from local_runtime.adapters.shelf import MIXED, Choice
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid, BadRequest
from local_runtime.places import folder, places
from trainer.adapters import files
from trainer.adapters.files import Record, Replaced
from trainer.adapters.serving import Serving, served_model
from trainer.edits import Verdict

KEEP_VERSIONS = 7
KEEP_CANDIDATES = 3
CANDIDATES = "candidates"
_VERSION = re.compile(r"personal-([1-9][0-9]{0,8})")
_LOCK = ".lock"
_LOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Version:
    """An adapter that was judged, or waits for it."""

    name: str
    adapter: Adapter
    record: Record | None
    """None for a candidate that was not judged yet."""


class Versions:
    """The adapters of one base model. Several processes may use it; one writes at a time."""

    def __init__(
        self, root: Path | None = None, base_hash: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """`root` is `places().adapters`, which the daemon reads; `base_hash` that of the model that serves, if not given."""
        self.root = root or places().adapters
        self.base_hash = served_model().base_hash if base_hash is None else base_hash
        self.serving = Serving(self.base_hash)
        self._clock = clock

    def current(self) -> Choice:
        """What serves: an adapter with its strength, or the base."""
        return self.serving.current()

    def history(self) -> tuple[Version, ...]:
        """Promoted versions of this base, newest first. One that is damaged is left out."""
        found = [v for v in self._read(self.root) if _VERSION.fullmatch(v.name) and v.record and v.record.promoted]
        return tuple(sorted(found, key=lambda v: _number(v.name), reverse=True))

    def candidates(self) -> tuple[Version, ...]:
        """Staged adapters of this base that have not been promoted, newest first."""
        found = list(self._read(self.root / CANDIDATES, prefix=f"{CANDIDATES}/"))
        return tuple(sorted(found, key=lambda v: v.adapter.path.stat().st_mtime_ns, reverse=True))

    def stage(self, source: Path) -> str:
        """Copy an adapter to where the daemon can load it by name, without serving it. Raises AdapterInvalid."""
        adapter = read_adapter(source)
        self._check_base(adapter)
        name = f"{CANDIDATES}/{adapter.id[:16]}"
        with self._writing():
            if not (self.root / name).exists():
                files.copy_adapter(source, self.root / name)
        return name

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name, as the gate takes it. Raises AdapterInvalid."""
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root.resolve()) or not (path / CONFIG).is_file():
            raise AdapterInvalid(f"there is no adapter {name!r} in {self.root}", "understudy adapter list")
        return read_adapter(path)

    def promote(self, name: str, verdict: Verdict) -> str:
        """Make a candidate a version and have it serve; returns the version's name. May be repeated after a crash.

        Raises BadRequest unless the verdict says so, AdapterInvalid if the candidate is damaged or of another base.
        """
        if not verdict.promote:
            raise BadRequest(
                f"the gate did not let {name} pass: {verdict.reasons[0] if verdict.reasons else 'no reason'}"
            )
        with self._writing():
            version = self._promoted_before(name) or self._make_version(name, verdict)
            self.serving.select(version, verdict.strength)
            self._prune()
        return version

    def reject(self, name: str, verdict: Verdict) -> None:
        """Write into a candidate why it may not serve: it is kept for its report, and deleted when newer ones come."""
        with self._writing():
            files.write_record(self.root / name, self._record(verdict, name))
            self._prune()

    def rollback(self, reason: str = "") -> Replaced | None:
        """Serve what served before the current version, which is marked with `reason`; what that is, None for the base.

        Raises BadRequest if the base serves.
        """
        with self._writing():
            chosen = self.serving.remembered()
            if chosen is None:
                raise BadRequest("the base serves: there is nothing to roll back", "understudy adapter list")
            records = self._records()
            again: Replaced | None = None
            for target in self._before(chosen.adapter, records):
                with suppress(
                    AdapterInvalid, BadRequest
                ):  # gone, damaged or of another base: what was there before that
                    self.serving.select(target.adapter, target.strength)
                    again = target
                    break
            else:
                self.serving.select(None)
            if (record := records.get(chosen.adapter)) is not None:
                why = reason or "rolled back by hand"
                files.note_record(self.root / chosen.adapter, msgspec.structs.replace(record, rolled_back=why))
        return again

    def delete(self, names: Collection[str]) -> None:
        """Delete adapters for good. If one of them serves, the base does from now on."""
        with self._writing():
            if self.current().name in names:
                self.serving.select(None)
            for name in names:
                if (self.root / name).is_dir():
                    files.remove(self.root / name)

    def _make_version(self, name: str, verdict: Verdict) -> str:
        adapter = self.adapter(name)
        self._check_base(adapter)
        number = 1 + max((_number(path.name) for path in self.root.iterdir()), default=0)
        version = f"personal-{number}"
        current = self.current()
        replaces = Replaced(current.name, current.strength) if current.name else None
        record = msgspec.structs.replace(self._record(verdict, name), number=number, replaces=replaces)
        files.write_record(self.root / name, record)
        files.move(self.root / name, self.root / version)
        return version

    def _promoted_before(self, name: str) -> str | None:
        """The version that this very adapter became already: before a crash, or on another night."""
        for version in self.history():
            if version.record and version.record.candidate == name:
                if (self.root / name).exists():
                    files.remove(self.root / name)
                files.write_record(version.adapter.path, msgspec.structs.replace(version.record, rolled_back=""))
                return version.name
        return None

    def _before(self, name: str, records: dict[str, Record]) -> Iterator[Replaced]:
        """What to go back to, the best first: what it replaced, or what that replaced, unless that was rolled back itself."""
        if name not in records:  # not one of ours: the newest that is
            for other in sorted(records, key=_number, reverse=True):
                if not records[other].rolled_back:
                    yield Replaced(other, records[other].strength)
            return
        seen = {name}
        replaced = records[name].replaces
        while replaced is not None and replaced.adapter not in seen:
            seen.add(replaced.adapter)
            older = records.get(replaced.adapter)
            if older is None or not older.rolled_back:
                yield replaced
            replaced = older.replaces if older else None

    def _records(self) -> dict[str, Record]:
        """The records of all versions of this base, whether their weights can be read or not."""
        found = {}
        for path in self.root.glob("personal-*"):
            with suppress(AdapterInvalid):
                marks = files.read_marks(path)
                if (
                    marks.gate
                    and marks.gate.promoted
                    and marks.base_hash == self.base_hash
                    and _VERSION.fullmatch(path.name)
                ):
                    found[path.name] = marks.gate
        return found

    def _record(self, verdict: Verdict, name: str) -> Record:
        # JSON has no NaN.
        metrics = {key: value for key, value in verdict.metrics.items() if math.isfinite(value)}
        return Record(
            promoted=verdict.promote, judged_at=self._clock(), reasons=list(verdict.reasons), strength=verdict.strength,
            metrics=metrics, candidate=name,
        )  # fmt: skip

    def _check_base(self, adapter: Adapter) -> None:
        if adapter.base_hash != self.base_hash:
            found = adapter.base_hash[:12] or "none"
            raise AdapterInvalid(
                f"{adapter.path} was made for base {found}, what serves is {self.base_hash[:12]}",
                "understudy learn now",
            )

    def _read(self, root: Path, prefix: str = "") -> Iterator[Version]:
        for path in sorted(root.glob("*")):
            if path.name.startswith(".") or not (path / CONFIG).is_file():
                continue
            try:
                version = Version(prefix + path.name, read_adapter(path), files.read_record(path))
            except AdapterInvalid:
                continue
            if version.adapter.base_hash == self.base_hash:
                yield version

    def _prune(self) -> None:
        """Keep what serves, the newest versions, and the newest candidates."""
        serving = {part.partition(MIXED)[0] for part in (self.current().name or "").split("+")}
        for kept, versions in ((KEEP_VERSIONS, self.history()), (KEEP_CANDIDATES, self.candidates())):
            for version in versions[kept:]:
                if version.name not in serving:
                    files.remove(version.adapter.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        folder(self.root)
        lock = filelock.FileLock(self.root / _LOCK, timeout=_LOCK_SECONDS)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise BadRequest(f"another process has been changing {self.root} for {_LOCK_SECONDS:g} seconds") from None
        try:
            files.remove_unfinished(self.root)
            files.remove_unfinished(self.root / CANDIDATES)
            yield
        finally:
            lock.release()


def _number(name: str) -> int:
    match = _VERSION.fullmatch(name)
    return int(match[1]) if match else 0
