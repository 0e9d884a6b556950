"""Ollama's store: `manifests/HOST/OWNER/MODEL/TAG` name the files in `blobs` by their hashes (its `manifest` package)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from local_runtime.model.stores.local_model import LocalModel
from local_runtime.model.stores.walking import Told, files, printable, small

HOST, OWNER = "registry.ollama.ai", "library"
"""Left out of a name that its users write."""
LEVELS = 4
"""From `manifests` to a tag."""
MEDIA_TYPE = "application/vnd.ollama.image."
LICENCE_BYTES = 4096
LICENCES = {"Apache License": "Apache-2.0", "MIT License": "MIT", "Qwen RESEARCH": "Qwen Research"}


class Layer(msgspec.Struct):
    """One file of a model."""

    digest: str
    media_type: str = msgspec.field(default="", name="mediaType")


class Manifest(msgspec.Struct):
    """The files of a model."""

    layers: list[Layer] = []


def ollama(root: Path, told: Told) -> Iterator[LocalModel]:
    """Every tag of every model."""
    manifests = root / "manifests"
    for path in files(manifests, LEVELS, told):
        names = path.relative_to(manifests).parts
        if len(names) == LEVELS:
            yield _model(root, path, f"ollama:{_name(*names)}")


def _name(host: str, owner: str, model: str, tag: str) -> str:
    if host != HOST:
        return f"{host}/{owner}/{model}:{tag}"
    return f"{model}:{tag}" if owner == OWNER else f"{owner}/{model}:{tag}"


def _model(root: Path, path: Path, reference: str) -> LocalModel:
    try:
        layers = msgspec.json.decode(small(path), type=Manifest).layers
    except (OSError, ValueError, RecursionError) as fault:
        return LocalModel(reference, path, problem=f"its manifest cannot be read: {str(fault)[:100]}")
    digests = [layer.digest for layer in layers if layer.media_type == f"{MEDIA_TYPE}model"]
    others = {layer.media_type.removeprefix(MEDIA_TYPE): layer.digest for layer in layers}
    blob = _blob(root, digests[0]) if digests else None
    problem = ""
    if not digests:
        problem = "it is not kept as GGUF"
    elif len(digests) > 1:
        problem = f"it is kept in {len(digests)} files, which are not put together here"
    elif "adapter" in others:
        problem = "it is a model with an adapter, and the adapter would be lost"
    elif blob is None:
        problem = "its file is not there: its manifest has no valid hash"
    else:
        problem = _why_unreadable(blob)
    return LocalModel(reference, blob or path, "" if problem else _licence(root, others.get("license", "")), problem)


def _why_unreadable(blob: Path) -> str:
    try:
        return "" if blob.is_file() else "its file is not there: not yet whole, or removed"
    except OSError as problem:
        return f"its file cannot be read: {problem.strerror}"


def _blob(root: Path, digest: str) -> Path | None:
    """A layer's file; None for a name that is no hash."""
    match = re.fullmatch("sha256:([0-9a-f]{64})", digest)
    return root / "blobs" / f"sha256-{match[1]}" if match else None


def _licence(root: Path, digest: str) -> str:
    """What a licence's text is called, or its first line."""
    blob = _blob(root, digest)
    try:
        text = small(blob, LICENCE_BYTES).decode("utf-8", "replace") if blob else ""
    except OSError:
        return ""
    known = next((name for words, name in LICENCES.items() if words in text), None)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return known or printable(first[:100])
