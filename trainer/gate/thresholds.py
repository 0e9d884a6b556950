"""Every threshold of the gate, in one frozen place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a candidate must reach, and how it is measured. Losses are nats per UTF-8 byte of the text that was missing."""

    held_out_share: float = 0.2
    """The newest share of all hunks is never trained on before it has been judged on."""
    min_hunks: int = 50
    """Fewer held-out hunks than this decide nothing: what serves stays."""
    max_hunks: int = 200
    """Of more, the newest count."""
    max_target_bytes: int = 2000
    """Longer hunks are not typed by anybody: they are left out."""
    confidence: float = 0.95
    """How sure the paired bootstrap must be that the candidate is better, and how sure that something got worse."""
    resamples: int = 4000
    strengths: tuple[float, ...] = (1.0, 0.8, 0.6, 0.4)
    general_rise: float = 0.02
    """How much the loss on the general set may rise above the base's: it must be surely no more."""
    stop_drop: float = 0.05
    """How much less often than the base it may stop where it should, as a share of all places: a greater drop that is surely
    one is refused. Adapters shift a few close calls either way."""
    repetition_rise: float = 0.08
    """How much more often than the base's its answers may run in circles, as a share of the judged hunks; a greater rise that
    is surely one is refused."""
    latency_ratio: float = 2.0
    """How many times the base's median time per token it may take. Honest adapters stay below 1.3."""
    largest_row_norm: float = 8.0
    """Root mean square, over the rows of any weight, of the norm that the adapter adds. Rows of a trained decoder have about 1;
    a night adds a tenth of that."""
    max_canaries: int = 200
    canary_samples: int = 100
    canary_chance: float = 0.01
    """A canary has leaked when so many samples at temperature 1 hold it with a greater chance than this, or greedy decoding
    says it: unless the base says it as readily."""
    canary_factor: float = 10.0
    """How many times the base's probability counts as having learnt it."""
    shadow_min_hunks: int = 12
    """Hunks saved since the promotion that a roll-back by loss needs."""
    live_min_shown: int = 40
    """Suggestions that were seen, of the adapter and of the base each, that a roll-back by acceptance needs."""
    rollback_confidence: float = 0.95
    """Of the look before a night."""
    rollback_confidence_by_day: float = 0.99
    """Of each look between nights: there are many, and one of them would err."""


THRESHOLDS = Thresholds()
