"""A prompt that another program wrote for some model, taken apart again: what it says is kept, its layout is not.

A client that fills in the middle by itself sends one string with the sentinels of the model it was configured for, here
`<fim_prefix>a<fim_suffix>b<fim_middle>`. Which of our families the client thought of does not matter: prefix, suffix and
files are found by that family's sentinels, and the prompt is then made anew for the model that is served.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from local_runtime.errors import BadRequest
from local_runtime.prompts.families import FAMILIES, Family
from local_runtime.prompts.hole import Chunk, Hole

MAX_PATH_CHARS = 512
_SENTENCEPIECE = "▁"  # a space in SentencePiece's vocabulary: clients write a space, which is part of the layout
_PATH = re.compile(rf"[^\s<>|]{{1,{MAX_PATH_CHARS}}}")
_FILE_MARKS = tuple(dict.fromkeys(token for family in FAMILIES for token in family.sentinels if token in family.chunk))
_REPOSITORY_MARKS = tuple(dict.fromkeys(token for family in FAMILIES for token in family.sentinels if "repo" in token))
_CONTINUES = "<|system_separator_istruction_repository_level|>"  # between the last path and the prefix; spelled so
_TURN, _USER, _ANSWER = "<|im_start|>", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
"""ChatML around a prompt, as twinny writes it for models that it takes to know conversations alone."""
_NAMED_FILE = re.compile(
    rf"^(?:{'|'.join(map(re.escape, _FILE_MARKS))})"
    rf"(?P<path>[^\r\n<>|]{{1,{MAX_PATH_CHARS}}})(?P<end>\n|{re.escape(_CONTINUES)})",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class ForeignPrompt:
    """What a foreign prompt said. The hole's language is unknown: clients do not say it."""

    hole: Hole
    chunks: tuple[Chunk, ...] = ()


@dataclass(frozen=True, slots=True)
class _Layout:
    """The sentinels of one or more families, as they are spelled in text."""

    first: str
    second: str
    middle: str
    """Empty where the second part ends with the text."""
    suffix_first: bool
    marks: tuple[str, ...]
    """What may stand before the first sentinel: beginning of text, repository, file."""


def split_foreign(text: str) -> ForeignPrompt | None:
    """Take a foreign prompt apart; None if it is plain text. Without a hole, files under marks have one at their end.

    The first sentinel must begin the text, but for file headers in the same family's sentinels, and the middle sentinel is
    the last one. So sentinels in the user's own file do no harm, except where they make it unknowable where the suffix
    begins: that raises BadRequest.
    """
    text = _without_chat(text)
    for layout in _layouts():
        at = text.find(layout.first)
        if at < 0:
            continue
        chunks = _header(text[:at], layout.marks)
        if chunks is None:
            continue
        found = _body(text[at + len(layout.first) :], layout)
        if found is not None:
            path = chunks.pop().path if chunks and not chunks[-1].text else ""
            return ForeignPrompt(Hole(path, "", *found), tuple(chunk for chunk in chunks if chunk.text))
    return split_files(text)


def split_files(text: str) -> ForeignPrompt | None:
    """Take apart files under a family's marks, with no hole; None if the text does not begin with such a mark.

    The text of the last file is the prefix: twinny writes so at the end of a file, Continue before a suffix. Marks within
    a line, and after the separator that Continue puts behind the last path, are the user's own.
    """
    files = list(_NAMED_FILE.finditer(text)) if text.startswith(_FILE_MARKS + _REPOSITORY_MARKS) else []
    if not files:
        return None
    last = next((file for file in files if file["end"] == _CONTINUES), files[-1])
    chunks = _header(text[: last.start()], _FILE_MARKS + _REPOSITORY_MARKS) or []
    return ForeignPrompt(Hole(last["path"], "", text[last.end() :], ""), tuple(chunk for chunk in chunks if chunk.text))


def _without_chat(text: str) -> str:
    """The user's first turn, where a conversation is all there is and the answer is next; any other text as it is."""
    if not (text.startswith(_TURN) and text.endswith(_ANSWER)):
        return text
    _, _, asked = text.removesuffix(_ANSWER).partition(_USER)
    return asked


def _body(text: str, layout: _Layout) -> tuple[str, str] | None:
    """Prefix and suffix of what follows the first sentinel."""
    line = ""
    if layout.middle:
        text, middle, line = text.rpartition(layout.middle)
        if not middle:
            return None
    parts = text.split(layout.second)
    if len(parts) == 1:
        return None
    if len(parts) > 2:
        mark = layout.second.strip()
        raise BadRequest(
            f"the prompt contains {mark} {len(parts) - 1} times: where its second part begins is unknowable"
        )
    if layout.suffix_first:
        return parts[1] + line, parts[0]
    return parts[0] + line, parts[1]


def _header(text: str, marks: tuple[str, ...]) -> list[Chunk] | None:
    """The files before the first sentinel, the current one last and without text; None if it is no header."""
    if not text:
        return []
    pieces = re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if marks else [text]
    if pieces[0].strip():
        return None
    chunks: list[Chunk] = []
    for mark, content in zip(pieces[1::2], pieces[2::2], strict=True):
        if "repo" in mark or not content.strip():
            continue
        path, _, rest = content.partition("\n")
        chunks.append(Chunk(path, rest) if _PATH.fullmatch(path) else Chunk("", content))
    return chunks


@functools.cache
def _layouts() -> tuple[_Layout, ...]:
    """One layout for each spelling; families that share it share their marks."""
    found: dict[tuple[str, str, str, bool], dict[str, None]] = {}
    for family in FAMILIES:
        key, marks = _spelling(family)
        found.setdefault(key, {}).update(dict.fromkeys(marks))
    return tuple(_Layout(*key, tuple(sorted(marks, key=len, reverse=True))) for key, marks in found.items())


def _spelling(family: Family) -> tuple[tuple[str, str, str, bool], list[str]]:
    sentinels = "|".join(map(re.escape, sorted(family.sentinels, key=len, reverse=True)))
    before = {slot: token for token, slot in re.findall(rf"({sentinels})\{{(prefix|suffix|line)\}}", family.alone)}
    suffix_first = family.alone.index("{suffix}") < family.alone.index("{prefix}")
    first, second = (before["suffix"], before["prefix"]) if suffix_first else (before["prefix"], before["suffix"])
    middle = before.get("line", "")
    if first.startswith(_SENTENCEPIECE):
        first, second, middle = first[1:] + " ", " " + second[1:], " " + middle[1:]
    marks = [token for token in (*family.sentinels, *family.stops) if token not in before.values()]
    return (first, second, middle, suffix_first), marks
