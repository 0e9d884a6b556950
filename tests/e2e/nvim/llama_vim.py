"""llama.vim's script, as its authors wrote it: its first version lies in the source archive of PyPI's llama-cpp-python."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

PACKAGE = "llama-cpp-python==0.3.5"
INSIDE = "llama_cpp_python-0.3.5/vendor/llama.cpp/examples/llama.vim"
SHA256 = "d18d45a5569295f599bb7437f424e8fc1daa04311674546eeaa0ad598a759bb6"


class CannotFetch(Exception):
    """Why the script is not here, in words for whoever reads why a test was skipped."""


def script() -> Path:
    """The script, fetched when it is first wanted and kept in the tests' cache folder. Raises CannotFetch."""
    named = os.environ.get("UNDERSTUDY_TEST_CACHE")
    kept = (Path(named) if named else user_cache_path("understudy-tests")) / "llama.vim" / "llama.vim"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            fetched = Path(folder) / kept.name
            fetched.write_bytes(_fetched(Path(folder)))
            fetched.rename(kept)
    found = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert found == SHA256, f"{kept}: expected sha256 {SHA256}, found {found}"
    return kept


def _fetched(folder: Path) -> bytes:
    """pip asks the archive for its metadata, which builds nothing of it."""
    only_source = ("--no-deps", "--no-binary", "llama-cpp-python", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", "--quiet", *only_source, PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotFetch(f"{PACKAGE} cannot be fetched: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        file = opened.extractfile(INSIDE)
        assert file is not None
        return file.read()
