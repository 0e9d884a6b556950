"""Doctor finds what is broken on purpose; the commands around it answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from local_runtime.cli import doctor
from local_runtime.cli.command import understudy
from local_runtime.cli.doctor import Finding
from local_runtime.client import lock, sockets
from local_runtime.model import registry
from local_runtime.model.chosen import choose
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.places import folder, places


def bad(found: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.state == "bad"]


def test_a_fresh_home_lacks_a_model_and_nothing_else() -> None:
    [finding] = bad(doctor.findings())
    assert (finding.text, finding.remedy) == ("no model yet", "understudy setup")
    assert not places().data.exists()  # it looks and changes nothing


def test_every_bad_finding_has_a_remedy_and_the_exit_status_tells() -> None:
    done = CliRunner().invoke(understudy, ["doctor", "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert all(finding["remedy"] for finding in found if finding["state"] == "bad")
    assert {finding["area"] for finding in found} >= {"machine", "wheels", "toolchain", "folders", "models", "daemon"}
    assert "understudy setup" in CliRunner().invoke(understudy, ["doctor"]).stdout


def test_a_run_without_a_model_says_what_brings_one() -> None:
    done = CliRunner().invoke(understudy, ["doctor", "--run", "--json"])
    found = [finding for finding in json.loads(done.stdout) if finding["area"] == "self-test"]
    assert [(finding["state"], finding["remedy"]) for finding in found] == [("bad", "understudy setup")], done.output


def test_another_version_than_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1.15" if name == "apache-tvm-ffi" else version(name))
    [finding] = bad(doctor.wheels())
    assert "apache-tvm-ffi is 0.1.15, expected 0.1.14.post1" in finding.text
    assert finding.remedy == "pip install apache-tvm-ffi==0.1.14.post1"


def test_another_package_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.20" if name == "mlc-ai" else version(name))
    [finding] = bad(doctor.wheels())
    assert "pip uninstall mlc-ai" in (finding.remedy or "")


def test_nothing_that_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    [finding] = doctor.toolchain()
    assert (finding.state, "ziglang" in (finding.remedy or "")) in (("bad", True), ("ok", False))


def test_folders_that_others_can_reach() -> None:
    folder(places().data).chmod(0o755)
    folder(sockets.token_path().parent)
    sockets.token_path().write_text("secret")
    sockets.token_path().chmod(0o644)
    assert {finding.remedy for finding in bad(doctor.folders())} == {
        f"chmod 700 {places().data}",
        f"chmod 600 {sockets.token_path()}",
    }


def test_settings_that_are_not_understood() -> None:
    folder(places().config)
    places().config_file.write_text("[runtime]\nprot = 1\n")
    finding = next(finding for finding in doctor.findings() if finding.area == "settings")
    assert finding.state == "bad"
    assert "prot" in finding.text
    assert str(places().config_file) in finding.text


def test_a_damaged_model_does_not_hide_a_whole_one(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source")
    for name in ("damaged", "whole"):
        import_model(source, QUANTIZATIONS["q8f16_g32"], name)
    (registry.find("damaged") / "tensor-cache.json").write_text("{")
    found = {finding.text.split(":")[0]: finding for finding in doctor.models()}
    assert found["damaged"].state == "bad"
    assert found["whole"].state == "note"
    assert found["whole"].remedy == "understudy model compile whole"
    assert "the one that answers" in found["whole"].text


def test_a_chosen_model_that_is_not_there() -> None:
    choose("gone")
    [finding] = bad(doctor.models())
    assert "gone" in finding.text
    assert finding.remedy == "understudy model list"


def test_a_daemon_that_holds_the_lock_and_does_not_answer() -> None:
    held = lock.take(sockets.lock_path(), "1")
    assert held is not None
    [finding] = doctor.daemon()
    os.close(held)
    assert finding.state == "bad"
    assert finding.remedy == "understudy runtime stop --force"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_and_what_they_ask_for(shell: str) -> None:
    assert "_UNDERSTUDY_COMPLETE" in CliRunner().invoke(understudy, ["completion", shell]).stdout
    asked = {
        "_UNDERSTUDY_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "understudy runt",
        "COMP_CWORD": "runt" if shell == "fish" else "1",
    }
    done = CliRunner().invoke(understudy, env=asked, prog_name="understudy")
    assert "runtime" in done.stdout


@pytest.mark.parametrize(
    "command",
    ["runtime", "runtime start", "runtime stop", "runtime status", "runtime logs", "doctor", "bench", "completion"],
)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = CliRunner().invoke(understudy, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert "Example" in done.stdout
    assert f"understudy {command.split(maxsplit=1)[0]}" in done.stdout
