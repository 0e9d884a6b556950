"""How far a night is, seen from outside while it goes on: in `learn status`, and by whoever reads the note."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from local_runtime.client.lock import own
from local_runtime.places import folder, places
from local_runtime.records.night import MOST_BYTES, read_night
from lsp_server.night import DOING
from trainer.nightly.events import Event
from trainer.nightly.progress_note import noted
from trainer.nightly.runs import Reason, Record, Runs, Stage
from trainer.nightly.status import print_status
from trainer.nightly.trainer_lock import trainer_lock

RECORD = Record(id="r", reason=Reason.FIRST, model="m", base_hash="b", began=1e9)
EVENTS = (
    Event(Stage.COLLECT, "12 edits to train on"),
    Event(Stage.TUNE, "step 48 of 120", 48, 120),
    Event(Stage.TUNE, "it stands still: you type", paused=True),
    Event(Stage.TUNE, "it goes on"),
    Event(Stage.GATE, "judging"),
)
OWN_PID = b"%d" % os.getpid()
NOTE = (
    b'{"by": {"pid": %%s, "started": %f}, "run": "r", "stage": "tune", "done": %%s, "total": 9, "stands_still": "%%s"}'
    % own().started
)


@pytest.fixture(autouse=True)
def _data_folder(home: Path) -> None:
    folder(places().data)


def test_each_stage_and_standstill_is_noted_and_nothing_stays() -> None:
    seen = []
    for _ in noted("r", iter(EVENTS)):
        night = read_night()
        assert night is not None
        seen.append((night.run, night.stage, night.share, night.stands_still))
    assert seen == [
        ("r", "collect", None, ""),
        ("r", "tune", 0.4, ""),
        ("r", "tune", 0.4, "it stands still: you type"),
        ("r", "tune", 0.4, ""),
        ("r", "gate", None, ""),
    ]
    assert not places().night.exists()


def test_a_night_that_is_cut_off_in_this_process_leaves_no_note() -> None:
    with closing(noted("r", iter(EVENTS))) as events:
        next(events)
        assert read_night() is not None
    assert not places().night.exists()


def test_the_stage_and_the_share_are_seen_from_outside() -> None:
    run = Runs(places().data / "runs").begin(RECORD)
    run.update(stage=Stage.GATE)

    def judging() -> Iterator[Event]:
        yield Event(Stage.GATE, "question 40 of 120", 40, 120)
        yield Event(Stage.GATE, "it stands still: you type", paused=True)

    def status() -> str:
        said = io.StringIO()
        print_status(Console(file=said, width=200))
        return "\n".join(line.rstrip() for line in said.getvalue().splitlines())

    with trainer_lock():
        assert ": gate\n" in status()
        seen = [status() for _ in noted(run.record.id, judging())]
        assert ": gate, 40 of 120 (33%)\n" in seen[0]
        assert ": gate, 40 of 120 (33%); it stands still: you type\n" in seen[1]
        assert all(": gate\n" in status() for _ in noted("another run", judging()))


def test_what_a_killed_night_left_is_no_night() -> None:
    writing = (
        "from trainer.nightly.events import Event; from trainer.nightly.progress_note import noted; import time\n"
        "from trainer.nightly.runs import Stage\n"
        "for _ in noted('r', iter([Event(Stage.TUNE, '', 1, 2)])): print('noted', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", writing], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"noted\n"
        night = read_night()
        assert night is not None
        assert (night.by.pid, night.share) == (process.pid, 0.5)
        process.send_signal(signal.SIGKILL)
    assert places().night.exists()
    assert read_night() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"x":' + b"[" * 4000,
        NOTE % (b"-1", b"1", b""),
        NOTE % (b"%d" % 2**40, b"1", b""),
        NOTE % (OWN_PID, b"1" + b"0" * 400, b""),
        NOTE % (OWN_PID, b"-1", b""),
        NOTE % (OWN_PID, b"1", b"\\u001b[31m"),
        NOTE % (OWN_PID, b"1", b"x" * MOST_BYTES),
    ],
    ids=[
        "empty",
        "no fields",
        "no text",
        "deep",
        "no such number",
        "no such process",
        "too many",
        "negative",
        "a control character",
        "too long",
    ],
)
def test_what_cannot_be_a_note_is_none(content: bytes) -> None:
    places().night.write_bytes(content)
    assert read_night() is None


def test_a_note_of_this_process_is_read() -> None:
    """What the notes above would be if each had nothing wrong."""
    places().night.write_bytes(NOTE % (OWN_PID, b"1", b""))
    assert read_night() is not None


def n_open() -> int:
    """Descriptors of this process."""
    return len(list(Path("/dev/fd").iterdir()))


def test_neither_a_pipe_nor_a_folder_nor_a_link_is_read() -> None:
    places().night.mkdir()
    before = n_open()
    assert [read_night() for _ in range(9)] == [None] * 9
    assert n_open() == before
    places().night.rmdir()
    whole = places().data / "elsewhere"
    whole.write_bytes(NOTE % (OWN_PID, b"1", b""))
    places().night.symlink_to(whole)
    assert read_night() is None
    places().night.unlink()
    os.mkfifo(places().night)
    reading = "from local_runtime.records.night import read_night; assert read_night() is None"
    subprocess.run([sys.executable, "-P", "-c", reading], check=True, timeout=60)  # nobody writes into it


def test_markup_in_a_note_is_only_text() -> None:
    run = Runs(places().data / "runs").begin(RECORD)
    said = io.StringIO()
    with trainer_lock():
        for _ in noted(run.record.id, iter([Event(Stage.TUNE, "[/x]", paused=True)])):
            print_status(Console(file=said, width=200))
    assert ": tune; [/x]" in said.getvalue()


def test_editors_have_words_for_every_stage() -> None:
    assert set(DOING) == {stage.value for stage in Stage} - {Stage.DONE.value}
