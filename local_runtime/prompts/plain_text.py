"""A tokenizer for other people's text: no text, whatever it contains, becomes a control token.

`tokenizer.json` comes from a stranger's folder. It is read with a size bound and corrected before it is used: every control
token is marked special, so that `encode_special_tokens` keeps text from matching it, and the space that SentencePiece puts
before a text is taken out, since we encode pieces of a file, not whole texts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from local_runtime.errors import ModelInvalid, ModelMissing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENIZER_BYTES = 64 << 20
_CACHED_PIECES = 1024
_CACHED_CHARS = 2048
# Control tokens by their looks: `<|x|>`, `<｜x｜>`, `<[x]>`, `<fim_x>`. Some folders forget to mark them as special.
_CONTROL = re.compile(r"<\|.+\|>|<｜.+｜>|<\[.+\]>|<fim[_-]\w+>")


class PlainText:
    """Text to token ids, none of which is a control token."""

    def __init__(self, path: Path, tokenizer: Tokenizer) -> None:
        self._path = path
        self._tokenizer = tokenizer
        self._control = frozenset(i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special)
        self._cached = functools.lru_cache(_CACHED_PIECES)(self._encode)

    @classmethod
    def open(cls, folder: Path, control: Iterable[str]) -> PlainText:
        """Open `tokenizer.json` of a model folder; `control` are the tokens that text must never become.

        Raises ModelMissing, or ModelInvalid when the file is too large, not a tokenizer, or hostile.
        """
        path = folder / "tokenizer.json"
        remedy = f"understudy model import <folder> --name {folder.name}"
        try:
            size = path.stat().st_size
            if size > MAX_TOKENIZER_BYTES:
                raise ModelInvalid(f"{path} has {size} bytes; expected at most {MAX_TOKENIZER_BYTES}", remedy)
            document = msgspec.json.decode(path.read_bytes())
        except FileNotFoundError:
            raise ModelMissing(f"{path} is missing", remedy) from None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise ModelInvalid(f"{path} is not a tokenizer file: {problem}", remedy) from problem
        try:
            _mark_special(document, frozenset(control))
            _drop_leading_space(document)
        except (AttributeError, KeyError, TypeError, RecursionError) as problem:
            raise ModelInvalid(f"{path} is not a tokenizer of a known kind: {problem!r}", remedy) from problem
        return cls(path, _load(path, document, remedy))

    def has(self, token: str) -> bool:
        """Whether the vocabulary has this very token."""
        return self._tokenizer.token_to_id(token) is not None

    def has_control(self, token: str) -> bool:
        """Whether it has this token, and no text can become it."""
        return self._tokenizer.token_to_id(token) in self._control

    def control_id(self, token: str) -> int:
        """The single id of a control token. Raises ModelInvalid unless string and id stand for each other."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ModelInvalid(f"{self._path} has no token {token!r}", "choose a model trained to fill in the middle")
        if self._tokenizer.id_to_token(found) != token or found not in self._control:
            raise ModelInvalid(
                f"{self._path}: token {token!r} (id {found}) is not a control token of its own; expected it among added_tokens",
                "download the model's tokenizer.json again",
            )
        return found

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of `text`, remembered for pieces that come again. Never raises, never a control token."""
        return self._cached(text) if len(text) <= _CACHED_CHARS else self._encode(text)

    def _encode(self, text: str) -> tuple[int, ...]:
        ids = self._raw(text)
        if self._control.isdisjoint(ids):
            return ids
        # The tokenizer's own rules made a control token of it (a merge, a normaliser): one character cannot be one.
        return tuple(i for character in text for i in self._raw(character) if i not in self._control)

    def _raw(self, text: str) -> tuple[int, ...]:
        try:
            return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        except TypeError:  # half of a surrogate pair, which editors can send, is no text to the library
            clean = text.encode("utf-8", "replace").decode()
            return tuple(self._tokenizer.encode(clean, add_special_tokens=False).ids)


def _load(path: Path, document: dict[str, Any], remedy: str) -> Tokenizer:
    from tokenizers import Tokenizer  # noqa: PLC0415  the caller may only want the types of this package

    try:
        tokenizer = Tokenizer.from_buffer(msgspec.json.encode(document))
        tokenizer.encode("probe", add_special_tokens=False)
    except BaseException as problem:  # a panic inside the library is no Exception
        if isinstance(problem, KeyboardInterrupt | SystemExit):
            raise
        raise ModelInvalid(f"{path} is not a tokenizer of a known kind: {str(problem)[:200]}", remedy) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _mark_special(document: dict[str, Any], control: frozenset[str]) -> None:
    """Qwen's folders say `special: false` of their own sentinels, and text would then match them."""
    for token in document.get("added_tokens") or ():
        content = str(token["content"])
        if content in control or (len(content) > 1 and _CONTROL.fullmatch(content)):
            token["special"] = True


def _drop_leading_space(document: dict[str, Any]) -> None:
    for part in _parts(document.get("normalizer"), "normalizers") + _parts(
        document.get("pre_tokenizer"), "pretokenizers"
    ):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
            part.pop("add_prefix_space", None)
        elif part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
        elif part["type"] == "Prepend":
            part["prepend"] = ""


def _parts(component: dict[str, Any] | None, members: str) -> list[dict[str, Any]]:
    """A normaliser or pre-tokeniser as the flat list of its steps."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    return [step for member in component[members] for step in _parts(member, members)]
