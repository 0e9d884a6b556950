"""A PEFT LoRA folder as a value."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from local_runtime.engine import Adapter
from local_runtime.errors import AdapterInvalid

WEIGHTS = "adapter_model.safetensors"


class _Config(msgspec.Struct):
    r: Annotated[int, Meta(ge=1, le=1024)]
    target_modules: list[str] | str = []


class _Manifest(msgspec.Struct):
    base_hash: str = ""
    parent: str | None = None


def read_adapter(path: Path) -> Adapter:
    """Read config, manifest and the hash of the weights. Raises AdapterInvalid."""
    try:
        config = msgspec.json.decode((path / "adapter_config.json").read_bytes(), type=_Config)
        manifest_file = path / "manifest.json"
        manifest = (
            msgspec.json.decode(manifest_file.read_bytes(), type=_Manifest) if manifest_file.exists() else _Manifest()
        )
        digest = hashlib.sha256((path / "adapter_config.json").read_bytes())
        with (path / WEIGHTS).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except (OSError, msgspec.MsgspecError) as problem:
        raise AdapterInvalid(f"{path} is not an adapter: {problem}") from None
    targets = [config.target_modules] if isinstance(config.target_modules, str) else config.target_modules
    return Adapter(digest.hexdigest()[:32], manifest.base_hash, path, config.r, tuple(targets), manifest.parent)
