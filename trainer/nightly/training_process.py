"""The training process under its parent's hand: stopped while the user is active, continued later, ended with the parent.

A stopped process (SIGSTOP) loses nothing and uses no processor; on an accelerator its memory is given back by ending it, since a run
goes on bit-equally after a kill. The child reports in JSON lines on a pipe of its own and ends when its standard input does, so
that a killed parent leaves no orphan.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from local_runtime.errors import OutOfMemory, RuntimeFault
from trainer.disk import DiskFull

POLL_SECONDS = 0.5
GIVE_BACK_SECONDS = 10.0
"""A child on an accelerator that stands still for longer is ended, so that its memory is free for the user."""
END_SECONDS = 5.0


class Step(msgspec.Struct, frozen=True, tag="step"):
    """One optimiser step is done."""

    step: int
    n_steps: int
    loss: float
    """Nats per token."""
    seconds: float = 0.0
    rate: float = 0.0
    """Learning rate."""


class Placed(msgspec.Struct, frozen=True, tag="placed"):
    """Where the child trains."""

    device: str
    holds_memory: bool
    """Whether it keeps memory from the user while it stands still: then it is ended instead."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The adapter is complete."""


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """Training cannot go on; what to tell the user."""

    message: str
    remedy: str | None = None
    out_of_memory: bool = False
    disk_full: bool = False


Word = Placed | Step | Done | Fault


class ProcessDied(RuntimeFault):
    """The training process ended without a word; its run can be gone on with."""


@dataclass(frozen=True, slots=True)
class Paused:
    """Training was stopped for the user (a reason), or goes on (None)."""

    reason: str | None
    reaction_seconds: float = 0.0
    """From the look that found the reason to the stopped process."""


@dataclass(slots=True)
class Costs:
    """What the child took so far."""

    paused_seconds: float = 0.0
    peak_memory_bytes: int = 0


class TrainingProcess:
    """One training process and its restarts."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        threads: int,
        must_stand: Callable[[], str | None],
        memory_cap_bytes: int,
    ) -> None:
        """`command` gets the number of the pipe's descriptor as its last argument."""
        self._command = list(command)
        self._log = log
        self._threads = threads
        self._must_stand = must_stand
        self._memory_cap_bytes = memory_cap_bytes
        self._holds_memory = False
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped_at: float | None = None
        self.costs = Costs()

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._process.pid if self._process else None

    def words(self) -> Generator[Step | Paused, None, None]:
        """What the child says, until it is done. Closing the generator ends the child.

        Raises RuntimeFault with the child's own sentence, or with its last words if it died without one.
        """
        try:
            while not (yield from self._one_life()):
                yield from self._wait_for_the_user()
        finally:
            self.end()

    def end(self) -> None:
        """End the child, stopped or not, and wait for it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        for number, patience in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
                os.killpg(process.pid, signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return

    def _one_life(self) -> Generator[Step | Paused, None, bool]:
        """Run the child until it is done (True) or was ended to give memory back (False)."""
        read_fd = self._start()
        looked_at = 0.0
        unread = b""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(read_fd, selectors.EVENT_READ)
                while True:
                    if selector.select(POLL_SECONDS):
                        chunk = os.read(read_fd, 1 << 16)
                        *lines, unread = (unread + chunk).split(b"\n")
                        for word in map(understood, lines):
                            if isinstance(word, Done):
                                self._let_go()
                                return True
                            if isinstance(word, Placed):
                                self._holds_memory = word.holds_memory
                            else:
                                yield word
                        if not chunk:
                            raise ProcessDied(self._last_words(), f"see {self._log}")
                    if time.monotonic() - looked_at < POLL_SECONDS:
                        continue  # steps may come many times a second; looks need not
                    looked_at = time.monotonic()
                    if (change := self._look()) is not None:
                        yield change
                    if self._stood_too_long():
                        self.end()
                        return False
                    self._watch_memory()
        finally:
            self._count_pause()
            os.close(read_fd)

    def _look(self) -> Paused | None:
        """Stop or continue the child as its user needs; what changed."""
        began = time.monotonic()
        reason = self._must_stand()
        if (reason is not None) == (self._stopped_at is not None):
            return None
        if reason is None:
            self._count_pause()
            self._signal(signal.SIGCONT)
            return Paused(None)
        self._signal(signal.SIGSTOP)
        self._wait_for_the_stop()
        self._stopped_at = time.monotonic()
        return Paused(reason, self._stopped_at - began)

    def _wait_for_the_stop(self) -> None:
        """A signal takes effect later than it is sent. A child that stands when its parent is killed is woken and ends; one about to is not."""
        if self._process is not None and hasattr(os, "waitid"):  # not on macOS before Python 3.13
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _stood_too_long(self) -> bool:
        if self._stopped_at is None or not self._holds_memory:
            return False
        return time.monotonic() - self._stopped_at > GIVE_BACK_SECONDS

    def _count_pause(self) -> None:
        if self._stopped_at is not None:
            self.costs.paused_seconds += time.monotonic() - self._stopped_at
            self._stopped_at = None

    def _start(self) -> int:
        read_fd, write_fd = os.pipe()
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
            environment[name] = str(self._threads)
        environment["TMPDIR"] = str(self._log.parent)  # scratch copies of the user's text go when the run does
        try:
            with open(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:  # noqa: PTH123 - by descriptor
                self._process = subprocess.Popen(
                    [*self._command, str(write_fd)], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                    pass_fds=(write_fd,), process_group=0,
                )  # fmt: skip
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        return read_fd

    def _wait_for_the_user(self) -> Iterator[Paused]:
        began = time.monotonic()
        while self._must_stand() is not None:
            time.sleep(POLL_SECONDS)
        self.costs.paused_seconds += time.monotonic() - began
        yield Paused(None)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _watch_memory(self) -> None:
        if self._process is None:
            return
        with suppress(psutil.Error):
            used = psutil.Process(self._process.pid).memory_info().rss
            self.costs.peak_memory_bytes = max(self.costs.peak_memory_bytes, used)
            if used > self._memory_cap_bytes:
                raise OutOfMemory(
                    f"training took {used >> 20:,} MB, more than its cap of {self._memory_cap_bytes >> 20:,} MB",
                    "understudy train --estimate, then a smaller preset or a larger memory_cap_mb in config.toml's [learn]",
                )

    def _let_go(self) -> None:
        """The child has said that it is done: let it end by itself."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)

    def _last_words(self) -> str:
        status: int | None = None
        with suppress(subprocess.TimeoutExpired):  # it has nothing more to say, and is ended
            status = self._process.wait(END_SECONDS) if self._process else None
        killed = -status if status is not None and status < 0 else 0
        if killed == signal.SIGKILL:
            return "the training process was killed: memory ran out, or somebody ended it"
        lines = self._log.read_text("utf-8", "replace").strip().splitlines() if self._log.exists() else []
        return f"the training process ended without a result: {lines[-1] if lines else _ending(status)}"


def _ending(status: int | None) -> str:
    return "it fell silent" if status is None else f"exit status {status}"


def understood(line: bytes) -> Placed | Step | Done:
    """One line of the child's. Raises the fault that it tells of."""
    word: Word = msgspec.json.decode(line, type=Word)
    if isinstance(word, Fault):
        kind = OutOfMemory if word.out_of_memory else RuntimeFault
        raise DiskFull() if word.disk_full else kind(word.message, word.remedy)
    return word


def python(module: str, *arguments: str) -> list[str]:
    """A command that runs a module of ours; -P: nothing in the current folder can shadow it."""
    return [sys.executable, "-P", "-m", module, *arguments]
