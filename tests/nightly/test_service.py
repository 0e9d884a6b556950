"""The login service: its text is what systemd and launchd understand; installing and removing it touches one file."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_runtime.errors import RuntimeFault
from trainer.nightly import service as services


@pytest.fixture
def fake_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a `systemctl` and `launchctl` that write down what they are asked."""
    home = tmp_path / 'a home with 100% $HOME "quotes"'
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("UNDERSTUDY_HOME", str(home / "understudy"))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("systemctl", "launchctl"):
        tool = tools / name
        tool.write_text(
            f'#!/bin/sh\necho "{name} $@" >> {tmp_path}/asked\n[ ! -e {tmp_path}/broken ] || {{ echo no bus >&2; exit 1; }}\n'
        )
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return home


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked"
    return path.read_text().splitlines() if path.exists() else []


def linux(monkeypatch: pytest.MonkeyPatch) -> services.Service:
    monkeypatch.setattr(sys, "platform", "linux")
    found = services.service()
    assert found is not None
    return found


def macos(monkeypatch: pytest.MonkeyPatch) -> services.Service:
    monkeypatch.setattr(sys, "platform", "darwin")
    found = services.service()
    assert found is not None
    return found


@pytest.mark.parametrize("system", [linux, macos])
def test_install_and_remove_are_idempotent(
    system: type[services.Service], fake_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = system(monkeypatch)  # type: ignore[arg-type,call-arg]
    assert service.path.is_relative_to(fake_home)
    assert not service.is_installed
    assert service.install()
    n_asked = len(asked(tmp_path))
    assert not service.install()
    assert len(asked(tmp_path)) == n_asked
    assert service.is_installed
    assert service.remove()
    assert not service.remove()
    assert not service.path.exists()
    assert [path for path in fake_home.rglob("*") if path.is_file()] == []


def test_systemd_is_asked_for_this_users_units_only(
    fake_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = linux(monkeypatch)
    service.install()
    service.remove()
    assert asked(tmp_path) == [
        "systemctl --user daemon-reload",
        "systemctl --user enable understudy-learn.service",
        "systemctl --user restart understudy-learn.service",
        "systemctl --user disable --now understudy-learn.service",
        "systemctl --user daemon-reload",
    ]


def test_a_changed_service_is_written_again(fake_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = linux(monkeypatch)
    service.install()
    service.path.write_text("[Unit]\n")
    assert not service.is_installed
    assert service.install()
    assert service.is_installed


def test_where_no_user_bus_is_nothing_is_left_behind(
    fake_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").touch()
    service = linux(monkeypatch)
    with pytest.raises(RuntimeFault, match="no bus"):
        service.install()
    assert not service.path.exists()


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_itself_understands_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / '100% $a "b"'))
    unit = services._systemd(tmp_path / services.UNIT)
    unit.path.write_text(unit.text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit.path)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in said.stderr.splitlines() if services.UNIT in line]
    assert complaints == []
    # And it would complain: a broken one is found.
    unit.path.write_text(unit.text.replace("KillMode=process", "KillMode=everything").replace("ExecStart", "ExecStrat"))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit.path)], capture_output=True, text=True, check=False
    )
    assert services.UNIT in said.stderr


def test_quoting_keeps_what_systemd_would_expand() -> None:
    assert services._quoted('a b"c%d$e\\') == '"a b\\"c%%d$$e\\\\"'
    assert services._quoted("a$b", is_command=False) == '"a$b"'


def test_the_launchd_agent_is_a_whole_property_list(fake_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = plistlib.loads(macos(monkeypatch).text.encode())
    assert agent["ProgramArguments"] == [sys.executable, "-P", "-m", "trainer.nightly"]
    assert agent["EnvironmentVariables"] == {"UNDERSTUDY_HOME": str(fake_home / "understudy")}
    assert agent["RunAtLoad"] is True
    assert agent["Label"] == "org.understudy.learn"
