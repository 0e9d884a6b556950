"""Token ids to text, one token at a time: never half a character, never a part of a stop string."""

from __future__ import annotations

import codecs

from local_runtime.engines.vocabulary import Vocabulary


class Detokenizer:
    """Text of one completion.

    `push` returns the text that is certain: bytes of an unfinished UTF-8 character wait for the rest, and text that may be
    the beginning of a stop string is held back until it is decided. `healed` is taken off the front (`Prompt.healed`).
    """

    def __init__(self, vocabulary: Vocabulary, stop: tuple[str, ...] = (), healed: str = "") -> None:
        self._vocabulary = vocabulary
        self._stop = tuple(s for s in stop if s)
        self._unseen = len(healed)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False
        """Whether a stop string has appeared; nothing more comes out then."""

    def push(self, token_id: int) -> str:
        """Append one token; return what may be shown now."""
        if self.stopped:
            return ""
        text = self._decoder.decode(self._vocabulary.token_bytes[token_id])
        skipped = min(self._unseen, len(text))
        self._unseen -= skipped
        self._held += text[skipped:]
        found = [at for at in (self._held.find(s) for s in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return self._release(min(found))
        return self._release(len(self._held) - self._undecided())

    def finish(self) -> str:
        """What was held back, at the end of the completion; an unfinished character is dropped."""
        return "" if self.stopped else self._release(len(self._held))

    def _undecided(self) -> int:
        """Length of the longest end of the held text that a stop string begins with."""
        longest = max((len(s) for s in self._stop), default=1) - 1
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(s.startswith(self._held[-n:]) for s in self._stop):
                return n
        return 0

    def _release(self, n: int) -> str:
        text, self._held = self._held[:n], self._held[n:]
        return text
