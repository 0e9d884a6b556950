"""How long to wait before asking the model: as short as this typist and this machine allow.

A suggestion that takes `latency` is of use only if it arrives before the next key does. When the model is faster than the
gaps between keys, waiting gains nothing: a superseded generation stops within one forward. When it is slower, most
answers would come too late; waiting out the difference asks only when a pause has begun. At a line's start a typist
pauses anyway, and the answer is worth most: no wait there.
"""

from __future__ import annotations

from collections import deque
from statistics import median

BURST_GAP_MS = 400.0
"""A longer gap is a pause for thought and says nothing about typing."""
N_GAPS = 32
N_LATENCIES = 16


class Debounce:
    """Learns gaps between keys and latencies of the runtime; all times in ms, of any one clock."""

    def __init__(self) -> None:
        self._last_key_ms: float | None = None
        self._gaps: deque[float] = deque(maxlen=N_GAPS)
        self._latencies: deque[float] = deque(maxlen=N_LATENCIES)

    def key(self, now_ms: float) -> None:
        """The user typed."""
        if self._last_key_ms is not None and 0 < (gap := now_ms - self._last_key_ms) <= BURST_GAP_MS:
            self._gaps.append(gap)
        self._last_key_ms = now_ms

    def answered(self, latency_ms: float) -> None:
        """The runtime took this long from being asked to something worth showing."""
        self._latencies.append(latency_ms)

    def delay_ms(self, line_prefix: str, ceiling_ms: float) -> float:
        """How long to wait now: 0 at a line's start, at most `ceiling_ms`."""
        if not line_prefix.strip() or len(self._gaps) < N_GAPS // 4 or not self._latencies:
            return 0.0
        return max(0.0, min(ceiling_ms, median(self._latencies) - median(self._gaps)))
