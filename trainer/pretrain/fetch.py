"""Archives of named packages: fetched by pip and npm, checked by hash, read without unpacking or running anything.

Only pure wheels (`py3-none-any`) are taken: they are the same on every machine, and no build runs. `npm pack` of a
registry package runs no script either.
"""

from __future__ import annotations

import email.parser
import hashlib
import json
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from local_runtime.errors import BuildFailed, ModelInvalid

MAX_FILE_BYTES = 400_000
ALLOWED_LICENCES = ("mit", "bsd", "apache", "psf", "python software foundation", "python-2.0", "0bsd")
SHARE_ALIKE = ("gpl", "mozilla", "mpl", "eupl", "agpl")


@dataclass(frozen=True, slots=True)
class Package:
    """One source of text, pinned."""

    role: str
    """`reserved`, `general` or `training`."""
    ecosystem: str
    """`pypi`, `npm` or `stdlib`."""
    name: str
    version: str = ""
    licence: str = ""
    archive: str = ""
    """File name of the wheel or tarball; empty for the standard library."""
    sha256: str = ""
    """Of the archive; for the standard library, of all its files in the order of their paths."""


def fetch(package: Package, folder: Path) -> Path:
    """The archive of `package` in `folder`, fetched unless it is there. Raises BuildFailed with the tool's last line."""
    if package.archive and (folder / package.archive).exists():
        return folder / package.archive
    inbox = folder / "inbox" / package.name.replace("/", "_")
    inbox.mkdir(parents=True, exist_ok=True)
    pin = (
        f"{package.name}{'==' if package.ecosystem == 'pypi' else '@'}{package.version}"
        if package.version
        else package.name
    )
    if package.ecosystem == "pypi":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += [
            "--platform",
            "any",
            "--implementation",
            "py",
            "--abi",
            "none",
            "--python-version",
            "3.11",
            "--dest",
            str(inbox),
            pin,
        ]
    else:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(inbox), pin]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(path for path in inbox.iterdir() if path.suffix in (".whl", ".tgz"))
    if done.returncode or len(found) != 1:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BuildFailed(
            f"{pin}: no pure archive could be fetched: {last}", "check the connection, then the same command again"
        )
    archive = folder / found[0].name
    found[0].rename(archive)
    inbox.rmdir()
    return archive


def check_hash(package: Package, archive: Path) -> None:
    """Raise ModelInvalid unless `archive` is what the manifest pinned."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise ModelInvalid(f"{archive}: expected sha256 {package.sha256}, found {found}", f"rm {archive}")


def describe(package: Package, archive: Path) -> Package:
    """`package` with the version and licence its own metadata states, and the archive's hash."""
    version, licence = _wheel_metadata(archive) if package.ecosystem == "pypi" else _npm_metadata(archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return Package(package.role, package.ecosystem, package.name, version, licence, archive.name, digest)


def permissive(licence: str) -> bool:
    """Whether a licence statement names an allowed licence and no share-alike one."""
    said = licence.lower()
    return any(word in said for word in ALLOWED_LICENCES) and not any(word in said for word in SHARE_ALIKE)


def read_archive(archive: Path) -> Iterator[tuple[str, bytes]]:
    """(path inside the package, bytes) of every plain file of a wheel or an npm tarball that is not too big."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for info in sorted(wheel.infolist(), key=lambda info: info.filename):
                if not info.is_dir() and 0 < info.file_size <= MAX_FILE_BYTES:
                    yield info.filename, wheel.read(info)
    else:
        with tarfile.open(archive) as tarball:
            for member in sorted(tarball.getmembers(), key=lambda member: member.name):
                data = tarball.extractfile(member) if member.isfile() and 0 < member.size <= MAX_FILE_BYTES else None
                if data is not None:
                    yield str(PurePosixPath(*PurePosixPath(member.name).parts[1:])), data.read()


def read_stdlib() -> Iterator[tuple[str, bytes]]:
    """The same of the running interpreter's standard library, without what is installed beside it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if inside.parts[0] != "site-packages" and 0 < path.stat().st_size <= MAX_FILE_BYTES:
            yield inside.as_posix(), path.read_bytes()


def describe_stdlib() -> Package:
    """The running interpreter's standard library as a package."""
    digest = hashlib.sha256()
    for path, data in read_stdlib():
        digest.update(path.encode() + b"\0" + data)
    version = ".".join(map(str, sys.version_info[:3]))
    return Package("training", "stdlib", "cpython", version, "PSF-2.0", "", digest.hexdigest())


def _wheel_metadata(archive: Path) -> tuple[str, str]:
    with zipfile.ZipFile(archive) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.parser.Parser().parsestr(wheel.read(name).decode("utf-8", "replace"), headersonly=True)
    classifiers = [
        c.rsplit(" :: ", 1)[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License :: OSI")
    ]
    stated = (
        metadata.get("License-Expression") or " / ".join(classifiers) or (metadata.get("License") or "").split("\n")[0]
    )
    return metadata["Version"], stated


def _npm_metadata(archive: Path) -> tuple[str, str]:
    with tarfile.open(archive) as tarball:
        member = next(m for m in tarball.getmembers() if m.name.count("/") == 1 and m.name.endswith("/package.json"))
        data = tarball.extractfile(member)
        described = json.loads(data.read()) if data else {}
    return described["version"], str(described.get("license", ""))
