"""The adapters on this machine: which there are, which one is active, and that this is remembered.

Only folders below the adapters folder are ever opened, named by their path relative to it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import msgspec

from local_runtime.client.wire import BASE, AdapterCard
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid, BadRequest, RuntimeFault
from local_runtime.places import folder, places

PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=-]{0,127}")
MAX_DEPTH = 4
MIXED = "*"
"""Only in the name of a mix: `mine*0.5+work*1`."""
CONFIG = "adapter_config.json"
Mix = Callable[[Sequence[tuple[Adapter, float]]], Adapter]
Signature = tuple[int, int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which adapter a request runs with. A request keeps its choice to its end, whatever is activated meanwhile."""

    name: str | None = None
    adapter: Adapter | None = None
    strength: float = 1.0


class Remembered(msgspec.Struct, frozen=True):
    """What was active for one base model."""

    adapter: str
    strength: float = 1.0


class AdapterShelf:
    """Adapters below `root`; `memory` is the file that remembers what is active, per base model."""

    def __init__(self, root: Path, memory: Path, read: Callable[[Path], Adapter], mix: Mix) -> None:
        self.active = Choice()
        self.problem: str | None = None
        """Why what was active before could not be taken up again."""
        self._root = root
        self._memory = memory
        self._read = read
        self._mix = mix
        self._mixes: dict[tuple[tuple[str, float], ...], Adapter] = {}
        self._seen: dict[Path, tuple[Signature, Adapter]] = {}
        self._activating = threading.Lock()

    def choose(self, name: str | None, strength: float | None) -> Choice:
        """What a request gets that says `name` and `strength`; absent ones are those of the active adapter.

        Raises BadRequest for a name that is none, AdapterInvalid for a folder that is none.
        """
        active = self.active
        if name is None:
            return active if strength is None else Choice(active.name, active.adapter, strength)
        if name in ("", BASE):
            return Choice(strength=1.0 if strength is None else strength)
        return Choice(name, self.read(name), 1.0 if strength is None else strength)

    def read(self, name: str) -> Adapter:
        """The adapter, or the mix, of that name. Files are read again only when one of them has changed."""
        if MIXED in name:
            parts = tuple((self.read(part), share) for part, share in _parts(name))
            recipe = tuple((adapter.id, share) for adapter, share in parts)
            if recipe not in self._mixes:
                self._mixes[recipe] = self._mix(parts)
            return self._mixes[recipe]
        path = self._named(name)
        seen = self._seen.get(path)
        if seen is not None and seen[0] == _signature(path):
            return seen[1]
        self._check_inside(path, name)
        if not (path / CONFIG).is_file():
            raise AdapterInvalid(
                f"there is no adapter {name!r} in {self._root}: no {CONFIG} in it", "understudy adapter list"
            )
        signature = _signature(path)
        # The folder itself: a name like `current` may be a link that leads elsewhere tomorrow.
        adapter = self._read(path.resolve())
        if signature is not None:
            self._seen[path] = (signature, adapter)
        return adapter

    def cards(self, base_hash: str) -> Iterator[AdapterCard]:
        """All adapters, with what is wrong with those that cannot serve the model with `base_hash`."""
        for name in self._names():
            try:
                adapter = self.read(name)
            except (RuntimeFault, OSError) as fault:
                yield AdapterCard(name, problem=str(getattr(fault, "message", fault)))
                continue
            fits = not adapter.base_hash or adapter.base_hash == base_hash
            problem = None if fits else f"made for base {adapter.base_hash[:12]}, not for {base_hash[:12]}"
            yield AdapterCard(
                name, adapter.id, adapter.rank, list(adapter.targets), adapter.parent, adapter.base_hash, problem
            )

    def activate(self, choice: Choice, base_hash: str) -> None:
        """Make `choice` what requests get that name no adapter, now and after a restart."""
        with self._activating:
            self._remember(base_hash, choice)
            self.active = choice
            self.problem = None

    def take_up(self, base_hash: str) -> None:
        """Activate what was active when this base model was last served. If that is gone, the base serves."""
        remembered = self._remembered().get(base_hash)
        if remembered is None:
            return
        try:
            adapter = self.read(remembered.adapter)
            if adapter.base_hash and adapter.base_hash != base_hash:
                raise AdapterInvalid(f"{remembered.adapter} was made for another base model")
        except (RuntimeFault, OSError) as fault:
            self.problem = f"the adapter that was active cannot be read: {getattr(fault, 'message', fault)}"
            return
        self.active = Choice(remembered.adapter, adapter, remembered.strength)

    def _named(self, name: str) -> Path:
        parts = name.split("/")
        if len(parts) > MAX_DEPTH or not all(PART.fullmatch(part) for part in parts):
            raise BadRequest(f"{name[:64]!r} is not the name of an adapter: expected a folder below {self._root}")
        return self._root.joinpath(*parts)

    def _check_inside(self, path: Path, name: str) -> None:
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise BadRequest(f"{name[:64]!r} leads out of {self._root}")

    def _names(self) -> list[str]:
        found = []
        for depth in range(1, MAX_DEPTH + 1):
            for config in self._root.glob("/".join("*" * depth) + f"/{CONFIG}"):
                name = config.parent.relative_to(self._root).as_posix()
                if all(PART.fullmatch(part) for part in name.split("/")):
                    found.append(name)
        return sorted(found)

    def _remembered(self) -> dict[str, Remembered]:
        try:
            return msgspec.json.decode(self._memory.read_bytes(), type=dict[str, Remembered])
        except (FileNotFoundError, msgspec.MsgspecError):
            return {}

    def _remember(self, base_hash: str, choice: Choice) -> None:
        remembered = self._remembered()
        remembered.pop(base_hash, None)
        if choice.name is not None:
            remembered[base_hash] = Remembered(choice.name, choice.strength)
        partial = self._memory.with_suffix(f".{os.getpid()}.partial")
        content = msgspec.json.encode(remembered)
        try:
            partial.write_bytes(content)
        except FileNotFoundError:
            folder(self._memory.parent)
            partial.write_bytes(content)
        partial.replace(self._memory)


def memory_file() -> Path:
    """Where this user's daemon remembers what is active."""
    return places().data / "active-adapters.json"


def mix_name(parts: Sequence[tuple[str, float]]) -> str:
    """The name under which several adapters, each with its share, are one."""
    return "+".join(f"{name}{MIXED}{share:g}" for name, share in parts)


def _parts(mix: str) -> Iterator[tuple[str, float]]:
    for part in mix.split("+"):
        name, _, share = part.partition(MIXED)
        try:
            yield name, float(share)
        except ValueError:
            raise BadRequest(f"{mix[:64]!r} is not the name of a mix: expected NAME*SHARE+NAME*SHARE") from None


def _signature(path: Path) -> Signature | None:
    """Which folder it is, and size and time of every file: changes whenever an adapter is written again. None: no folder.

    Each call into the system is a moment in which the engine's thread may take Python's lock for milliseconds: there are few.
    """
    try:
        here = os.stat(path)  # noqa: PTH116
        with os.scandir(path) as entries:
            files = sorted(((e.name, e.stat()) for e in entries if e.is_file()), key=itemgetter(0))
    except OSError:
        return None
    return here.st_dev, here.st_ino, tuple((file.st_size, file.st_mtime_ns) for _, file in files)
