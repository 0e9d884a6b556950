"""A small world for nights: a tiny model that is really served, and a journal of edits in a style of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.places import places
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.edits import EditEvent, Origin
from trainer.nightly.events import Event
from trainer.nightly.runs import Record
from trainer.nightly.user_activity import UserActivity

TINY = DecoderConfig("llama", 64, 160, 2, 4, 2, 16, 512, 1024, tied_embeddings=True)
BEGAN = 1.77e9
HOUR = 3600.0
NOUNS = ("invoice", "parcel", "voucher", "ticket", "badge", "locker", "ledger", "vessel", "permit", "garment")
VERBS = (
    "archive", "restore", "approve", "reject", "assign", "rename", "merge", "split", "renew", "close", "open", "sort", "copy",
    "move", "lock", "unlock", "print", "weigh", "count", "seal", "stamp", "sell", "lend", "hide", "paint", "clean",
)  # fmt: skip
AWAY = UserActivity(idle_seconds=None)


def handler(noun: str, verb: str) -> str:
    """A function in the house's style."""
    return (
        f'\n@handler("{noun}.{verb}")\ndef {verb}_{noun}(ctx, {noun}_id):\n    {noun} = ctx.{noun}s.need({noun}_id)\n'
        f'    ctx.audit.note("{noun}.{verb}", {noun}=str({noun}_id), by=ctx.actor)\n'
        f"    return ctx.done({noun}.{verb}(at=ctx.now))\n"
    )


def edits(root: Path, nouns: Sequence[str] = NOUNS, verbs: Sequence[str] = VERBS) -> Iterator[EditEvent]:
    """One handler after the other, file by file; the time of an edit does not depend on which others there are."""
    texts = dict.fromkeys(nouns, "from house import handler\n")
    for number, verb in enumerate(verbs):
        for noun in nouns:
            before = texts[noun]
            texts[noun] = after = before + handler(noun, verb)
            saved = BEGAN + HOUR * (number * len(NOUNS) + NOUNS.index(noun))
            yield EditEvent(f"{root}/{noun}.py", str(root), "python", before, after, saved, Origin.COMMIT)


def learn_from(root: Path, nouns: Sequence[str] = NOUNS, verbs: Sequence[str] = VERBS) -> None:
    """Opt the folder in and fill the journal."""
    root.mkdir(parents=True, exist_ok=True)
    LearnedFolders().on(root, BEGAN)
    journal = Journal()
    journal.add(edits(root, nouns, verbs))
    journal.close()


def finished(events: Iterator[Event]) -> tuple[Record, list[Event]]:
    """Run a night to its end."""
    seen = list(events)
    assert seen[-1].record is not None
    return seen[-1].record, seen


def adapter_bytes(name: str) -> bytes:
    """The weights of an adapter."""
    return (places().adapters / name / "adapter_model.safetensors").read_bytes()
