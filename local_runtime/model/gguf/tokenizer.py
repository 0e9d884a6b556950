"""The tokenizer of a GGUF file, rebuilt from its metadata as Hugging Face's `tokenizer.json`.

Two kinds are known: byte-level BPE (`tokenizer.ggml.model` is `gpt2`), whose text is cut as `tokenizer.ggml.pre` says, and
SentencePiece's BPE (`llama`), whose merges follow from the pieces' scores. Keys and token types: the `gguf` package's `constants.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from gguf.constants import TokenType

from local_runtime.errors import ModelInvalid
from local_runtime.model.gguf.file import Value
from local_runtime.model.gguf.pre_tokenizers import PRE_TOKENIZERS
from local_runtime.prompts.families import FAMILIES, Family, recognise

MAX_TOKENS = 1 << 19
MAX_MERGES = 2 << 20
MAX_TOKEN_CHARS = 4096
MAX_PIECE_CHARS = 256
"""Of one piece of SentencePiece, which makes pieces of at most 16 unless it is told otherwise."""
MAX_PIECES_CHARS = 8 << 20
"""Of all pieces together: every way to part every piece is looked at. The largest vocabularies have 2 million."""
SPACE = "\u2581"
"""How SentencePiece writes a space."""
BYTE_CHARS = "".join(map(chr, (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))))
"""The alphabet of byte-level BPE: a character for each byte, those first that stand for themselves."""
PLAIN_CHARS = frozenset("Ġ" + "Ċ" + BYTE_CHARS[:94])
"""Space, end of line and the rest of ASCII that can be seen, in that alphabet: no text can be written without them."""
BOS = "bos_token_id"
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
FIM_ENDS = ("fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id")
FIM = (*FIM_ENDS, *(f"fim_{part}_token_id" for part in ("pre", "suf", "mid")))
CHAT_ENDS = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>")
"""Tokens that end a chat model's turn, whatever its file says of them."""

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
    """Where a text begins and where generation ends: what the file names first, then what its family ends with.

    Files often name one end where the model writes another: Qwen's say `<|im_end|>`, a middle ends with `<|endoftext|>`.
    Raises ModelInvalid for an id that is no token's, or that is plain text's.
    """
    keys = _Keys(metadata, where)
    kind = keys.text("model")
    control = _control(keys, _byte_level_learnt(keys) if kind == "gpt2" else _pieces(keys).__contains__)
    bos = keys.id(BOS)
    named = [found for key in ENDS if (found := keys.id(key)) is not None]
    spelled = [control[token] for token in _ends(keys.family) if token in control]
    fim = [found for key in FIM_ENDS if (found := keys.id(key)) is not None]
    return SpecialIds(() if bos is None else (bos,), tuple(dict.fromkeys((*named, *spelled, *fim))))


def _byte_level(keys: _Keys) -> dict[str, Any]:
    pre = keys.text("pre")
    cut = PRE_TOKENIZERS.get(pre)
    if cut is None:
        raise keys.wrong(
            "pre", f"is {pre[:40]!r}, a way to cut text that is not known; known are {', '.join(PRE_TOKENIZERS)}"
        )
    vocab, added = _vocabulary(keys, _byte_level_learnt(keys))
    apart = {one["content"] for one in added}
    if missing := PLAIN_CHARS - vocab.keys():
        raise keys.wrong("tokens", f"has none for {min(missing)!r}, so that it cannot write plain text")
    merges = []
    for merge in keys.array("merges", str, MAX_MERGES):
        pair = _halves(merge)
        if pair is None or pair[0] not in vocab or pair[1] not in vocab or "".join(pair) not in vocab:
            raise keys.wrong("merges", f"has {merge[:80]!r}, which does not join two tokens to a third")
        if apart.isdisjoint((*pair, "".join(pair))):
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
    pieces = _pieces(keys)
    vocab, added = _vocabulary(keys, pieces.__contains__)
    for one in added:
        pieces.pop(one["content"], None)
    scores = keys.array("scores", float, MAX_TOKENS)
    if len(scores) != len(keys.tokens):
        raise keys.wrong("scores", f"has {len(scores)} entries for {len(keys.tokens)} tokens")
    if not all(map(math.isfinite, scores)):
        raise keys.wrong("scores", "has one that is not finite")
    unknown = [token for token, its in zip(keys.tokens, keys.types, strict=True) if its == TokenType.UNKNOWN]
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
            "merges": _merges(keys, pieces, scores),
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


def _vocabulary(keys: _Keys, is_learnt: Callable[[str], bool]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """All tokens, and those of them that merges never make: control tokens, which no text becomes, and user-defined ones.

    A token that is added must be in the vocabulary, too: else the library gives it the next free id instead of its own.
    """
    control = _control(keys, is_learnt)
    vocab: dict[str, int] = {}
    added: list[dict[str, Any]] = []
    for number, (token, kind) in enumerate(zip(keys.tokens, keys.types, strict=True)):
        is_control = token in control
        if is_control or kind == TokenType.USER_DEFINED:
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            added.append({"id": number, "content": token, "special": is_control, **flags})
        if is_control or kind != TokenType.UNUSED:
            vocab[token] = number
    return vocab, added


def _control(keys: _Keys, is_learnt: Callable[[str], bool]) -> dict[str, int]:
    """The tokens that no text may become, with their ids: those that the file calls so, its keys name, or its family knows.

    Many files call the sentinels of their own family, or the end of a turn, normal or user-defined. But what the vocabulary has
    learnt as text stays text: raises ModelInvalid if a key says that such a token ends generation or fills in the middle.
    """
    sentinels = {*keys.family.sentinels, *keys.family.stops} if keys.family else set()
    ends = _ends(keys.family)
    named = {number: name for name in keys.token_id_names() if (number := keys.id(name)) is not None}
    control: dict[str, int] = {}
    for number, (token, kind) in enumerate(zip(keys.tokens, keys.types, strict=True)):
        is_marked = kind in (TokenType.CONTROL, TokenType.UNKNOWN) or token in sentinels
        if not is_marked and (number in named or token in ends):
            is_marked = kind != TokenType.NORMAL or not is_learnt(token)
            if not is_marked and named.get(number) in (*ENDS, *FIM):
                raise keys.wrong(named[number], f"is {number}, which is the plain text {token[:40]!r}")
        if is_marked:
            control[token] = number
    return control


def _ends(family: Family | None) -> dict[str, None]:
    """Tokens after which nothing more is wanted, the family's own first; an ordered set."""
    own = (family.end, *family.stops, *family.sentinels) if family else ()
    return dict.fromkeys((*own, *(one.end for one in FAMILIES), *CHAT_ENDS))


def _byte_level_learnt(keys: _Keys) -> Callable[[str], bool]:
    """Whether merges make a token, or it is a byte's."""
    pairs = map(_halves, keys.array("merges", str, MAX_MERGES))
    return {*BYTE_CHARS, *("".join(pair) for pair in pairs if pair)}.__contains__


def _pieces(keys: _Keys) -> dict[str, int]:
    """SentencePiece's normal pieces that text can become, with their ids: single characters, and those that two others make."""
    normal = {
        token: number
        for number, (token, kind) in enumerate(zip(keys.tokens, keys.types, strict=True))
        if kind == TokenType.NORMAL
    }
    if max(map(len, normal), default=0) > MAX_PIECE_CHARS:
        raise keys.wrong("tokens", f"has a piece of more than {MAX_PIECE_CHARS} characters")
    if sum(map(len, normal)) > MAX_PIECES_CHARS:
        raise keys.wrong("tokens", f"has pieces of more than {MAX_PIECES_CHARS:,} characters together")
    return {token: i for token, i in normal.items() if len(token) == 1 or any(_partings(token, normal))}


def _halves(merge: str) -> tuple[str, str] | None:
    # The first half may begin with a space where the vocabulary spells spaces as they are.
    at = merge.find(" ", 1)
    return (merge[:at], merge[at + 1 :]) if at > 0 else None


def _merges(keys: _Keys, pieces: Mapping[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """All pairs of pieces that make a piece, the best piece first: SentencePiece joins whichever pair has the best score."""
    found: list[tuple[float, int, int, tuple[str, str]]] = []
    for piece, number in pieces.items():
        found += ((-scores[number], number, pieces[a], (a, b)) for a, b in _partings(piece, pieces))
        if len(found) > MAX_MERGES:
            raise keys.wrong("tokens", f"has pieces that come together in more than {MAX_MERGES:,} ways")
    found.sort()
    return [pair for *_, pair in found]


def _partings(piece: str, pieces: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    pairs = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
    return ((a, b) for a, b in pairs if a in pieces and b in pieces)


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

    def token_id_names(self) -> list[str]:
        """All keys that name a token: `eos_token_id`, `padding_token_id`, …"""
        begin = _key("")
        return [key.removeprefix(begin) for key in self.metadata if key.startswith(begin) and key.endswith("_token_id")]

    def id(self, name: str) -> int | None:
        found = self.metadata.get(_key(name))
        if found is None:
            return None
        n_tokens = len(self.tokens)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < n_tokens:
            raise self.wrong(name, f"is {str(found)[:40]}; expected an id from 0 to {n_tokens - 1}")
        return found

    @cached_property
    def family(self) -> Family | None:
        """What fills in the middle with this vocabulary."""
        return recognise(set(self.tokens).__contains__)

    @cached_property
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

    @cached_property
    def types(self) -> list[int]:
        n_tokens = len(self.tokens)
        if _key("token_type") not in self.metadata:
            return [TokenType.NORMAL] * n_tokens
        found = self.array("token_type", int, MAX_TOKENS)
        if len(found) != n_tokens:
            raise self.wrong("token_type", f"has {len(found)} entries for {n_tokens} tokens")
        if odd := set(found) - set(TokenType):
            raise self.wrong("token_type", f"has {min(odd)}; expected 1 to {len(TokenType)}")
        return found
