"""From what a user writes to a model: a path, or `KIND:NAME` of another program's store."""

from __future__ import annotations

from pathlib import Path

from local_runtime.errors import BadRequest, ModelMissing
from local_runtime.model.stores.layouts import LAYOUTS, LocalModel
from local_runtime.model.stores.roots import roots

FIND = "understudy model find"
MAX_LISTED = 20


def resolve(reference: str) -> LocalModel:
    """The model of a reference. Raises ModelMissing; BadRequest if it may be one of several."""
    kind, colon, name = reference.partition(":")
    if not colon or kind not in LAYOUTS:
        path = Path(reference).expanduser()
        if not path.exists():
            raise ModelMissing(f"{reference} is not there", FIND)
        return LocalModel(reference, path)
    wanted = f"{reference}:latest" if kind == "ollama" and ":" not in name else reference
    listed = [model for root in roots()[kind] for model in LAYOUTS[kind](root)]
    found = [model for model in listed if model.reference == wanted]
    # A repository without the name of its file.
    found = found or [model for model in listed if model.reference.startswith(f"{wanted}/")]
    if not found:
        raise ModelMissing(f"this machine has no {reference[:200]}", FIND)
    whole = [model for model in found if not model.problem]
    names = list(dict.fromkeys(model.reference for model in whole))
    if len(names) > 1:
        raise BadRequest(
            f"{reference} has several: {', '.join(names[:MAX_LISTED])}", f"understudy model import {names[0]}"
        )
    if not whole:
        raise ModelMissing(f"{found[0].reference}: {found[0].problem}", FIND)
    return whole[0]
