"""What the benchmarks of the night share: a home of its own with the tests' tiny model, and a journal of an invented house.

Not a benchmark itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_model

from local_runtime.client.client import Client
from local_runtime.places import folder, places
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.edits import EditEvent, Origin

BEGAN = 1.77e9
HOUR = 3600.0
NOUNS = (
    "invoice", "parcel", "voucher", "ticket", "badge", "locker", "ledger", "vessel", "permit", "garment", "recipe", "lantern",
    "orchard", "tenant", "quarry", "saddle", "beacon", "harbor", "meadow", "cellar",
)  # fmt: skip
VERBS = (
    "archive", "restore", "approve", "reject", "assign", "rename", "merge", "split", "renew", "close", "open", "weigh", "count",
    "seal", "stamp", "lend", "hide", "paint",
)  # fmt: skip


@contextmanager
def own_home() -> Iterator[Path]:
    """A home that is removed, which shares models and compiled libraries with the user's."""
    shared = places()
    tiny_model.ensure_imported()
    before = os.environ.get("UNDERSTUDY_HOME")
    with tempfile.TemporaryDirectory(prefix="understudy-night-") as name:
        home = Path(name)
        for source, link in (
            (shared.models, home / "data" / "models"),
            (shared.libraries, home / "cache" / "libraries"),
            (shared.packed, home / "cache" / "packed"),
        ):
            folder(link.parent)
            link.symlink_to(folder(source))
        os.environ["UNDERSTUDY_HOME"] = name
        folder(places().config)
        places().config_file.write_text(f'[runtime]\nmodel = "{tiny_model.NAME}"\n')
        try:
            yield home
        finally:
            with Client("benchmark", start=False) as client:
                client.stop()
            if before is None:
                del os.environ["UNDERSTUDY_HOME"]
            else:
                os.environ["UNDERSTUDY_HOME"] = before


def house(root: Path, n_edits: int, first: int = 0, without: str = "") -> list[EditEvent]:
    """Edits number `first` to `first + n_edits` of the house, each a handler of six lines; `without` leaves a file out."""
    texts = dict.fromkeys(NOUNS, "from house import handler\n")
    found = []
    for number in range(first + n_edits):
        noun, verb = NOUNS[number % len(NOUNS)], VERBS[number // len(NOUNS) % len(VERBS)]
        before = texts[noun]
        texts[noun] = after = before + _handler(noun, verb)
        if number >= first and noun != without:
            saved = BEGAN + HOUR * number
            found.append(EditEvent(f"{root}/{noun}.py", str(root), "python", before, after, saved, Origin.COMMIT))
    return found


def add(root: Path, edits: list[EditEvent]) -> None:
    """Opt the folder in and put the edits into the journal."""
    LearnedFolders().on(folder(root), BEGAN)
    journal = Journal()
    journal.add(edits)
    journal.close()


def _handler(noun: str, verb: str) -> str:
    return (
        f'\n@handler("{noun}.{verb}")\ndef {verb}_{noun}(ctx, {noun}_id):\n    {noun} = ctx.{noun}s.need({noun}_id)\n'
        f'    ctx.audit.note("{noun}.{verb}", {noun}=str({noun}_id), by=ctx.actor)\n'
        f"    return ctx.done({noun}.{verb}(at=ctx.now))\n"
    )
