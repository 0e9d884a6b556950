"""The main journey as an independent client sees it: pytest-lsp, whose every message is checked against the types of LSP 3.18.

It says hello with the capabilities of real editors. The hard cases are in `test_conversations`, whose editor can also misbehave.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_lsp
from echo_daemon import EchoDaemon
from editor import COMMAND
from lsprotocol import types
from pytest_lsp import ClientServerConfig, LanguageClient, client_capabilities

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

PATIENCE_SECONDS = 30.0


class TypedClient(LanguageClient):
    """Remembers what the status item would show."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = asyncio.Event()

    async def open(self, path: Path, text: str) -> str:
        """Open a document once the model answers."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.ready.wait()
        document = types.TextDocumentItem(path.as_uri(), types.LanguageKind.Python, 1, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(document))
        return document.uri

    def type(self, uri: str, version: int, line: int, column: int, text: str) -> None:
        """Insert at a place."""
        place = types.Position(line, column)
        change = types.TextDocumentContentChangePartial(range=types.Range(place, place), text=text)
        document = types.VersionedTextDocumentIdentifier(version=version, uri=uri)
        self.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))

    async def suggestions(self, uri: str, line: int, column: int, **context: Any) -> list[types.InlineCompletionItem]:
        """At a place; automatic unless `context` says otherwise."""
        kind = context.pop("trigger_kind", types.InlineCompletionTriggerKind.Automatic)
        asked = types.InlineCompletionParams(
            types.InlineCompletionContext(kind, **context),
            types.TextDocumentIdentifier(uri),
            types.Position(line, column),
        )
        answer = await self.text_document_inline_completion_async(asked)
        assert isinstance(answer, types.InlineCompletionList)
        return list(answer.items)

    async def execute(self, command: str, *arguments: Any) -> Any:
        return await self.workspace_execute_command_async(types.ExecuteCommandParams(command, list(arguments)))


def typed_client() -> TypedClient:
    client = TypedClient()
    pytest_lsp.client.register_lsp_features(client)

    @client.feature("understudy/status")
    def status(params: Any) -> None:
        if getattr(params, "state", "") == "ready":
            client.ready.set()

    return client


@pytest_lsp.fixture(
    config=ClientServerConfig(server_command=list(COMMAND), client_factory=typed_client),
    params=["neovim", "visual-studio-code"],
)
async def client(
    lsp_client: TypedClient, request: pytest.FixtureRequest, daemon: EchoDaemon, workspace: Path
) -> AsyncGenerator[None, None]:
    folder = types.WorkspaceFolder(workspace.as_uri(), "w")
    hello = types.InitializeParams(client_capabilities(request.param), workspace_folders=[folder])
    answer = await lsp_client.initialize_session(hello)
    assert answer.capabilities.inline_completion_provider == types.InlineCompletionOptions()
    assert answer.server_info is not None
    assert answer.server_info.name == "understudy"
    yield
    await lsp_client.shutdown_session()


async def test_shown_typed_along_and_accepted(client: TypedClient, workspace: Path) -> None:
    uri = await client.open(workspace / "a.py", "x = \n")
    (item,) = await client.suggestions(uri, 0, 4)
    place = types.Position(0, 4)
    assert (item.insert_text, item.range) == ("compute(a, b)", types.Range(place, place))
    client.type(uri, 2, 0, 4, "comp")
    (rest,) = await client.suggestions(uri, 0, 8)
    assert rest.insert_text == "ute(a, b)"
    client.type(uri, 3, 0, 8, "ute(a, b)")
    assert rest.command is not None
    await client.execute(rest.command.command, *rest.command.arguments or ())
    document = types.TextDocumentIdentifier(uri)
    client.text_document_did_save(types.DidSaveTextDocumentParams(document))
    stats = await client.execute("understudy.stats")
    assert (stats["total"]["n_accepted"], stats["total"]["kept_rate"]) == (1, 1.0)
    client.text_document_did_close(types.DidCloseTextDocumentParams(document))
    assert await client.suggestions(uri, 0, 4) == []


async def test_by_hand_there_are_others_and_a_selected_entry_is_continued(client: TypedClient, daemon: EchoDaemon, workspace: Path) -> None:  # fmt: skip
    scripts = [{"pieces": [text]} for text in ("first(a)", "second(b)", "first(a)")]
    daemon.write({"scripts": scripts, "default": {"pieces": ["(path)"]}})
    uri = await client.open(workspace / "a.py", "x = os.pa\n")
    by_hand = types.InlineCompletionTriggerKind.Invoked
    found = await client.suggestions(uri, 0, 4, trigger_kind=by_hand)
    assert [item.insert_text for item in found] == ["first(a)", "second(b)"]
    edges = types.Range(types.Position(0, 7), types.Position(0, 9))
    (item,) = await client.suggestions(uri, 0, 9, selected_completion_info=types.SelectedCompletionInfo(edges, "path.join"))  # fmt: skip
    assert (item.insert_text, item.range) == ("path.join(path)", edges)


async def test_silence_has_a_reason_and_a_switch_a_word(client: TypedClient, workspace: Path) -> None:
    uri = await client.open(workspace / ".env.py", "TOKEN = \n")
    assert await client.suggestions(uri, 0, 8) == []
    uri = await client.open(workspace / "a.py", "x = \n")
    await client.execute("understudy.toggle", "language", "python")
    assert await client.suggestions(uri, 0, 4) == []
    told = await client.execute("understudy.why", 10)
    assert [answer["skip"] for answer in told["answers"]] == ["secret_file", "disabled_language"]
    await client.execute("understudy.toggle", "language", "python")
    assert [item.insert_text for item in await client.suggestions(uri, 0, 4)] == ["compute(a, b)"]


async def test_a_setting_that_cannot_be_costs_a_message(client: TypedClient, workspace: Path) -> None:
    await client.open(workspace / "a.py", "x = \n")
    client.set_configuration({"deadlineMs": "soon"}, section="understudy")
    client.workspace_did_change_configuration(
        types.DidChangeConfigurationParams({"understudy": {"deadlineMs": "soon"}})
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not client.messages:
            await asyncio.sleep(0.01)
    assert "deadline" in client.messages[0].message
    assert client.messages[0].type is types.MessageType.Warning
