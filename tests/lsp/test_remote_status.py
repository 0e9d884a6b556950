"""What the status says of a model that is elsewhere."""

from __future__ import annotations

from local_runtime.client.wire import Health, ModelCard
from lsp_server.runtime import Phase, Runtime, RuntimeState


async def test_the_host_that_code_is_sent_to_is_part_of_the_state() -> None:
    heard: list[RuntimeState] = []
    runtime = Runtime("test", heard.append, start=False)
    card = ModelCard("coder", "", "remote", "remote: team.example", 4096, 320)
    runtime._take(Health("ready", "0.1", 1, model=card, remote="team.example"))
    runtime._take(Health("ready", "0.1", 1, model=card))
    assert [(state.phase, state.remote) for state in heard] == [(Phase.READY, "team.example"), (Phase.READY, None)]
