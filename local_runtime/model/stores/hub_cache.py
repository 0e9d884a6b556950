"""Hugging Face's cache, since 2026 llama.cpp's too: `models--OWNER--NAME/{blobs, refs/BRANCH, snapshots/COMMIT/…}`.

A snapshot holds links into `blobs`, or the files themselves where the file system has no links. Layout: `huggingface_hub`, and
llama.cpp's `common/hf-cache.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from local_runtime.model.registry import FILE_NAME as MLC_FILE
from local_runtime.model.stores.local_model import LocalModel
from local_runtime.model.stores.walking import Told, files, folders, gguf_files, is_inside, small

DEPTH = 3
"""Of files within a snapshot, and of branches within `refs`: `refs/pr/1`."""
SHORT_COMMIT = 12
REF_BYTES = 100


def hub_cache(root: Path, told: Told) -> Iterator[LocalModel]:
    """The files and folders of each repository: by their plain names those of `main`, else of the newest snapshot.

    Those of other snapshots have `@COMMIT` at their end: a program may have fetched a file before its repository changed.
    """
    for repo in folders(root, 1, told):
        match = re.fullmatch(r"models--([\w.-]+)", repo.name)
        if match is None:
            continue
        name = "/".join(match[1].split("--", 1))
        refs = _refs(repo, told)
        for n, snapshot in enumerate(_snapshots(repo, refs, told)):
            names = (snapshot.name, *(ref for ref, commit in refs.items() if commit == snapshot.name))
            at = f"@{snapshot.name[:SHORT_COMMIT]}" if n else ""
            for path in _models(snapshot, told):
                inner = "" if path == snapshot else f"/{path.relative_to(snapshot).as_posix()}"
                kept = [path] if inner else files(snapshot, 1, told)
                problem = (
                    "" if all(is_inside(file, repo) for file in kept) else "a file of it is a link to somewhere else"
                )
                yield LocalModel(f"hf:{name}{inner}{at}", path, problem=problem, revisions=names)


def _models(snapshot: Path, told: Told) -> Iterator[Path]:
    """Its GGUF files, and itself if it is a model's folder."""
    yield from gguf_files(snapshot, DEPTH, told)
    has = {file.name for file in files(snapshot, 1, told)}
    if MLC_FILE in has or ("config.json" in has and any(name.endswith(".safetensors") for name in has)):
        yield snapshot


def _refs(repo: Path, told: Told) -> dict[str, str]:
    """Commits by branch or tag."""
    found = {}
    for path in files(repo / "refs", DEPTH, told):
        try:
            found[path.relative_to(repo / "refs").as_posix()] = small(path, REF_BYTES).decode("ascii").strip()
        except (OSError, ValueError):
            continue
    return found


def _snapshots(repo: Path, refs: dict[str, str], told: Told) -> list[Path]:
    """That of `main` first, then the newest."""

    def age(path: Path) -> tuple[bool, float]:
        try:
            return path.name != refs.get("main"), -path.stat().st_mtime
        except OSError:
            return True, 0.0

    return sorted(folders(repo / "snapshots", 1, told), key=age)


def without_commit(reference: str) -> str:
    """A reference of another snapshot as it would be in `main`'s."""
    return reference.rpartition("@")[0] or reference


def is_of(model: LocalModel, revision: str) -> bool:
    """Whether it is from a branch's or a tag's snapshot, or from one whose commit begins so (with 7 digits or more)."""
    commit = model.revisions[0] if model.revisions else ""
    return revision in model.revisions or (len(revision) >= 7 and commit.startswith(revision))
