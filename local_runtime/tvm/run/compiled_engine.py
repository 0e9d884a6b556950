"""The engine on a compiled decoder, of a CPU or a GPU: prompts are prefilled in chunks, tokens drafted and verified, states reused.

Between two `next` calls at most one forward runs; a stream that is closed leaves its computed tokens for the next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from local_runtime.engines.admission import check_adapter, check_prompt, check_sampling, check_target
from local_runtime.engines.protocol import Adapter, EngineModel, Piece, Prompt, Sampling, TokenScore
from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.tvm.run.adapters import Adapters, Bound
from local_runtime.tvm.run.decoder import Decoder, Rows
from local_runtime.tvm.run.generation import Generation
from local_runtime.tvm.run.sequences import Key, Sequence, Sequences
from local_runtime.tvm.run.speculation import MAX_DRAFT, Acceptance, Draft

CHUNK_TOKENS = 128
"""A prompt is prefilled in chunks of this many tokens: cancel takes effect within one."""


class CompiledEngine:
    """`local_runtime.engines.protocol.Engine` on a compiled library. Made by `local_runtime.tvm.run.opening.open_engine`."""

    def __init__(self, model: EngineModel, runtime: Decoder, adapters: Adapters, vocabulary: Vocabulary) -> None:
        self.model = model
        self.adapters = adapters
        self.acceptance = Acceptance()
        self.prefilled_tokens = 0
        """Tokens of prompts that had to be computed, of all streams."""
        self.reused_tokens = 0
        """Tokens of prompts that were still there."""
        self._runtime = runtime
        self._sequences = Sequences(runtime.pages, model.context_tokens)
        self._vocabulary = vocabulary

    @property
    def kv_pages(self) -> tuple[int, int]:
        """Pages of the KV cache in use, and all there are."""
        pages = self._runtime.pages
        return pages.n_pages - pages.n_free, pages.n_pages

    @property
    def forwards(self) -> int:
        """How many forwards have run."""
        return self._runtime.forwards

    def keeps(self, adapter: Adapter) -> bool:
        """Whether an adapter is packed and fits: choosing it is a matter of microseconds."""
        return self.adapters.is_resident(adapter)

    def stream(
        self, prompt: Prompt, sampling: Sampling, adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[Piece]:
        """Complete `prompt`. Raises BadRequest, AdapterInvalid before the first piece; OutOfMemory when the KV cache is full."""
        check_prompt(self.model, prompt)
        check_sampling(sampling)
        check_adapter(self.model, adapter, strength)
        resident = self.adapters.is_resident(adapter)
        bound = self.adapters.bind(adapter)
        if not resident:
            yield Piece()  # reading an adapter takes as long as a forward or two
        with self._sequence(prompt, adapter, strength) as sequence:
            n_prompt = len(prompt.token_ids)
            self.reused_tokens += sequence.n_tokens
            self.prefilled_tokens += n_prompt - sequence.n_tokens
            while True:
                at = sequence.n_tokens
                rows = self._forward(sequence, prompt.token_ids[at : at + CHUNK_TOKENS], bound, strength)
                if sequence.n_tokens == n_prompt:
                    break
                yield Piece()
            generation = Generation(prompt, sampling, self.model.context_tokens, self._vocabulary, self.acceptance)
            draft, began = Draft(), 0.0
            while True:
                piece = generation.take(rows, draft)
                self._sequences.rewind(sequence, generation.n_computed)
                if began:
                    self.acceptance.pace.learn(len(draft.token_ids), time.perf_counter() - began)
                yield piece
                if piece.stop is not None:
                    return
                began = time.perf_counter()
                draft = generation.draft(MAX_DRAFT)
                ids = (generation.token_ids[-1], *draft.token_ids)
                rows = self._forward(sequence, ids, bound, strength, every_row=True)

    def score(
        self, prompt: Prompt, target: tuple[int, ...], adapter: Adapter | None = None, strength: float = 1.0
    ) -> Iterator[TokenScore]:
        """Log-probabilities of `target` after `prompt`, several a forward."""
        check_prompt(self.model, prompt)
        check_target(self.model, prompt, target)
        check_adapter(self.model, adapter, strength)
        if not target:
            return
        bound = self.adapters.bind(adapter)
        with self._sequence(prompt, adapter, strength) as sequence:
            read = (*prompt.token_ids, *target[:-1])
            first = len(prompt.token_ids) - 1  # the row whose logits the first target token is scored by
            while sequence.n_tokens < first:
                self._forward(
                    sequence, read[sequence.n_tokens : min(sequence.n_tokens + CHUNK_TOKENS, first)], bound, strength
                )
                yield TokenScore()
            while sequence.n_tokens < len(read):
                at = sequence.n_tokens
                chunk = target[at - first : at - first + CHUNK_TOKENS]
                rows = self._forward(sequence, read[at : at + len(chunk)], bound, strength, every_row=True)
                yield TokenScore(
                    tuple(rows.logprob(n, i) for n, i in enumerate(chunk)),
                    tuple(int(rows.greedy[n]) == i for n, i in enumerate(chunk)),
                )

    def close(self) -> None:
        """Give back the KV pool and the adapters."""
        self._sequences.clear()
        self._runtime.close()

    def _forward(
        self, sequence: Sequence, token_ids: tuple[int, ...], bound: Bound, strength: float, *, every_row: bool = False
    ) -> Rows:
        """Compute tokens after those of a sequence: logits of the last one, or of every one."""
        self._sequences.reserve(sequence, len(token_ids))
        run = self._runtime.verify if every_row else self._runtime.prefill
        rows = run(sequence.table, token_ids, bound.parameters, strength)
        self._sequences.commit(sequence, token_ids)
        return rows

    @contextmanager
    def _sequence(self, prompt: Prompt, adapter: Adapter | None, strength: float) -> Iterator[Sequence]:
        """A sequence that holds some of the prompt, for the time of a stream."""
        sequence = self._sequences.acquire(Key.of(adapter, strength), prompt.token_ids, prompt.sequence)
        try:
            yield sequence
        finally:
            self._sequences.release(sequence)
