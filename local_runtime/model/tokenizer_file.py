"""Loads a `tokenizer.json` that somebody else wrote, and checks that it fits a vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import tokenizers

from local_runtime.errors import ModelInvalid
from local_runtime.model.json_file import decode_json, read_bytes

FILE_NAME = "tokenizer.json"
TOKENIZER_BYTES = 256 << 20


class Vocabulary(msgspec.Struct):
    """`model` of a `tokenizer.json`: ids by token, or for Unigram a list of tokens."""

    vocab: dict[str, int] | list[Any]


class AddedToken(msgspec.Struct):
    """A token that is no part of the learnt vocabulary."""

    id: int
    content: str


class TokenizerJson(msgspec.Struct):
    """The part of `tokenizer.json` that says which ids there are."""

    model: Vocabulary
    added_tokens: list[AddedToken] = []


def load_tokenizer(file: Path) -> tokenizers.Tokenizer:
    """The tokenizer. Raises ModelMissing, or ModelInvalid whatever the library makes of a hostile file."""
    return _load(read_bytes(file, limit_bytes=TOKENIZER_BYTES), file)


def check_tokenizer(file: Path, vocab_size: int) -> int:
    """Number of tokens. Raises ModelMissing, or ModelInvalid if it does not load or an id lies outside of the vocabulary."""
    return check_content(read_bytes(file, limit_bytes=TOKENIZER_BYTES), file, vocab_size)


def check_content(content: bytes, file: Path, vocab_size: int) -> int:
    """The same for the content of a `tokenizer.json` that comes from `file`."""
    found = decode_json(content, TokenizerJson, file)
    vocab = found.model.vocab
    ids = set(vocab.values()) if isinstance(vocab, dict) else set(range(len(vocab)))
    ids |= {token.id for token in found.added_tokens}
    if not ids:
        raise ModelInvalid(f"{file}: its vocabulary is empty")
    if min(ids) < 0 or max(ids) >= vocab_size:
        raise ModelInvalid(
            f"{file}: expected ids from 0 to {vocab_size - 1}, found {min(ids)} to {max(ids)}",
            "fetch config.json and tokenizer.json of the same model",
        )
    _load(content, file)
    return len(ids)


def _load(content: bytes, file: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_buffer(content)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # a panic of the library (a bad `Precompiled` normalizer) is not an Exception
        raise ModelInvalid(f"{file}: {str(problem)[:200]}", "fetch this file again") from None
