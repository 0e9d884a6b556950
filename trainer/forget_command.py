"""`understudy forget`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from local_runtime.errors import RuntimeFault

WAIT_SECONDS = 60.0
"""For a night that runs to make way."""
EXAMPLES = """\b
Examples:
  understudy forget src/secrets_draft.py        one file
  understudy forget ~/work/old-client           a whole project, which is switched off, too
  understudy forget src/old --later             delete now, train the new adapter in the next night
"""


@click.command(epilog=EXAMPLES)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--later", is_flag=True, help="Leave the training of a new adapter to the next night.")
def forget(path: Path, yes: bool, later: bool) -> None:
    """Forget a file or folder: wherever it was kept, and train the adapter as if it had never been seen."""
    from trainer.adapters.serving import served_model  # noqa: PLC0415 - `--help` needs none of this
    from trainer.forgetting import forget as forget_it  # noqa: PLC0415
    from trainer.nightly.night import night_of_user  # noqa: PLC0415
    from trainer.nightly.progress import show  # noqa: PLC0415
    from trainer.nightly.rebuild_owed import is_rebuild_owed  # noqa: PLC0415
    from trainer.nightly.runs import Reason  # noqa: PLC0415
    from trainer.nightly.trainer_lock import trainer_lock  # noqa: PLC0415

    console = Console(highlight=False)
    if not yes:
        console.print(f"{path.absolute()} and what is in it will be deleted from the journal, the statistics and the search index;", soft_wrap=True)  # fmt: skip
        console.print("all adapters trained here are deleted, and a new one is trained from what is left.")
        click.confirm("Forget it?", abort=True)
    with console.status("deleting"), trainer_lock(wait_seconds=WAIT_SECONDS):
        forgotten = forget_it(path)
    for sentence in forgotten.sentences():
        console.print(sentence, soft_wrap=True)
    if not is_rebuild_owed():  # also by a `forget` that was killed in the middle
        return
    if later:
        console.print("The next night rebuilds the adapter from the base, as if it had never been seen.")
        return
    console.print(
        f"Training a new adapter of {served_model().path.name} from what is left; Ctrl-C leaves it to the next night."
    )
    record = show(console, night_of_user(Reason.FORGET))
    if record.failed:
        raise RuntimeFault(record.outcome, "understudy learn now")
