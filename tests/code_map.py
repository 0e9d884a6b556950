"""Makes CODE_MAP.md from the first line of every module's docstring: `python tests/code_map.py`."""

from __future__ import annotations

import ast
import subprocess
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("local_runtime", "lsp_server", "trainer")
MAP = ROOT / "CODE_MAP.md"
HEAD = (
    "# Code map\n\nEvery module and what it is for, as it says itself. `python tests/code_map.py` writes this page.\n"
)


def modules() -> list[Path]:
    """All modules of the product, relative to the root, packages first in their folder."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    paths = [Path(name) for name in listed if name.startswith(PACKAGES) and (ROOT / name).exists()]
    return sorted(paths, key=lambda path: (path.parent.as_posix(), path.name != "__init__.py", path.name))


def purpose(path: Path) -> str:
    """The first line of a module's docstring, and the rest of its last sentence."""
    words = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert words, f"{path} does not say what it is for"
    line, _, rest = words.split("\n\n")[0].partition("\n")
    return line if line.endswith(".") else f"{line} {rest.split('. ')[0]}".replace("\n", " ").rstrip(".") + "."


def code_map() -> str:
    """The whole page."""
    text = HEAD
    for folder, paths in groupby(modules(), key=lambda path: path.parent):
        text += f"\n## {folder.as_posix()}/\n\n"
        for path in paths:
            text += f"{purpose(path)}\n\n" if path.name == "__init__.py" else f"- `{path.name}`: {purpose(path)}\n"
    return text


if __name__ == "__main__":
    MAP.write_text(code_map())
