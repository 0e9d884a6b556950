"""From what a user writes to a model: a path, or `KIND:NAME` of another program's store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from local_runtime.errors import BadRequest, ModelMissing
from local_runtime.model.registry import FILE_NAME as MLC_FILE
from local_runtime.model.stores.hub_cache import is_of, without_commit
from local_runtime.model.stores.layouts import LAYOUTS
from local_runtime.model.stores.local_model import LocalModel
from local_runtime.model.stores.roots import roots
from local_runtime.model.stores.walking import expanded, gguf_files, printable

FIND = "understudy model find"
MAX_LISTED = 20
MAX_SHOWN_CHARS = 200


def resolve(reference: str) -> LocalModel:
    """The model of a reference. Raises ModelMissing; BadRequest if it may be one of several."""
    kind, colon, name = reference.partition(":")
    if not colon or kind not in LAYOUTS:
        return _at_path(reference)
    unread: list[str] = []
    listed = [model for root in roots()[kind] for model in LAYOUTS[kind](root, unread.append)]
    is_untagged = kind == "ollama" and ":" not in name.rpartition("/")[2]
    wanted = f"{reference}:latest" if is_untagged else reference
    found = _at_hub(wanted, listed) if kind == "hf" else _matching(wanted, listed)
    if not found:
        missing = f"this machine has no {printable(reference[:MAX_SHOWN_CHARS])}"
        raise ModelMissing("; ".join((missing, *dict.fromkeys(unread))), FIND)
    whole = [model for model in found if not model.problem]
    if not whole:
        raise ModelMissing(printable(f"{found[0].reference}: {found[0].problem}"), FIND)
    return _only(reference, whole)


def _at_path(reference: str) -> LocalModel:
    """A file or a folder; of a folder that is no model, the GGUF file in it."""
    path = expanded(Path(reference))
    shown = printable(reference[:MAX_SHOWN_CHARS])
    try:
        if not path.exists():
            raise ModelMissing(f"{shown} is not there", FIND)
        is_plain = path.is_dir() and not any((path / name).exists() for name in ("config.json", MLC_FILE))
    except OSError as problem:
        raise ModelMissing(f"{shown} cannot be read: {problem.strerror}", FIND) from None
    inside = [LocalModel(str(file), file) for file in gguf_files(path, 1, lambda sentence: None)] if is_plain else []
    return _only(reference, inside or [LocalModel(reference, path)])


def _at_hub(reference: str, listed: Sequence[LocalModel]) -> list[LocalModel]:
    """Of `main`'s snapshot, unless a revision is named or only another snapshot has the file."""
    wanted, at, revision = reference.rpartition("@")
    if at:
        models = [model for model in listed if is_of(model, revision)]
        return [model for model in models if without_commit(model.reference) == wanted] or [
            model for model in models if model.reference.startswith(f"{wanted}/")
        ]
    plain = [model for model in listed if "@" not in model.reference]
    return _matching(reference, plain) or [model for model in listed if without_commit(model.reference) == reference]


def _matching(reference: str, listed: Sequence[LocalModel]) -> list[LocalModel]:
    """What is called so; else what a repository of that name has."""
    return [model for model in listed if model.reference == reference] or [
        model for model in listed if model.reference.startswith(f"{reference}/")
    ]


def _only(reference: str, found: Sequence[LocalModel]) -> LocalModel:
    names = [printable(name) for name in dict.fromkeys(model.reference for model in found)]
    if len(names) > 1:
        raise BadRequest(
            f"{printable(reference)} has several: {', '.join(names[:MAX_LISTED])}",
            f"understudy model import {names[0]}",
        )
    return found[0]
