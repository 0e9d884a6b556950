"""Conversations with the real server over its standard streams, the real daemon behind it, and the echo engine in that."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_model
from echo_daemon import EchoDaemon
from editor import CAPABILITIES, COMMAND, Editor

from local_runtime.client import lifecycle, lock
from local_runtime.client.sockets import lock_path
from local_runtime.records.outcomes import Fate, OutcomeLog, database

pytestmark = pytest.mark.e2e


def daemon_pid() -> int:
    holder = lock.holder(lock_path())
    assert holder is not None
    return holder.pid


async def test_shown_typed_along_accepted_and_counted(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace) as editor:
        capabilities = editor.initialized["capabilities"]
        assert capabilities["inlineCompletionProvider"] == {}
        assert capabilities["positionEncoding"] == "utf-16"
        await editor.ready()
        uri = editor.open("a.py", "x = \r\ny = 1\r\n")
        (item,) = await editor.items(uri, 0, 4)
        place = {"line": 0, "character": 4}
        assert (item["insertText"], item["range"]) == ("compute(a, b)", {"start": place, "end": place})
        editor.edit(uri, 0, 4, "c")
        assert await editor.text(uri, 0, 5) == "ompute(a, b)"
        editor.edit(uri, 0, 4, "", 1)
        assert await editor.text(uri, 0, 4) == "compute(a, b)"
        editor.edit(uri, 0, 4, "compute(a, b)")
        await editor.request("workspace/executeCommand", item["command"])
        editor.save(uri)
        stats = await editor.execute("understudy.stats")
        assert (stats["total"]["n_accepted"], stats["total"]["kept_rate"]) == (1, 1.0)
    assert editor.process.returncode == 0
    (outcome,) = [one for one in OutcomeLog(database()).outcomes() if one.fate is Fate.ACCEPTED]
    assert (outcome.text, outcome.n_accepted_chars, outcome.language) == ("compute(a, b)", 13, "python")


@pytest.mark.parametrize(("encoding", "column"), [("utf-16", 7), ("utf-8", 9), ("utf-32", 6)])
async def test_columns_in_the_units_of_the_editor(
    daemon: EchoDaemon, workspace: Path, encoding: str, column: int
) -> None:
    daemon.says("1)")
    capabilities = CAPABILITIES | {"general": {"positionEncodings": [encoding]}}
    async with Editor(workspace, capabilities=capabilities) as editor:
        await editor.ready()
        uri = editor.open("a.py", '"😀", ()')
        (item,) = await editor.items(uri, 0, column)
        assert item["insertText"] == "1"
        assert item["range"]["start"] == item["range"]["end"] == {"line": 0, "character": column}


async def test_by_hand_and_by_old_clients(daemon: EchoDaemon, workspace: Path) -> None:
    texts = ["one()", "two()", "three()", "four()", "five()", "six()"]
    daemon.write({"scripts": [{"pieces": [text]} for text in texts]})
    async with Editor(workspace, options={"prefetch": False}) as editor:
        await editor.ready()
        uri = editor.open("a.py", "x = \n")
        assert [item["insertText"] for item in await editor.items(uri, 0, 4, kind=1)] == ["one()", "two()", "three()"]
        assert len(await editor.items(uri, 0, 4, kind=2)) == 1
        assert len(await editor.items(uri, 0, 4, kind=0)) == 3, "0 was `invoked` before LSP 3.18"
        assert len(await editor.items(uri, 0, 4, kind=1)) == 1, "and 1 was `automatic`"
        assert len(await editor.items(uri, 0, 4, kind=77)) == 1
        place = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 4}}
        assert len((await editor.request("textDocument/inlineCompletion", place))["result"]["items"]) == 1


async def test_the_selected_popup_entry_is_continued(daemon: EchoDaemon, workspace: Path) -> None:
    daemon.says("(path)")
    async with Editor(workspace) as editor:
        await editor.ready()
        uri = editor.open("a.py", "x = os.pa\n")
        edges = {"start": {"line": 0, "character": 7}, "end": {"line": 0, "character": 9}}
        (item,) = await editor.items(uri, 0, 9, selected={"range": edges, "text": "path.join"})
        assert (item["insertText"], item["range"]) == ("path.join(path)", edges)
        editor.edit(uri, 0, 7, "path.join(path)", 2)
        stats = await editor.execute("understudy.stats")
        assert stats["total"]["n_accepted"] == 1


async def test_a_newer_request_and_a_cancel_end_the_older_one(daemon: EchoDaemon, workspace: Path) -> None:
    daemon.says("slow", first_delay_ms=60_000)
    async with Editor(workspace, options={"deadlineMs": 10_000}) as editor:
        uri = editor.open("a.py", "x = \ny = \n")
        await editor.ready()
        _, older = editor.ask_at(uri, 0, 4)
        number, newer = editor.ask_at(uri, 1, 4)
        assert (await older)["result"]["items"] == []
        editor.cancel(number)
        assert (await newer)["error"]["code"] == -32800
        assert await editor.why() == ["superseded", "cancelled"]


async def test_at_the_deadline_there_is_what_there_is(daemon: EchoDaemon, workspace: Path) -> None:
    daemon.says("first + ", "second", delay_ms=60_000)
    async with Editor(workspace, options={"deadlineMs": 200}) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.ready()
        assert await editor.text(uri, 0, 4) == "first +"
    daemon.says("late", first_delay_ms=60_000)
    os.kill(daemon_pid(), signal.SIGKILL)
    async with Editor(workspace, options={"deadlineMs": 200}) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.ready()
        assert await editor.items(uri, 0, 4) == []
        assert await editor.why() == ["deadline"]


async def test_silent_where_it_must_be(daemon: EchoDaemon, workspace: Path) -> None:
    (workspace / ".gitignore").write_text("build/\n")
    (workspace / ".understudyignore").write_text("private_*.py\n")
    settings = {"disabledLanguages": ["markdown"], "disabledGlobs": ["*.gen.py"]}
    async with Editor(workspace, settings=settings) as editor:
        await editor.ready()
        cases = [
            (".env", "dotenv", "secret_file"),
            ("id_rsa", "plaintext", "secret_file"),
            ("build/a.py", "python", "ignored_file"),
            ("private_notes.py", "python", "ignored_file"),
            ("a.gen.py", "python", "ignored_file"),
            ("README.md", "markdown", "disabled_language"),
            ("git:/w/a.py?HEAD", "python", "scheme"),
            ("untitled:Untitled-1", "python", None),
            ("a.py", "python", None),
        ]
        for name, language, _ in cases:
            uri = editor.open(name, "x = \n", language)
            await editor.items(uri, 0, 4)
        assert await editor.why() == [skip for _, _, skip in cases]


async def test_folders_of_a_window_come_and_go(daemon: EchoDaemon, workspace: Path, tmp_path: Path) -> None:
    """Of several folders each has its own rules, from the moment that it is added."""
    second = tmp_path / "second"
    second.mkdir()
    (second / ".gitignore").write_text("build/\n")
    folder = {"uri": second.as_uri(), "name": "second"}
    async with Editor(workspace) as editor:
        announced = editor.initialized["capabilities"]["workspace"]["workspaceFolders"]
        assert announced == {"supported": True, "changeNotifications": True}
        await editor.ready()
        uri = editor.open((second / "build" / "a.py").as_uri(), "x = \n")
        for event in ({}, {"added": [folder]}, {"removed": [folder]}):
            change = {"event": {"added": [], "removed": []} | event}
            editor.notify("workspace/didChangeWorkspaceFolders", change)
            await editor.items(uri, 0, 4)
        assert await editor.why() == [None, "ignored_file", None]


async def test_a_bad_setting_costs_a_message(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace, options={"deadlineMs": "soon", "nobodyKnows": 1}) as editor:
        shown = await editor.heard(lambda m: m["method"] == "window/showMessage")
        assert (
            "deadline_ms = 'soon' (initializationOptions) is not a whole number from 50 to 10000"
            in shown["params"]["message"]
        )
        editor.settings = {"candidates": 99}
        heard = len(editor.notifications)
        editor.notify("workspace/didChangeConfiguration", {"settings": None})
        await editor.heard(
            lambda m: m["method"] == "window/showMessage" and "candidates" in m["params"]["message"], heard
        )
        uri = editor.open("a.py", "x = \n")
        await editor.ready()
        assert await editor.text(uri, 0, 4) == "compute(a, b)"


async def test_progress_while_the_model_loads(daemon: EchoDaemon, workspace: Path) -> None:
    daemon.write({"default": {"pieces": ["compute"]}, "load_seconds": 1.0})
    async with Editor(workspace) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.heard(lambda m: m["method"] == "understudy/status" and m["params"].get("state") == "loading")
        await editor.items(uri, 0, 4)
        await editor.ready()
        await editor.heard(lambda m: m["method"] == "$/progress" and m["params"]["value"]["kind"] == "end")
        kinds = [m["params"]["value"]["kind"] for m in editor.notifications if m["method"] == "$/progress"]
        assert (kinds[0], kinds[-1]) == ("begin", "end")
        assert "window/workDoneProgress/create" in [request["method"] for request in editor.requests]
        assert set(await editor.why()) <= {"loading", "no_runtime", None}


async def test_no_model_yet_is_said_and_one_that_is_brought_serves(home: Path, workspace: Path) -> None:
    async with Editor(workspace, options={"deadlineMs": 60_000}) as editor:
        uri = editor.open("a.py", "def add(a, b):\n    return \n")
        told = await editor.heard(lambda m: m["method"] == "understudy/status" and m["params"].get("noModel") is True)
        params = told["params"]
        assert (params["state"], params["model"]) == ("off", "")
        assert (params["message"], params["remedy"]) == ("no model yet", "understudy setup")
        assert await editor.items(uri, 1, 11) == []
        assert await editor.why() == ["no_model"]
        assert lock.holder(lock_path()) is None
        # Setting a model up restarts the daemon that we start as soon as one is imported: that is followed, too, without a request.
        setup = [*COMMAND[:4], "setup", "--json", "--yes", "--model", str(tiny_model.FOLDER)]
        done = await asyncio.create_subprocess_exec(*setup, stdout=asyncio.subprocess.DEVNULL)
        assert await done.wait() == 0
        await editor.heard(
            lambda m: (
                m["method"] == "understudy/status"
                and m["params"].get("state") == "ready"
                and m["params"]["model"].startswith("tiny_model-")
                and m["params"]["noModel"] is False
            )
        )
        os.kill(daemon_pid(), signal.SIGKILL)


async def test_no_model_is_said_where_the_runtime_is_not_started_either(home: Path, workspace: Path) -> None:
    async with Editor(workspace, options={"startRuntime": False}) as editor:
        uri = editor.open("a.py", "x = \n")
        assert await editor.items(uri, 0, 4) == []
        assert await editor.why() == ["no_model"]


@pytest.mark.parametrize(
    ("settings", "state", "why"),
    [
        ('model = "gone"', "failed", "model_failed"),
        ('engine = "remote"\naddress = "http://127.0.0.1:9"', "failed", "model_failed"),
        ("port = [", "off", "no_runtime"),
    ],
    ids=["a model that is missing", "a remote one that does not answer", "settings that cannot be read"],
)
async def test_what_is_broken_is_not_called_missing(home: Path, workspace: Path, settings: str, state: str, why: str) -> None:  # fmt: skip
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text(f"[runtime]\n{settings}\n")
    async with Editor(workspace, options={"deadlineMs": 10_000}) as editor:
        uri = editor.open("a.py", "x = \n")
        told = await editor.heard(
            lambda m: (
                m["method"] == "understudy/status" and m["params"].get("state") == state and m["params"]["message"]
            )
        )
        assert told["params"]["noModel"] is False
        assert "no model yet" not in told["params"]["message"]
        assert await editor.items(uri, 0, 4) == []
        assert await editor.why() == [why]
        lifecycle.kill()


async def test_no_model_no_answer_and_the_server_lives(home: Path, workspace: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text('[runtime]\nengine = "echo:/does/not/exist.json"\n')
    async with Editor(workspace) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.heard(lambda m: m["method"] == "understudy/status" and m["params"].get("state") == "failed")
        assert await editor.items(uri, 0, 4) == []
        assert await editor.why() == ["model_failed"]
        os.kill(daemon_pid(), signal.SIGKILL)


async def test_no_daemon_at_all(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace, options={"startRuntime": False}) as editor:
        uri = editor.open("a.py", "x = \n")
        assert await editor.items(uri, 0, 4) == []
        assert await editor.why() == ["no_runtime"]
        await editor.heard(lambda m: m["method"] == "understudy/status" and m["params"].get("state") == "off")
        assert lock.holder(lock_path()) is None


async def test_a_daemon_that_dies_in_the_middle_comes_back(daemon: EchoDaemon, workspace: Path) -> None:
    daemon.says("first ", "second", delay_ms=60_000)
    async with Editor(workspace, options={"deadlineMs": 10_000}) as editor:
        uri = editor.open("a.py", "x = \ny = \n")
        await editor.ready()
        heard = len(editor.notifications)
        _, asked = editor.ask_at(uri, 0, 4)
        await editor.request("workspace/executeCommand", {"command": "understudy.adapter.list"})  # the stream has begun
        daemon.says("compute(a)")
        os.kill(daemon_pid(), signal.SIGKILL)
        if not (await asked)["result"]["items"]:  # killed before the stream began, it is asked again of the next daemon
            assert await editor.why() == ["runtime_died"]
        await editor.heard(lambda m: m["method"] == "understudy/status" and m["params"].get("state") == "ready", heard)
        assert await editor.text(uri, 1, 4) == "compute(a)"


async def test_a_daemon_that_hangs_costs_a_deadline(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace, options={"deadlineMs": 200}) as editor:
        uri = editor.open("a.py", "x = \ny = \n")
        await editor.ready()
        os.kill(daemon_pid(), signal.SIGSTOP)
        try:
            assert await editor.items(uri, 0, 4) == []
        finally:
            os.kill(daemon_pid(), signal.SIGCONT)
        assert await editor.text(uri, 1, 4, kind=1) == "compute(a, b)", "by hand there is more time"
        assert await editor.why() == ["deadline", None]


async def test_strange_documents(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace) as editor:
        await editor.ready()
        long = editor.open("long.py", "x = 1\n" * 50_000)
        assert await editor.text(long, 25_000, 5) == "compute(a, b)"
        assert await editor.items(long, 999_999, 7), "past the end is the end"
        wide = editor.open("wide.js", "x" * (1 << 20), "javascript")
        assert await editor.items(wide, 0, 1 << 19) == []
        binary = editor.open("binary.py", "\0\x01\x02" * 1000)
        assert await editor.items(binary, 0, 50) == []
        editor.close(binary)
        assert await editor.items(binary, 0, 50) == []
        assert await editor.items("file:///never/opened.py", 0, 0) == []
        for number in range(200):
            uri = editor.open(f"many_{number}.py", f"x_{number} = 1\n")
        assert await editor.text(uri, 1, 0) == "compute(a, b)"
        editor.change("file:///never/opened.py", {"text": "x"})
        editor.close("file:///never/opened.py")
        assert (await editor.why())[2:6] == ["long_line", "binary", "not_open", "not_open"]


async def test_malformed_messages_are_answered_or_ignored(daemon: EchoDaemon, workspace: Path) -> None:
    editor = Editor(workspace)
    editor.log_level = "debug"
    async with editor:
        for body in (
            b"not json",
            b"[]",
            b"null",
            b'"x"',
            b'{"jsonrpc": "2.0"}',
            b"[" * 100_000,
            b'{"jsonrpc":"2.0","method":7}',
        ):
            editor.send(body)
        assert "error" in await editor.request("textDocument/inlineCompletion", {"position": "here"})
        assert "error" in await editor.request("textDocument/inlineCompletion", None)
        assert "error" in await editor.request("no/such/method", {})
        assert "error" in await editor.request("workspace/executeCommand", {"command": "no.such.command"})
        for params in (
            {"textDocument": 7, "contentChanges": [{"text": "SECRET"}]},
            {"contentChanges": "SECRET"},
            ["SECRET"],
        ):
            editor.notify("textDocument/didChange", params)
            assert "error" in await editor.request("textDocument/inlineCompletion", params)
        nested = {"command": "understudy.why", "arguments": [{"jsonrpc": "2.0", "id": 1, "method": "shutdown"}]}
        assert (await editor.request("workspace/executeCommand", nested))["result"]["ok"] is False
        uri = editor.open("a.py", "x = SECRET\ny = \n")
        await editor.ready()
        assert await editor.text(uri, 1, 4) == "compute(a, b)"
    assert b"SECRET" not in editor.errors, "what users write is not logged, nor what is suggested to them"
    assert b"compute(a" not in editor.errors


async def test_two_windows_share_one_daemon_and_one_leaves(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace) as one, Editor(workspace) as other:
        await asyncio.gather(one.ready(), other.ready())
        pid = daemon_pid()
        first, second = one.open("a.py", "x = \n"), other.open("a.py", "x = \n")
        assert await one.text(first, 0, 4) == await other.text(second, 0, 4) == "compute(a, b)"
        one.process.kill()
        assert await other.text(second, 0, 0) == "compute(a, b)"
        assert daemon_pid() == pid
        assert (await other.execute("understudy.restart"))["ok"]
        await other.heard(lambda m: m["params"].get("state") == "starting")
        other.edit(second, 0, 4, "z")
        await other.heard(lambda m: m["params"].get("state") == "ready", len(other.notifications) - 1)
        assert daemon_pid() != pid


@pytest.mark.parametrize("leaving", ["closes the stream", "is gone"])
async def test_an_editor_that_never_says_goodbye(daemon: EchoDaemon, workspace: Path, leaving: str) -> None:
    editor = Editor(workspace)
    await editor.start()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    await editor.request(
        "initialize", editor.hello() | ({"processId": int(gone.stdout)} if leaving == "is gone" else {})
    )
    if leaving == "closes the stream":
        assert editor.process.stdin
        editor.process.stdin.close()
    await asyncio.wait_for(editor.process.wait(), 20)
    await asyncio.gather(*editor._reading)


async def test_nothing_heavy_is_in_the_process(daemon: EchoDaemon, workspace: Path) -> None:
    async with Editor(workspace) as editor:
        uri = editor.open("a.py", "x = \n")
        await editor.ready()
        await editor.items(uri, 0, 4)
        mapped = Path(f"/proc/{editor.process.pid}/maps")
        if mapped.exists():
            assert not [name for name in ("tvm", "torch", "numpy", "libtokenizers") if f"/{name}" in mapped.read_text()]


def test_the_whole_journey_without_a_network(home: Path, workspace: Path, daemon: EchoDaemon) -> None:
    unshare = shutil.which("unshare")
    probe = [unshare or "false", "--net", "--map-root-user", "true"]
    if unshare is None or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("needs Linux and the right to make a network namespace")
    journey = Path(__file__).with_name("journey.py")
    command = [unshare, "--net", "--map-root-user", sys.executable, str(journey), str(workspace)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["interfaces"] in ([], ["lo"])
    assert found["texts"] == ["compute(a, b)", "ompute(a, b)"]
    assert found["accepted"] == 1
    assert found["internet_sockets"] == []
    assert COMMAND[-1] == "test"
