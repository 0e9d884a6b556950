"""Which language a file is in, by the ending of its name: LSP's identifiers."""

from __future__ import annotations

from pathlib import PurePosixPath

LANGUAGE_BY_ENDING = {
    ".c": "c", ".cc": "cpp", ".clj": "clojure", ".cjs": "javascript", ".cpp": "cpp", ".cs": "csharp", ".css": "css", ".dart": "dart",
    ".ex": "elixir", ".exs": "elixir", ".fs": "fsharp", ".go": "go", ".h": "c", ".hpp": "cpp", ".hs": "haskell", ".html": "html",
    ".java": "java", ".jl": "julia", ".js": "javascript", ".json": "json", ".jsx": "javascriptreact", ".kt": "kotlin",
    ".lua": "lua", ".md": "markdown", ".mjs": "javascript", ".ml": "ocaml", ".mts": "typescript", ".php": "php", ".py": "python",
    ".pyi": "python", ".r": "r", ".rb": "ruby", ".rs": "rust", ".scala": "scala", ".scss": "scss", ".sh": "shellscript",
    ".sql": "sql", ".svelte": "svelte", ".swift": "swift", ".toml": "toml", ".ts": "typescript", ".tsx": "typescriptreact",
    ".vim": "vim", ".vue": "vue", ".yaml": "yaml", ".yml": "yaml", ".zig": "zig", ".zsh": "shellscript", ".bash": "shellscript",
}  # fmt: skip
_BY_NAME = {"makefile": "makefile", "dockerfile": "dockerfile", "rakefile": "ruby", "gemfile": "ruby"}


def language_of(path: str) -> str | None:
    """The LSP identifier of a file's language; None for one that is not known."""
    name = PurePosixPath(path).name.lower()
    return _BY_NAME.get(name) or LANGUAGE_BY_ENDING.get(PurePosixPath(name).suffix)
