"""The gate: a candidate serves only if it is better than what serves and than the base, and breaks nothing.

The held-out hunks are cut in two halves: the strength is chosen on one, the candidate is judged on the other. Figures in
`Verdict.metrics` are named `WHO.MEASURE` with WHO `base`, `serving` or `candidate` (`candidate.loss`, `base.exact`), by
language `WHO.MEASURE.LANGUAGE`, on the general set `WHO.general_loss` and `WHO.general_stops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from local_runtime.adapters.shelf import Choice
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid
from trainer.edits import Example, Verdict
from trainer.gate.bootstrap import chance_below
from trainer.gate.canaries import find_canaries, leaks
from trainer.gate.judge import Judge
from trainer.gate.measures import Measured, by_language, figures, loss
from trainer.gate.pool import halves, hunk_of, newest
from trainer.gate.soundness import largest_row_norm
from trainer.gate.thresholds import THRESHOLDS, Thresholds

BASE = Choice()


class Refusal(Exception):
    """A reason, as a sentence, for which a candidate may not serve."""


def judge(
    candidate: Adapter,
    serving: Choice,
    pool: Sequence[Example],
    general: Sequence[Example],
    judge: Judge,
    *,
    trained_on: Sequence[Example] = (),
    thresholds: Thresholds = THRESHOLDS,
) -> Verdict:
    """Whether `candidate` may take the place of `serving`, and at which strength.

    `pool`: hunks that neither has been trained on. `trained_on`: where canaries are looked for. A candidate that is damaged
    or breaks the model is refused; only faults of the judge itself (a daemon that is gone) are raised.
    """
    trial = Trial(candidate, serving, judge, thresholds)
    try:
        return trial.decide(pool, general, trained_on)
    except Refusal as refusal:
        reason = str(refusal)
    except AdapterInvalid as damage:
        reason = f"It cannot be served: {damage.message}."
    return Verdict(False, (reason, *trial.reasons), trial.strength, trial.metrics)


def n_questions(
    serving: Choice,
    pool: Sequence[Example],
    general: Sequence[Example],
    trained_on: Sequence[Example] = (),
    thresholds: Thresholds = THRESHOLDS,
) -> int:
    """How many questions `judge` asks of a candidate that passes at the first strength tried; one that fails is asked fewer."""
    usable = newest(pool, thresholds)
    if len({hunk_of(one) for one in usable}) < thresholds.min_hunks:
        return 0
    choosing, judging = halves(usable)
    n_contenders = 3 if serving.adapter is not None else 2
    n_canaries = len(find_canaries(trained_on, thresholds.max_canaries))
    return 2 * len(general) + len(thresholds.strengths) * len(choosing) + 2 * n_contenders * len(judging) + n_canaries


@dataclass
class Trial:
    """One candidate before the gate; `reasons` and `metrics` grow as it goes on."""

    candidate: Adapter
    serving: Choice
    judge: Judge
    thresholds: Thresholds
    strength: float = 1.0
    reasons: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    _general: list[Measured] = field(default_factory=list)
    """The candidate on the general set, at the strength chosen."""

    def decide(self, pool: Sequence[Example], general: Sequence[Example], trained_on: Sequence[Example]) -> Verdict:
        """Raises Refusal with the decisive reason, or what the judge raises."""
        limits = self.thresholds
        usable = newest(pool, limits)
        n_hunks = len({hunk_of(one) for one in usable})
        self.metrics["hunks"] = n_hunks
        if n_hunks < limits.min_hunks:
            raise Refusal(
                f"There are {n_hunks} held-out hunks; {limits.min_hunks} are needed to tell a gain from chance, so what serves stays."
            )
        self._check_weights()
        choosing, judging = halves(usable)
        base_general = self._measure(BASE, general)
        self._choose_strength(choosing, general, base_general)
        own = self._measure_together(judging)
        self._check_gain(own)
        self._check_stops([*own["base"], *base_general], [*own["candidate"], *self._general])
        self._check_repetition(own)
        self._check_latency()
        self._check_canaries(trained_on)
        return Verdict(True, tuple(self.reasons), self.strength, self.metrics)

    @property
    def _choice(self) -> Choice:
        return Choice(None, self.candidate, self.strength)

    def _check_weights(self) -> None:
        if self.candidate.base_hash and self.candidate.base_hash != self.judge.base_hash:
            raise Refusal(
                f"It was made for base {self.candidate.base_hash[:12]}; what serves is base {self.judge.base_hash[:12]}."
            )
        norm, module = largest_row_norm(self.candidate)
        self.metrics["candidate.row_norm"] = norm
        if not norm <= self.thresholds.largest_row_norm:
            raise Refusal(
                f"It adds {norm:.3g} to the rows of {module}, where {self.thresholds.largest_row_norm:g} is the most: "
                "its training went wrong."
            )

    def _choose_strength(
        self, choosing: Sequence[Example], general: Sequence[Example], base_general: list[Measured]
    ) -> None:
        """The strength with the least loss on this half, among those that the general set bears."""
        losses: dict[float, float] = {}
        for strength in self.thresholds.strengths:
            losses[strength] = loss(self._measure(Choice(None, self.candidate, strength), choosing))
            self.metrics[f"candidate.loss_at_{strength:g}"] = losses[strength]
        base_loss = loss(base_general)
        self.metrics |= {"base.general_loss": base_loss, "base.general_stops": figures(base_general)["stops"]}
        least_rise = math.inf
        for strength in sorted(losses, key=lambda s: losses[s]):
            self.strength = strength
            self._general = self._measure(self._choice, general)
            rise = loss(self._general) - base_loss
            sure = self._sure_lower(self._general, base_general, margin=self.thresholds.general_rise)
            if sure >= self.thresholds.confidence:
                self.metrics["candidate.general_loss"] = loss(self._general)
                self.metrics["candidate.general_stops"] = figures(self._general)["stops"]
                self.reasons.append(
                    f"On the general set it loses {rise:+.4f} nats per byte against the base's {base_loss:.3f} at strength "
                    f"{strength:g}: {100 * sure:.1f} % sure to be no more than {self.thresholds.general_rise:+g}."
                )
                return
            least_rise = min(least_rise, rise)
        self.metrics["candidate.general_loss"] = base_loss + least_rise
        raise Refusal(
            f"On the general set it loses {least_rise:+.4f} nats per byte against the base's {base_loss:.3f} at its mildest: "
            f"less than {100 * self.thresholds.confidence:g} % sure to be no more than {self.thresholds.general_rise:+g}."
        )

    def _measure_together(self, judging: Sequence[Example]) -> dict[str, list[Measured]]:
        """All contenders, place by place, so that what else the machine does slows them alike."""
        contenders = {"base": BASE, "candidate": self._choice}
        if self.serving.adapter is not None:
            contenders["serving"] = self.serving
        own: dict[str, list[Measured]] = {who: [] for who in contenders}
        for example in judging:
            for who, choice in contenders.items():
                own[who].append(self._one(choice, example, complete=True))
        for who, measured in own.items():
            self.metrics |= {f"{who}.{name}": value for name, value in figures(measured).items()}
            for language, some in by_language(measured).items():
                self.metrics |= {f"{who}.{name}.{language}": value for name, value in figures(some).items()}
        return own

    def _check_gain(self, own: dict[str, list[Measured]]) -> None:
        n_hunks = len({hunk_of(one.example) for one in own["base"]})
        self.metrics["judged_hunks"] = n_hunks
        mine = self.metrics["candidate.loss"]
        if not math.isfinite(mine):
            raise Refusal("With it the model gives no numbers.")
        for who, name in (("base", "the base"), ("serving", "what serves")):
            if who not in own:
                continue
            sure = self._sure_lower(own["candidate"], own[who])
            self.metrics[f"candidate.sure_better_than_{who}"] = sure
            sentence = (
                f"On {n_hunks} held-out hunks its loss is {mine:.4f} nats per byte, that of {name} {self.metrics[f'{who}.loss']:.4f}: "
                f"{100 * sure:.1f} % sure to be better, where {100 * self.thresholds.confidence:g} % is needed."
            )
            if not sure >= self.thresholds.confidence:
                raise Refusal(sentence)
            self.reasons.append(sentence)
        # What decides comes first; the general set was only measured first.
        self.reasons.append(self.reasons.pop(0))

    def _check_stops(self, base: list[Measured], mine: list[Measured]) -> None:
        before, after = (sum(one.score.ends for one in measured) / len(measured) for measured in (base, mine))
        sure = self._sure_lower(mine, base, lambda one: float(one.score.ends), lambda one: 1.0)
        sentence = (
            f"It stops where it should in {100 * after:.1f} % of {len(mine)} places, the base in {100 * before:.1f} %."
        )
        if before - after > self.thresholds.stop_drop and sure >= self.thresholds.confidence:
            raise Refusal(sentence)
        self.reasons.append(sentence)

    def _check_repetition(self, own: dict[str, list[Measured]]) -> None:
        before, after = self.metrics["base.repetition"], self.metrics["candidate.repetition"]
        sure = self._sure_lower(own["base"], own["candidate"], lambda one: float(one.repeats), lambda one: 1.0)
        sentence = (
            f"Its answers run in circles in {100 * after:.1f} % of the places, the base's in {100 * before:.1f} %."
        )
        if after - before > self.thresholds.repetition_rise and sure >= self.thresholds.confidence:
            raise Refusal(sentence)
        self.reasons.append(sentence)

    def _check_latency(self) -> None:
        before, after = self.metrics["base.ms_per_token"], self.metrics["candidate.ms_per_token"]
        sentence = f"A token takes {after:.2f} ms with it, {before:.2f} ms without."
        if before and after > self.thresholds.latency_ratio * before:
            raise Refusal(sentence)
        self.reasons.append(sentence)

    def _check_canaries(self, trained_on: Sequence[Example]) -> None:
        canaries = find_canaries(trained_on, self.thresholds.max_canaries)
        found = leaks(canaries, self.judge, self.candidate, self.strength, self.thresholds)
        self.metrics |= {"canaries": len(canaries), "leaks": len(found)}
        if found:
            where = ", ".join(leak.canary.where for leak in found[:5])
            raise Refusal(
                f"It has learnt {len(found)} of {len(canaries)} random strings by heart: {where}. "
                "Take them out of these files, or `understudy forget` the files."
            )
        self.reasons.append(f"It says none of {len(canaries)} random strings of what it learnt from.")

    def _measure(self, choice: Choice, examples: Sequence[Example]) -> list[Measured]:
        return [self._one(choice, example) for example in examples]

    def _one(self, choice: Choice, example: Example, *, complete: bool = False) -> Measured:
        score = self.judge.score(example, choice.adapter, choice.strength)
        if not math.isfinite(score.nats):
            raise Refusal("With it the model gives no numbers.")
        said = self.judge.complete(example, choice.adapter, choice.strength) if complete else None
        return Measured(example, score, said)

    def _sure_lower(
        self,
        mine: Sequence[Measured],
        other: Sequence[Measured],
        value: Callable[[Measured], float] = lambda one: one.score.nats,
        size: Callable[[Measured], float] = lambda one: one.n_bytes,
        margin: float = 0.0,
    ) -> float:
        """How sure the paired bootstrap by hunk is that the candidate has less of it, or at most `margin` (by size) more."""
        differences = [value(a) - value(b) - margin * size(a) for a, b in zip(mine, other, strict=True)]
        units = [hunk_of(one.example) for one in mine]
        return chance_below(differences, [size(one) for one in mine], units, self.thresholds.resamples)
