"""Text that was learnt before, exactly or nearly: SHA-256 of normalised text, and MinHash (Broder 1997) by rensa.

The signature of 128 values is cut into 16 bands of 8: two texts share a band with a probability of 1 - (1 - s^8)^16 for a
Jaccard similarity s (Leskovec et al., Mining of Massive Datasets, 3.4). Candidates are compared truly before one is believed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

SHINGLE_TOKENS = 5
MIN_TOKENS = 30
"""Shorter texts recur by nature, in any number of files: only the same text in the same file is a duplicate."""
SIMILARITY = 0.85
_N_PERMUTATIONS = 128
_N_BANDS = 16
_SEED = 42
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells whether a text was seen before."""

    sha256: bytes
    """Of its words and signs, whatever blanks stand between them; for a short text, of its path too."""
    bands: tuple[bytes, ...]
    """Empty for a short text."""
    shingles: frozenset[str]


def fingerprint(text: str, path: str) -> Fingerprint:
    """Of the text that an edit added to a file."""
    tokens = _TOKEN.findall(text)
    normal = " ".join(tokens)
    if len(tokens) < MIN_TOKENS:
        return Fingerprint(hashlib.sha256(f"{path}\0{normal}".encode()).digest(), (), frozenset())
    shingles = frozenset(" ".join(tokens[i : i + SHINGLE_TOKENS]) for i in range(len(tokens) - SHINGLE_TOKENS + 1))
    return Fingerprint(hashlib.sha256(normal.encode()).digest(), _bands(shingles), shingles)


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard similarity of two sets of shingles, 0 to 1."""
    return len(one & other) / max(len(one | other), 1)


def _bands(shingles: frozenset[str]) -> tuple[bytes, ...]:
    from rensa import RMinHash  # type: ignore[import-untyped]  # noqa: PLC0415

    minhash = RMinHash(num_perm=_N_PERMUTATIONS, seed=_SEED)
    minhash.update(sorted(shingles))
    digest = minhash.digest()
    rows = _N_PERMUTATIONS // _N_BANDS
    values = [
        b"".join(value.to_bytes(4, "big") for value in digest[i * rows : (i + 1) * rows]) for i in range(_N_BANDS)
    ]
    return tuple(hashlib.blake2b(value, digest_size=8).digest() for value in values)
