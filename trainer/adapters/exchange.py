"""Adapters out and in: as a PEFT folder, as GGUF, as merged weights that need no adapter, and anybody's PEFT LoRA of the same base."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from local_runtime.adapters.merged_weights import Progress, write_merged
from local_runtime.adapters.peft_config import parse_config
from local_runtime.adapters.peft_folder import CONFIG, check_fits, read_adapter, read_low_ranks
from local_runtime.adapters.shelf import PART
from local_runtime.client.wire import BASE
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import BadRequest, BuildFailed
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import folder
from trainer.adapters import files, gguf_lora
from trainer.adapters.kinship import check_base

_RESERVED = re.compile(r"personal-\d+|candidates|base", re.IGNORECASE)


def export_peft(adapter: Adapter, out: Path, strength: float = 1.0) -> None:
    """Write a PEFT folder into the new folder `out`. PEFT applies it with `strength`, which scales its alphas.

    Raises BadRequest if `out` is there already, or for a strength of 0 or less.
    """
    _check_strength(strength)
    with _new_folder(out) as building:
        files.copy_adapter(adapter.path, building / "copy")
        config = msgspec.json.decode((building / "copy" / CONFIG).read_bytes(), type=dict[str, object])
        alphas = msgspec.convert(config.get("alpha_pattern") or {}, dict[str, float])
        config["lora_alpha"] = msgspec.convert(config["lora_alpha"], float) * strength
        config["alpha_pattern"] = {module: alpha * strength for module, alpha in alphas.items()}
        (building / "copy" / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        for file in (building / "copy").iterdir():
            file.rename(building / file.name)
        (building / "copy").rmdir()


def export_merged(
    model: ModelFolder, adapter: Adapter, out: Path, strength: float = 1.0, *, dtype: str = "float16", progress: Progress | None = None
) -> None:  # fmt: skip
    """Write a Hugging Face folder into the new folder `out`: the served weights, de-quantised, plus what the adapter adds.

    Raises BadRequest, AdapterInvalid, BuildFailed. See `local_runtime.adapters.merged_weights`.
    """
    with _new_folder(out) as building:
        write_merged(model, adapter, building, strength, dtype=dtype, progress=progress)


def export_gguf(model: ModelFolder, adapter: Adapter, out: Path, strength: float = 1.0) -> None:
    """Write `adapter.gguf` into the new folder `out`, for llama.cpp with the same base as GGUF.

    Raises BadRequest for a strength of 0 or less and for a family that llama.cpp names otherwise, AdapterInvalid, BuildFailed.
    """
    _check_strength(strength)
    low_ranks = read_low_ranks(adapter)
    check_fits(adapter, low_ranks, model.config)
    alpha = parse_config((adapter.path / CONFIG).read_bytes(), adapter.path / CONFIG).lora_alpha
    with _new_folder(out) as building:
        gguf = building / gguf_lora.FILE_NAME
        gguf_lora.write_gguf(low_ranks, model.config, gguf, name=adapter.path.name, alpha=alpha, strength=strength)


def import_peft(source: Path, root: Path, model: ModelFolder, name: str | None = None) -> str:
    """Copy a PEFT LoRA into the adapters folder `root`, bound to `model`'s base; returns its name there.

    Raises AdapterInvalid if it is damaged, of a kind that is not served, or does not fit; BadRequest if the name is taken or none.
    """
    adapter = read_adapter(source)
    check_base(adapter, model)
    check_fits(adapter, read_low_ranks(adapter), model.config)
    name = name or re.sub(r"[^A-Za-z0-9._-]", "-", source.resolve().name).lstrip("._-")
    if not PART.fullmatch(name) or _RESERVED.fullmatch(name) or name == BASE:
        raise BadRequest(
            f"{name[:64]!r} cannot be the name of an imported adapter", "understudy adapter import DIR --name NAME"
        )
    if (root / name).exists():
        raise BadRequest(f"there is an adapter {name} already", "choose another --name")
    # It says no more of its base than the user does by importing it; from here on it is bound.
    files.copy_adapter(
        source, folder(root) / name, {"base_hash": model.base_hash, "imported_from": source.resolve().name}
    )
    return name


def _check_strength(strength: float) -> None:
    if strength <= 0:
        raise BadRequest(f"strength is {strength:g}: an adapter's alpha must be above 0")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` when the block ends well, and vanishes when it does not."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequest(f"{out} is there already", "choose a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=files.UNFINISHED, dir=out.parent))
    try:
        yield building
        building.rename(out)
    except OSError as problem:
        raise BuildFailed(f"{out} could not be written: {problem.strerror or problem}") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
