"""What an idle watcher costs: its share of one CPU with 50,000 files watched, its memory, and the time until it is ready.

    python benchmarks/collect_idle.py [--files 50000] [--seconds 60]

A project is made in a temporary folder: files in folders of 20, and a `node_modules` of the same size that must cost nothing.
The watcher runs in a process of its own; its CPU time is read before and after. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

FILES_PER_FOLDER = 20
_CHILD = """
import sys, time
from pathlib import Path
from trainer.collect.folders import LearnedFolders
from trainer.collect.journal import Journal
from trainer.collect.watch import Watcher
state = Path(sys.argv[1])
watcher = Watcher(LearnedFolders(state / "folders.json"), Journal(state / "journal.sqlite"))
watcher.start()
ready = watcher.wait_ready(600.0)
print("ready" if ready else "late", *watcher.problems, flush=True)
sys.stdin.read()
watcher.stop()
"""


def made(root: Path, n_files: int) -> None:
    """A project of `n_files` small modules, and as many that are nobody's."""
    for top in ("src", "node_modules"):
        for number in range(n_files):
            folder = root / top / f"p{number // (FILES_PER_FOLDER * 50)}" / f"m{number // FILES_PER_FOLDER}"
            if number % FILES_PER_FOLDER == 0:
                folder.mkdir(parents=True)
            (folder / f"f{number}.py").write_text(f"def function_{number}(value):\\n    return value + {number}\\n")


def main() -> None:
    """Make, watch, wait, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    from trainer.collect.folders import LearnedFolders  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as temporary:
        root, state = Path(temporary).resolve() / "project", Path(temporary) / "state"
        made(root, arguments.files)
        LearnedFolders(state / "folders.json").on(root)
        for start in ("first", "second"):  # the first has all files to read
            began = time.monotonic()
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert child.stdin and child.stdout
            said = child.stdout.readline().strip()
            ready_seconds = time.monotonic() - began
            process = psutil.Process(child.pid)
            started_cpu = sum(process.cpu_times()[:2])
            print(f"{start} start: {said} after {ready_seconds:.1f} s, {started_cpu:.1f} s of CPU")
            if start == "first":
                child.stdin.close()
                child.wait()
        before, at = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(arguments.seconds)
        share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - at)
        memory = process.memory_info().rss
        n_watches = len(_inotify_lines(child.pid))
        child.stdin.close()
        child.wait()
    print(json.dumps({
        "n_files": arguments.files, "idle_cpu_share": round(share, 5), "memory_bytes": memory, "n_watches": n_watches,
        "ready_seconds": round(ready_seconds, 1), "ready_cpu_seconds": round(started_cpu, 1), "said": said,
    }))  # fmt: skip


def _inotify_lines(pid: int) -> list[str]:
    """One line per watch (proc(5)); none where there is no /proc."""
    lines = []
    for info in Path(f"/proc/{pid}/fdinfo").glob("*"):
        try:
            lines += [line for line in info.read_text().splitlines() if line.startswith("inotify")]
        except OSError:
            continue
    return lines


if __name__ == "__main__":
    main()
