"""Shows in the editor that the model is being loaded or compiled: work-done progress, where the editor has it."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from .runtime import Phase, RuntimeState

_TITLES = {Phase.LOADING: "Understudy: loading the model", Phase.COMPILING: "Understudy: compiling the model"}


class LoadingProgress:
    """One progress bar per stretch of loading or compiling."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._token: str | None = None
        self._creating: asyncio.Task[None] | None = None
        self._state = RuntimeState()

    def follow(self, state: RuntimeState) -> None:
        """The runtime's state changed."""
        self._state = state
        window = self._server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return
        if state.phase in _TITLES:
            if self._token is not None:
                self._report()
            elif self._creating is None:
                self._creating = asyncio.get_running_loop().create_task(self._create())
        elif self._token is not None:
            self._server.work_done_progress.end(
                self._token, types.WorkDoneProgressEnd(message=state.message or state.phase)
            )
            self._token = None

    async def _create(self) -> None:
        token = uuid4().hex  # the framework refuses a token that was used before
        try:
            await self._server.work_done_progress.create_async(token)
        finally:
            self._creating = None
        if self._state.phase in _TITLES:
            self._token = token
            begin = types.WorkDoneProgressBegin(title=_TITLES[self._state.phase], percentage=0)
            self._server.work_done_progress.begin(token, begin)
            self._report()

    def _report(self) -> None:
        assert self._token is not None
        percentage = None if self._state.progress is None else round(100 * self._state.progress)
        report = types.WorkDoneProgressReport(message=self._state.message, percentage=percentage)
        self._server.work_done_progress.report(self._token, report)
