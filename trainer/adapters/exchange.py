"""Adapters out and in: as a PEFT folder, as merged weights that need no adapter, and anybody's PEFT LoRA of the same base."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import msgspec
import numpy as np

from local_runtime.compiled.peft_folder import CONFIG, LowRanks, check_fits, read_adapter, read_low_ranks
from local_runtime.daemon.adapter_shelf import PART
from local_runtime.daemon.wire import BASE
from local_runtime.engine import Adapter
from local_runtime.errors import AdapterInvalid, BadRequest, BuildFailed
from local_runtime.model.chat_config import TOKENIZER_FILES
from local_runtime.model.config_writing import huggingface_config
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import folder
from trainer.adapters import files

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}
_NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
_RESERVED = re.compile(r"personal-\d+|candidates|base", re.IGNORECASE)

Progress = Callable[[int, int], None]
"""Bytes written, and bytes in all."""


def export_peft(adapter: Adapter, out: Path, strength: float = 1.0) -> None:
    """Write a PEFT folder into the new folder `out`. PEFT applies it with `strength`, which scales its alphas.

    Raises BadRequest if `out` is there already, or for a strength of 0 or less.
    """
    if strength <= 0:
        raise BadRequest(f"strength is {strength:g}: PEFT's alpha must be above 0")
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

    Any program that knows the model can run it. Memory stays near the largest weight, in float32. `dtype` float16 keeps a
    night's small changes, which bfloat16 would round away. Raises BadRequest, AdapterInvalid, BuildFailed.
    """
    low_ranks = read_low_ranks(adapter)
    check_fits(adapter, low_ranks, model.config)
    with _new_folder(out) as building:
        tell = progress or (lambda _done, _all: None)
        _write_weights(building / "model.safetensors", model, low_ranks, strength, dtype=dtype, progress=tell)
        eos = model.eos_ids[0] if model.eos_ids else 0
        bos = model.bos_ids[0] if model.bos_ids else eos
        config = huggingface_config(model.config, dtype, bos_id=bos, eos_id=eos)
        (building / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        for name in TOKENIZER_FILES:
            if (model.path / name).is_file():
                shutil.copyfile(model.path / name, building / name)


def import_peft(source: Path, root: Path, model: ModelFolder, name: str | None = None) -> str:
    """Copy a PEFT LoRA into the adapters folder `root`, bound to `model`'s base; returns its name there.

    Raises AdapterInvalid if it is damaged, of a kind that is not served, or does not fit; BadRequest if the name is taken or none.
    """
    adapter = read_adapter(source)
    if adapter.base_hash and adapter.base_hash != model.base_hash:
        raise AdapterInvalid(
            f"{source} was made for base {adapter.base_hash[:12]}; {model.path.name} is base {model.base_hash[:12]}"
        )
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


def _write_weights(
    file: Path, model: ModelFolder, low_ranks: LowRanks, strength: float, *, dtype: str, progress: Progress
) -> None:
    """A safetensors file (8 bytes of header length, a JSON header, the data), tensor by tensor."""
    shapes = {part.name: fused.part_shape(part) for fused in fused_tensors(model.config) for part in fused.parts}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + int(np.prod(shape)) * DTYPES[dtype].itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    n_done = 0
    with file.open("wb") as opened:
        opened.write(len(head).to_bytes(8, "little") + head)
        for name in shapes:
            weight = model.dequantized(name)
            low_rank = low_ranks.get(name.removesuffix(".weight"))
            if low_rank is not None:
                weight = weight + np.float32(strength) * (low_rank.b @ low_rank.a)
            with np.errstate(over="ignore"):  # looked for below
                data = weight.astype(DTYPES[dtype])
            if not np.isfinite(data).all():
                raise BadRequest(f"{name} does not fit into {dtype}", "choose --dtype float32")
            opened.write(data.tobytes())
            n_done += data.nbytes
            progress(n_done, end)


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
