"""Which command changes what is installed beside this package: it depends on who installed it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def pip_command(words: str, prefix: Path | None = None) -> str:
    """`pip` with these words, for this environment or that of `prefix`, as its user types it.

    pipx and uv keep an environment for each program, which no `pip` on the PATH reaches: `pipx runpip` and `uv pip` do. An
    extra is one of the version that is there, wherever it came from: no index is asked for this package itself.
    """
    prefix = prefix or Path(sys.prefix)
    if (prefix / "pipx_metadata.json").is_file() or prefix.parts[-3:-1] == ("pipx", "venvs"):
        return f"pipx runpip {shlex.quote(prefix.name)} {words}"
    if (prefix / "uv-receipt.toml").is_file():
        verb, _, rest = words.partition(" ")
        return f"uv pip {verb} --python {shlex.quote(str(prefix))} {rest}"
    return f"pip {words}"


def install_extra(extra: str) -> str:
    """The command that adds an extra of this package."""
    return pip_command(f"install 'understudy[{extra}]'")
