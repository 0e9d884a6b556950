"""Which files are nobody's business: ignored, generated, vendored, secret, binary, or too large.

`.gitignore` and `.understudyignore` count at every level of a workspace, as git reads them. Generated and vendored files go
by GitHub linguist's rules, which `.gitattributes` can override. A hostile ignore file may cost nothing: its size, its number
of patterns and the stars in a pattern are bounded, and what is beyond the bound ignores too much rather than too little.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from local_runtime.context.secrets import is_secret_file

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_MAX_RULE_FILE_BYTES = 256 << 10
_MAX_PATTERNS = 5000
_MAX_STARS = 3
_MAX_DOUBLE_STARS = 4
IGNORE_FILES = (".gitignore", ".understudyignore")
RULE_FILES = frozenset({*IGNORE_FILES, ".gitattributes"})
_ALWAYS = frozenset({".git", ".hg", ".svn", ".jj", "__pycache__", "node_modules", "site-packages"})


class Ignored(StrEnum):
    """Why a file is left alone. The words are for the user."""

    OUTSIDE = "outside the workspace"
    LINK = "a symbolic link"
    RULE = "ignored by .gitignore or .understudyignore"
    VENDORED = "vendored"
    GENERATED = "generated"
    SECRET = "a secret file"
    BINARY = "not text"
    TOO_LARGE = "too large"
    LONG_LINES = "lines too long"


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What is still read as a source file."""

    max_bytes: int = 1 << 20
    max_lines: int = 10_000
    max_line_chars: int = 1000
    max_mean_line_chars: int = 110


class IgnoreRules:
    """The rules of one workspace. Rule files are read once per folder; `forget_rules` after one of them has changed."""

    def __init__(
        self,
        root: Path,
        limits: FileLimits = FileLimits(),
        excludes: tuple[Path, ...] = (),
        ignore_files: tuple[str, ...] = IGNORE_FILES,
    ) -> None:
        """`excludes` are further ignore files for the whole workspace, such as git's global one."""
        self.root = root
        self._ignore_files = ignore_files
        self.limits = limits
        self._excludes = (root / ".git" / "info" / "exclude", *excludes)
        self._specs: dict[tuple[str, str], GitIgnoreSpec | None] = {}
        self._folders: dict[str, bool] = {}
        self._attributes: dict[str, list[tuple[GitIgnoreSpec, dict[str, bool]]]] = {}

    def forget_rules(self) -> None:
        """Read all rule files anew from now on."""
        self._specs.clear()
        self._folders.clear()
        self._attributes.clear()

    def ignored(self, path: str) -> Ignored | None:
        """Why a file, named relative to the root, is left alone by its name; None if it is not. Reads rule files only."""
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or PurePosixPath(path).is_absolute():
            return Ignored.OUTSIDE
        if is_secret_file(path):
            return Ignored.SECRET
        if not _ALWAYS.isdisjoint(parts) or self._folder_ignored("/".join(parts[:-1])) or self._matched(path):
            return Ignored.RULE
        attributes = self._attributes_of(path)
        if attributes.get("linguist-vendored", bool(_VENDORED.search(path))):
            return Ignored.VENDORED
        if attributes.get("linguist-generated", bool(_GENERATED_NAME.search(path))):
            return Ignored.GENERATED
        return None

    def folder_ignored(self, path: str) -> bool:
        """Whether nothing below a folder, named relative to the root, is wanted."""
        return not _ALWAYS.isdisjoint(path.split("/")) or self._folder_ignored(path)

    def unwanted(self, path: str, text: str) -> Ignored | None:
        """Why a file is left alone by what it contains; None if it is not."""
        if self._attributes_of(path).get("linguist-generated") is False:
            return unwanted_text(text, self.limits)
        return unwanted_text(text, self.limits) or (Ignored.GENERATED if is_generated(text) else None)

    def _folder_ignored(self, folder: str) -> bool:
        """Git looks at folders from the top: below an ignored one nothing can be taken back."""
        if not folder:
            return False
        if folder not in self._folders:
            self._folders[folder] = self._folder_ignored(folder.rpartition("/")[0]) or self._matched(folder + "/")
        return self._folders[folder]

    def _matched(self, path: str) -> bool:
        """Whether the nearest rule that speaks of `path` ignores it, in either kind of ignore file."""
        return any(self._verdict(path, name) for name in self._ignore_files)

    def _verdict(self, path: str, name: str) -> bool:
        folder = path.rstrip("/").rpartition("/")[0]
        while True:
            spec = self._spec(folder, name)
            below = path[len(folder) + 1 :] if folder else path
            verdict = spec.check_file(below).include if spec else None
            if verdict is not None or not folder:
                return bool(verdict)
            folder = folder.rpartition("/")[0]

    def _spec(self, folder: str, name: str) -> GitIgnoreSpec | None:
        if (folder, name) not in self._specs:
            lines = _rule_lines(self.root / folder / name)
            if not folder and name == ".gitignore":
                lines = [line for file in self._excludes for line in _rule_lines(file)] + lines
            self._specs[folder, name] = _compiled(lines) if lines else None
        return self._specs[folder, name]

    def _attributes_of(self, path: str) -> dict[str, bool]:
        found: dict[str, bool] = {}
        folder = path.rpartition("/")[0]
        for level in ("", *("/".join(folder.split("/")[: n + 1]) for n in range(folder.count("/") + 1) if folder)):
            if level not in self._attributes:
                self._attributes[level] = list(_attribute_rules(self.root / level / ".gitattributes"))
            for spec, values in self._attributes[level]:
                if spec.match_file(path[len(level) + 1 :] if level else path):
                    found |= values
        return found


def read_source(path: Path, limits: FileLimits = FileLimits()) -> str | Ignored:
    """The text of a regular file, or why it is none of our sources. Raises OSError when it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor that did not follow a link
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Ignored.BINARY
        if status.st_size > limits.max_bytes:
            return Ignored.TOO_LARGE
        data = file.read(limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        return Ignored.TOO_LARGE
    try:
        return Ignored.BINARY if b"\0" in data else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Ignored.BINARY


def walk(rules: IgnoreRules, max_files: int) -> Iterator[tuple[str, os.stat_result]]:
    """Files of a workspace that no rule excludes, by name relative to the root, at most `max_files`; links are not followed."""
    folders = [""]
    n_files = 0
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(rules.root / folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if not rules.folder_ignored(path):
                        folders.append(path)
                elif entry.is_file(follow_symlinks=False) and rules.ignored(path) is None:
                    yield path, entry.stat(follow_symlinks=False)
                    n_files += 1
            except OSError:
                continue
            if n_files >= max_files:
                return


def unwanted_text(text: str, limits: FileLimits) -> Ignored | None:
    """Whether a text is too large or too dense to be written by a person."""
    if "\0" in text[:8192]:
        return Ignored.BINARY
    n_lines = text.count("\n") + 1
    if len(text) > limits.max_bytes or n_lines > limits.max_lines:
        return Ignored.TOO_LARGE
    if len(text) > limits.max_line_chars:
        longest = max(map(len, text.split("\n")))
        if longest > limits.max_line_chars or len(text) / n_lines > limits.max_mean_line_chars:
            return Ignored.LONG_LINES
    return None


def is_generated(text: str) -> bool:
    """Whether the head of a file says that a program wrote it."""
    head = text[:4096]
    return bool(_GENERATED_HEAD.search("\n".join(head.split("\n")[:40])))


def _rule_lines(path: Path) -> list[str]:
    """Lines of a rule file; an unreadable or oversized one has none."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_RULE_FILE_BYTES)
    except (OSError, ValueError):
        return []
    lines = data.decode("utf-8", "replace").splitlines()[:_MAX_PATTERNS]
    return [tamed for line in lines if (tamed := _tamed(line))]


def _tamed(line: str) -> str:
    """A pattern whose regular expression cannot take long: one with too many stars is made wider, never narrower."""
    line = line[:512]
    segments = line.split("/")
    wild = [s.count("*") > _MAX_STARS and s != "**" for s in segments]
    if line.startswith("!"):
        return "" if any(wild) or segments.count("**") > _MAX_DOUBLE_STARS else line
    segments = ["*" if is_wild else segment for segment, is_wild in zip(segments, wild, strict=True)]
    if segments.count("**") > _MAX_DOUBLE_STARS:
        return segments[-1] or "*"
    return "/".join(segments)


def _compiled(lines: list[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415

    try:
        return GitIgnoreSpec.from_lines(lines)
    except (ValueError, re.error):  # git skips a pattern that makes no sense; so do we
        return GitIgnoreSpec.from_lines(line for line in lines if _makes_sense(line))


def _makes_sense(line: str) -> bool:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415

    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True


def _attribute_rules(path: Path) -> Iterator[tuple[GitIgnoreSpec, dict[str, bool]]]:
    for line in _rule_lines(path):
        pattern, *attributes = line.split() or [""]
        values = {
            name.lstrip("-!"): not name.startswith(("-", "!")) and value not in ("false", "0")
            for name, _, value in (attribute.partition("=") for attribute in attributes)
            if name.lstrip("-!").startswith("linguist-")
        }
        if values and not pattern.startswith(("#", "!")) and _makes_sense(pattern):
            yield _compiled([pattern]), values


# From linguist's vendor.yml and generated.rb: the rules that apply to files a person would open.
_VENDORED = re.compile(
    r"(^|/)(?:vendor|vendors|third[-_]?party|3rd[-_]?party|extern|externals?|bower_components|jspm_packages|Godeps|Carthage"
    r"|Pods|\.yarn|\.venv|venv|virtualenv|\.tox|\.nox|dist|\.next|\.nuxt|\.gradle|gradle/wrapper|\.terraform|_esy)/"
    r"|(^|/)(?:jquery|bootstrap|d3|angular|react|vue|three)(?:[-.]\d[\w.]*)?(?:\.min)?\.(?:js|css)$"
    r"|(^|/)(?:gradlew|mvnw|configure|config\.guess|config\.sub|ltmain\.sh|install-sh)$",
    re.IGNORECASE,
)
_GENERATED_NAME = re.compile(
    r"(?:[.-]min\.(?:js|css)|\.(?:js|css)\.map|_pb2(?:_grpc)?\.pyi?|\.pb\.(?:go|cc|h|c)|_pb\.(?:js|d\.ts|rb)|\.pbobjc\.[hm]"
    r"|\.designer\.(?:cs|vb)|\.g(?:\.i)?\.cs|\.g\.dart|\.freezed\.dart|\.generated\.\w+|_generated\.\w+|\.gen\.\w+|\.snap"
    r"|\.(?:nib|xib|storyboard|pbxproj|ipynb|svg|lock|sum|tfstate|cassette))$"
    r"|(^|/)(?:package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|yarn\.lock|Cargo\.lock|poetry\.lock|uv\.lock|Pipfile\.lock"
    r"|composer\.lock|Gemfile\.lock|flake\.lock|deno\.lock|Gopkg\.lock|glide\.lock|mix\.lock|\.pnp\..*|zz_generated\..*"
    r"|(?:fixtures/)?(?:vcr_)?cassettes/.*)$",
    re.IGNORECASE,
)
_GENERATED_HEAD = re.compile(
    r"(?i:\bcode generated\b.*\bdo not edit|@generated\b|<auto-?generated|\bauto-?generated (?:by|from|file|code)"
    r"|this (?:file|code) (?:is|was) (?:auto-?|automatically )?generated|generated by (?:the )?(?:protocol buffer|thrift|cython|antlr"
    r"|swig|flex|bison|jflex|pegjs|peg\.js|grpc|openapi|swagger|sqlc|mockgen))"
)
