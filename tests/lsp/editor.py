"""An editor for tests: starts the real server, speaks JSON-RPC to it over its standard streams, and keeps every message.

It keeps its own copy of each document by a plain oracle, so that a diverged server shows.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 30.0
COMMAND = (sys.executable, "-P", "-c", "from local_runtime.cli.command import main; main()", "lsp", "--client", "test")
CAPABILITIES = {
    "general": {"positionEncodings": ["utf-16"]},
    "workspace": {"configuration": True, "workspaceFolders": True},
    "window": {"workDoneProgress": True},
    "textDocument": {"inlineCompletion": {"dynamicRegistration": False}, "synchronization": {"didSave": True}},
}
Message = dict[str, Any]


class Editor:
    """One window. Use as `async with Editor(folder) as editor`."""

    def __init__(self, folder: Path | None = None, *, settings: Message | None = None, options: Message | None = None, capabilities: Message | None = None, environment: dict[str, str] | None = None) -> None:  # fmt: skip
        self.folder = folder
        self.settings = settings or {}
        self.options = options
        self.capabilities = capabilities or CAPABILITIES
        self.environment = environment or {}
        self.log_level = "warning"
        self.initialized: Message = {}
        self.notifications: list[Message] = []
        self.requests: list[Message] = []
        self.errors = b""
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._news = asyncio.Event()
        self._versions: dict[str, int] = {}
        self.process: asyncio.subprocess.Process = None  # type: ignore[assignment]

    async def __aenter__(self) -> Editor:
        await self.start()
        self.initialized = (await self.request("initialize", self.hello()))["result"]
        self.notify("initialized", {})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            await self.request("shutdown", None)
            self.notify("exit", None)
            assert self.process.stdin
            self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)
        await asyncio.gather(*self._reading)

    async def start(self) -> None:
        """Start the process, and say nothing yet."""
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "--log-level",
            self.log_level,
            stdin=-1,
            stdout=-1,
            stderr=-1,
            env=os.environ | self.environment,
            limit=1 << 26,
        )
        self._reading = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]

    def hello(self) -> Message:
        """The parameters of `initialize`."""
        uri = self.folder.as_uri() if self.folder else None
        return {
            "processId": os.getpid(),
            "rootUri": uri,
            "workspaceFolders": [{"uri": uri, "name": "w"}] if uri else None,
            "capabilities": self.capabilities,
            "initializationOptions": self.options,
        }

    def send(self, message: Message | bytes) -> None:
        """One message, or any bytes as the body of one."""
        body = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def notify(self, method: str, params: object) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, params: object) -> tuple[int, asyncio.Future[Message]]:
        """Send a request; its id and its answer to come."""
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        self.send({"id": number, "method": method, "params": params})
        return number, self._answers[number]

    async def request(self, method: str, params: object) -> Message:
        """The whole answer, be it a result or an error."""
        return await asyncio.wait_for(self.ask(method, params)[1], PATIENCE_SECONDS)

    def cancel(self, number: int) -> None:
        self.notify("$/cancelRequest", {"id": number})

    def open(self, name: str, text: str, language: str = "python") -> str:
        """Open a document; a name with a scheme is taken as a URI."""
        uri = name if ":" in name else ((self.folder or Path("/tmp")) / name).as_uri()
        self._versions[uri] = 1
        self.notify(
            "textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": language, "version": 1, "text": text}}
        )
        return uri

    def edit(self, uri: str, line: int, column: int, text: str, n_removed: int = 0) -> None:
        """Replace `n_removed` units on a line."""
        start, end = {"line": line, "character": column}, {"line": line, "character": column + n_removed}
        self.change(uri, {"range": {"start": start, "end": end}, "text": text})

    def change(self, uri: str, *changes: Message) -> None:
        self._versions[uri] = self._versions.get(uri, 0) + 1
        document = {"uri": uri, "version": self._versions[uri]}
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": list(changes)})

    def save(self, uri: str) -> None:
        self.notify("textDocument/didSave", {"textDocument": {"uri": uri}})

    def close(self, uri: str) -> None:
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def ask_at(self, uri: str, line: int, column: int, kind: int = 2, selected: Message | None = None) -> tuple[int, asyncio.Future[Message]]:  # fmt: skip
        context: Message = {"triggerKind": kind} | ({"selectedCompletionInfo": selected} if selected else {})
        place = {"textDocument": {"uri": uri}, "position": {"line": line, "character": column}, "context": context}
        return self.ask("textDocument/inlineCompletion", place)

    async def items(
        self, uri: str, line: int, column: int, kind: int = 2, selected: Message | None = None
    ) -> list[Message]:
        """The suggestions at a place."""
        answer = await asyncio.wait_for(self.ask_at(uri, line, column, kind, selected)[1], PATIENCE_SECONDS)
        assert "error" not in answer, answer
        return list(answer["result"]["items"])

    async def text(self, uri: str, line: int, column: int, kind: int = 2) -> str | None:
        """The first suggestion's text, if there is one."""
        items = await self.items(uri, line, column, kind)
        return items[0]["insertText"] if items else None

    async def execute(self, command: str, *arguments: object) -> Any:
        answer = await self.request("workspace/executeCommand", {"command": command, "arguments": list(arguments)})
        assert "error" not in answer, answer
        return answer["result"]

    async def why(self) -> list[str]:
        """The reasons of all answers so far, None for those that showed something."""
        return [answer["skip"] for answer in (await self.execute("understudy.why", 1000))["answers"]]

    async def heard(
        self, fits: Callable[[Message], bool], since: int = 0, seconds: float = PATIENCE_SECONDS
    ) -> Message:
        """The first notification that fits, waiting for it if need be."""
        async with asyncio.timeout(seconds):
            while True:
                for message in self.notifications[since:]:
                    if fits(message):
                        return message
                await self._news.wait()

    async def ready(self) -> Message:
        """Wait until the model answers."""
        return await self.heard(lambda m: m["method"] == "understudy/status" and m["params"].get("state") == "ready")

    async def _read(self) -> None:
        assert self.process.stdout
        try:
            while header := await self.process.stdout.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line[15:]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                self._take(json.loads(await self.process.stdout.readexactly(length)))
        except asyncio.IncompleteReadError:
            for answer in self._answers.values():
                if not answer.done():
                    answer.cancel()

    def _take(self, message: Message) -> None:
        if "method" not in message:
            answer = self._answers.pop(message["id"], None)
            if answer is not None and not answer.done():
                answer.set_result(message)
        elif "id" in message:
            self.requests.append(message)
            known = message["method"] == "workspace/configuration"
            self.send({"id": message["id"], "result": [self.settings] if known else None})
        else:
            self.notifications.append(message)
        self._news.set()
        self._news = asyncio.Event()

    async def _read_errors(self) -> None:
        assert self.process.stderr
        while chunk := await self.process.stderr.read(4096):
            self.errors += chunk
