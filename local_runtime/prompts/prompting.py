"""From a request's texts to the ids that the engine sees, always within the context: too long is trimmed, never refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_runtime.engines.protocol import Prompt
from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.prompts.fim import DEFAULT_BUDGET, FimTokenizer
from local_runtime.prompts.hole import Chunk, Hole

CHARACTERS_PER_TOKEN = 32
"""More than a token of code ever averages: text beyond `budget * 32` characters cannot be in the prompt."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is scored, and whether its last id is the end of a completion."""

    token_ids: tuple[int, ...]
    ended: bool


class Prompting(Protocol):
    """How one model wants to be asked. Used from a worker thread; keeps no state between calls."""

    def hole(self, hole: Hole, chunks: Sequence[Chunk], budget_tokens: int) -> Prompt:
        """A hole with its related chunks, in at most `budget_tokens`."""
        ...

    def plain(self, text: str, budget_tokens: int) -> Prompt:
        """Any text to go on from: its end, in at most `budget_tokens`."""
        ...

    def target(self, prompt: Prompt, text: str, end: bool) -> Target:
        """`text` as the continuation of `prompt`, and the end of a completion if asked for and known."""
        ...

    def texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token; bytes that are no character alone become U+FFFD."""
        ...


class FimPrompting:
    """For a model folder: holes by `fim`, other text encoded as plain text, so that it holds no control token."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        """Raises ModelMissing or ModelInvalid."""
        self._tokenizer = FimTokenizer.open(folder)
        self._vocabulary = Vocabulary.read(folder, vocab_size)

    def hole(self, hole: Hole, chunks: Sequence[Chunk], budget_tokens: int) -> Prompt:
        """By the model family's template."""
        return self._tokenizer.prompt(hole, chunks, DEFAULT_BUDGET.within(budget_tokens, 0))

    def plain(self, text: str, budget_tokens: int) -> Prompt:
        """The end of the text; the model's own stop ids still end a completion."""
        ids = self._tokenizer.encode(text[-budget_tokens * CHARACTERS_PER_TOKEN :])[-budget_tokens:]
        return Prompt(ids or self._tokenizer.encode("\n"), self._tokenizer.stop_ids)

    def target(self, prompt: Prompt, text: str, end: bool) -> Target:
        """The text that was healed off the prompt comes first, as in a completion."""
        ids = self._tokenizer.target(prompt, text)
        return Target(ids if end else ids[:-1], ended=end)

    def texts(self, token_ids: Sequence[int]) -> list[str]:
        """Bytes of each token, decoded alone."""
        return [self._vocabulary.token_bytes[i].decode("utf-8", "replace") for i in token_ids]


class BytePrompting:
    """For an engine without a tokenizer: ids are bytes, and there are no sentinels."""

    def hole(self, hole: Hole, chunks: Sequence[Chunk], budget_tokens: int) -> Prompt:
        """Chunks, then the prefix; the suffix is left out."""
        return self.plain("".join(f"{chunk.text}\n" for chunk in chunks) + hole.prefix, budget_tokens)

    def plain(self, text: str, budget_tokens: int) -> Prompt:
        """UTF-8; surrogates, which no file can hold, become `?`."""
        data = text[-budget_tokens:].encode("utf-8", "replace")[-budget_tokens:]
        return Prompt(tuple(data or b"\n"))

    def target(self, prompt: Prompt, text: str, end: bool) -> Target:
        """UTF-8; there is no id for the end."""
        return Target(tuple(text.encode("utf-8", "replace")), ended=False)

    def texts(self, token_ids: Sequence[int]) -> list[str]:
        """One character per ASCII byte."""
        return [bytes([i]).decode("utf-8", "replace") if i < 256 else "" for i in token_ids]
