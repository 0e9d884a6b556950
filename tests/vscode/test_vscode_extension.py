"""The VS Code extension without VS Code: types, lint, its own unit tests, and what its manifest promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from vscode_extension import EXTENSION, npm

from local_runtime import __version__
from local_runtime.cli.setup_command import WORDS, JsonTeller
from local_runtime.setup.steps import Plan
from lsp_server.settings import declaration

ROOT = EXTENSION.parents[1]
SOURCE = "\n".join(path.read_text() for path in sorted((EXTENSION / "src").glob("*.ts")))
README = (EXTENSION / "README.md").read_text()
OWN_SETTINGS = {"understudy.command"}


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return json.loads((EXTENSION / "package.json").read_text())


def test_types_lint_and_format() -> None:
    npm("run", "check")


def test_units() -> None:
    said = npm("test")
    assert re.search(r"^ℹ fail 0$", said, re.M), said
    assert int(re.search(r"^ℹ pass (\d+)$", said, re.M)[1]) >= 20, said


def test_settings_are_the_servers(manifest: dict[str, Any]) -> None:
    """The manifest is what the script writes from `understudy settings --json`; and it holds each setting, as a user reads it."""
    npm("run", "settings", "--", "--check")
    properties = manifest["contributes"]["configuration"]["properties"]
    assert set(properties) == OWN_SETTINGS | {f"understudy.{one['name']}" for one in declaration()}
    for one in declaration():
        assert properties[f"understudy.{one['name']}"]["default"] == one["default"]
        assert properties[f"understudy.{one['name']}"]["markdownDescription"].startswith(one["doc"])


def test_every_command_is_declared_and_handled(manifest: dict[str, Any]) -> None:
    declared = {one["command"] for one in manifest["contributes"]["commands"]}
    table = re.search(r"const handlers:.*?= \{(.*?)\n  \};", SOURCE, re.S)
    assert table is not None
    assert declared == {f"understudy.{name}" for name in re.findall(r"^    (\w+)[:,]", table[1], re.M)}


def test_every_command_and_setting_is_in_the_readme(manifest: dict[str, Any], update_golden: bool) -> None:
    rows = [f"| {one['title']} | `{one['command']}` |" for one in manifest["contributes"]["commands"]]
    commands = "\n".join(["| Understudy: … | |", "| --- | --- |", *rows])
    properties = manifest["contributes"]["configuration"]["properties"]
    rows = [
        f"| `{name}` | `{json.dumps(one['default'])}` | {one['markdownDescription']} |"
        for name, one in properties.items()
    ]
    settings = "\n".join(["| setting | default | |", "| --- | --- | --- |", *rows])
    path = EXTENSION / "README.md"
    text = README
    for heading, table in (("Commands", commands), ("Settings", settings)):
        text = re.sub(rf"(## {heading}\n\n)(?:\|.*\n)*\n?", lambda found, new=table: f"{found[1]}{new}\n\n", text)
        assert table in text, f"the README has no section {heading}"
    if update_golden:
        path.write_text(text)
    assert path.read_text() == text, f"{path} is old: pytest {__file__} --update-golden"


def test_every_key_is_documented(manifest: dict[str, Any]) -> None:
    for binding in manifest["contributes"]["keybindings"]:
        for key in {binding["key"], binding.get("mac", binding["key"])}:
            assert f"`{key}`" in README, f"the README lacks {key}"
        assert f"`{binding['command']}`" in README
    bound = {binding["command"] for binding in manifest["contributes"]["keybindings"]}
    commands = {one["command"] for one in manifest["contributes"]["commands"]}
    assert bound <= commands
    settings = set(manifest["contributes"]["configuration"]["properties"])
    assert set(re.findall(r"`(understudy\.\w+)`", README)) == commands | settings
    keys = set(re.findall(r"^\| ((?:`[^|]+`|\w+).*?) \| `understudy\.\w+`", README.split("## The status bar")[0], re.M))
    assert len(keys) == len(manifest["contributes"]["keybindings"]), f"other keys are documented than there are: {keys}"


def test_the_walkthrough_is_there(manifest: dict[str, Any]) -> None:
    commands = {one["command"] for one in manifest["contributes"]["commands"]}
    for walkthrough in manifest["contributes"]["walkthroughs"]:
        assert f"understudy#{walkthrough['id']}'" in SOURCE, "nothing opens it"
        for step in walkthrough["steps"]:
            assert (EXTENSION / step["media"]["markdown"]).is_file()
            assert set(re.findall(r"\(command:([\w.]+)\)", step["description"])) <= commands


def test_nobody_is_told_to_install_it_from_an_index() -> None:
    """It is on none: a package of its name there would be somebody else's."""
    told = [ROOT / "README.md", *(ROOT / "editors").glob("*.md"), *(ROOT / "editors" / "nvim" / "doc").glob("*.txt")]
    told += [EXTENSION / "README.md", *(EXTENSION / "media").rglob("*.md")]
    for path in told:
        assert not re.search(r"install (-\S+ )*understudy\b", path.read_text()), path


def test_an_untrusted_workspace_runs_nothing_of_its_own(manifest: dict[str, Any]) -> None:
    untrusted = manifest["capabilities"]["untrustedWorkspaces"]
    assert untrusted["supported"] == "limited"
    assert set(untrusted["restrictedConfigurations"]) == OWN_SETTINGS
    assert "!vscode.workspace.isTrusted" in SOURCE, "the workspace's Python is asked for the command"


def test_make_packs_what_is_needed_and_no_more_without_a_network(manifest: dict[str, Any]) -> None:
    npm("--version")  # with the packages in their place
    (EXTENSION / "understudy.vsix").unlink(missing_ok=True)
    environment = os.path.relpath(sys.prefix, ROOT)
    make = ["make", "--silent", f"VENV={environment}", "-o", f"{environment}/dev", "vsix"]
    subprocess.run(make, cwd=ROOT, env=os.environ | {"npm_config_offline": "true"}, check=True, stdout=subprocess.PIPE)
    with zipfile.ZipFile(EXTENSION / "understudy.vsix") as vsix:
        names = {name.removeprefix("extension/") for name in vsix.namelist()}
        licences = vsix.read("extension/out/licences.txt").decode()
        packed_licence = vsix.read("extension/LICENSE.txt")
    media = {f"media/walkthrough/{path.name}" for path in (EXTENSION / "media" / "walkthrough").iterdir()}
    assert names == media | {
        "[Content_Types].xml",
        "extension.vsixmanifest",
        "LICENSE.txt",
        "changelog.md",
        "docs/vscode.png",
        "media/icon.png",
        "out/extension.cjs",
        "out/licences.txt",
        "package.json",
        "readme.md",
    }
    assert packed_licence == (ROOT / "LICENSE").read_bytes()
    for package in manifest["dependencies"]:
        assert package in licences
    assert set(re.findall(r"!\[.*?\]\((.*?)\)", README)) <= names, "a picture would be missing on the extension's page"


def test_the_changelog_begins_with_the_version_that_is_packed(manifest: dict[str, Any]) -> None:
    assert manifest["version"] == __version__
    versions = re.findall(r"^## (\S+)", (EXTENSION / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == manifest["version"]


def test_a_folder_that_nothing_watches_is_known_by_what_the_command_prints() -> None:
    """Sentences of `understudy learn on`: where a container or WSL has no login services, somebody has to be told."""
    printed = (ROOT / "trainer" / "nightly" / "learn_commands.py").read_text()
    known = re.search(r"const UNWATCHED = \[(.*?)\]", SOURCE, re.S)
    assert known is not None
    beginnings = re.findall(r"'(.+?)'", known[1])
    assert len(beginnings) == 2
    assert all(f'"{beginning}' in printed for beginning in beginnings)


def test_what_a_set_up_prints_is_what_the_window_reads(capsys: pytest.CaptureFixture[str]) -> None:
    source = (EXTENSION / "src" / "setUpEvents.ts").read_text()
    stages = re.search(r"const STAGES.*? = \{\n(.*?)\n\}", source, re.S)
    assert stages is not None
    assert set(re.findall(r"^  (\w+):", stages[1], re.M)) == set(WORDS)
    teller = JsonTeller()
    teller.plan(Plan("a", "A", "q8f16_g32", "MIT", False, 1, 2, "fast"))
    teller.progress("fetch", 1, 2, "")
    for kind, line in zip(("Plan", "Progress"), capsys.readouterr().out.splitlines(), strict=True):
        declared = re.search(rf"interface {kind} \{{(.*?)\n\}}", source, re.S)
        assert declared is not None
        assert set(re.findall(r"readonly (\w+):", declared[1])) == json.loads(line).keys()


def test_the_icon_is_drawn_from_its_source(tmp_path: Path) -> None:
    before = (EXTENSION / "media" / "icon.png").read_bytes()
    npm("run", "icon")
    assert (EXTENSION / "media" / "icon.png").read_bytes() == before
