"""`understudy model use`."""

from __future__ import annotations

import click

EXAMPLES = """\b
Examples:
  understudy model list                                  what there is, and which one answers
  understudy model use qwen2.5-coder-1.5b-q4f16_1        this one from now on
"""


@click.command("use", epilog=EXAMPLES)
@click.argument("name")
def use(name: str) -> None:
    """Have NAME answer from now on, in every editor and command. A running daemon follows at once."""
    from local_runtime.model.use import use_model  # noqa: PLC0415  loads the daemon's client

    restarted = use_model(name)
    click.echo(f"{name} answers from now on" + ("; the daemon loads it now" if restarted else ""))
