"""Examples as samples: the very prompts that `local_runtime.prompts.fim` gives at run time, with the middle and the end token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_runtime.prompts.fim import Budget, FimTokenizer
from trainer.batches import Sample
from trainer.edits import Example, Kind
from trainer.examples.identity import draws, example_key
from trainer.tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Sampler:
    """Makes the samples of a run. Which step sees which example is a pure function of the seed and the examples' content."""

    fim: FimTokenizer
    recipe: Recipe
    context_tokens: int
    """What the model can take."""

    def sample(self, example: Example, epoch: int = 0) -> Sample:
        """One whole triple. Middle and end weigh `example.weight`, other text `context_weight`, sentinels nothing."""
        return self._weighted(example, epoch, self.recipe.context_weight, example.weight)

    def anchor(self, example: Example, epoch: int = 0) -> Sample:
        """One whole triple, in which all text weighs 1."""
        return self._weighted(example, epoch, 1.0, 1.0)

    def is_anchor(self, example: Example) -> bool:
        """Whether it is other people's code, of which the adapter shall say what the base says."""
        return example.kind is Kind.GENERAL and self.recipe.anchor > 0

    def _weighted(self, example: Example, epoch: int, context_weight: float, target_weight: float) -> Sample:
        budget = self._budget(example, epoch)
        ids, n_target = self.fim.training_tokens(example.hole, example.middle, example.chunks, budget)
        n_prompt = len(ids) - n_target
        # A middle too long even so loses its end, and with it the lesson where to stop.
        ids = ids[: self.context_tokens]
        before = [0.0 if i in self.fim.stop_ids else context_weight for i in ids[:n_prompt]]
        return Sample(ids, (*before, *[target_weight] * (len(ids) - n_prompt)))

    def _budget(self, example: Example, epoch: int) -> Budget:
        shares = [share for share, _ in self.recipe.budgets]
        rng = draws(self.recipe.seed, epoch, "budget", example_key(example))
        budget = rng.choices([budget for _, budget in self.recipe.budgets], shares)[0]
        return budget.within(self.context_tokens, len(example.middle) // 2 + 8)


def order(n_examples: int, n_steps: int, recipe: Recipe) -> list[list[tuple[int, int]]]:
    """For each step, (epoch, index) of its examples. The first pass keeps the given order; later ones are shuffled anew."""
    found: list[tuple[int, int]] = []
    epoch = 0
    while len(found) < n_steps * recipe.examples_per_step:
        indices = list(range(n_examples))
        if epoch:
            draws(recipe.seed, "epoch", epoch).shuffle(indices)
        found += [(epoch, index) for index in indices]
        epoch += 1
    n = recipe.examples_per_step
    return [found[step * n : (step + 1) * n] for step in range(n_steps)]


def judged(fim: FimTokenizer, examples: Sequence[Example], budget: Budget, context_tokens: int) -> list[Sample]:
    """Samples whose target alone weighs, each id 1: for measuring, as the gate does."""
    found = []
    for example in examples:
        fitting = budget.within(context_tokens, len(example.middle) // 2 + 8)
        ids, n_target = fim.training_tokens(example.hole, example.middle, example.chunks, fitting)
        if len(ids) <= context_tokens:
            found.append(Sample(ids, (*[0.0] * (len(ids) - n_target), *[1.0] * n_target)))
    return found
