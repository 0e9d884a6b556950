"""The bytes behind each token id: what the detokenizer appends and token healing compares.

Working on bytes avoids every rule a tokenizer's own decoder applies to the beginning of a text (stripped spaces, merged
replacement characters): a completion continues a text, so each token stands for the same bytes wherever it comes.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from local_runtime.errors import ModelInvalid, ModelMissing

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """Bytes of every token; special tokens have none, so they never become text."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self.token_bytes = tuple(token_bytes)

    def __len__(self) -> int:
        return len(self.token_bytes)

    @classmethod
    def of_bytes(cls, size: int = 256) -> Vocabulary:
        """A tokenizer-free vocabulary: ids 0 to 255 are bytes, the others are special."""
        return cls([bytes([i]) if i < 256 else b"" for i in range(size)])

    @classmethod
    def read(cls, folder: Path, vocab_size: int) -> Vocabulary:
        """Read `tokenizer.json` of a model folder. Raises ModelMissing, or ModelInvalid if it does not fit `vocab_size`."""
        path = folder / "tokenizer.json"
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise ModelMissing(f"{path} is missing", f"understudy model import <folder> --name {folder.name}") from None
        except ValueError as problem:
            raise ModelInvalid(f"{path} is not JSON: {problem}") from problem
        try:
            tokens = _tokens(document)
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            raise ModelInvalid(f"{path} is not a tokenizer of a known kind: {problem!r}") from problem
        highest = max(tokens, default=-1)
        if highest >= vocab_size:
            raise ModelInvalid(f"{path} has token id {highest}, but the model's vocabulary has {vocab_size} entries")
        return cls([tokens.get(i, b"") for i in range(vocab_size)])

    @cached_property
    def _sorted(self) -> list[tuple[bytes, int]]:
        return sorted((token, i) for i, token in enumerate(self.token_bytes) if token)

    def compatible(self, wanted: bytes) -> NDArray[np.int64]:
        """Ids of all tokens that are a beginning of `wanted`, or begin with it: what may come when `wanted` must."""
        found = [i for token, i in self._range(wanted)]
        for length in range(1, len(wanted)):
            found += [i for token, i in self._range(wanted[:length]) if len(token) == length]
        return np.array(sorted(found), np.int64)

    def _range(self, start: bytes) -> list[tuple[bytes, int]]:
        """All (bytes, id) whose bytes begin with `start`."""
        low = high = bisect_left(self._sorted, (start, -1))
        while high < len(self._sorted) and self._sorted[high][0].startswith(start):
            high += 1
        return self._sorted[low:high]


def _tokens(document: dict[str, Any]) -> dict[int, bytes]:
    """Token id → bytes, from the parsed `tokenizer.json` (BPE, byte-level or with byte fallback; Unigram)."""
    model = document["model"]
    vocab = model["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else ((entry[0], i) for i, entry in enumerate(vocab))
    to_bytes = _from_byte_level if "ByteLevel" in json.dumps(document.get("decoder")) else _from_pieces
    tokens = {int(i): to_bytes(token) for token, i in pairs}
    for added in document.get("added_tokens") or ():
        tokens[int(added["id"])] = b"" if added.get("special") else str(added["content"]).encode()
    return tokens


def _from_byte_level(token: str) -> bytes:
    """GPT-2's printable alphabet back to bytes (`bytes_to_unicode` of its encoder.py)."""
    table = _byte_level_alphabet()
    return b"".join(bytes([table[c]]) if c in table else c.encode() for c in token)


@cache
def _byte_level_alphabet() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(hidden)}


def _from_pieces(token: str) -> bytes:
    """SentencePiece: `▁` is a space, `<0xNN>` a byte."""
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()
