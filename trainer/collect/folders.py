"""Which folders the user opted in, since when, and whether learning is paused. Off by default.

One small JSON file under the data folder. It is replaced whole, under a lock, so several processes may change it and none reads
half of it. A damaged file counts as nothing opted in: learning fails closed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import msgspec
from filelock import FileLock

from local_runtime.durable_file import write_durably
from local_runtime.errors import BadRequest
from local_runtime.places import folder, places

_LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LearnedFolder:
    """A folder that the user opted in."""

    root: str
    """Absolute, links resolved, with forward slashes."""
    since: float
    """Unix time, seconds: edits from then on are learnt from. Earlier than the opting in when history was wanted too."""
    opted_in: float = 0.0
    """Unix time, seconds: saves from then on are recorded; what is older is known from git's history alone."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is recorded and nothing trained."""

    until: float | None = None
    """Unix time, seconds; None: until the user resumes."""


@dataclass(frozen=True, slots=True)
class _State:
    folders: tuple[LearnedFolder, ...] = ()
    pause: Pause | None = None
    resumed: float = 0.0


class LearnedFolders:
    """The opted-in folders. Every call reads the file anew: another process may have changed it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or places().data / "learned_folders.json"
        self.problem: str | None = None
        """What was wrong with the file, if it could not be read."""

    def all(self) -> tuple[LearnedFolder, ...]:
        """All of them, by name."""
        return self._read().folders

    def of(self, path: str | Path) -> LearnedFolder | None:
        """The opted-in folder that `path` (absolute) is or lies in."""
        name = Path(path).as_posix()
        return next((one for one in self.all() if name == one.root or name.startswith(one.root + "/")), None)

    def on(self, path: Path, since: float | None = None) -> LearnedFolder:
        """Opt a folder in. Folders inside it become part of it; one inside an opted-in folder already is.

        Raises BadRequest for what is no folder, or holds far more than a project.
        """
        root = path.expanduser().resolve()
        if not root.is_dir():
            raise BadRequest(f"{root} is not a folder", "understudy learn on PATH/OF/YOUR/PROJECT")
        if root == Path.home().resolve() or root == Path(root.anchor):
            raise BadRequest(f"{root} holds more than your projects", "understudy learn on PATH/OF/YOUR/PROJECT")
        now = time.time()
        wanted = LearnedFolder(root.as_posix(), now if since is None else since, now)
        with self._changing():
            state = self._read()
            for known in state.folders:
                if _holds(known.root, wanted.root):
                    wanted = replace(known, since=min(known.since, wanted.since))
            kept = [known for known in state.folders if not _holds(wanted.root, known.root)]
            folders = tuple(sorted([*kept, wanted], key=lambda one: one.root))
            self._write(replace(state, folders=folders))
        return wanted

    def off(self, path: Path) -> bool:
        """Opt a folder out; whether it was in. What was learnt stays: `forget` is another matter."""
        name = path.expanduser().absolute().as_posix()
        names = {name, path.expanduser().resolve().as_posix()}
        with self._changing():
            state = self._read()
            kept = tuple(known for known in state.folders if known.root not in names)
            self._write(replace(state, folders=kept))
        return len(kept) < len(state.folders)

    def pause(self, until: float | None = None) -> None:
        """Record and train nothing until a Unix time, or until `resume`."""
        with self._changing():
            self._write(replace(self._read(), pause=Pause(until)))

    def resume(self, now: float | None = None) -> None:
        """End a pause. What was saved during it stays unrecorded."""
        with self._changing():
            state = self._read()
            if state.pause:
                self._write(replace(state, pause=None, resumed=time.time() if now is None else now))

    def paused(self, now: float) -> Pause | None:
        """The pause that holds at a Unix time."""
        pause = self._read().pause
        return pause if pause and (pause.until is None or now < pause.until) else None

    def recorded_from(self, folder: LearnedFolder) -> float:
        """Unix time, seconds, before which a save in `folder` is none of ours: it was opted out then, or learning paused."""
        state = self._read()
        pause_end = state.pause.until or inf if state.pause else 0.0
        return max(folder.opted_in, state.resumed, pause_end)

    def _read(self) -> _State:
        self.problem = None
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_State)
        except FileNotFoundError:
            return _State()
        except (OSError, msgspec.DecodeError) as error:
            self.problem = (
                f"{self.path} cannot be read ({error}): nothing is learnt from until a folder is opted in again"
            )
            return _State()

    def _changing(self) -> FileLock:
        folder(self.path.parent)
        return FileLock(self.path.with_name(self.path.name + ".lock"), timeout=_LOCK_SECONDS, mode=0o600)

    def _write(self, state: _State) -> None:
        if self.problem:
            self.path.replace(self.path.with_name(self.path.name + ".broken"))
        write_durably(self.path, msgspec.json.format(msgspec.json.encode(state), indent=2))


def _holds(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer + "/")
