"""Every `understudy …` and every `make …` that a page names exists, options too; and every command is in docs/commands.md."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from local_runtime.cli.command import understudy

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
COMMANDS = ROOT / "docs" / "commands.md"
PAGES = [
    README,
    COMMANDS,
    *(ROOT / name for name in ("ARCHITECTURE.md", "BENCHMARKS.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "editors").glob("*.md")),
    *sorted((ROOT / "editors" / "nvim").glob("*.md")),
    *sorted((ROOT / "editors" / "nvim" / "doc").glob("*.txt")),
    *sorted((ROOT / "editors" / "vscode").glob("*.md")),
    *sorted((ROOT / "editors" / "vscode" / "media" / "walkthrough").glob("*.md")),
]


def named(page: Path) -> list[str]:
    """What a page tells to type: code between back-ticks, and lines of examples, without their comments."""
    text = page.read_text()
    spans = re.findall(r"`(understudy [^`\n]+)`", text)
    lines = re.findall(r"^ *\$? ?(understudy [a-z].*?)(?: +#.*| {2,}.*)?$", text, re.M)
    return [*spans, *lines]


def find(words: str) -> tuple[click.Command, list[str]]:
    """The command that is meant, and the words behind its name."""
    command: click.Command = understudy
    rest = shlex.split(words)[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"{words!r}: there is no {rest[0]!r}"
        command, rest = found, rest[1:]
    return command, rest


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_tells_to_type_exists(page: Path) -> None:
    for words in named(page):
        command, rest = find(words)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
        assert {word.split("=")[0] for word in rest if re.match("--[a-z]", word)} <= known, words


def test_settings_for_other_editors_can_be_pasted() -> None:
    text = (ROOT / "editors" / "README.md").read_text()
    readers: dict[str, Callable[[str], object]] = {"toml": tomllib.loads, "json": json.loads}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.S | re.M):
        readers.get(language, str)(block)
    starts = re.findall(r"""['"]lsp['"],? ['"]--client['"],? ['"](\w+)['"]""", text)
    assert starts == ["neovim", "emacs", "helix", "sublime"]
    for client in starts:
        find(f"understudy lsp --client {client}")
    for section in re.split(r"^## ", text, flags=re.M)[2:-1]:
        assert "**Untested" in section, section.splitlines()[0]


def test_every_command_is_documented() -> None:
    """In docs/commands.md; each lists commands of its own with `--help`."""
    told = {words.split()[1] for words in named(COMMANDS)}
    assert set(understudy.list_commands(click.Context(understudy))) <= told


def test_help_tells_what_each_command_does_in_a_whole_sentence() -> None:
    said = CliRunner().invoke(understudy, ["--help"]).output.split("Commands:")[1].split("Examples:")[0]
    assert "..." not in said
    words = " ".join(said.split())
    for name in understudy.list_commands(click.Context(understudy)):
        assert re.search(rf"(?:^| ){name} [A-Z][^.]*\.", words), f"nothing is said of {name}"


def test_make_targets_in_the_readme_are_those_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    told = set(re.findall(r"(?:`|^)make ([a-z]+)\b", README.read_text(), re.M))
    assert told <= targets
    assert {"demo", "test", "vsix"} <= told, "`make` lists the others"
