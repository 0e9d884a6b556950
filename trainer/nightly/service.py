"""The one login service: the watcher with its own clock, as a systemd user unit or a launchd agent. No root, nothing else touched.

The service itself does next to nothing and keeps the usual priority, because the daemon, which it may start to judge with, inherits it;
the training process lowers its own. Formats: systemd.service(5), systemd.syntax(7), launchd.plist(5).
"""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from local_runtime.durable_file import write_durably
from local_runtime.errors import RuntimeFault
from local_runtime.places import places

UNIT = "understudy-learn.service"
LABEL = "org.understudy.learn"
COMMAND_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service of this user: the file that describes it, and the commands that start and end it."""

    path: Path
    text: str
    on: tuple[tuple[str, ...], ...]
    off: tuple[tuple[str, ...], ...]
    reload: tuple[tuple[str, ...], ...] = ()
    """Run after the file is gone."""

    @property
    def is_installed(self) -> bool:
        """Whether the file is there, as we would write it."""
        return self.path.is_file() and self.path.read_text("utf-8", "replace") == self.text

    def install(self) -> bool:
        """Write the file and start the service; False if it was there as it should be. Raises RuntimeFault."""
        if self.is_installed:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self.path, self.text.encode())
        try:
            for command in self.on:
                _run(command)
        except RuntimeFault:
            self.path.unlink(missing_ok=True)  # half a service would only say so at the next login
            raise
        return True

    def remove(self) -> bool:
        """End the service and delete the file; False if there was none."""
        if not self.path.exists():
            return False
        for command in self.off:
            try:
                _run(command)
            except RuntimeFault:
                continue  # it was not running
        self.path.unlink(missing_ok=True)
        for command in self.reload:
            try:
                _run(command)
            except RuntimeFault:
                continue
        return True


def service() -> Service | None:
    """The service for this system; None where there is neither systemd for users nor launchd."""
    if sys.platform == "darwin":
        return _launchd(Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist")
    if sys.platform.startswith("linux") and shutil.which("systemctl"):
        config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return _systemd(Path(config) / "systemd" / "user" / UNIT)
    return None


def _program() -> list[str]:
    return [sys.executable, "-P", "-m", "trainer.nightly"]


def _environment() -> dict[str, str]:
    home = os.environ.get("UNDERSTUDY_HOME")
    return {"UNDERSTUDY_HOME": str(Path(home).expanduser().absolute())} if home else {}


def _systemd(path: Path) -> Service:
    lines = [
        "[Unit]",
        "Description=Understudy learns the folders you named, at night",
        "",
        "[Service]",
        f"ExecStart={' '.join(_quoted(word) for word in _program())}",
        *(f"Environment={_quoted(f'{name}={value}', is_command=False)}" for name, value in _environment().items()),
        "# The daemon may have been started from here: editors go on using it when this service ends.",
        "KillMode=process",
        "Restart=on-failure",
        "RestartSec=60",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    systemctl = ("systemctl", "--user")
    return Service(
        path,
        "\n".join(lines),
        on=((*systemctl, "daemon-reload"), (*systemctl, "enable", UNIT), (*systemctl, "restart", UNIT)),
        off=((*systemctl, "disable", "--now", UNIT),),
        reload=((*systemctl, "daemon-reload"),),
    )


def _launchd(path: Path) -> Service:
    log = str(places().data / "learn.log")
    text = plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": _program(),
            "EnvironmentVariables": _environment(),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 60,
            "AbandonProcessGroup": True,  # the daemon may have been started from here, and editors use it
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
    ).decode()
    domain = f"gui/{os.getuid()}"
    return Service(
        path,
        text,
        on=(("launchctl", "bootstrap", domain, str(path)),),
        off=(("launchctl", "bootout", f"{domain}/{LABEL}"),),
    )


def _quoted(word: str, *, is_command: bool = True) -> str:
    """A word in a unit file: quotes and specifiers (%) lose their meaning, in a command variables ($), too."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped.replace("$", "$$") if is_command else escaped}"'


def _run(command: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise RuntimeFault(f"{' '.join(command)}: {problem}", "understudy learn watch") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise RuntimeFault(f"{' '.join(command)}: {said}", "understudy learn watch")
