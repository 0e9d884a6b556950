"""Training samples: the very prompts of `local_runtime.fim`, each whole, with the middle and the end token.

Sample number `n` is a pure function of (corpus, seed, n): a run that resumes at step `s` sees what it would have seen, and
prefetching processes need no shared state.
"""

from __future__ import annotations

import bisect
import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from local_runtime.fim import DEFAULT_BUDGET, Budget, FimTokenizer
from local_runtime.hole import Chunk, Hole
from trainer.batches import Sample
from trainer.pretrain.corpus import Document, by_package
from trainer.spans import draw_span

PLAIN_SHARE = 0.10
RELATED_SHARE = 1 / 3
TARGET_WEIGHT = 4.0
"""Loss weight of a middle's tokens and its end token, about a tenth of all tokens; text before them counts 1, sentinels 0."""
LANGUAGE_SHARES = {"python": 0.70, "typescript": 0.15, "javascript": 0.15}
BUDGETS: tuple[tuple[float, Budget], ...] = (
    (0.45, Budget(related_tokens=128, prefix_tokens=192, suffix_tokens=80, line_tokens=96)),
    (0.35, Budget(related_tokens=256, prefix_tokens=384, suffix_tokens=160, line_tokens=96)),
    (0.20, DEFAULT_BUDGET),
)
"""Most samples are short, so that they are many; a fifth have the lengths that prompts have at run time."""
_DOCUMENT_CHARS = 24_000  # a longer file is drawn no more often than one of this length
_CHUNK_LINES = 40
_CANDIDATES = 6
_WORD = re.compile(r"[A-Za-z_]\w{3,}")


@dataclass(slots=True)
class SampleMaker:
    """Draws samples from documents. Holds the documents and nothing else."""

    fim: FimTokenizer
    documents: Sequence[Document]
    seed: int = 0
    _packages: dict[str, list[Document]] = field(init=False)
    _drawn: dict[str, tuple[list[Document], list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        self._packages = by_package(self.documents)
        self._drawn = {}
        for language in LANGUAGE_SHARES:
            spoken = [d for d in self.documents if d.language == language]
            if spoken:
                self._drawn[language] = (
                    spoken,
                    list(itertools.accumulate(min(len(d.text), _DOCUMENT_CHARS) for d in spoken)),
                )

    def sample(self, number: int) -> Sample:
        """Sample `number`: one in ten is plain text, the others are holes."""
        rng = random.Random(f"{self.seed}/{number}")
        language = rng.choices(list(self._drawn), [LANGUAGE_SHARES[name] for name in self._drawn])[0]
        documents, ends = self._drawn[language]
        document = documents[bisect.bisect_right(ends, rng.randrange(ends[-1]))]
        budget = rng.choices([b for _, b in BUDGETS], [share for share, _ in BUDGETS])[0]
        return self._plain(document, budget, rng) if rng.random() < PLAIN_SHARE else self._hole(document, budget, rng)

    def _hole(self, document: Document, budget: Budget, rng: random.Random) -> Sample:
        span = draw_span(document.text, rng)
        hole = Hole(document.path, document.language, document.text[: span.start], document.text[span.end :])
        chunks = self.related(document, hole, rng) if rng.random() < RELATED_SHARE else ()
        ids, n_target = self.fim.training_tokens(hole, document.text[span.start : span.end], chunks, budget)
        sentinels = self.fim.stop_ids
        weights = [0.0 if i in sentinels else 1.0 for i in ids[:-n_target]] + [TARGET_WEIGHT] * n_target
        return Sample(ids, tuple(weights))

    def _plain(self, document: Document, budget: Budget, rng: random.Random) -> Sample:
        """A window of a file from a line's beginning; it ends with the end token only where the file does."""
        n_tokens = budget.related_tokens + budget.prefix_tokens + budget.suffix_tokens
        start = document.text.rfind("\n", 0, rng.randrange(len(document.text))) + 1
        ids = self.fim.encode(document.text[start : start + n_tokens * 8])
        if len(ids) <= n_tokens and start + n_tokens * 8 >= len(document.text):
            ids = (*ids, self.fim.end_id)
        ids = ids[: n_tokens + 1]
        return Sample((self.fim.end_id, *ids), (0.0, *(1.0 for _ in ids)))

    def related(self, document: Document, hole: Hole, rng: random.Random) -> list[Chunk]:
        """Up to two pieces of other files of the same package, those that share the most words with the hole's surroundings."""
        others = [d for d in self._packages[document.package] if d is not document and d.language == document.language]
        if not others:
            return []
        near = set(_WORD.findall(hole.prefix[-1500:] + hole.suffix[:500]))
        pieces = []
        for other in (rng.choice(others) for _ in range(_CANDIDATES)):
            lines = other.text.split("\n")
            first = rng.randrange(max(len(lines) - _CHUNK_LINES, 1))
            pieces.append(Chunk(other.path, "\n".join(lines[first : first + rng.randint(12, _CHUNK_LINES)])))
        pieces.sort(key=lambda chunk: -len(near & set(_WORD.findall(chunk.text))))
        return pieces[: rng.randint(1, 2)]
