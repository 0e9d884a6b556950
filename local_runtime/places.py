"""Where things live. `UNDERSTUDY_HOME` puts all of them under one folder; every folder made here is 0700."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

APP = "understudy"


@dataclass(frozen=True, slots=True)
class Places:
    """The four roots. Made on first use by `folder`, never at import."""

    data: Path
    cache: Path
    config: Path
    runtime: Path

    @property
    def models(self) -> Path:
        """Model folders, one per name."""
        return self.data / "models"

    @property
    def adapters(self) -> Path:
        """Personal adapters, one folder each."""
        return self.data / "adapters"

    @property
    def libraries(self) -> Path:
        """Compiled libraries, content-addressed; safe to delete."""
        return self.cache / "libraries"

    @property
    def packed(self) -> Path:
        """Weights repacked for this machine's kernels; safe to delete."""
        return self.cache / "packed"

    @property
    def night(self) -> Path:
        """The note of a night that goes on: `local_runtime.records.night`. Looking whether it is there costs no import."""
        return self.data / "night.json"

    @property
    def config_file(self) -> Path:
        """The user's settings."""
        return self.config / "config.toml"


def places() -> Places:
    """The folders of this user, or those under `UNDERSTUDY_HOME` when it is set."""
    home = os.environ.get("UNDERSTUDY_HOME")
    if home:
        root = Path(home).expanduser().absolute()
        return Places(root / "data", root / "cache", root / "config", root / "run")
    dirs = platformdirs.PlatformDirs(APP, appauthor=False)
    return Places(dirs.user_data_path, dirs.user_cache_path, dirs.user_config_path, _runtime(dirs))


def _runtime(dirs: platformdirs.PlatformDirs) -> Path:
    """The same folder for every process of a user: a login shell, a timer and `su` differ in XDG_RUNTIME_DIR alone.

    Where there is no /run/user, the cache folder: unlike a name in /tmp, nobody else can have made it first.
    """
    if not sys.platform.startswith("linux"):
        return dirs.user_runtime_path
    standard = Path(f"/run/user/{os.getuid()}")
    if standard.is_dir() and standard.stat().st_uid == os.getuid():
        return standard / APP
    return dirs.user_cache_path / "run"


def folder(path: Path) -> Path:
    """Make `path` (and its parents) readable by this user alone, and return it."""
    for missing in [parent for parent in reversed(path.parents) if not parent.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)  # `parents=True` would make these with the umask's mode
    path.mkdir(mode=0o700, exist_ok=True)
    return path
