"""Requests made by a machine from our own description: every answer is one that the description promises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from daemon_in_process import TOKEN, running, write_adapter
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from local_runtime.daemon.app import build_app
from local_runtime.daemon.openapi import Operation, document, operations

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
N_CASES = 100
N_FOREIGN_CASES = 15
FOREIGN = ("llama.cpp", "TGI", "Hugging Face", "Ollama", "FauxPilot")


def test_the_description_has_every_route() -> None:
    paths = document()["paths"]
    described = {(path, method.upper()) for path, methods in paths.items() for method in methods}
    app = build_app(None, lambda: None)  # type: ignore[arg-type]  # nothing is asked of it
    routes = [route for route in app.routes if isinstance(route, Route) and route.path != "/openapi.json"]
    served = {(route.path.replace(":path", ""), method) for route in routes for method in route.methods or ()}
    assert described == {(path, method) for path, method in served if method != "HEAD"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon on a thread of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tmp_path_factory.mktemp("home")))
        write_adapter("mine")
        found: list[str] = []
        ready, over = threading.Event(), threading.Event()
        alive: list[bool] = []

        async def serve() -> None:
            async with running() as daemon:
                found.append(f"http://127.0.0.1:{daemon.port}")
                ready.set()
                await asyncio.to_thread(over.wait)
                alive.append((await daemon.post("/v1/completions", prompt="x")).status_code == 200)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        assert ready.wait(10)
        yield found[0]
        over.set()
        thread.join(10)
        assert alive == [True]  # having been fuzzed, it still completes


CASES = [
    pytest.param(one, mode, id=f"{mode.value} {one.method} {one.path}")
    for one in operations()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or one.takes or one.path == "/health"  # there is no wrong way to ask the others
    if not one.path.startswith("/llama.cpp/") or one.takes is None  # the others are the same endpoints again
]


@pytest.mark.parametrize(("one", "mode"), CASES)
def test_every_answer_is_one_that_the_description_promises(url: str, one: Operation, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(document())
    strategy = schema[one.path][one.method].as_strategy(generation_mode=mode)

    @settings(
        max_examples=N_FOREIGN_CASES if one.summary.startswith(FOREIGN) else N_CASES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: schemathesis.Case) -> None:
        case.headers = {"Authorization": f"Bearer {TOKEN}"}
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=20)

    ask()
