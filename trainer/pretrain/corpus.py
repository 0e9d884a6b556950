"""From pinned packages to one file of clean documents. The manifest decides what is read, so the corpus can be rebuilt.

Reserved and general packages pass first: they are written aside, and a training file that is nearly one of theirs is dropped.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tomllib
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from local_runtime.errors import ModelMissing
from trainer.pretrain import fetch
from trainer.pretrain.dedup import Array, Seen, signature
from trainer.pretrain.fetch import Package
from trainer.pretrain.filters import Drop, path_verdict, text_verdict

HERE = Path(__file__).parent
SOURCES = HERE / "sources.toml"
MANIFEST = HERE / "manifest.json"
SHARE_CHARS = {"pypi": 2_000_000, "npm": 2_000_000, "stdlib": 12_000_000}
"""At most so much of one package: a base for everybody should not speak with one project's voice."""
ROLES = ("reserved", "general", "training")


@dataclass(frozen=True, slots=True)
class Document:
    """One file that passed."""

    role: str
    package: str
    path: str
    """Path inside the package, with forward slashes."""
    language: str
    text: str


def chosen() -> list[Package]:
    """The packages of sources.toml, not yet pinned, in the order of `ROLES`."""
    lists = tomllib.loads(SOURCES.read_text())
    npm_or_pypi = {"npm": "npm", "pypi": "pypi", "installed": "pypi"}
    return [
        Package(role, npm_or_pypi[kind], name)
        for role in ROLES
        for kind, names in lists[role].items()
        for name in names
    ]


def pinned() -> list[Package]:
    """The packages of the manifest. Raises ModelMissing before the first `--lock`."""
    if not MANIFEST.exists():
        raise ModelMissing(f"{MANIFEST} is not there", "python -m trainer.pretrain corpus --lock")
    return [Package(**entry["package"]) for entry in json.loads(MANIFEST.read_text())["packages"]]


def clean(package: Package, archives: Path) -> tuple[list[tuple[Document, Array]], Counter[str]]:
    """The files of one package that pass the filters, each with its MinHash, and what was dropped why.

    Where an npm package ships `src/`, only that is read: the rest was built from it. Of a big package, the share is a
    sample of all its folders.
    """
    files = fetch.read_stdlib() if package.ecosystem == "stdlib" else fetch.read_archive(archives / package.archive)
    dropped: Counter[str] = Counter()
    kept: list[tuple[Document, Array]] = []
    n_chars = 0
    for path, data in _spread(_source_alone(list(files)) if package.ecosystem == "npm" else files):
        language = path_verdict(path)
        text = language if isinstance(language, Drop) else text_verdict(data)
        if not isinstance(text, Drop) and n_chars + len(text) > SHARE_CHARS[package.ecosystem]:
            text = Drop.SHARE
        if isinstance(text, Drop):
            dropped[text.value] += 1
        else:
            n_chars += len(text)
            kept.append((Document(package.role, package.name, path, language, text), signature(text)))
    return kept, dropped


def build(packages: list[Package], archives: Path, out: Path, n_processes: int = 2) -> list[dict[str, Any]]:
    """Write `out` (gzip of one JSON document a line) and return the manifest's entries: package, kept, dropped.

    Packages are cleaned beside each other; which of two duplicates stays is settled by the packages' order.
    """
    seen = Seen()
    entries: list[dict[str, Any]] = []
    part = out.with_suffix(".part")
    with _deterministic_gzip(part) as file, ProcessPoolExecutor(n_processes) as pool:
        for package, (kept, dropped) in zip(
            packages, pool.map(clean, packages, [archives] * len(packages)), strict=True
        ):
            total = Counter[str]()
            for document, hashvalues in kept:
                if twin := seen.duplicate(document.text, hashvalues):
                    dropped[(Drop.EXACT if twin == "exact" else Drop.NEAR).value] += 1
                else:
                    total.update({"files": 1, f"{document.language}_chars": len(document.text)})
                    file.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
            entries.append({"package": asdict(package), "kept": dict(total), "dropped": dict(sorted(dropped.items()))})
    part.replace(out)
    return entries


def read(path: Path, roles: Iterable[str] = ("training",)) -> Iterator[Document]:
    """The documents of a corpus file that have one of `roles`."""
    wanted = set(roles)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            document = Document(**json.loads(line))
            if document.role in wanted:
                yield document


def by_package(documents: Iterable[Document]) -> dict[str, list[Document]]:
    """Documents grouped by package, in their order."""
    ordered = sorted(documents, key=lambda document: document.package)
    return {name: list(group) for name, group in groupby(ordered, key=lambda document: document.package)}


@contextlib.contextmanager
def _deterministic_gzip(path: Path) -> Iterator[TextIO]:
    """Without a name and a time in its header: the same documents make the same file."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8") as text,
    ):
        yield text


def _source_alone(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    source = [(path, data) for path, data in files if PurePosixPath(path).parts[0] == "src"]
    return source if any(not isinstance(path_verdict(path), Drop) for path, _ in source) else files


def _spread(files: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """In an order that follows neither names nor folders, the same everywhere."""
    return sorted(files, key=lambda file: zlib.crc32(file[0].encode()))
