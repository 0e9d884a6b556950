"""The weights of a GGUF file under Hugging Face's names, a block of rows at a time, checked against a decoder.

llama.cpp's converter reorders the rows of q and k of `llama` and `granite` (`permute` in its `conversion/llama.py`): within a
head, row 2 j + i there is row i * (head_dim / 2) + j here. Whole rows move, so quantised ones can be put back as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES
from gguf.tensor_mapping import get_tensor_name_map

from local_runtime.errors import ModelInvalid
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.float_weights import blocks
from local_runtime.model.gguf.blocks import Array, Bytes, Grouped, bits_per_weight, is_readable, read_rows
from local_runtime.model.gguf.config import ROPE_FACTORS
from local_runtime.model.gguf.file import AGAIN, GgufFile, Tensor
from local_runtime.model.layout import Fused, Part, fused_tensors
from local_runtime.model.weights import Rows

EMBEDDING, HEAD = "token_embd.weight", "output.weight"
PERMUTED = ("llama", "granite")
VECTOR_KINDS = ("F32", "F16", "BF16")
SAMPLED_ROWS = 512


class GgufWeights:
    """Implements `local_runtime.model.weights.Weights` for a GGUF file."""

    def __init__(self, file: GgufFile, config: DecoderConfig) -> None:
        """Check that exactly the decoder's tensors are there, in shape, of kinds that can be read. Raises ModelInvalid."""
        self.file = file
        self.config = config
        names = get_tensor_name_map(_architecture(file), config.n_layers)
        left = dict(file.tensors)
        self._tensors: dict[str, Tensor] = {}
        for fused in fused_tensors(config):
            for part in fused.parts:
                name = names.get_name(part.name, try_suffixes=(".weight", ".bias"))
                if name is None or name not in file.tensors:
                    raise ModelInvalid(f"{file.path}: tensor {name or part.name} is missing", AGAIN)
                self._tensors[part.name] = tensor = file.tensors[name]
                left.pop(name, None)
                if tensor.shape != fused.part_shape(part):
                    expected, found = list(fused.part_shape(part)), list(tensor.shape)
                    raise ModelInvalid(f"{file.path}: {name}: expected shape {expected}, found {found}")
                is_vector = len(tensor.shape) == 1
                if not is_readable(tensor.kind) or (is_vector and tensor.kind.name not in VECTOR_KINDS):
                    raise ModelInvalid(f"{file.path}: {name}: weights of type {tensor.kind.name} cannot be read")
        left.pop(ROPE_FACTORS, None)
        if config.tied_embeddings and (head := left.pop(HEAD, None)) is not None:
            self._take_finer(head)
        for name in left:
            raise ModelInvalid(f"{file.path}: tensor {name} belongs to no such decoder")
        self.size_bytes = sum(
            self._tensors[part.name].n_bytes for fused in fused_tensors(config) for part in fused.parts
        )

    def blocks(self, fused: Fused) -> Iterator[Rows]:
        """The rows of one of MLC's fused tensors, block by block."""
        for part in fused.parts:
            tensor = self._tensors[part.name]
            head_rows = self._head_rows(part)
            for rows in blocks(tensor.n_rows // head_rows, 4 * head_rows * _n_columns(tensor)):
                first, n_rows = rows.start * head_rows, (rows.stop - rows.start) * head_rows
                raw = _unpermuted(tensor.read(first, n_rows), head_rows)
                values = read_rows(raw, tensor.kind)
                if len(fused.shape) == 1:
                    assert not isinstance(values, Grouped)
                    values = values.reshape(-1)
                begin = part.start + first
                yield Rows(slice(begin, begin + n_rows), values, raw.data)

    def digest_of(self, fused: Fused) -> hashlib._Hash:
        """A running hash that begins with what identifies a fused tensor; the caller adds the bytes of its blocks."""
        kinds = [self._tensors[part.name].kind.name for part in fused.parts]
        return hashlib.sha256(repr((fused.name, fused.shape, kinds)).encode())

    def kinds(self) -> dict[str, str]:
        """How each of Hugging Face's matrices is stored."""
        return {name: tensor.kind.name for name, tensor in self._tensors.items() if len(tensor.shape) == 2}

    def _take_finer(self, head: Tensor) -> None:
        """Keep the finer of two quantisations of the matrix that is both embedding and head."""
        if head.shape != self.file.tensors[EMBEDDING].shape or not is_readable(head.kind):
            raise ModelInvalid(f"{self.file.path}: {HEAD} is not the embedding's")
        for name, tensor in self._tensors.items():
            if tensor.name == EMBEDDING and bits_per_weight(head.kind) > bits_per_weight(tensor.kind):
                self._tensors[name] = head

    def _head_rows(self, part: Part) -> int:
        """How many rows must be read together: those of a head, where its rows were reordered."""
        name = part.name.rpartition(".")[0]
        is_permuted = self.file.architecture in PERMUTED and name.endswith(("q_proj", "k_proj"))
        return self.config.head_dim if is_permuted else 1


def is_tied(file: GgufFile) -> bool:
    """Whether the head is the embedding: there is none, or it differs from it by no more than their quantisation."""
    embedding, head = file.tensors.get(EMBEDDING), file.tensors.get(HEAD)
    if embedding is None or head is None:
        return head is None
    if (
        embedding.shape != head.shape
        or len(head.shape) != 2
        or not (is_readable(embedding.kind) and is_readable(head.kind))
    ):
        return False
    if embedding.kind == head.kind:
        step = max(1, head.n_rows // SAMPLED_ROWS)
        return all(np.array_equal(embedding.read(row, 1), head.read(row, 1)) for row in range(0, head.n_rows, step))
    difference = size = 0.0
    for row in range(0, head.n_rows, max(1, head.n_rows // SAMPLED_ROWS)):
        one, other = (_floats(read_rows(tensor.read(row, 1), tensor.kind)) for tensor in (embedding, head))
        difference += float(np.square(one - other).sum())
        size += float(np.square(other).sum())
    # Rounding to b bits costs about 1.4 / 2^b of a weight's size: 4.4 % with 5 bits. Another matrix differs by 100 % and more.
    coarser = min(bits_per_weight(embedding.kind), bits_per_weight(head.kind))
    return bool(size > 0 and difference < (4 / 2**coarser) ** 2 * size)


def _architecture(file: GgufFile) -> MODEL_ARCH:
    return next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == file.architecture)


def _n_columns(tensor: Tensor) -> int:
    return tensor.shape[1] if len(tensor.shape) == 2 else 1


def _floats(values: Array | Grouped) -> Array:
    return values.floats() if isinstance(values, Grouped) else values.astype(np.float32)


def _unpermuted(raw: Bytes, head_rows: int) -> Bytes:
    """Whole heads of rows `[heads * head_rows, row_bytes]` in Hugging Face's order."""
    if head_rows == 1:
        return raw
    heads = raw.reshape(-1, head_rows // 2, 2, raw.shape[1])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(raw.shape)
