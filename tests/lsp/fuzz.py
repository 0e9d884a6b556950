"""Random messages and edits against the server's own message loop, and an oracle that edits flat lists of UTF-16 units."""

from __future__ import annotations

import asyncio
import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

from lsp_server.server import Server

ALPHABET = [
    "a",
    "b(",
    ")",
    "é",
    "漢",
    "😀",
    "\u2028",
    "\x0c",
    "\x85",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "    ",
    "def f():\n",
    "x = ",
    "#",
    '"',
    "\0",
]
URIS = ["file:///w/a.py", "file:///w/b.ts", "file:///w/.env", "untitled:1", "git:/w/c.py", "file:///w/d%20e.py"]
JUNK: list[Any] = [None, True, -1, 1e300, "x", [], {}, [[]], {"a": None}, "file:///w/a.py", 2**53, "😀" * 50]
COMMANDS = [
    "understudy.why",
    "understudy.toggle",
    "understudy.accepted",
    "understudy.adapter.list",
    "understudy.stats",
    "nothing",
]


@dataclass
class Fuzz:
    """One run. `texts` is what every open document must be."""

    server: Server
    rng: random.Random
    texts: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    n_requests: int = 0
    answered: list[Any] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        """What the server says; as a writer."""
        for body in re.findall(rb"\r\n\r\n(\{.*\})", data, re.DOTALL):
            message = json.loads(body)
            if "method" not in message:
                self.answered.append(message["id"])

    def close(self) -> None:
        """As a writer."""

    def send(self, method: str, params: object, *, request: bool = False) -> None:
        """Through the same door as a message of an editor."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if request:
            self.n_requests += 1
            message["id"] = self.n_requests
        self.server.protocol.receive(json.loads(json.dumps(message)))

    def step(self) -> None:
        """One random message."""
        uri = self.rng.choice(URIS)
        kind = self.rng.random()
        if kind < 0.06 or not self.texts:
            self.texts[uri] = self.text(40)
            self.versions[uri] = 1
            document = {"uri": uri, "languageId": "python", "version": 1, "text": self.texts[uri]}
            self.send("textDocument/didOpen", {"textDocument": document})
        elif kind < 0.08:
            self.texts.pop(uri, None)
            self.send("textDocument/didClose", {"textDocument": {"uri": uri}})
        elif kind < 0.55:
            self.edit(uri)
        elif kind < 0.80:
            position = {"line": self.rng.randrange(40), "character": self.rng.randrange(40)}
            context = {"triggerKind": self.rng.choice([0, 1, 2, 2, 2, 9])}
            asked = {"textDocument": {"uri": uri}, "position": position, "context": context}
            self.send("textDocument/inlineCompletion", asked, request=True)
        elif kind < 0.84:
            self.send("$/cancelRequest", {"id": self.rng.randrange(self.n_requests + 2)})
        elif kind < 0.88:
            self.send("textDocument/didSave", {"textDocument": {"uri": uri}})
        elif kind < 0.90:
            command = {"command": self.rng.choice(COMMANDS), "arguments": self.rng.sample(JUNK, self.rng.randrange(3))}
            self.send("workspace/executeCommand", command, request=True)
        elif kind < 0.92:
            self.send(
                "workspace/didChangeConfiguration", {"settings": {"understudy": {"deadlineMs": self.rng.choice(JUNK)}}}
            )
        else:
            self.junk(uri)

    def edit(self, uri: str) -> None:
        """One to three changes, some of the whole document."""
        changes = []
        for _ in range(self.rng.randint(1, 3)):
            inserted, text = self.text(4), self.texts.get(uri)
            if self.rng.random() < 0.1:
                changes.append({"text": inserted})
                after = inserted
            else:
                places = sorted((self.rng.randrange(30), self.rng.randrange(12)) for _ in range(2))
                start, end = ({"line": line, "character": character} for line, character in places)
                changes.append({"range": {"start": start, "end": end}, "text": inserted})
                first, last = (offset(text or "", *place) for place in places)
                after = (text or "")[:first] + inserted + (text or "")[last:]
            if text is not None:
                self.texts[uri] = after
        self.versions[uri] = self.versions.get(uri, 0) + 1
        self.send(
            "textDocument/didChange",
            {"textDocument": {"uri": uri, "version": self.versions[uri]}, "contentChanges": changes},
        )

    def junk(self, uri: str) -> None:
        """A method with parameters that make no sense; none that opens, closes or edits."""
        methods = [
            "textDocument/inlineCompletion",
            "workspace/executeCommand",
            "no/such",
            "workspace/didChangeWorkspaceFolders",
        ]
        self.send(self.rng.choice(methods), self.rng.choice(JUNK), request=True)
        self.send(
            "textDocument/didChange", {"textDocument": self.rng.choice(JUNK), "contentChanges": self.rng.choice(JUNK)}
        )

    def text(self, n: int) -> str:
        """Up to `n` pieces."""
        return "".join(self.rng.choice(ALPHABET) for _ in range(self.rng.randrange(n + 1)))

    def diverged(self) -> list[str]:
        """Documents whose text in the server is not what it should be."""
        documents = self.server.session.documents
        wrong = [uri for uri, text in self.texts.items() if (found := documents.get(uri)) is None or found.text != text]
        return wrong + [document.uri for document in documents.all() if document.uri not in self.texts]


def offset(text: str, line: int, character: int) -> int:
    """Index of a UTF-16 place in a text, clamped, as the specification has it."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    if line >= len(starts):
        return len(text)
    at, units = starts[line], 0
    while at < len(text) and text[at] not in "\r\n":
        units += 1 + (ord(text[at]) > 0xFFFF)
        if units > character:
            break
        at += 1
    return at


async def run(n_messages: int, seed: int) -> Fuzz:
    """Send `n_messages` to a server of its own; wait until all requests are answered."""
    server = Server("fuzz")
    fuzz = Fuzz(server, random.Random(seed))
    server.protocol.set_writer(fuzz)
    options = {"startRuntime": False, "deadlineMs": 50, "invokedDeadlineMs": 50}
    hello = {"processId": None, "rootUri": "file:///w", "capabilities": {}, "initializationOptions": options}
    fuzz.send("initialize", hello, request=True)
    fuzz.send("initialized", {})
    for number in range(n_messages):
        fuzz.step()
        if number % 20 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        while len(fuzz.answered) < fuzz.n_requests:
            await asyncio.sleep(0.01)
    fuzz.wrong = fuzz.diverged()
    await server.session.close()
    return fuzz
