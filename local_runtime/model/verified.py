"""Remembers which files of a model folder were found undamaged, by size and time, so that only the first opening reads them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from local_runtime.errors import ModelInvalid, RuntimeFault
from local_runtime.model.json_file import read_json
from local_runtime.model.tensor_cache import TensorCache, md5_of
from local_runtime.places import folder, places


class Seen(msgspec.Struct):
    """A file as it was when it was checked."""

    size_bytes: int
    modified_ns: int
    finding: str


class Verified:
    """The findings about one model folder. Losing them costs time, nothing else."""

    def __init__(self, model: Path) -> None:
        key = hashlib.sha256(os.fsencode(model.resolve())).hexdigest()[:32]
        self._file = places().cache / "verified" / f"{key}.json"
        self._seen: dict[str, Seen] = {}
        self._changed = False
        # A damaged memory is no memory.
        with contextlib.suppress(RuntimeFault):
            self._seen = read_json(self._file, dict[str, Seen])

    def check_once(self, file: Path, finding: str, check: Callable[[Path], object]) -> None:
        """Run `check` unless this very file was found to be so before."""
        if self._known(file) != finding:
            check(file)
            self._note(file, finding)

    def shard_digests(self, cache: TensorCache) -> dict[str, str]:
        """MD5 of each shard. Raises ModelInvalid if one is not what the listing says."""
        digests = {}
        for shard in cache.shards:
            file = cache.folder / shard.dataPath
            found = self._known(file)
            if found is None or (shard.md5sum is not None and found != shard.md5sum):
                found = md5_of(file)
                self._note(file, found)
            if shard.md5sum is not None and found != shard.md5sum:
                expected = f"expected MD5 {shard.md5sum[:32]}, found {found}"
                raise ModelInvalid(f"{file}: {expected}: it is damaged or swapped", "fetch or import the model again")
            digests[shard.dataPath] = found
        return digests

    def remember(self) -> None:
        """Write down what was found. A cache that cannot be written is no fault."""
        if not self._changed:
            return
        with contextlib.suppress(OSError):
            folder(self._file.parent)
            written = self._file.with_suffix(f".{os.getpid()}")
            written.write_bytes(msgspec.json.encode(self._seen))
            written.replace(self._file)

    def _known(self, file: Path) -> str | None:
        seen = self._seen.get(file.name)
        if seen is None or not file.exists():
            return None
        status = file.stat()
        return seen.finding if (seen.size_bytes, seen.modified_ns) == (status.st_size, status.st_mtime_ns) else None

    def _note(self, file: Path, finding: str) -> None:
        status = file.stat()
        self._seen[file.name] = Seen(status.st_size, status.st_mtime_ns, finding)
        self._changed = True
