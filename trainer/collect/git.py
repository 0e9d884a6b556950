"""The git command, used on repositories that may be hostile: nothing that a repository's configuration names is ever run.

Only plumbing that reads is called. Hooks, the file system monitor, external diffs, text conversion, signature programs, pagers,
credential helpers and every transport are switched off, so that a partial clone fetches nothing either; no lock is taken.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_runtime.errors import BadRequest

_SAFE = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.pager=cat", "core.sshCommand=false", "core.gitProxy=",
    "core.askPass=", "core.alternateRefsCommand=", "credential.helper=", "diff.external=", "diff.ignoreSubmodules=all",
    "gpg.program=false", "log.showSignature=false", "protocol.allow=never", "maintenance.auto=false", "gc.auto=0",
)  # fmt: skip
_SECONDS = 60.0


def command(root: str, *arguments: str) -> list[str]:
    """The command line of a git that reads in `root`."""
    options = [word for setting in _SAFE for word in ("-c", setting)]
    return ["git", "--no-pager", "--no-replace-objects", "--literal-pathspecs", "-C", root, *options, *arguments]


def environment() -> dict[str, str]:
    """Ours without what would point git elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ASKPASS": "",
        "LC_ALL": "C",
    }
    if "GIT_CONFIG_GLOBAL" in os.environ:
        quiet["GIT_CONFIG_GLOBAL"] = os.environ["GIT_CONFIG_GLOBAL"]
    return kept | quiet


def output(root: str, *arguments: str) -> str | None:
    """What a short command prints, without the last line feed; None when it fails, or there is no git."""
    try:
        done = subprocess.run(
            command(root, *arguments),
            stdin=subprocess.DEVNULL, capture_output=True, env=environment(), timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n") if done.returncode == 0 else None


@contextmanager
def running(root: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A git whose output is read, and whose input is written, piece by piece; it ends with the block."""
    try:
        process = subprocess.Popen(
            command(root, *arguments),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
    except OSError as error:
        raise BadRequest(f"git cannot be run: {error}", "install git, or opt in without --since") from error
    with process:
        try:
            yield process
        finally:
            process.kill()


def head(root: str) -> str:
    """The commit that is checked out; empty where there is none."""
    return output(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or ""


def user_emails(root: str) -> tuple[str, ...]:
    """The address under which the user commits here; none when git does not know it."""
    email = output(root, "config", "user.email")
    return (email,) if email else ()


def changed_between(root: str, old: str, new: str) -> frozenset[str]:
    """Absolute paths below `root` of the files in which two commits differ; empty when git knows one of them no more."""
    listed = output(
        root,
        "diff",
        "--name-only",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--relative",
        "-z",
        old,
        new,
        "--",
    )
    return frozenset(f"{root}/{name}" for name in (listed or "").split("\0") if name)


def worktree(root: str) -> Path | None:
    """The top of the working tree, as git sees it; None outside of one, or when git refuses it."""
    top = output(root, "rev-parse", "--show-toplevel")
    return Path(top) if top else None
