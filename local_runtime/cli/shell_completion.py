"""`understudy completion`: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from local_runtime.cli.command import understudy
from local_runtime.errors import BadRequest

EXAMPLES = """\b
Examples:
  understudy completion bash >> ~/.bashrc
  understudy completion zsh > "${fpath[1]}/_understudy"
  understudy completion fish > ~/.config/fish/completions/understudy.fish
"""


@click.command(epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise BadRequest(f"{shell} is not known", "understudy completion bash")
    click.echo(kind(understudy, {}, "understudy", "_UNDERSTUDY_COMPLETE").source())
