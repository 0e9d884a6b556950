"""The daemon as this process sees it: started when it is needed, watched, and asked. It may come and go; this never fails.

`httpx` and the client are imported on first use, so that `initialize` is answered before them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from local_runtime.engines.protocol import Piece, Sampling
from local_runtime.errors import DaemonUnreachable, EngineDied, ModelMissing, NotReady, RuntimeFault
from local_runtime.prompts.hole import Chunk, Hole

from .cache import Voice
from .skip import Skip

if TYPE_CHECKING:
    from local_runtime.client.client import AsyncClient
    from local_runtime.client.wire import AdapterList, Health, Selection

RETRY_SECONDS = 3.0
REFRESH_SECONDS = 2.0
WATCH_SECONDS = 1.0


class Phase(StrEnum):
    """How far the daemon is."""

    OFF = "off"
    STARTING = "starting"
    LOADING = "loading"
    COMPILING = "compiling"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """What a status item shows of the daemon."""

    phase: Phase = Phase.OFF
    model: str = ""
    adapter: str | None = None
    """Id of what serves; None: the base."""
    adapter_name: str | None = None
    strength: float = 1.0
    progress: float | None = None
    """0 to 1 while loading or compiling, if it can be told."""
    message: str = ""
    remedy: str | None = None
    remote: str | None = None
    """The host that prompts are sent to, if the model is not on this machine."""
    no_model: bool = False
    """This user has no model yet, so no daemon is started."""


def no_model_yet() -> ModelMissing | None:
    """What to say while this user has no model; None: there is one, be it a broken one, or the engine is elsewhere."""
    from local_runtime.client.options import read_options  # noqa: PLC0415
    from local_runtime.model.chosen import chosen_model  # noqa: PLC0415

    try:
        if read_options().engine in ("compiled", "mlc_llm"):
            chosen_model()
    except ModelMissing as missing:
        return missing
    except (RuntimeFault, OSError):
        pass  # settings that cannot be read, or a model that is removed just now: the daemon says what is wrong
    return None


class Runtime:
    """One client of the daemon. `changed` is called on every change of `state`, on the event loop."""

    def __init__(self, name: str, changed: Callable[[RuntimeState], None], *, start: bool = True) -> None:
        self.state = RuntimeState()
        self.start = start
        self._name = name
        self._changed = changed
        self._client: AsyncClient | None = None
        self._watching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._failed_at = float("-inf")
        self._moved = asyncio.Event()

    @property
    def voice(self) -> Voice:
        """Who would answer now."""
        return Voice(self.state.model, self.state.adapter, self.state.strength)

    def look_again(self) -> None:
        """While nothing answers: whether a model was brought, or a daemon started by somebody else. Starts none for a user who is idle."""
        if self.state.no_model:
            self.wake()
        elif self.state.phase in (Phase.OFF, Phase.FAILED) and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._look_for_daemon())

    def wake(self) -> None:
        """Have somebody look after the daemon: start it if it is not there, follow it while it loads."""
        now = asyncio.get_running_loop().time()
        if self.state.phase is Phase.READY:
            if now - self._looked_at >= REFRESH_SECONDS and (self._refreshing is None or self._refreshing.done()):
                self._looked_at = now
                self._refreshing = asyncio.create_task(self._refresh())
        elif (self._watching is None or self._watching.done()) and now - self._failed_at >= RETRY_SECONDS:
            self._watching = asyncio.create_task(self._watch())

    async def ready(self, deadline: float) -> Skip | None:
        """Wait until the model answers, or `deadline` (the event loop's time); then the reason why it does not."""
        self.wake()
        try:
            async with asyncio.timeout_at(deadline):
                while self.state.phase not in (Phase.READY, Phase.FAILED):
                    if self._watching is None or self._watching.done():
                        break
                    await self._moved.wait()
        except TimeoutError:
            pass
        return self.missing()

    def missing(self) -> Skip | None:
        """Why nothing can be asked right now."""
        if self.state.phase is Phase.READY:
            return None
        if self.state.no_model:
            return Skip.NO_MODEL
        if self.state.phase is Phase.FAILED:
            return Skip.MODEL_FAILED
        return Skip.LOADING if self.state.phase in (Phase.LOADING, Phase.COMPILING) else Skip.NO_RUNTIME

    def stream(
        self, hole: Hole, chunks: Sequence[Chunk], sampling: Sampling, *, document: str, background: bool = False
    ) -> AsyncGenerator[Piece, None]:
        """Ask for a completion; the faults of the client come out of the generator."""
        from local_runtime.client.client import Ask  # noqa: PLC0415

        return self._connected().stream(hole, chunks, sampling, Ask(document=document, background=background))

    def lost(self, fault: RuntimeFault) -> Skip:
        """A request failed: take note, look after the daemon, and name it."""
        if isinstance(fault, EngineDied | DaemonUnreachable | NotReady):
            gone = isinstance(fault, DaemonUnreachable)
            self._set(RuntimeState(Phase.OFF if gone else Phase.STARTING, message=fault.message, remedy=fault.remedy))
            self.wake()
            return Skip.RUNTIME_DIED if isinstance(fault, EngineDied) else self.missing() or Skip.NO_RUNTIME
        return Skip.REFUSED

    async def adapters(self) -> AdapterList:
        """Adapters on disk and the active one. Raises RuntimeFault."""
        return await self._connected().adapters()

    async def select(self, selection: Selection) -> AdapterList:
        """Switch adapter or strength. Raises RuntimeFault."""
        chosen = await self._connected().select(selection)
        active = chosen.active
        self._set(replace(self.state, adapter=active.id, adapter_name=active.adapter, strength=active.strength))
        return chosen

    async def restart(self) -> None:
        """Stop the daemon and start it again. Raises RuntimeFault."""
        await self._connected().stop()
        self._set(RuntimeState(Phase.STARTING))
        self._failed_at = float("-inf")
        self.wake()

    async def close(self) -> None:
        """End all that runs here. The daemon goes on: other editors may use it."""
        for task in (self._watching, self._refreshing):
            if task is not None:
                task.cancel()
        if self._client is not None:
            await self._client.close()

    def _connected(self) -> AsyncClient:
        if self._client is None:
            from local_runtime.client.client import AsyncClient  # noqa: PLC0415

            self._client = AsyncClient(self._name, start=self.start)
        return self._client

    async def _watch(self) -> None:
        """Until it is ready, has failed, or cannot be reached."""
        if self.state.phase is Phase.OFF and not self.state.no_model:
            self._set(RuntimeState(Phase.STARTING))
        missing: ModelMissing | None = None
        try:
            client = self._connected()
            missing = await asyncio.to_thread(no_model_yet)
            # A daemon may run all the same: it was told its model when it was started.
            health = await (client.ensure_running() if self.start and not missing else client.health())
            self._take(health)
            while health.status in ("loading", "compiling"):
                health = await client.health(wait_seconds=WATCH_SECONDS)
                self._take(health)
        except RuntimeFault as fault:
            fault = missing or fault
            self._set(RuntimeState(message=fault.message, remedy=fault.remedy, no_model=missing is not None))
        finally:
            if self.state.phase is not Phase.READY:
                self._failed_at = asyncio.get_running_loop().time()

    async def _look_for_daemon(self) -> None:
        """Follow one that is about to serve."""
        try:
            health = await self._connected().health()
        except RuntimeFault:
            return
        if health.status not in ("failed", "stopping"):
            self._failed_at = float("-inf")
            self.wake()

    async def _refresh(self) -> None:
        """Whether it is still there, and which adapter it serves by now."""
        try:
            self._take(await self._connected().health())
        except RuntimeFault as fault:
            self._set(RuntimeState(Phase.OFF, message=fault.message, remedy=fault.remedy))

    def _take(self, health: Health) -> None:
        self._looked_at = asyncio.get_running_loop().time()
        phase = Phase.OFF if health.status == "stopping" else Phase(health.status)
        model = f"{health.model.id} {health.model.quantization}" if health.model else ""
        active = health.active
        self._set(
            RuntimeState(
                phase,
                model,
                active.id,
                active.adapter,
                active.strength,
                health.progress,
                health.message,
                health.remedy,
                health.remote,
            )
        )

    def _set(self, state: RuntimeState) -> None:
        if state != self.state:
            self.state = state
            self._changed(state)
        self._moved.set()
        self._moved = asyncio.Event()
