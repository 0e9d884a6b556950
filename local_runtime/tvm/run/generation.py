"""One completion being written: which tokens the logits give, what text they make, when it ends, what to draft next."""

from __future__ import annotations

from local_runtime.engines.detokenizer import Detokenizer
from local_runtime.engines.protocol import Piece, Prompt, Sampling, Stop
from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.tvm.run.decoder import Rows
from local_runtime.tvm.run.healing import Healing
from local_runtime.tvm.run.sampling import Sampler
from local_runtime.tvm.run.speculation import Acceptance, Draft, PromptLookup


class Generation:
    """Takes the rows of one forward after the other. Runs no forward itself."""

    def __init__(
        self, prompt: Prompt, sampling: Sampling, context_tokens: int, vocabulary: Vocabulary, acceptance: Acceptance
    ) -> None:
        self.token_ids: list[int] = []
        self._prompt_ids = prompt.token_ids
        self._n_prompt = len(prompt.token_ids)
        self._stop_ids = prompt.stop_ids
        self._room = min(sampling.max_tokens, context_tokens - self._n_prompt)
        self._sampler = Sampler(sampling)
        self._healing = Healing(vocabulary, prompt.healed)
        self._text = Detokenizer(vocabulary, sampling.stop, prompt.healed)
        self._acceptance = acceptance
        self._speculates = sampling.speculate
        self._lookup: PromptLookup | None = None
        self._stop: Stop | None = None

    @property
    def n_computed(self) -> int:
        """Tokens of prompt and completion whose keys and values are right: all that were fed to the model."""
        return self._n_prompt + len(self.token_ids) - (self._stop is not Stop.END)

    def take(self, rows: Rows, draft: Draft) -> Piece:
        """Choose tokens from the row after the last token and those after each drafted one, as long as the draft is right."""
        shown, logprobs, before = "", [], len(self.token_ids)
        for n, drafted in enumerate((*draft.token_ids, None)):
            token = self._choose(rows, n)
            if token in self._stop_ids:
                self._stop = Stop.END
                break
            logprobs.append(rows.logprob(n, token))
            self.token_ids.append(token)
            self._healing.said(token)
            shown += self._text.push(token)
            if self._text.stopped or len(self.token_ids) == self._room:
                self._stop = Stop.TEXT if self._text.stopped else Stop.LENGTH
            if self._stop is not None or token != drafted:
                break
        new = tuple(self.token_ids[before:])
        if self._stop is not None:
            shown += self._text.finish()
        elif self._lookup is not None:
            self._lookup.extend(new)
        if draft.token_ids:
            n_right = sum(a == b for a, b in zip(new, draft.token_ids, strict=False))
            self._acceptance.learn(draft, n_right, ended=self._stop is not None)
        return Piece(shown, new, tuple(logprobs), self._stop)

    def draft(self, limit: int) -> Draft:
        """What to verify together with the last token: at most `limit` tokens, none behind one that would end it."""
        limit = min(limit, self._room - len(self.token_ids) - 1)
        if not self._speculates or limit < 1 or self._healing.allowed() is not None:
            return Draft()
        if self._lookup is None:  # many completions end before they come here
            self._lookup = PromptLookup((*self._prompt_ids, *self.token_ids), self._acceptance)
        draft = self._lookup.draft(limit)
        end = next((n for n, i in enumerate(draft.token_ids) if i in self._stop_ids), None)
        return draft if end is None else Draft(draft.token_ids[: end + 1], draft.match)

    def _choose(self, rows: Rows, n: int) -> int:
        allowed = self._healing.allowed()
        if allowed is None and self._sampler.greedy:
            return int(rows.greedy[n])
        return self._sampler.choose(rows.logits[n], allowed)
