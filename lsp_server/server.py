"""The handlers: LSP in, LSP out. They translate, and know nothing else; `session` holds what they talk about."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lsprotocol import types
from pygls.io_ import StdoutWriter
from pygls.lsp.server import LanguageServer

from local_runtime import __version__
from local_runtime.places import places
from local_runtime.records.outcomes import Answer, database

from . import switches
from .actions import COMMANDS, run
from .background import Background
from .documents import Change, Encoding, Position, path_of
from .metrics import Metrics
from .night import night_shown
from .progress import LoadingProgress
from .protocol import Protocol
from .runtime import Runtime, RuntimeState
from .session import Item, Selected, Session
from .settings import Problem, Settings, from_file, merged
from .skip import Skip
from .stdio import read_messages, stdin_reader

TICK_SECONDS = 5.0
ACCEPTED = "understudy.accepted"
STATUS = "understudy/status"
log = logging.getLogger(__name__)


class Server(LanguageServer):
    """One editor window."""

    protocol: Protocol

    def __init__(self, client: str = "editor") -> None:
        super().__init__(
            "understudy",
            __version__,
            protocol_cls=Protocol,
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
        )
        self.loading = LoadingProgress(self)
        self.runtime = Runtime(client, self.runtime_changed)
        self.metrics = Metrics(database())
        self.session = Session(self.runtime, self.metrics, self._answered)
        self.initial: Settings = Settings()
        self.background = Background(self._ended)
        self.parent_id: int | None = None
        self.following: asyncio.Task[None] | None = None
        self._status: dict[str, object] = {"night": None}
        _register(self)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Into the log: nobody who types wants to be told of each malformed message."""
        log.error("a message could not be handled: %s", type(error).__name__)

    def configure(self, settings: Settings, problems: Sequence[Problem]) -> None:
        """Take over settings, and say what could not be taken."""
        self.session.use(settings)
        for problem in problems:
            message = types.ShowMessageParams(types.MessageType.Warning, str(problem))
            self.window_show_message(message)

    def switch(self, switched: switches.Switches) -> None:
        """Take over what was toggled."""
        self.session.completer.switches = switched
        self.notify_status(
            disabled=switched.everywhere_off,
            languagesOff=sorted(switched.languages_off),
            foldersOff=sorted(switched.folders_off),
        )

    def notify_status(self, **changes: object) -> None:
        """Tell the status item, if anything is new."""
        status = self._status | changes
        if status != self._status:
            self._status = status
            self.protocol.notify(STATUS, status)

    def runtime_changed(self, state: RuntimeState) -> None:
        """Tell the status item how far the daemon is."""
        self.loading.follow(state)
        self.notify_status(
            state=state.phase,
            model=state.model,
            adapter=state.adapter,
            adapterName=state.adapter_name,
            strength=state.strength,
            progress=state.progress,
            message=state.message,
            remedy=state.remedy,
            remote=state.remote,
            noModel=state.no_model,
        )

    def _ended(self, sentence: str, went_well: bool) -> None:
        kind = types.MessageType.Info if went_well else types.MessageType.Warning
        self.window_show_message(types.ShowMessageParams(kind, sentence))

    def _answered(self, answer: Answer) -> None:
        if answer.skip in (Skip.SUPERSEDED, Skip.CANCELLED):
            return
        latency = {} if answer.skip else {"latencyMs": round(answer.latency_ms)}
        sentence = Skip(answer.skip).sentence if answer.skip else ""
        self.notify_status(skip=answer.skip or None, sentence=sentence, **latency)


def serve(client: str, log_level: str) -> None:
    """Speak on standard input and output until the editor goes."""
    logging.basicConfig(level=log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pygls").setLevel(logging.CRITICAL + 1)  # it logs parameters, and with them the user's text
    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_serve(Server(client)))


async def _serve(server: Server) -> None:
    server.protocol.set_writer(StdoutWriter(sys.stdout.buffer))
    ticking = asyncio.create_task(_tick(server, asyncio.current_task()))
    try:
        await read_messages(await stdin_reader(), server.protocol)
    finally:
        ticking.cancel()
        await server.session.close()


async def _tick(server: Server, main: asyncio.Task[Any] | None) -> None:
    """Measure what is due; and end with the editor, even if it left standard input open."""
    while True:
        await asyncio.sleep(TICK_SECONDS)
        server.session.tick()
        if server.parent_id is not None and not _is_alive(server.parent_id) and main is not None:
            main.cancel()


async def _follow_night(server: Server) -> None:
    """Show a night that goes on, whoever began it. As the editor is told, it begins when that may be spoken to."""
    while True:
        try:
            server.notify_status(night=await asyncio.to_thread(night_shown))
        except (OSError, ImportError) as problem:  # the second: this very version was replaced by another
            log.warning("no look at the night: %s", type(problem).__name__)
        await asyncio.sleep(TICK_SECONDS)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _register(server: Server) -> None:
    """All handlers, by what they handle."""
    handlers: dict[str, Any] = {
        types.INITIALIZE: _initialize,
        types.INITIALIZED: _initialized,
        types.TEXT_DOCUMENT_DID_OPEN: _did_open,
        types.TEXT_DOCUMENT_DID_CHANGE: _did_change,
        types.TEXT_DOCUMENT_DID_CLOSE: _did_close,
        types.WORKSPACE_DID_CHANGE_CONFIGURATION: _did_change_configuration,
        types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: _did_change_folders,
    }
    for method, handler in handlers.items():
        server.feature(method)(handler)
    server.feature(types.TEXT_DOCUMENT_DID_SAVE, types.SaveOptions(include_text=False))(_did_save)
    # Without an options object the provider would not be advertised.
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())(_inline_completion)
    server.command(ACCEPTED)(_accepted)
    for name in COMMANDS:
        server.command(name)(_command(name))


def _initialize(ls: Server, params: types.InitializeParams) -> None:
    folders = [folder.uri for folder in params.workspace_folders or ()] or (
        [params.root_uri] if params.root_uri else []
    )
    ls.session.documents.folders = tuple(path for uri in folders if (path := path_of(uri)))
    ls.session.documents.encoding = Encoding(ls.workspace.position_encoding or Encoding.UTF16)
    ls.parent_id = params.process_id
    settings, problems = from_file(places().config_file)
    ls.initial, more = merged(settings, params.initialization_options, "initializationOptions")
    ls.configure(ls.initial, (*problems, *more))


async def _initialized(ls: Server, _: types.InitializedParams) -> None:
    ls.switch(await asyncio.to_thread(switches.read, places().data / "switches.json"))
    await _pull_configuration(ls)
    if ls.initial.start_runtime:
        ls.runtime.wake()
    else:
        ls.runtime_changed(ls.runtime.state)
    ls.following = asyncio.create_task(_follow_night(ls))
    ls.session.learn(await asyncio.to_thread(ls.metrics.history))
    gc.freeze()  # modules and types stay: no collection need walk them between two keys


async def _did_change_configuration(ls: Server, params: types.DidChangeConfigurationParams) -> None:
    if await _pull_configuration(ls):
        return
    given = params.settings.get("understudy") if isinstance(params.settings, dict) else None
    ls.configure(*merged(ls.initial, given, "didChangeConfiguration"))


async def _pull_configuration(ls: Server) -> bool:
    """Ask the editor for its settings; False if it cannot be asked."""
    workspace = ls.client_capabilities.workspace
    if workspace is None or not workspace.configuration:
        return False
    item = types.ConfigurationItem(section="understudy")
    given = await ls.workspace_configuration_async(types.ConfigurationParams([item]))
    ls.configure(*merged(ls.initial, given[0] if given else None, "workspace/configuration"))
    return True


def _did_change_folders(ls: Server, params: types.DidChangeWorkspaceFoldersParams) -> None:
    removed = {path_of(folder.uri) for folder in params.event.removed}
    added = [path for folder in params.event.added if (path := path_of(folder.uri))]
    kept = [folder for folder in ls.session.documents.folders if folder not in removed]
    ls.session.use_folders(tuple(dict.fromkeys([*kept, *added])))


def _did_open(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    one = params.text_document
    ls.session.opened(one.uri, one.language_id, one.version, one.text)


def _did_change(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    changes = [_change(change) for change in params.content_changes]
    ls.session.changed(params.text_document.uri, params.text_document.version, changes)


def _did_save(ls: Server, params: types.DidSaveTextDocumentParams) -> None:
    ls.session.saved(params.text_document.uri)


def _did_close(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
    ls.session.closed(params.text_document.uri)


async def _inline_completion(ls: Server, params: types.InlineCompletionParams) -> types.InlineCompletionList:
    uri = params.text_document.uri
    invoked = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
    info = params.context.selected_completion_info
    selected = Selected(_position(info.range.start), _position(info.range.end), info.text) if info else None
    items = await ls.session.complete(uri, _position(params.position), invoked, selected)
    return types.InlineCompletionList([_item(uri, item) for item in items])


def _accepted(ls: Server, uri: str, outcome_id: str) -> None:
    ls.session.accepted(uri, outcome_id)


def _command(name: str) -> Any:
    async def handler(ls: Server, *arguments: Any) -> object:
        return await run(ls, name, arguments)

    return handler


def _change(change: types.TextDocumentContentChangeEvent) -> Change:
    if isinstance(change, types.TextDocumentContentChangeWholeDocument):
        return Change(change.text)
    return Change(change.text, _position(change.range.start), _position(change.range.end))


def _position(position: types.Position) -> Position:
    return Position(position.line, position.character)


def _item(uri: str, item: Item) -> types.InlineCompletionItem:
    return types.InlineCompletionItem(
        insert_text=item.text,
        range=types.Range(
            types.Position(item.start.line, item.start.column), types.Position(item.end.line, item.end.column)
        ),
        command=types.Command(title="Accepted", command=ACCEPTED, arguments=[uri, item.id]),
    )
