"""What the daemon behind a test says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class EchoDaemon:
    """Writes what the echo engine is to say; servers start the daemon by themselves."""

    def __init__(self, home: Path, configuration: str = "") -> None:
        self.home = home
        self._configuration = configuration
        self.says("compute", "(a,", " b)")

    def says(self, *pieces: str, **script: Any) -> None:
        """The answer to everything."""
        self.write({"default": {"pieces": list(pieces), **script}})

    def write(self, script: dict[str, Any]) -> None:
        """The whole script; see `local_runtime.daemon.serving.EchoFile`."""
        config, answers = self.home / "config", self.home / "echo.json"
        config.mkdir(parents=True, exist_ok=True)
        (config / "config.toml").write_text(f'[runtime]\nengine = "echo:{answers}"\n{self._configuration}')
        answers.write_text(json.dumps({"forward_ms": 5.0} | script))
