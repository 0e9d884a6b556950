"""`understudy`: a thin dispatcher. Each package brings its sub-commands by the entry point group `understudy.commands`."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points

import click

from local_runtime import __version__
from local_runtime.errors import RuntimeFault

SENTENCE = 200
"""Characters that the first sentence of a command's help may have."""
EPILOG = """\b
Examples:
  understudy doctor                           what works here, and what to do about the rest
  understudy model import ~/Qwen2.5-Coder     bring a model
  understudy complete src/app.py:42           complete a line in the terminal
"""


class Dispatcher(click.Group):
    """Loads a sub-command's module only when that sub-command is asked for: `understudy --help` needs them all."""

    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group="understudy.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command behind a name, imported now."""
        entry = self._entries().get(cmd_name)
        command = entry.load() if entry else None
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its first sentence, whole: click cuts it off at the line's end."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(SENTENCE)) for name, one in commands.items() if one])


@click.group(
    cls=Dispatcher, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="understudy")
def understudy() -> None:
    """Inline code completion that runs on this machine alone, and learns your code at night."""


def main() -> None:
    """Run the command; a fault becomes one clear message and exit status 1, never a traceback."""
    try:
        understudy.main(standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except RuntimeFault as fault:
        click.echo(f"understudy: {fault}", err=True)
        sys.exit(1)
