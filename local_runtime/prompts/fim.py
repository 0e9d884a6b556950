"""From a place in a file to the ids that the model sees: one shape for serving, training and judging.

A prompt is: related pieces, then the lines above the cursor's, then what follows the cursor, then the middle sentinel and
the cursor's line up to the cursor. Each part is tokenised by itself, so typing changes ids after the middle sentinel alone,
and a KV cache keeps all before it. A training sample is that very prompt, the middle and the end sentinel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from local_runtime.engines.protocol import Prompt
from local_runtime.errors import ModelInvalid
from local_runtime.prompts.comments import commented
from local_runtime.prompts.families import FAMILIES, Family, recognise
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.prompts.plain_text import PlainText
from local_runtime.prompts.window import blocks_above, blocks_below

FRAME_TOKENS = 48
"""Room for the sentinels and the header of the file itself."""
_HEADER_TOKENS = 24
_PATH_CHARS = 96
_CHARS_PER_TOKEN = 8  # code has 3 to 4; this bounds what is read of a long file
_PREFIX_BLOCK_CHARS = 512  # about fifteen lines: so seldom the window of a long file moves while its user types
_SUFFIX_BLOCK_CHARS = 128
_CHUNK_BLOCK_CHARS = 256
_LINE_STEP_CHARS = 256
_UNFINISHED = re.compile(r"(?:[^\w\r\n]?\w{1,32}| )\Z")


class Slot(StrEnum):
    """A part of a template that is tokenised by itself; `{path}` and `{comment}` are filled in as text."""

    TEXT = "{text}"
    COMMENTED = "{commented}"
    RELATED = "{related}"
    PREFIX = "{prefix}"
    SUFFIX = "{suffix}"
    LINE = "{line}"


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens each part of a prompt may have."""

    related_tokens: int = 640
    prefix_tokens: int = 640
    suffix_tokens: int = 256
    line_tokens: int = 96

    @property
    def n_tokens(self) -> int:
        """No prompt made with this budget is longer."""
        return self.related_tokens + self.prefix_tokens + self.suffix_tokens + self.line_tokens + FRAME_TOKENS

    def within(self, context_tokens: int, max_tokens: int) -> Budget:
        """This budget, scaled down if need be, so that a prompt and `max_tokens` fit into the model's context.

        A completion may claim half of the context at most.
        """
        room = context_tokens - min(max(max_tokens, 0), context_tokens // 2) - FRAME_TOKENS
        wanted = self.n_tokens - FRAME_TOKENS
        if room >= wanted:
            return self
        share = max(room, 0) / wanted
        return Budget(
            int(self.related_tokens * share),
            int(self.prefix_tokens * share),
            int(self.suffix_tokens * share),
            int(self.line_tokens * share),
        )


DEFAULT_BUDGET = Budget()


class FimTokenizer:
    """Makes prompts for one model, from the tokenizer in its folder. Keeps nothing but a cache of encoded text."""

    def __init__(self, text: PlainText, family: Family) -> None:
        """Raises ModelInvalid unless every sentinel of `family` is one id of its own."""
        ids = {token: text.control_id(token) for token in family.sentinels}
        self.family = family
        self.end_id = ids[family.end]
        self.stop_ids = frozenset(ids.values()) | {
            text.control_id(token) for token in family.stops if text.has_control(token)
        }
        self._text = text
        self._alone, self._among, self._chunk = (_parse(t, ids) for t in (family.alone, family.among, family.chunk))

    @classmethod
    def open(cls, folder: Path) -> FimTokenizer:
        """Open `tokenizer.json` of a model folder and recognise the family from its vocabulary.

        Raises ModelMissing; ModelInvalid for a damaged file, and for a model that cannot fill in the middle.
        """
        text = PlainText.open(folder, {token for f in FAMILIES for token in (*f.sentinels, *f.stops)})
        family = recognise(text.has)
        if family is None:
            names = ", ".join(f.name for f in FAMILIES)
            raise ModelInvalid(
                f"{folder / 'tokenizer.json'} has the sentinels of no family that can fill in the middle ({names})",
                "understudy model import <folder of a code model of one of these families>",
            )
        return cls(text, family)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of plain text, none of them a control token, whatever the text contains."""
        return self._text.encode(text)

    def prompt(
        self, hole: Hole, chunks: Sequence[Chunk] = (), budget: Budget = DEFAULT_BUDGET, sequence: str = ""
    ) -> Prompt:
        """The prompt for a hole; `len(token_ids) <= budget.n_tokens`. `chunks` come in this order, as many as fit."""
        cut = hole.prefix.rfind("\n") + 1
        line, healed = heal(hole.prefix[cut:]) if self.family.heals else (hole.prefix[cut:], "")
        related = self._related(chunks, hole.language, budget.related_tokens)
        parts = {
            Slot.RELATED: related,
            Slot.PREFIX: self._above(hole.prefix[:cut], budget.prefix_tokens, not related),
            Slot.SUFFIX: self._below(hole.suffix, _SUFFIX_BLOCK_CHARS, budget.suffix_tokens)[0],
            Slot.LINE: self._line(line, budget.line_tokens),
        }
        ids: list[int] = []
        for item in self._among if related else self._alone:
            ids += parts[item] if isinstance(item, Slot) else self._frame(item, hole.path, hole.language)
        return Prompt(tuple(ids), self.stop_ids, healed, sequence)

    def target(self, prompt: Prompt, middle: str) -> tuple[int, ...]:
        """Ids that complete `prompt` with `middle` and end there: what `Engine.score` is asked about."""
        return (*self.encode(prompt.healed + middle), self.end_id)

    def training_tokens(
        self, hole: Hole, middle: str, chunks: Sequence[Chunk] = (), budget: Budget = DEFAULT_BUDGET
    ) -> tuple[tuple[int, ...], int]:
        """A training sample, `prompt + middle + end`, and how many ids at its end are the target.

        A middle of any length is taken whole: bound it before.
        """
        prompt = self.prompt(hole, chunks, budget)
        target = self.target(prompt, middle)
        return prompt.token_ids + target, len(target)

    def _related(self, chunks: Iterable[Chunk], language: str, limit: int) -> list[int]:
        """Related pieces in their order; the first that does not fit is cut at a line, the others are left out."""
        ids: list[int] = []
        for chunk in chunks:
            piece, whole = self._piece(chunk, language, limit - len(ids), first=not ids)
            ids += piece
            if not whole:
                break
        return ids

    def _piece(self, chunk: Chunk, language: str, limit: int, first: bool) -> tuple[list[int], bool]:
        """Ids of one related piece, and whether it fitted; none if not even its first lines do."""
        text = chunk.text if chunk.text.endswith("\n") else chunk.text + "\n"
        frame = [
            [] if isinstance(item, Slot) else self._frame(item, chunk.path, language, first and at == 0)
            for at, item in enumerate(self._chunk)
        ]
        if Slot.COMMENTED in self._chunk:
            text = self._lead(commented(f"Path: {chunk.path}\n{text}", language), first)
        body, whole = self._below(text, _CHUNK_BLOCK_CHARS, limit - sum(map(len, frame)))
        if not body:
            return [], False
        return [
            i for item, ids in zip(self._chunk, frame, strict=True) for i in (body if isinstance(item, Slot) else ids)
        ], whole

    def _frame(self, item: int | str, path: str, language: str, first: bool = False) -> list[int]:
        """A sentinel, or the text of a header."""
        if isinstance(item, int):
            return [item]
        path = path[-_PATH_CHARS:]
        header = (
            item.replace("{path}", path) if "{path}" in item else item.replace("{comment}", commented(path, language))
        )
        return list(self.encode(self._lead(header, first)))[-_HEADER_TOKENS:]

    def _lead(self, text: str, first: bool) -> str:
        return " " + text if text and first and self.family.leading_space else text

    def _above(self, text: str, limit: int, first: bool) -> list[int]:
        """The end of `text` in whole blocks."""
        taken: list[str] = []
        limit -= self.family.leading_space  # the space may cost a token
        n_chars = max(limit, 0) * _CHARS_PER_TOKEN
        for block in blocks_above(text, _PREFIX_BLOCK_CHARS, n_chars):
            ids = self.encode(block)
            if len(ids) > limit:
                if not taken:
                    return list(ids[len(ids) - limit :])
                break
            taken.append(block)
            limit -= len(ids)
        if not taken:
            return []
        *below, top = taken
        return [i for block in (self._lead(top, first), *reversed(below)) for i in self.encode(block)]

    def _below(self, text: str, block_chars: int, limit: int) -> tuple[list[int], bool]:
        """The beginning of `text` in whole blocks, and whether that is all of it."""
        taken: list[int] = []
        n_chars = 0
        for block in blocks_below(text, block_chars, max(limit, 0) * _CHARS_PER_TOKEN):
            ids = self.encode(block)
            if len(taken) + len(ids) > limit:
                return (taken or list(ids[:limit])), False
            taken += ids
            n_chars += len(block)
        return taken, n_chars == len(text)

    def _line(self, text: str, limit: int) -> list[int]:
        """The end of the cursor's line; what is cut off grows in steps, so that typing on does not move it each time."""
        excess = len(text) - limit * _CHARS_PER_TOKEN
        start = -(-excess // _LINE_STEP_CHARS) * _LINE_STEP_CHARS if excess > 0 else 0
        ids = self.encode(text[start:])
        step = max(limit // 4, 1)
        excess = len(ids) - limit
        return list(ids[-(-excess // step) * step if excess > 0 else 0 :])


def heal(line: str) -> tuple[str, str]:
    """Split the cursor's line before the word (or the single space) that it ends with: (what stays, what to generate anew).

    A tokenizer would have joined that text with what comes next: `re` and `turn` are not the token `return`, and most
    vocabularies join a word with the space or the dot before it.
    """
    found = _UNFINISHED.search(line)
    return (line[: found.start()], found[0]) if found else (line, "")


def _parse(template: str, ids: dict[str, int]) -> tuple[int | str | Slot, ...]:
    """A template as a sequence of sentinel ids, slots and plain text."""
    known = [*ids, *Slot]
    pieces = re.split("(" + "|".join(map(re.escape, sorted(known, key=len, reverse=True))) + ")", template)
    slots = set(Slot)
    return tuple(ids[p] if p in ids else Slot(p) if p in slots else p for p in pieces if p)
