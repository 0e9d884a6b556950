"""A model with an adapter merged in, as a Hugging Face folder that any program that knows the model can run.

The served weights are de-quantised and the adapter's product is added to them. Whoever quantises the result again rounds
most of a small adapter away: see `README.md` on what merging costs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

from local_runtime.adapters.peft_folder import LowRanks, check_fits, read_low_ranks
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import BadRequest
from local_runtime.model.chat_config import TOKENIZER_FILES
from local_runtime.model.config_writing import huggingface_config
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}
_NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}

Progress = Callable[[int, int], None]
"""Bytes written, and bytes in all."""


def write_merged(
    model: ModelFolder,
    adapter: Adapter,
    out: Path,
    strength: float = 1.0,
    *,
    dtype: str = "float16",
    transformers: int = 5,
    progress: Progress | None = None,
) -> None:
    """Write weights, configuration and tokenizer into the folder `out`. Memory stays near the largest weight, in float32.

    `dtype` float16 keeps a night's small changes, which bfloat16 would round away; `transformers` (4 or 5) is whose spelling
    `config.json` follows. Raises BadRequest for a weight that does not fit into `dtype`, AdapterInvalid for an adapter that
    does not fit the model.
    """
    low_ranks = read_low_ranks(adapter)
    check_fits(adapter, low_ranks, model.config)
    tell = progress or (lambda _done, _all: None)
    _write_weights(out / "model.safetensors", model, low_ranks, strength, dtype=dtype, progress=tell)
    eos = model.eos_ids[0] if model.eos_ids else 0
    bos = model.bos_ids[0] if model.bos_ids else eos
    config = huggingface_config(model.config, dtype, bos_id=bos, eos_id=eos, transformers=transformers)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        if (model.path / name).is_file():
            shutil.copyfile(model.path / name, out / name)


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
