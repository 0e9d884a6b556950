"""What one night learns from, fixed at its beginning: a resumed night sees the very same edits, whatever is saved meanwhile.

What is drawn from them depends on their content alone (`trainer.examples.identity`), so that what was never there leaves no trace: a
rebuild after `forget` is the same, bit for bit, as one that never knew what was forgotten.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from local_runtime.durable_file import write_durably
from trainer.collect.journal import Journal
from trainer.edits import EditEvent
from trainer.examples.dataset import split
from trainer.examples.identity import edit_key

FILE = "corpus.json"


class Learnt(msgspec.Struct, frozen=True):
    """A corpus, summed up for the report; no text in it."""

    hash: str
    """SHA-256 over the edits, in order."""
    last_id: int
    """The journal's highest row: what came later is for the next night."""
    n_train: int
    n_pool: int
    trained_until: float = 0.0
    """Unix time, seconds, of the newest edit that is trained on."""
    folders: dict[str, int] = {}
    """Edits trained on, by opted-in folder and the first folder in it."""
    languages: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Corpus:
    """The edits of one night, oldest first."""

    train: tuple[EditEvent, ...]
    pool: tuple[EditEvent, ...]
    """Held out: newer than all of `train`."""
    learnt: Learnt


def corpus(journal: Journal, *, last_id: int | None = None, seen_until: float = 0.0) -> Corpus:
    """The corpus as of the journal's row `last_id` (None: as of now).

    `seen_until`: edits up to this Unix time may have been trained on by what serves, so that they can judge nothing.
    """
    known = [edit for edit in journal.edits() if last_id is None or edit.id <= last_id]
    highest = max((edit.id for edit in known), default=0) if last_id is None else last_id
    train, held_out = split(known)
    pool = [edit for edit in held_out if edit.saved > seen_until]
    return Corpus(
        tuple(train),
        tuple(pool),
        Learnt(
            hash=_hash([*train, *held_out]),
            last_id=highest,
            n_train=len(train),
            n_pool=len(pool),
            trained_until=max((edit.saved for edit in train), default=0.0),
            folders=dict(Counter(_folder(edit) for edit in train)),
            languages=dict(Counter(edit.language for edit in train)),
        ),
    )


def write_learnt(run: Path, learnt: Learnt) -> None:
    """Fix a run's corpus."""
    write_durably(run / FILE, msgspec.json.encode(learnt))


def read_learnt(run: Path) -> Learnt | None:
    """A run's corpus; None before it is fixed."""
    try:
        return msgspec.json.decode((run / FILE).read_bytes(), type=Learnt)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _folder(edit: EditEvent) -> str:
    parts = PurePosixPath(edit.model_path).parts
    return f"{edit.root}/{parts[0]}" if len(parts) > 1 else edit.root


def _hash(edits: Iterable[EditEvent]) -> str:
    return hashlib.sha256("".join(map(edit_key, edits)).encode()).hexdigest()
