"""Several adapters as one: their low-rank matrices side by side, up to the rank limit (PEFT's `cat` combination).

The mix is a PEFT folder in the cache, named by its parts: an adapter like any other, deleted freely.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from local_runtime.adapters.peft_config import MAX_RANK
from local_runtime.adapters.peft_folder import CONFIG, MANIFEST, WEIGHTS, LowRanks, read_adapter, read_low_ranks
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid, BadRequest
from local_runtime.places import folder, places

MAX_WEIGHT = 2.0


def mix_adapters(parts: Sequence[tuple[Adapter, float]]) -> Adapter:
    """An adapter that adds `weight` times what each part adds. Raises AdapterInvalid if they do not fit together."""
    if not parts or not all(math.isfinite(weight) and 0 <= weight <= MAX_WEIGHT for _, weight in parts):
        raise BadRequest(f"a mix needs adapters with weights between 0 and {MAX_WEIGHT:g}")
    bases = {adapter.base_hash for adapter, _ in parts if adapter.base_hash}
    if len(bases) > 1:
        raise AdapterInvalid("the adapters were made for different bases: " + ", ".join(sorted(b[:12] for b in bases)))
    rank = sum(adapter.rank for adapter, _ in parts)
    if rank > MAX_RANK:
        ranks = " + ".join(str(adapter.rank) for adapter, _ in parts)
        raise AdapterInvalid(f"the mix would have rank {ranks} = {rank}; at most {MAX_RANK} is served")
    recipe = hashlib.sha256(repr([(adapter.id, float(weight)) for adapter, weight in parts]).encode()).hexdigest()
    path = places().cache / "mixes" / recipe
    if not path.exists():
        _write(path, parts, rank, next(iter(bases), ""))
    return read_adapter(path)


def _write(path: Path, parts: Sequence[tuple[Adapter, float]], rank: int, base_hash: str) -> None:
    """Write the folder beside its place, then rename it."""
    low_ranks = [(read_low_ranks(adapter), np.float32(weight)) for adapter, weight in parts]
    modules = sorted({module for part, _ in low_ranks for module in part})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"}
    config |= {"target_modules": sorted({module.rpartition(".")[2] for module in modules})}
    manifest = {
        "base_hash": base_hash,
        "parts": [{"adapter": adapter.id, "weight": weight} for adapter, weight in parts],
    }
    building = Path(tempfile.mkdtemp(prefix=".mix-", dir=folder(path.parent)))
    try:
        safetensors.numpy.save_file(_tensors(modules, low_ranks, rank), building / WEIGHTS)
        (building / CONFIG).write_text(json.dumps(config, indent=1))
        (building / MANIFEST).write_text(json.dumps(manifest, indent=1))
        building.rename(path)
    except FileExistsError:
        pass  # another process made the same mix
    except OSError as problem:
        if not path.exists():
            raise AdapterInvalid(f"the mix cannot be written to {path}: {problem.strerror}") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _tensors(modules: list[str], parts: list[tuple[LowRanks, np.float32]], rank: int) -> dict[str, np.ndarray]:
    """A's stacked, weighted B's side by side; what a part lacks, and what is left of `rank`, is zero."""
    tensors: dict[str, np.ndarray] = {}
    for module in modules:
        there = [(part[module], weight) for part, weight in parts if module in part]
        a = np.concatenate([low_rank.a for low_rank, _ in there])
        b = np.concatenate([low_rank.b * weight for low_rank, weight in there], axis=1)
        missing = rank - len(a)
        tensors[f"base_model.model.{module}.lora_A.weight"] = np.pad(a, ((0, missing), (0, 0)))
        tensors[f"base_model.model.{module}.lora_B.weight"] = np.pad(b, ((0, 0), (0, missing)))
    return tensors
