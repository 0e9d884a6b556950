"""Which files are learnt from at all: by where they are, what they are called, and what they look like.

Names follow git's ignore files (`.gitignore`, `.git/info/exclude`, the user's global one) and two of ours, `.understudyignore`
and `.trainignore`; linguist's rules say what is vendored or generated, and `.gitattributes` overrides them. All of it is
`local_runtime.context.ignore`, which serving uses too; this module asks it the trainer's questions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from local_runtime.context.ignore import IGNORE_FILES, FileLimits, Ignored, IgnoreRules, read_source
from local_runtime.prompts.languages import language_of
from trainer.collect import notebooks
from trainer.collect.cleaning import Cleaned, cleaned
from trainer.collect.refusals import Refusal

IGNORE_FILES_OF_LEARNING = (*IGNORE_FILES, ".trainignore")
MIN_WORD_SHARE = 0.25
"""Letters and digits among all that is no blank: below it a text is a table or a drawing."""
_REFUSALS = {
    Ignored.OUTSIDE: Refusal.OUTSIDE,
    Ignored.LINK: Refusal.LINK,
    Ignored.RULE: Refusal.IGNORED,
    Ignored.VENDORED: Refusal.VENDORED,
    Ignored.GENERATED: Refusal.GENERATED,
    Ignored.SECRET: Refusal.SECRET_FILE,
    Ignored.BINARY: Refusal.BINARY,
    Ignored.TOO_LARGE: Refusal.TOO_LARGE,
    Ignored.LONG_LINES: Refusal.LONG_LINES,
}


class FileRules:
    """The rules of one opted-in folder. Rule files are read once; `forget_rules` after one of them has changed.

    In a repository the rules are rooted at its top, as git's are, also when only a part of it was opted in.
    """

    def __init__(self, root: str, limits: FileLimits | None = None) -> None:
        self.root = root
        top = worktree_of(root) or Path(root)
        self._below_top = Path(root).relative_to(top).as_posix().removeprefix(".")
        excludes = (_global_excludes(), *_worktree_excludes(top))
        self._rules = IgnoreRules(top, limits or FileLimits(), excludes, IGNORE_FILES_OF_LEARNING)

    def forget_rules(self) -> None:
        """Read all rule files anew from now on."""
        self._rules.forget_rules()

    def refused_by_name(self, path: str) -> Refusal | None:
        """Why a file (absolute) is left out by its name and place."""
        if not path.startswith(self.root + "/"):
            return Refusal.OUTSIDE
        below = self._below(path)
        ignored = self._rules.ignored(below)
        if ignored is Ignored.GENERATED and below.endswith(notebooks.ENDING):
            ignored = self._rules.ignored(below.removesuffix(notebooks.ENDING) + ".py")  # outputs are, cells are not
        if ignored is not None:
            return _REFUSALS[ignored]
        known = language_of(below) is not None or below.endswith(notebooks.ENDING)
        return None if known else Refusal.NOT_CODE

    def folder_refused(self, path: str) -> Refusal | None:
        """Why nothing below a folder (absolute) is wanted, so that it need not be watched."""
        below = self._below(path)
        if self._rules.folder_ignored(below):
            return Refusal.IGNORED
        return Refusal.VENDORED if self._rules.ignored(below + "/x.c") is Ignored.VENDORED else None

    def refused_by_text(self, path: str, text: str) -> Refusal | None:
        """Why a file is left out by its contents. Secrets are another matter: `cleaning` knows them."""
        unwanted = self._rules.unwanted(self._below(path), text)
        return _REFUSALS[unwanted] if unwanted else Refusal.FEW_LETTERS if _word_share(text) < MIN_WORD_SHARE else None

    def read(self, path: str) -> tuple[str, str] | Refusal:
        """Language and text of a file that is learnt from, or why it is not. Raises OSError when it cannot be read."""
        refused = self.refused_by_name(path)
        if refused:
            return refused
        if Path(path).parent.resolve().as_posix() != os.path.dirname(path):  # noqa: PTH120  a folder above it is a link
            return Refusal.LINK
        if Path(path).is_symlink():
            return Refusal.LINK
        source = read_source(Path(path), self._rules.limits)
        return _REFUSALS[source] if isinstance(source, Ignored) else self.taken(path, source)

    def taken(self, path: str, source: str) -> tuple[str, str] | Refusal:
        """Language and text of what stands in a file whose name is not refused: line ends plain, a notebook's code alone."""
        text = source.replace("\r\n", "\n")
        language = language_of(path) or "plaintext"
        if path.endswith(notebooks.ENDING):
            cells = notebooks.code_cells(text)
            if cells is None:
                return Refusal.NOT_CODE
            language, text = cells
        return self.refused_by_text(path, text) or (language, text)

    def files(
        self, report: Callable[[str, Refusal], None] = lambda path, reason: None
    ) -> Iterator[tuple[str, os.stat_result]]:
        """Every file of the folder that its name does not rule out, with its status; links are not followed.

        `report` is told of the others, though not of each file below a folder that nothing is wanted of.
        """
        todo = [self.root]
        while todo:
            try:
                entries = sorted(os.scandir(todo.pop()), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                try:
                    if entry.is_symlink():
                        report(entry.path, Refusal.LINK)
                    elif entry.is_dir(follow_symlinks=False):
                        refused = self.folder_refused(entry.path)
                        if refused is None:
                            todo.append(entry.path)
                        elif entry.name != ".git":
                            report(entry.path, refused)
                    elif entry.is_file(follow_symlinks=False):
                        refused = self.refused_by_name(entry.path)
                        if refused:
                            report(entry.path, refused)
                        else:
                            yield entry.path, entry.stat(follow_symlinks=False)
                except OSError:
                    continue

    def _below(self, path: str) -> str:
        below = path[len(self.root) + 1 :]
        return f"{self._below_top}/{below}" if self._below_top else below


def refusal(path: str, root: str, text: str | None = None) -> Refusal | None:
    """Why a file (absolute) below an opted-in root is not learnt from; of its name alone when no text is given."""
    rules = FileRules(root)
    refused = rules.refused_by_name(path)
    if refused or text is None:
        return refused
    taken = rules.taken(path, text)
    return taken if isinstance(taken, Refusal) else None


def hunk_refusal(before: str, after: str, path: str = "", language: str = "") -> Refusal | None:
    """Why nothing of a change is learnt from; None when something of it is."""
    result: Cleaned | Refusal = cleaned(before, after, path, language)
    if isinstance(result, Refusal):
        return result
    return None if result.changed else next(iter(result.refused), None)


def worktree_of(path: str) -> Path | None:
    """The top of the git working tree that a folder lies in."""
    return next((above for above in (Path(path), *Path(path).parents) if (above / ".git").exists()), None)


def _word_share(text: str) -> float:
    n_blank = sum(map(str.isspace, text))
    return sum(map(str.isalnum, text)) / max(len(text) - n_blank, 1) if text.strip() else 1.0


def _global_excludes() -> Path:
    """Git's default place of the user's own ignore file (gitignore(5))."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "git" / "ignore"


def _worktree_excludes(top: Path) -> tuple[Path, ...]:
    """`info/exclude` of a linked working tree, whose `.git` is a file that names the real folder."""
    link = top / ".git"
    if not link.is_file():
        return ()
    git_dir = git_dir_of(top)
    return (git_dir / "info" / "exclude", git_dir.parent.parent / "info" / "exclude") if git_dir else ()


def git_dir_of(top: Path) -> Path | None:
    """Where git keeps the index and HEAD of a working tree."""
    link = top / ".git"
    try:
        if link.is_dir():
            return link
        named = link.read_text("utf-8")[:4096].strip()
    except (OSError, UnicodeDecodeError):
        return None
    git_dir = top / named.removeprefix("gitdir:").strip()
    return git_dir.resolve() if named.startswith("gitdir:") and git_dir.is_dir() else None
