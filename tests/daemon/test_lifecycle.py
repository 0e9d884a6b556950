"""Real daemon processes: one of them however many start it, and a next request that succeeds whatever was killed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from local_runtime.cli.command import understudy
from local_runtime.client import lifecycle, lock, sockets
from local_runtime.client.client import Client
from local_runtime.engines.protocol import Sampling, Stop
from local_runtime.errors import DaemonUnreachable, NotReady
from local_runtime.places import places
from local_runtime.prompts.hole import Hole

pytestmark = pytest.mark.e2e
HOLE = Hole("a.py", "python", "x = SECRET", "\n")
ECHO = {"engine": "echo"}


@pytest.fixture(autouse=True)
def no_orphan(home: Path) -> Iterator[None]:
    """Whatever a test leaves running is ended, and was the only one."""
    yield
    holder = lock.holder(sockets.lock_path())
    assert holder is None or holder.pid != os.getpid()
    lifecycle.kill()
    assert holder is None or not holder.alive()
    mine = [
        p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get("UNDERSTUDY_HOME") == str(home)
    ]
    # One that came second says so, and may still be on its way out.
    _, left = psutil.wait_procs([p for p in mine if p.pid != os.getpid() and _is_daemon(p)], timeout=15)
    assert left == []


def _is_daemon(process: psutil.Process) -> bool:
    try:
        return "local_runtime.daemon" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def ended(pid: int) -> None:
    """Wait for the end of a process that is not ours to wait for; its parent may leave it as a zombie."""
    deadline = time.monotonic() + 15
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_waits_for_the_model_of_a_daemon_that_has_just_been_started(tmp_path: Path) -> None:
    """A daemon was killed and another client started the next one: its model is still loading when the request comes."""
    script = tmp_path / "echo.json"
    script.write_text(json.dumps({"default": {"pieces": ["compute"]}, "load_seconds": 0.5}))
    overrides = {"engine": f"echo:{script}"}
    with Client(overrides=overrides) as asking, Client(overrides=overrides) as starting:
        lost = asking.wait_ready().pid
        os.kill(lost, signal.SIGKILL)
        ended(lost)
        assert starting.ensure_running().status == "loading"
        assert asking.complete(HOLE, (), Sampling(max_tokens=16)).text == "compute"


def test_ten_clients_that_start_at_once_get_one_daemon() -> None:
    code = "from local_runtime.client.client import Client\nwith Client(overrides={'engine': 'echo'}) as c: print(c.wait_ready().pid)"
    starters = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(10)]
    pids = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    assert all(starter.returncode == 0 for starter in starters)
    assert len(pids) == 1
    daemon = psutil.Process(int(pids.pop()))
    assert os.getsid(daemon.pid) != os.getsid(0)
    assert daemon.cwd() == "/"


def test_after_kill_9_the_next_request_succeeds() -> None:
    with Client(overrides=ECHO) as client:
        for _ in range(2):
            pid = client.wait_ready().pid
            os.kill(pid, signal.SIGKILL)
            ended(pid)
            assert sockets.socket_path().exists()  # stale
            assert client.complete(HOLE).text == HOLE.prefix
            assert client.health().pid != pid


def test_only_its_user_can_reach_it() -> None:
    with Client(overrides=ECHO | {"port": 0}) as client:
        client.ensure_running()
    paths = [sockets.socket_path(), sockets.lock_path(), sockets.token_path(), sockets.log_path(), sockets.crash_path()]
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700, path.parent


def test_a_home_whose_socket_path_is_too_long_gets_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / ("h" * 120)
    monkeypatch.setenv("UNDERSTUDY_HOME", str(home))
    with Client(overrides=ECHO) as client:
        assert client.wait_ready().status == "ready"
        assert len(os.fsencode(sockets.socket_path())) <= sockets.longest_socket_path()
        assert stat.S_IMODE(sockets.socket_path().parent.stat().st_mode) == 0o700
        client.stop()
    sockets.socket_path().parent.rmdir()


def test_a_short_folder_that_somebody_else_prepared_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / ("h" * 120)))
    trap = sockets.socket_path().parent
    trap.symlink_to(tmp_path)
    try:
        with Client(overrides=ECHO) as client, pytest.raises(DaemonUnreachable, match="not a folder of this user"):
            client.ensure_running()
    finally:
        trap.unlink()


def test_it_ends_itself_when_nobody_asks() -> None:
    with Client(overrides=ECHO | {"idle_minutes": 0.005}) as client:
        pid = client.wait_ready().pid
    ended(pid)
    assert not sockets.socket_path().exists()
    assert lock.holder(sockets.lock_path()).pid == pid  # type: ignore[union-attr]


def test_a_newer_client_replaces_an_older_daemon_once_and_an_older_one_uses_a_newer() -> None:
    with (
        Client(overrides=ECHO) as client,
        Client(overrides=ECHO, version="99.0") as newer,
        Client(version="0.0.1") as older,
    ):
        first = client.ensure_running().pid
        assert older.ensure_running().pid == first
        second = newer.ensure_running().pid
        assert second != first
        ended(first)
        # That daemon is still older than 99.0, as the one installed is; it serves nevertheless.
        assert newer.complete(HOLE).text == HOLE.prefix
        assert newer.health().pid == second
        assert client.complete(HOLE).text == HOLE.prefix


def test_sigterm_lets_what_runs_end(tmp_path: Path) -> None:
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({"default": {"pieces": ["a"] * 20, "delay_ms": 20}}))
    with Client(overrides={"engine": f"echo:{answers}"}) as client:
        pid = client.wait_ready().pid
        pieces = client.stream(HOLE, sampling=Sampling(max_tokens=64))
        assert next(pieces).text == "a"
        os.kill(pid, signal.SIGTERM)
        rest = list(pieces)
    assert "".join(piece.text for piece in rest) == "a" * 19
    assert rest[-1].stop is Stop.END
    ended(pid)
    assert not sockets.socket_path().exists()


def test_a_daemon_that_hangs_is_ended_by_force() -> None:
    with Client(overrides=ECHO) as client:
        pid = client.ensure_running().pid
        os.kill(pid, signal.SIGSTOP)
        assert lifecycle.kill(seconds=2) == pid
        assert client.complete(HOLE).text == HOLE.prefix


def test_requests_during_a_restart_succeed() -> None:
    """Four clients ask without pause while the daemon is killed five times."""
    failures: list[Exception] = []
    over = threading.Event()

    def ask(name: int) -> int:
        n = 0
        with Client(f"c{name}", overrides=ECHO) as client:
            while not over.is_set():
                try:
                    assert client.complete(HOLE).text == HOLE.prefix
                    n += 1
                except Exception as failure:  # what was lost in the middle is not a failure of the next one
                    if "in the middle" not in str(failure):
                        failures.append(failure)
        return n

    with ThreadPoolExecutor(4) as pool, Client(overrides=ECHO) as killer:
        asked = [pool.submit(ask, n) for n in range(4)]
        for _ in range(5):
            pid = killer.wait_ready().pid
            killer.complete(HOLE)
            os.kill(pid, signal.SIGKILL)
            ended(pid)
        over.set()
        assert all(future.result(30) > 0 for future in asked)
    assert failures == []


def test_the_log_has_outcomes_and_no_texts() -> None:
    with Client(overrides=ECHO) as client:
        client.complete(HOLE)
        client.stop()
    log = sockets.log_path().read_text()
    assert "person completion ok" in log
    assert "SECRET" not in log
    assert "a.py" not in log


def test_a_wrong_option_is_told_to_the_starter() -> None:
    places().config.mkdir(parents=True)
    places().config_file.write_text("[runtime]\nidle_minutes = 'long'\n")
    with Client() as client, pytest.raises(DaemonUnreachable, match=r"config\.toml.*idle_minutes"):
        client.ensure_running()


def test_a_port_that_is_taken_is_told_to_the_starter() -> None:
    taken = sockets.bind_loopback(0)
    with (
        Client(overrides=ECHO | {"port": taken.getsockname()[1]}) as client,
        pytest.raises(DaemonUnreachable, match="in use"),
    ):
        client.ensure_running()
    taken.close()


def test_without_its_model_the_daemon_says_so() -> None:
    with Client(overrides={"model": "gone"}) as client, pytest.raises(NotReady, match="no model gone"):
        client.wait_ready()


def test_the_commands_from_start_to_stop() -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(understudy, ["runtime", *words], standalone_mode=False)
        return done.exit_code, done.stdout + (str(done.exception) if done.exception else "")

    assert "not running" in run("status")[1]
    assert run("stop") == (0, "no daemon was running\n")
    code, said = run("start", "--engine", "echo", "--port", "0")
    assert code == 0
    assert "ready" in said
    health = json.loads(run("status", "--json")[1])
    assert (health["status"], health["model"]["id"], health["port"] > 0) == ("ready", "echo", True)
    assert run("status", "--token")[1].strip() == sockets.token_path().read_text().strip()
    assert f"port {health['port']}" in run("logs", "-n", "5")[1]
    assert run("start")[0] == 0  # one that runs is as good
    assert run("stop") == (0, "stopped\n")
    assert not psutil.pid_exists(health["pid"]) or psutil.Process(health["pid"]).status() == psutil.STATUS_ZOMBIE


def test_start_says_what_went_wrong() -> None:
    done = CliRunner().invoke(understudy, ["runtime", "start", "--engine", "steam"], standalone_mode=False)
    assert isinstance(done.exception, NotReady)
    assert "'steam' is unknown" in str(done.exception)
