"""The small team's repository of `understudy demo`: a service with a house style, and the history of how it grew.

The style is made up, so no model has seen it: handlers are registered by topic, take a context, ask stores with `need`, note what they
did in an audit, and answer with `done` or `refuse`. Every file and every commit is a pure function of the lists below.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

AUTHOR, EMAIL = "Ada Demo", "ada@house.invalid"
HISTORY_DAYS = 60
NOUNS = (
    "invoice", "parcel", "voucher", "ticket", "badge", "locker", "ledger", "vessel", "permit", "garment", "recipe",
    "lantern", "orchard", "tenant", "quarry", "saddle", "beacon", "harbor", "meadow", "cellar", "violin", "kettle",
    "anchor", "copper", "walnut", "marble", "turbine", "compass", "glacier", "thicket",
)  # fmt: skip
VERBS = {
    "archive": "archived", "restore": "restored", "approve": "approved", "reject": "rejected", "assign": "assigned",
    "rename": "renamed", "merge": "merged", "split": "split", "renew": "renewed", "close": "closed",
}  # fmt: skip
HEADER = '''\
"""What may be done to a {noun}."""

from house import Context, Outcome, handler
from house.ids import {Noun}Id

'''
FUNCTION = """
@handler("{noun}.{verb}")
def {verb}_{noun}(ctx: Context, {noun}_id: {Noun}Id) -> Outcome:
    {noun} = ctx.{noun}s.need({noun}_id)
    if {noun}.is_{done}:
        return ctx.refuse("{noun}.{verb}", because="already {done}")
    ctx.audit.note("{noun}.{verb}", {noun}=str({noun}_id), by=ctx.actor)
    return ctx.done({noun}.{verb}(at=ctx.now))

"""


@dataclass(frozen=True, slots=True)
class Commit:
    """One step of the history: the handlers that it adds, by file."""

    days_ago: float
    message: str
    additions: tuple[tuple[str, str], ...]
    """(noun, verb)"""


def history(seed: int = 7) -> list[Commit]:
    """The commits, oldest first. The nouns of the last week are new: what helps there was learnt as style, not by heart."""
    rng = random.Random(seed)
    early, late = NOUNS[:24], NOUNS[24:]
    handlers = [*_shuffled(early, rng), *_shuffled(late, rng)]
    n_each = 3
    steps = [handlers[i : i + n_each] for i in range(0, len(handlers), n_each)]
    return [
        Commit(
            HISTORY_DAYS * (1 - (n + 1) / (len(steps) + 1)),
            f"Handle {', '.join(f'{v} {n_}' for n_, v in step)}",
            tuple(step),
        )
        for n, step in enumerate(steps)
    ]


def build(folder: Path) -> None:
    """Write the repository and its history into an empty `folder`. Needs git."""
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "config", "user.name", AUTHOR)
    _git(folder, "config", "user.email", EMAIL)
    now = time.time()
    for commit in history():
        for noun, verb in commit.additions:
            file = folder / "handlers" / f"{noun}.py"
            file.parent.mkdir(exist_ok=True)
            text = file.read_text() if file.exists() else _fill(HEADER, noun, verb)
            file.write_text(text + _fill(FUNCTION, noun, verb))
        stamp = f"{int(now - commit.days_ago * 86400)} +0000"
        _git(folder, "add", "--all")
        _git(folder, "commit", "-q", "-m", commit.message, date=stamp)


def new_file(noun: str = "sextant", verbs: tuple[str, ...] = ("approve", "close")) -> tuple[str, str]:
    """(what stands at the top of a file that nobody has written yet, what will be typed into it)."""
    return _fill(HEADER, noun, verbs[0]), "".join(_fill(FUNCTION, noun, verb) for verb in verbs).strip("\n") + "\n"


def _shuffled(nouns: tuple[str, ...], rng: random.Random) -> Iterator[tuple[str, str]]:
    pairs = [(noun, verb) for noun in nouns for verb in VERBS]
    rng.shuffle(pairs)
    yield from pairs


def _fill(template: str, noun: str, verb: str) -> str:
    return template.format(noun=noun, Noun=noun.capitalize(), verb=verb, done=VERBS[verb])


def _git(folder: Path, *arguments: str, date: str | None = None) -> None:
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    if date:
        environment |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)
