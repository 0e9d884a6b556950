"""The general set: holes of packages that are never trained on, drawn once and frozen in the tree."""

from __future__ import annotations

import json
import random
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from trainer.pretrain.corpus import Document
from trainer.pretrain.fetch import Package
from trainer.spans import Shape, draw_span

N_HOLES = {"python": 180, "typescript": 80, "javascript": 80}
PREFIX_CHARS, SUFFIX_CHARS = 3000, 1000
SEED = 4
MIN_MIDDLE_CHARS = 3


def freeze(documents: Sequence[Document], packages: Sequence[Package], out: Path) -> int:
    """Write `general_holes.jsonl` into `out` and return how many holes there are. Files give holes by their length.

    `prefix` and `suffix` are cut at a line, at about what a prompt can hold.
    """
    licences = {package.name: package.licence for package in packages}
    rng = random.Random(SEED)
    lines = []
    for language, n_holes in N_HOLES.items():
        spoken = [d for d in documents if d.role == "general" and d.language == language]
        # Every package as often, whatever its size.
        by_package = {name: [d for d in spoken if d.package == name] for name in sorted({d.package for d in spoken})}
        names = list(by_package)
        n_drawn = 0
        while n_drawn < n_holes:
            of_package = by_package[names[n_drawn % len(names)]]
            document = rng.choices(of_package, [len(d.text) for d in of_package])[0]
            span = draw_span(document.text, rng)
            middle = document.text[span.start : span.end]
            if len(middle.strip()) < MIN_MIDDLE_CHARS and span.shape is not Shape.EMPTY:
                continue
            prefix = document.text[max(span.start - PREFIX_CHARS, 0) : span.start]
            suffix = document.text[span.end : span.end + SUFFIX_CHARS]
            if span.start > PREFIX_CHARS:
                prefix = prefix[prefix.find("\n") + 1 :]
            if span.end + SUFFIX_CHARS < len(document.text):
                suffix = suffix[: suffix.rfind("\n") + 1]
            lines.append(
                {
                    "package": document.package, "licence": licences[document.package], "shape": span.shape.value,
                    "path": document.path, "language": language, "prefix": prefix, "middle": middle, "suffix": suffix,
                }
            )  # fmt: skip
            n_drawn += 1
    (out / "general_holes.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return len(lines)


def licence_texts(packages: Sequence[Package], archives: Path) -> str:
    """The licence files of the general set's packages, for the notice that stands beside the holes."""
    parts = ["# Licences of the general set\n\n`general_holes.jsonl` quotes these packages.\n"]
    for package in packages:
        if package.role != "general":
            continue
        text = _licence_file(archives / package.archive)
        parts.append(f"## {package.name} {package.version} ({package.licence})\n\n```\n{text.strip()}\n```\n")
    return "\n".join(parts)


def _licence_file(archive: Path) -> str:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            found = [
                n
                for n in wheel.namelist()
                if PurePosixPath(n).name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))
            ]
            return wheel.read(found[0]).decode("utf-8", "replace")
    with tarfile.open(archive) as tarball:
        member = next(m for m in tarball.getmembers() if PurePosixPath(m.name).name.upper().startswith("LICEN"))
        data = tarball.extractfile(member)
        return data.read().decode("utf-8", "replace") if data else ""
