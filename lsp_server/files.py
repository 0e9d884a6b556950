"""Which files are left alone, by the ground floor's rules: one set of rules per workspace folder, kept in memory."""

from __future__ import annotations

from pathlib import Path

from local_runtime.context.ignore import Ignored, IgnoreRules
from local_runtime.context.secrets import is_secret_file

RULE_FILES = frozenset({".gitignore", ".understudyignore", ".gitattributes"})
_REASONS = frozenset({Ignored.RULE, Ignored.GENERATED})
"""Of all reasons not to learn from a file, those for which nobody wants suggestions either."""


class Files:
    """Verdicts, each worked out once: a keystroke reads no rule file. Opening a document asks first."""

    def __init__(self) -> None:
        self._rules: dict[Path, IgnoreRules] = {}
        self._verdicts: dict[Path, tuple[bool, bool]] = {}

    def is_ignored(self, path: Path, folder: Path | None) -> bool:
        """By .gitignore or .understudyignore of its workspace folder, or because it is generated."""
        return self._verdict(path, folder)[0]

    def is_secret(self, path: Path, folder: Path | None = None) -> bool:
        """By its name or its folder."""
        return self._verdict(path, folder)[1]

    def forget_rules(self) -> None:
        """A rule file has changed."""
        self._rules.clear()
        self._verdicts.clear()

    def _verdict(self, path: Path, folder: Path | None) -> tuple[bool, bool]:
        if path not in self._verdicts:
            reason = None
            if folder is not None:
                reason = self._rules.setdefault(folder, IgnoreRules(folder)).ignored(
                    path.relative_to(folder).as_posix()
                )
            self._verdicts[path] = (reason in _REASONS, reason is Ignored.SECRET or is_secret_file(str(path)))
        return self._verdicts[path]
