"""Exact and near duplicates out: MinHash over shingles of tokens (Broder 1997), looked up by locality (datasketch)."""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Any

import numpy as np
from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]

Array = np.ndarray[Any, np.dtype[Any]]
SHINGLE_TOKENS = 7
THRESHOLD = 0.7
N_PERMUTATIONS = 64
SCHEME = "affine32"
_TOKEN = re.compile(r"\w+|[^\w\s]")


def signature(text: str) -> Array:
    """MinHash of a text's shingles, `[N_PERMUTATIONS] uint64`. Spaces and line breaks do not count."""
    tokens = _TOKEN.findall(text)
    shingles = {" ".join(tokens[i : i + SHINGLE_TOKENS]) for i in range(max(len(tokens) - SHINGLE_TOKENS + 1, 1))}
    minhash = MinHash(num_perm=N_PERMUTATIONS, hashfunc=zlib.crc32, scheme=SCHEME)
    minhash.update_batch([shingle.encode() for shingle in shingles])
    return np.asarray(minhash.hashvalues)


class Seen:
    """What came before. Memory grows by a digest and a signature per text kept."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()
        self._near = MinHashLSH(threshold=THRESHOLD, num_perm=N_PERMUTATIONS)

    def duplicate(self, text: str, hashvalues: Array) -> str | None:
        """`exact`, `near` or None; in the last case the text counts as seen from now on."""
        digest = hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
        if digest in self._digests:
            return "exact"
        minhash = MinHash(num_perm=N_PERMUTATIONS, hashvalues=hashvalues, scheme=SCHEME)
        if self._near.query(minhash):
            return "near"
        self._digests.add(digest)
        self._near.insert(len(self._digests), minhash)
        return None
