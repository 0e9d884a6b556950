"""An adapter as a GGUF file, which llama.cpp applies with `--lora`: the names and keys that its own converter gives.

GGUF 3 by its specification (ggml's `docs/gguf.md`): magic, version, counts; keys; tensor descriptions; then the data, each
tensor at a multiple of 32 bytes. Little-endian. Tensors are float32, as in `convert_lora_to_gguf.py`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from local_runtime.adapters.peft_folder import Floats, LowRanks
from local_runtime.errors import BadRequest
from local_runtime.model.decoder_config import DecoderConfig

FILE_NAME = "adapter.gguf"
ALIGNMENT = 32
_MAGIC, _VERSION = b"GGUF", 3
_UINT32, _FLOAT32, _STRING = 4, 6, 8
_F32 = 0
"""Both of ggml's tensor types and of llama.cpp's file types."""
_TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
"""llama.cpp's names of the linears of a layer, by Hugging Face's."""
_ARCHITECTURES = ("llama", "qwen2", "qwen3", "starcoder2")
"""Families that llama.cpp calls as we do, with the linears named above."""
_MODULE = re.compile(r"model\.layers\.(\d+)\.(.+)")


def write_gguf(
    low_ranks: LowRanks, config: DecoderConfig, path: Path, *, name: str, alpha: float, strength: float = 1.0
) -> None:
    """Write `path`. llama.cpp adds `alpha / rank * B A` to a linear; `strength` scales the alpha that is written.

    `alpha` is the adapter's own: with it, B is the B of a plain PEFT folder. Raises BadRequest for a family it has no names for.
    """
    if config.family not in _ARCHITECTURES:
        raise BadRequest(
            f"adapters of {config.family} models cannot be written as GGUF; {', '.join(_ARCHITECTURES)} ones can",
            "understudy adapter export NAME FOLDER --as peft",
        )
    keys: dict[str, str | int | float] = {
        "general.architecture": config.family,
        "general.type": "adapter",
        "general.name": name,
        "general.file_type": _F32,
        "adapter.type": "lora",
        "adapter.lora.alpha": alpha * strength,
    }
    tensors = dict(_tensors(low_ranks, config, alpha))
    head, offset = [_MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(keys))], 0
    head += [_string(key) + _value(value) for key, value in keys.items()]
    for tensor, values in tensors.items():
        # The fastest dimension comes first.
        dimensions = struct.pack(f"<I{values.ndim}Q", values.ndim, *reversed(values.shape))
        head.append(_string(tensor) + dimensions + struct.pack("<IQ", _F32, offset))
        offset += len(_padded(values.nbytes)) + values.nbytes
    with path.open("wb") as file:
        written = file.write(b"".join(head))
        file.write(_padded(written))
        for values in tensors.values():
            file.write(np.ascontiguousarray(values, "<f4").tobytes() + _padded(values.nbytes))


def _tensors(low_ranks: LowRanks, config: DecoderConfig, alpha: float) -> Iterator[tuple[str, Floats]]:
    for module, low_rank in low_ranks.items():
        match = _MODULE.fullmatch(module)
        tensor = _TENSORS.get(match[2]) if match else None
        if match is None or tensor is None:
            raise BadRequest(f"llama.cpp has no name for the linear {module}: the adapter cannot be written as GGUF")
        rank = low_rank.a.shape[0]
        b = low_rank.b * np.float32(rank / alpha)  # `LowRank` has the scale folded in; llama.cpp applies it
        if config.family == "llama" and tensor in ("attn_q", "attn_k"):
            b = _neighbours(b, config.n_heads if tensor == "attn_q" else config.n_kv_heads)
        yield f"blk.{match[1]}.{tensor}.weight.lora_a", low_rank.a
        yield f"blk.{match[1]}.{tensor}.weight.lora_b", b


def _neighbours(rows: Floats, n_heads: int) -> Floats:
    """Rows `[heads * size, rank]` reordered: llama.cpp rotates neighbours of a Llama's q and k, Hugging Face two halves."""
    size = rows.shape[0] // n_heads
    return rows.reshape(n_heads, 2, size // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    return struct.pack("<If", _FLOAT32, value)


def _padded(n_bytes: int) -> bytes:
    """Zeros up to the next multiple of the alignment."""
    return bytes(-n_bytes % ALIGNMENT)
