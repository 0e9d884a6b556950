"""What the Neovim plug-in says of itself is what it does: settings, options, keys, commands, functions, colours."""

from __future__ import annotations

import json
import re
from pathlib import Path

from local_runtime.cli.setup_command import WORDS
from lsp_server.settings import declaration

PLUGIN = Path(__file__).parents[2] / "editors" / "nvim"
HELP = PLUGIN / "doc" / "understudy.txt"
SETTINGS = PLUGIN / "lua" / "understudy" / "settings.lua"
WIDTH = 78


def lua(name: str) -> str:
    return (PLUGIN / "lua" / "understudy" / f"{name}.lua").read_text()


def tags(form: str) -> set[str]:
    """Tags of the help file, by a pattern with one group."""
    return {found for tag in re.findall(r"\*([^*\s]+)\*", HELP.read_text()) for found in re.findall(f"^{form}$", tag)}


def table(text: str, opening: str) -> str:
    """The Lua table behind `opening`, to its closing brace at the same indentation."""
    found = re.search(rf"^( *){re.escape(opening)}\{{\n(.*?)^\1\}}", text, re.S | re.M)
    assert found is not None, opening
    return found[2]


def names(body: str, indentation: int) -> set[str]:
    return set(re.findall(rf"^ {{{indentation}}}(\w+) =", body, re.M))


def settings_lua() -> str:
    listed = "".join(f"  '{one['key']}',\n" for one in declaration())
    origin = "--- Every setting of the language server, made from its declaration; a test holds the two together."
    return f"{origin}\nreturn {{\n{listed}}}\n"


def settings_help() -> str:
    """The settings as the help file has them."""
    return "\n".join(f"\n{_tag(str(one['key']))}\n{_title(one)}\n{_wrapped(str(one['doc']))}" for one in declaration())


def _tag(key: str) -> str:
    return f"{f'*understudy-setting-{key}*':>{WIDTH}}"


def _title(one: dict[str, object]) -> str:
    limits = f", {one['minimum']} to {one['maximum']}" if one["minimum"] is not None else ""
    unit = f" {one['unit']}" if one["unit"] else ""
    return f"{one['key']} ({one['type']}{limits}{unit}; default {json.dumps(one['default'])})"


def _wrapped(words: str) -> str:
    lines = [" " * 7]
    for word in words.split():
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" " * 7)
        lines[-1] += f" {word}"
    return "\n".join(lines)


def hold(path: Path, expected: str, update: bool) -> None:
    if update:
        path.write_text(expected)
    assert path.read_text() == expected, f"{path.name} is old: pytest {__file__} --update-golden"


def test_every_setting_of_the_server_is_known(update_golden: bool) -> None:
    hold(SETTINGS, settings_lua(), update_golden)


def test_every_setting_of_the_server_is_in_the_help(update_golden: bool) -> None:
    parts = re.match(r"(.*^All of them ~\n).*?(={78}\n vim:.*)", HELP.read_text(), re.S | re.M)
    assert parts is not None
    hold(HELP, f"{parts[1]}{settings_help()}\n\n{parts[2]}", update_golden)


def test_every_option_is_in_the_help_with_its_default() -> None:
    body = table(lua("config"), "M.defaults = ")
    assert tags(r"understudy-option-(\w+)") == names(body, 2)
    shown = re.search(r"require\('understudy'\)\.setup\{\n(.*?)\n    \}\n<", HELP.read_text(), re.S)
    assert shown is not None
    assert re.sub(r"\s", "", shown[1]) == re.sub(r"\s", "", body)


def test_every_key_is_in_the_help() -> None:
    keys = names(table(lua("config"), "keys = "), 4)
    assert keys == names(table(lua("keys"), "M.actions = "), 2)
    assert tags(r"understudy-key-(\w+)") == keys
    for name, key in re.findall(r"^    (\w+) = '(<.*>)',$", table(lua("config"), "keys = "), re.M):
        assert re.search(rf"^{name} +{re.escape(key)} ", HELP.read_text(), re.M), f"the help has another key for {name}"


def test_every_command_is_in_the_help() -> None:
    commands = set(re.findall(r"^M\.commands\.(\w+) = ", lua("commands"), re.M))
    assert tags(r"understudy-command-(\w+)") == commands


def test_the_pages_have_the_keys_and_commands_that_there_are() -> None:
    page = (PLUGIN / "README.md").read_text()
    keys = re.findall(r"^    \w+ = '(<.*>)',$", table(lua("config"), "keys = "), re.M)
    assert sorted(re.findall(r"`(<[^`]+>)`", page)) == sorted(keys)
    listed = re.search(r"`:Understudy` has (.*?)\.\n", page, re.S)
    assert listed is not None
    assert set(re.findall(r"`(\w+)`", listed[1])) == set(re.findall(r"^M\.commands\.(\w+) = ", lua("commands"), re.M))
    told = (PLUGIN.parents[1] / "README.md").read_text()
    for name, said in (
        ("accept", "Tab accepts"),
        ("accept_word", "Alt-Right one word"),
        ("accept_line", "Alt-Down one line"),
    ):
        key = re.search(rf"^    {name} = '<(.*)>',$", table(lua("config"), "keys = "), re.M)
        assert key is not None
        assert said.startswith(key[1].replace("M-", "Alt-"))
        assert said in told


def test_every_stage_of_a_set_up_has_words() -> None:
    assert names(table(lua("model_setup"), "local STAGES = "), 2) == set(WORDS)


def test_no_advice_needs_another_plug_in() -> None:
    """The commands that a report or a message tells to type are Neovim's own or ours."""
    told = {word for path in PLUGIN.rglob("*.lua") for word in re.findall(r"[`'\"]:([A-Za-z]{2,})", path.read_text())}
    assert told - {"Understudy"} <= {"checkhealth", "help"}


def test_every_function_is_in_the_help() -> None:
    functions = set(re.findall(r"^function M\.(\w+)\(", lua("init"), re.M))
    assert tags(r"understudy\.(\w+)\(\)") == functions


def test_every_colour_is_in_the_help() -> None:
    assert tags(r"hl-(\w+)") == set(re.findall(r"'(Understudy\w+)'", lua("screen")))


def test_the_help_fits_its_width_and_leads_nowhere_unknown() -> None:
    text = HELP.read_text()
    assert [line for line in text.splitlines() if len(line) > WIDTH + 1] == []
    own = {link for link in re.findall(r"\|([^|\s]+)\|", text) if "understudy" in link.lower()}
    assert own <= tags("(.*)")
