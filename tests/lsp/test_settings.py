"""One declaration; a bad value costs a message, never the server."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from lsp_server.settings import Settings, camel, declaration, from_file, merged


def test_later_sources_win_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[runtime]\nengine = 'echo'\n[lsp]\ndeadline_ms = 300\nmax_lines = 4\n")
    settings, problems = from_file(file)
    settings, more = merged(
        settings, {"deadlineMs": 400, "context": {"neighbours": False}, "context.search": False}, "editor"
    )
    assert (settings.deadline_ms, settings.max_lines, settings.context_neighbours, settings.context_search) == (
        400,
        4,
        False,
        False,
    )
    assert not problems
    assert not more


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"deadlineMs": "soon"}, "deadline_ms = 'soon' (editor) is not a whole number from 50 to 10000 (ms)"),
        ({"deadline_ms": 1}, "deadline_ms = 1 (editor) is not a whole number"),
        ({"deadline_ms": float("inf")}, "deadline_ms = inf"),
        ({"deadline_ms": True}, "deadline_ms = True"),
        ({"enabled": 1}, "enabled = 1 (editor) is not true or false"),
        ({"disabledGlobs": "*.py"}, "disabled_globs = '*.py' (editor) is not a list of texts"),
        ({"disabledGlobs": [1]}, "disabled_globs"),
        (["x"], "is not a table of settings"),
        (7, "is not a table of settings"),
    ],
)
def test_a_bad_value_is_named_and_the_one_before_stays(given: object, expected: str) -> None:
    settings, problems = merged(Settings(), given, "editor")
    assert settings == Settings()
    assert len(problems) == 1
    assert expected in str(problems[0])


def test_unknown_keys_and_nulls_are_ignored() -> None:
    assert merged(Settings(), {"trace": {"server": "off"}, "deadlineMs": None, 5: 6}, "editor") == (Settings(), ())
    assert merged(Settings(), None, "editor") == (Settings(), ())


def test_a_broken_file_is_a_problem_and_none_is_not(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[lsp\n")
    settings, problems = from_file(tmp_path / "config.toml")
    assert settings == Settings()
    assert "config.toml" in str(problems[0])
    assert from_file(tmp_path / "none.toml") == (Settings(), ())


def test_the_declaration_says_everything_and_its_defaults_are_valid() -> None:
    declared = declaration()
    assert [one["key"] for one in declared] == [one.name for one in fields(Settings)]
    assert all(str(one["doc"]).endswith(".") for one in declared)
    assert merged(Settings(), {str(one["name"]): one["default"] for one in declared}, "editor") == (Settings(), ())
    assert camel("debounce_ceiling_ms") == "debounceCeilingMs"
