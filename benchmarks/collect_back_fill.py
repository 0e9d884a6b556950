"""What filling the journal from git's history costs: commits per second and the most memory, on a long synthetic history.

    python benchmarks/collect_back_fill.py [--commits 3000]

A repository is made with `git fast-import`: each commit changes two of 200 files, every 50th is a bulk of 300 files, and some
files are larger than the limit. It is filled once with one process and once with one per core; the memory is that of the
process that fills (its helpers are given beside it). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

EMAIL = "ada@example.org"
N_FILES = 200
WORDS = ("value", "total", "count", "name", "path", "index", "result", "buffer", "limit", "state", "node", "event")


def history(root: Path, n_commits: int) -> None:
    """A repository with `n_commits` commits of one author."""
    chance = random.Random(1)
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "config", "user.email", EMAIL], check=True)
    files = {f"src/m{n % 20}/f{n}.py": [_function(chance) for _ in range(30)] for n in range(N_FILES)}
    with subprocess.Popen(["git", "-C", str(root), "fast-import", "--quiet"], stdin=subprocess.PIPE) as importer:
        assert importer.stdin
        for number in range(n_commits):
            head = (
                f"commit refs/heads/main\ncommitter A <{EMAIL}> {1_600_000_000 + number * 3600} +0000\ndata 4\nwork\n"
            )
            importer.stdin.write(head.encode())
            changed = chance.sample(sorted(files), 2) if number else sorted(files)
            for path in changed:
                functions = files[path]
                functions[chance.randrange(len(functions))] = _function(chance)
                functions.insert(chance.randrange(len(functions)), _function(chance))
                del functions[60:]
                _put(importer.stdin, path, "\n\n".join(functions))
            if number % 50 == 49:
                for n in range(300):
                    _put(importer.stdin, f"bulk/b{n}.py", f"bulk_{n} = {number}\n")
            if number % 100 == 99:
                _put(importer.stdin, "data/table.py", f"# {number}\n" + "row = 1\n" * 400_000)


def _put(to: object, path: str, text: str) -> None:
    data = text.encode()
    to.write(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")  # type: ignore[attr-defined]


def _function(chance: random.Random) -> str:
    names = chance.sample(WORDS, 3)
    lines = [
        f"    {names[0]} = {chance.choice(names)} + {chance.randrange(999)}" for _ in range(chance.randrange(2, 8))
    ]
    body = "\n".join(lines)
    return f"def {names[1]}_{chance.randrange(10**6)}({', '.join(names)}):\n{body}\n    return {names[0]}\n"


class Peak:
    """The most memory that this process, and its children together, had."""

    def __enter__(self) -> Peak:
        self.own_bytes = self.children_bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(0.05):
            self.own_bytes = max(self.own_bytes, me.memory_info().rss)
            together = 0
            for child in me.children(recursive=True):
                try:
                    together += child.memory_info().rss
                except psutil.Error:
                    continue
            self.children_bytes = max(self.children_bytes, together)


def filled(root: Path, state: Path, n_processes: int) -> dict[str, float]:
    """Fill a journal, and say what it took."""
    from trainer.collect.git_history import back_fill  # noqa: PLC0415
    from trainer.collect.journal import Journal  # noqa: PLC0415

    refused: Counter[str] = Counter()

    def report(one: object) -> None:
        refused[one.reason.name] += one.n  # type: ignore[attr-defined]

    journal = Journal(state / f"{n_processes}.sqlite")
    with Peak() as peak:
        started = time.monotonic()
        n_edits = journal.store(back_fill(root.as_posix(), 0.0, report=report, n_processes=n_processes))
        seconds = time.monotonic() - started
    size = journal.size_bytes()
    journal.close()
    return {
        "n_processes": n_processes, "n_edits": n_edits, "seconds": round(seconds, 1), "own_mb": peak.own_bytes >> 20,
        "children_mb": peak.children_bytes >> 20, "journal_mb": round(size / (1 << 20), 1), **refused,
    }  # fmt: skip


def main() -> None:
    """Make the history, fill twice, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=3000)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:  # in a process of its own, so that one's memory is not the other's
        root, state, n_processes = arguments.one
        print(json.dumps(filled(Path(root), Path(state), int(n_processes))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root, state = Path(temporary).resolve() / "project", Path(temporary) / "state"
        history(root, arguments.commits)
        size = sum(file.stat().st_size for file in (root / ".git").rglob("*") if file.is_file())
        runs = []
        for n_processes in (1, os.cpu_count() or 1):
            command = [sys.executable, __file__, "--one", str(root), str(state), str(n_processes)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(runs[-1])
    rate = [round(arguments.commits / run["seconds"], 1) for run in runs]
    print(json.dumps({"n_commits": arguments.commits, "git_mb": size >> 20, "commits_per_second": rate, "runs": runs}))


if __name__ == "__main__":
    main()
