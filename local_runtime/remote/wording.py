"""How a prompt is put to the remote server, and how the text that comes back is counted.

Two ways. With a tokenizer that the user names, the prompt is ours, in the layout of the model's family, and is sent as token ids:
no text of a file can become a control token there. Without one, the server is asked to fill in the middle by itself, with
OpenAI's `suffix`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from local_runtime.engines.protocol import Prompt
from local_runtime.prompts.comments import commented
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Chunk, Hole
from local_runtime.prompts.prompting import BytePrompting

SUFFIX_ID = 256
"""Stands between the bytes of the prefix and those of the suffix."""
SUFFIX_SHARE = 4
"""A quarter of the budget is the suffix's."""


class Wording(Protocol):
    """How one server is asked."""

    def fields(self, prompt: Prompt) -> dict[str, Any]:
        """The fields of the request that say what to complete."""
        ...

    def ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that came back without any."""
        ...


class TokenWording:
    """Token ids, and the sentinels that end a completion."""

    def __init__(self, tokenizer: FimTokenizer) -> None:
        self._tokenizer = tokenizer

    def fields(self, prompt: Prompt) -> dict[str, Any]:
        """What was healed off stays in the prompt: a server elsewhere cannot be made to begin with it.

        `stop_token_ids` and `return_token_ids` are vLLM's; who does not know them leaves them alone.
        """
        ids = prompt.token_ids + (self._tokenizer.encode(prompt.healed) if prompt.healed else ())
        return {"prompt": ids, "stop_token_ids": sorted(prompt.stop_ids), "return_token_ids": True}

    def ids(self, text: str) -> tuple[int, ...]:
        """By the same tokenizer; cut at pieces, so they may be others than the server's."""
        return self._tokenizer.encode(text)


class SuffixWording:
    """Prefix and suffix as text."""

    def fields(self, prompt: Prompt) -> dict[str, Any]:
        """OpenAI's `prompt` and `suffix`."""
        ids = prompt.token_ids
        at = ids.index(SUFFIX_ID) if SUFFIX_ID in ids else len(ids)
        prefix, suffix = bytes(ids[:at]), bytes(ids[at + 1 :])
        text = {"prompt": prefix.decode("utf-8", "ignore") + prompt.healed}
        return text | {"suffix": suffix.decode("utf-8", "ignore")} if at < len(ids) else text

    def ids(self, text: str) -> tuple[int, ...]:
        """Bytes."""
        return tuple(text.encode("utf-8", "replace"))


class SuffixPrompting(BytePrompting):
    """Prompts for `SuffixWording`: the bytes of the prefix, `SUFFIX_ID`, the bytes of the suffix. Budgets are bytes."""

    def hole(self, hole: Hole, chunks: Sequence[Chunk], budget_tokens: int) -> Prompt:
        """Related pieces stand above the prefix, as comments, as far as there is room."""
        suffix = hole.suffix.encode("utf-8", "replace")[: budget_tokens // SUFFIX_SHARE]
        room = budget_tokens - len(suffix) - 1
        related = "".join(commented(f"Path: {chunk.path}\n{chunk.text}", hole.language) + "\n" for chunk in chunks)
        prefix = hole.prefix.encode("utf-8", "replace")[-room:] if room > 0 else b""
        above = related.encode("utf-8", "replace")
        head = above if len(above) + len(prefix) <= room else b""
        return Prompt((*head, *prefix, SUFFIX_ID, *suffix))
