"""`understudy learn preview`: what would be trained on, as the model would see it, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from local_runtime.errors import BadRequest
from local_runtime.prompts.fim import FimTokenizer
from trainer.adapters.serving import served_model
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal, default_path
from trainer.collect.refusals import Refused
from trainer.edits import EditEvent, Example
from trainer.examples.dataset import mixture, split

LINES_ABOVE, LINES_BELOW = 5, 3
N_LEFT_OUT = 15


def print_preview(console: Console, path: Path | None, n_files: int, n_examples: int) -> None:
    """Of one file or folder, or of everything. Raises BadRequest when nothing there is learnt from."""
    wanted = None if path is None else path.expanduser().resolve().as_posix()
    if wanted is not None and LearnedFolders().of(wanted) is None:
        raise BadRequest(f"{wanted} is not learnt from", f"understudy learn on {wanted}")
    if not default_path().exists():
        console.print("Nothing was saved yet: understudy learn on PATH --since 90d takes your commits, too.")
        return
    with closing(Journal()) as journal:
        every = list(journal.edits())
        edits = [edit for edit in every if _is_below(edit.path, wanted)]
        refused = [one for one in journal.refusals() if _is_below(one.path, wanted)]
    train, pool = split(edits)
    _print_files(console, train, pool, n_files)
    if train and n_examples:
        _print_examples(console, train, every, n_examples)
    _print_left_out(console, refused)


def _print_files(console: Console, train: list[EditEvent], pool: list[EditEvent], n_files: int) -> None:
    console.print(
        f"{len(train)} edits would be trained on; the newest {len(pool)} are held out to judge with, and learnt later."
    )
    trained = Counter(edit.path for edit in train)
    held = Counter(edit.path for edit in pool)
    every = trained + held
    table = Table("file", "trained on", "held out")
    for path, _ in every.most_common(n_files):
        table.add_row(escape(path), str(trained[path]), str(held[path]))
    if n_files:
        console.print(table)
    if len(every) > n_files > 0:
        console.print(f"and {len(every) - n_files} more files (--files)")


def _print_examples(console: Console, train: list[EditEvent], known: list[EditEvent], n_examples: int) -> None:
    fim = FimTokenizer.open(served_model().path)
    own = [one for one in mixture(train, fim, seed=0, known=known) if one.edit_id]
    console.print(
        f"\n{len(own)} examples are made of them in a night. {min(n_examples, len(own))} of them, what is learnt in green:"
    )
    for example in own[:n_examples]:
        console.print(Padding(_rendered(example), (1, 0, 0, 2)))


def _rendered(example: Example) -> Text:
    """The hole with a few lines around it."""
    above = "\n".join(example.hole.prefix.split("\n")[-LINES_ABOVE - 1 :])
    below = "\n".join(example.hole.suffix.split("\n")[: LINES_BELOW + 1])
    pieces = f", beside {len(example.chunks)} related pieces" if example.chunks else ""
    text = Text(f"{example.hole.path}  {example.kind.value}, weight {example.weight:g}{pieces}\n", "bold")
    return text.append(above, "dim").append(example.middle, "green not bold").append(below, "dim")


def _print_left_out(console: Console, refused: list[Refused]) -> None:
    if not refused:
        return
    reasons: Counter[str] = Counter()
    for one in refused:
        reasons[one.reason.value] += one.n
    table = Table("left out, because", "times", title="What is not learnt from", title_justify="left")
    for reason, n in reasons.most_common():
        table.add_row(reason, str(n))
    console.print()
    console.print(table)
    files = Table("file", "why", "times")
    for one in refused[:N_LEFT_OUT]:
        files.add_row(escape(one.path), one.reason.value, str(one.n))
    console.print(files)


def _is_below(path: str, wanted: str | None) -> bool:
    return wanted is None or path == wanted or path.startswith(wanted + "/")
