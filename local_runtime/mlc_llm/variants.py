"""What mlc_llm serves: the base, or the base with an adapter merged in and quantised again; each a folder in the cache.

The compiled library depends on the decoder's shape, the quantisation, the device and mlc_llm itself, never on the weights: it is
compiled once and serves every adapter.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import msgspec

from local_runtime.adapters.merged_weights import write_merged
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import BadRequest, BuildFailed
from local_runtime.mlc_llm.command import MlcCommand, Running
from local_runtime.model import chat_config
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.tensor_cache import FILE_NAMES
from local_runtime.places import folder, places

BASE = "base"
CONFIG = "mlc-chat-config.json"
KEEP_VARIANTS = 3
"""Folders of merged weights; each is as large as the model."""
_UNFINISHED = ".unfinished-"
LIBRARY = "model.dylib" if sys.platform == "darwin" else "model.so"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Variant:
    """The base (`adapter` None), or the base with so much of an adapter in its weights."""

    adapter: Adapter | None = None
    strength: float = 1.0

    @property
    def key(self) -> str:
        """The same for the same weights."""
        if self.adapter is None or self.strength == 0:
            return BASE
        return f"{self.adapter.id[:32]}-{self.strength:g}"


@dataclass(frozen=True, slots=True)
class Workshop:
    """What variants are made with."""

    model: ModelFolder
    command: MlcCommand
    running: Running
    say: Say
    """Told what is being done."""


def check_served(model: ModelFolder) -> None:
    """Raise BadRequest if mlc_llm cannot serve the folder."""
    reasons = chat_config.why_mlc_cannot_serve(model.config, model.quantization)
    if reasons:
        raise BadRequest(
            f"mlc_llm cannot serve {model.path.name}: {'; '.join(reasons)}",
            "understudy model import PATH --quantization q4f16_1",
        )


def ensure_library(shop: Workshop) -> Path:
    """The compiled library, compiled first if need be. Raises BuildFailed."""
    model, command = shop.model, shop.command
    made_of = (model.config.identity, model.config.context_tokens, model.quantization.name, command.identity)
    root = folder(places().cache / "mlc_llm" / "libraries")
    home = root / hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]
    with filelock.FileLock(root / ".lock"):
        if not (home / LIBRARY).is_file():
            shop.say("mlc_llm compiles its library, once for this model and device")
            with _new_folder(home) as building:
                shop.running.run(command.compile(model.path, building / LIBRARY), root / "compile.log")
                if not (building / LIBRARY).is_file():
                    raise BuildFailed(f"mlc_llm compile wrote no {LIBRARY}", f"less {root / 'compile.log'}")
    return home / LIBRARY


def ensure_folder(shop: Workshop, variant: Variant, stop_ids: Collection[int]) -> Path:
    """The folder that mlc_llm serves, merged and converted first if need be. Raises BuildFailed, AdapterInvalid, BadRequest.

    `stop_ids` end a completion: mlc_llm knows only those of the folder's configuration.
    """
    model = shop.model
    made_of = (model.base_hash, model.quantization.name, str(model.path), sorted(stop_ids), shop.command.identity)
    root = folder(places().cache / "mlc_llm" / "weights" / hashlib.sha256(repr(made_of).encode()).hexdigest()[:16])
    home = root / variant.key
    with filelock.FileLock(root / ".lock"):
        if not home.is_dir():
            with _new_folder(home) as building:
                if variant.adapter is None or variant.key == BASE:
                    _link(model, building)
                else:
                    _convert(shop, variant.adapter, variant.strength, building)
                _write_config(model, building, stop_ids)
        home.touch()
        _clear_old(root, home)
    return home


def _link(model: ModelFolder, building: Path) -> None:
    """The model's own files. An mlc_llm knows one name of the listing alone, by its age: it has both."""
    listing = next(name for name in FILE_NAMES if name in model.files)
    for name in model.files.union(FILE_NAMES):
        source = model.path / (listing if name in FILE_NAMES else name)
        if source.is_file():
            (building / name).symlink_to(source)


def _convert(shop: Workshop, adapter: Adapter, strength: float, building: Path) -> None:
    model, log = shop.model, building.parent / "convert.log"
    shop.say(f"merging {adapter.path.name} into the weights")
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=building.parent) as merged:
        write_merged(model, adapter, Path(merged), strength, transformers=4)  # the spelling that MLC reads
        shop.say(f"mlc_llm quantises the weights with {adapter.path.name}")
        shop.running.run(shop.command.convert_weight(Path(merged), model.quantization.name, building), log)
    if not any((building / name).is_file() for name in FILE_NAMES):
        raise BuildFailed("mlc_llm convert_weight wrote no weights", f"less {log}")
    for name in chat_config.TOKENIZER_FILES:
        if (model.path / name).is_file():
            shutil.copyfile(model.path / name, building / name)


def _write_config(model: ModelFolder, building: Path, stop_ids: Collection[int]) -> None:
    """The model's own configuration; its stop ids are those of the prompts that it will be given."""
    config: dict[str, Any] = msgspec.json.decode((model.path / CONFIG).read_bytes())
    template = config.get("conv_template")
    if isinstance(template, dict):
        config["conv_template"] = template | {"stop_token_ids": sorted(stop_ids)}
    (building / CONFIG).unlink(missing_ok=True)  # a link to the model's own
    (building / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2))


class _new_folder:
    """A folder that takes its place when the block ends well, and vanishes when it does not."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __enter__(self) -> Path:
        self._building = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._home.parent))
        return self._building

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._building.rename(self._home)
        else:
            shutil.rmtree(self._building, ignore_errors=True)


def _clear_old(root: Path, keep: Path) -> None:
    """Delete what a killed process left, and the merged weights used longest ago."""
    for left in root.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    variants = sorted((p for p in root.iterdir() if p.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in variants[KEEP_VARIANTS:]:
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)
