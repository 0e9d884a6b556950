"""The tokenizer of a GGUF file, rebuilt from its metadata as Hugging Face's `tokenizer.json`.

Two kinds are known: byte-level BPE (`tokenizer.ggml.model` is `gpt2`), whose text is cut as `tokenizer.ggml.pre` says, and
SentencePiece's BPE (`llama`), whose merges follow from the pieces' scores. Keys and token types: the `gguf` package's `constants.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gguf.constants import TokenType

from local_runtime.errors import ModelInvalid
from local_runtime.fim_families import recognise
from local_runtime.model.gguf.file import Value
from local_runtime.model.gguf.pre_tokenizers import PRE_TOKENIZERS

MAX_TOKENS = 1 << 20
MAX_MERGES = 4 << 20
MAX_TOKEN_CHARS = 4096
SPACE = "\u2581"
"""How SentencePiece writes a space."""
BOS = "bos_token_id"
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
NAMED = (BOS, *ENDS, *(f"fim_{part}_token_id" for part in ("pre", "suf", "mid", "pad", "rep", "sep")))
"""Keys below `tokenizer.ggml.` that name a control token."""

T = TypeVar("T", int, float, str)


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids with a meaning."""

    bos_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]


def tokenizer_json(metadata: Mapping[str, Value], where: Path) -> dict[str, Any]:
    """The content of `tokenizer.json`. Raises ModelInvalid, naming the key that is missing or wrong."""
    keys = _Keys(metadata, where)
    kind = keys.text("model")
    if kind == "gpt2":
        return _byte_level(keys)
    if kind == "llama":
        return _sentence_piece(keys)
    raise keys.wrong("model", f"is {kind[:40]!r}; known are gpt2 and llama")


def special_ids(metadata: Mapping[str, Value], where: Path) -> SpecialIds:
    """Where a text begins and where generation ends. Raises ModelInvalid for an id that is no token's."""
    keys = _Keys(metadata, where)
    n_tokens = len(keys.tokens())
    bos = keys.id(BOS, n_tokens)
    ends = [found for key in ENDS if (found := keys.id(key, n_tokens)) is not None]
    return SpecialIds(() if bos is None else (bos,), tuple(dict.fromkeys(ends)))


def _byte_level(keys: _Keys) -> dict[str, Any]:
    pre = keys.text("pre")
    cut = PRE_TOKENIZERS.get(pre)
    if cut is None:
        raise keys.wrong(
            "pre", f"is {pre[:40]!r}, a way to cut text that is not known; known are {', '.join(PRE_TOKENIZERS)}"
        )
    vocab, added = _vocabulary(keys)
    text = _without(vocab, added)
    merges = []
    for merge in keys.array("merges", str, MAX_MERGES):
        pair = _halves(merge)
        if pair is None or pair[0] not in text or pair[1] not in text or "".join(pair) not in text:
            raise keys.wrong("merges", f"has {merge[:80]!r}, which does not join two tokens to a third")
        merges.append(pair)
    splits = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in cut.patterns
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return _document(
        added,
        {"vocab": vocab, "merges": merges, "ignore_merges": cut.whole_words},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [*splits, byte_level]},
        decoder=byte_level,
    )


def _sentence_piece(keys: _Keys) -> dict[str, Any]:
    vocab, added = _vocabulary(keys)
    scores = keys.array("scores", float, MAX_TOKENS)
    if len(scores) != len(keys.tokens()):
        raise keys.wrong("scores", f"has {len(scores)} entries for {len(keys.tokens())} tokens")
    if not all(map(math.isfinite, scores)):
        raise keys.wrong("scores", "has one that is not finite")
    unknown = [token for token, its in zip(keys.tokens(), keys.types(), strict=True) if its == TokenType.UNKNOWN]
    has_bytes = all(f"<0x{byte:02X}>" in vocab for byte in range(256))
    if not has_bytes and not unknown:
        raise keys.wrong("tokens", "has neither a token for every byte nor one for what is unknown")
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    leads = keys.flag("add_space_prefix", default=True)
    steps = [{"type": "Prepend", "prepend": SPACE}, replace] if leads else [replace]
    back = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if leads else []),
    ]
    return _document(
        added,
        {
            "vocab": vocab,
            "merges": _merges(_without(vocab, added), scores),
            "unk_token": unknown[0] if unknown else None,
            "fuse_unk": True,
            "byte_fallback": has_bytes,
        },
        normalizer={"type": "Sequence", "normalizers": steps},
        decoder={"type": "Sequence", "decoders": back},
    )


def _document(added: list[dict[str, Any]], model: dict[str, Any], **steps: Any) -> dict[str, Any]:
    bpe = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    around = {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return head | around | steps | {"model": bpe | model}


def _vocabulary(keys: _Keys) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """All tokens, and those of them that merges never make: control tokens, which no text becomes, and user-defined ones.

    Many files call the sentinels of their own family normal tokens. A token that is added must be in the vocabulary, too: else the
    library gives it the next free id instead of its own.
    """
    tokens, types = keys.tokens(), keys.types()
    named = {keys.id(key, len(tokens)) for key in NAMED}
    family = recognise(set(tokens).__contains__)
    sentinels = {*family.sentinels, *family.stops} if family else set()
    vocab: dict[str, int] = {}
    added: list[dict[str, Any]] = []
    for number, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        is_control = kind == TokenType.CONTROL or token in sentinels or number in named
        if is_control or kind == TokenType.USER_DEFINED:
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            added.append({"id": number, "content": token, "special": is_control, **flags})
        if is_control or kind != TokenType.UNUSED:
            vocab[token] = number
    return vocab, added


def _without(vocab: Mapping[str, int], added: list[dict[str, Any]]) -> dict[str, int]:
    apart = {one["content"] for one in added}
    return {token: number for token, number in vocab.items() if token not in apart}


def _halves(merge: str) -> tuple[str, str] | None:
    # The first half may begin with a space where the vocabulary spells spaces as they are.
    at = merge.find(" ", 1)
    return (merge[:at], merge[at + 1 :]) if at > 0 else None


def _merges(vocab: Mapping[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """All pairs of pieces that make a piece, the best piece first: SentencePiece joins whichever pair has the best score."""
    found = [(-scores[number], parts) for piece, number in vocab.items() for parts in _partings(piece, vocab)]
    found.sort(key=lambda one: one[0])
    return [parts for _, parts in found]


def _partings(piece: str, vocab: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    pairs = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
    yield from sorted((p for p in pairs if p[0] in vocab and p[1] in vocab), key=lambda p: (vocab[p[0]], vocab[p[1]]))


def _key(name: str) -> str:
    return f"tokenizer.ggml.{name}"


class _Keys:
    """The keys below `tokenizer.ggml.`, checked."""

    def __init__(self, metadata: Mapping[str, Value], where: Path) -> None:
        self.metadata = metadata
        self._where = where

    def wrong(self, name: str, problem: str) -> ModelInvalid:
        return ModelInvalid(f"{self._where}: {_key(name)} {problem}")

    def text(self, name: str) -> str:
        found = self.metadata.get(_key(name))
        if not isinstance(found, str):
            raise self.wrong(name, "is missing" if found is None else f"is no text but {type(found).__name__}")
        return found

    def flag(self, name: str, *, default: bool) -> bool:
        found = self.metadata.get(_key(name), default)
        if not isinstance(found, bool):
            raise self.wrong(name, f"is neither true nor false but {type(found).__name__}")
        return found

    def array(self, name: str, kind: type[T], at_most: int) -> list[T]:
        found = self.metadata.get(_key(name))
        if not isinstance(found, list):
            raise self.wrong(name, "is missing" if found is None else f"is no list but {type(found).__name__}")
        if len(found) > at_most:
            raise self.wrong(name, f"has {len(found):,} entries; expected at most {at_most:,}")
        # bool is an int to Python, and an array of a file has one type.
        if found and (not isinstance(found[0], kind) or isinstance(found[0], bool)):
            raise self.wrong(name, f"is a list of {type(found[0]).__name__}; expected {kind.__name__}")
        return found

    def id(self, name: str, n_tokens: int) -> int | None:
        found = self.metadata.get(_key(name))
        if found is None:
            return None
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < n_tokens:
            raise self.wrong(name, f"is {str(found)[:40]}; expected an id from 0 to {n_tokens - 1}")
        return found

    def tokens(self) -> list[str]:
        found = self.array("tokens", str, MAX_TOKENS)
        if not found:
            raise self.wrong("tokens", "is empty")
        if max(map(len, found)) > MAX_TOKEN_CHARS:
            raise self.wrong("tokens", f"has one of more than {MAX_TOKEN_CHARS} characters")
        if len(set(found)) < len(found):
            twice = next(token for token, n in Counter(found).items() if n > 1)
            raise self.wrong("tokens", f"has {twice[:40]!r} twice")
        return found

    def types(self) -> list[int]:
        n_tokens = len(self.tokens())
        if _key("token_type") not in self.metadata:
            return [TokenType.NORMAL] * n_tokens
        found = self.array("token_type", int, MAX_TOKENS)
        if len(found) != n_tokens:
            raise self.wrong("token_type", f"has {len(found)} entries for {n_tokens} tokens")
        return found
