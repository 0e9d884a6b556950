"""`/t/TOKEN/…`: the loopback port for clients that can be given an address, but no header."""

from __future__ import annotations

import logging

import httpx
import pytest
from daemon_in_process import TOKEN, Daemon, running

pytestmark = pytest.mark.anyio


async def ask(daemon: Daemon, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{daemon.port}") as client:
        return await client.post(path, json={"prompt": "x = ", "model": "m", "stream": False}, headers=headers)


@pytest.mark.parametrize("path", ["/infill", "/completion", "/api/generate", "/v1/engines/codegen/completions"])
async def test_the_token_in_the_path_opens_every_dialect(path: str) -> None:
    async with running() as daemon:
        assert (await ask(daemon, f"/t/{TOKEN}{path}")).status_code == 200
        # Copilot and others send a header of their own besides.
        assert (await ask(daemon, f"/t/{TOKEN}{path}", {"Authorization": "Bearer dummy"})).status_code == 200
        assert (await ask(daemon, path, {"Authorization": f"Bearer {TOKEN}"})).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/infill", {}, 401),
        ("/t/wrong/infill", {}, 401),
        (f"/t/{TOKEN}x/infill", {}, 401),
        ("/t//infill", {}, 401),
        ("/t/wrong/infill", {"Authorization": f"Bearer {TOKEN}"}, 401),
        (f"/T/{TOKEN}/infill", {}, 401),
        (f"/t/{TOKEN}", {}, 422),  # `/`, and not a request of it
        (f"/t/{TOKEN}/t/{TOKEN}/infill", {}, 404),
        (f"/t/{TOKEN}/v1/runtime/stop", {}, 403),
        (f"/t/{TOKEN}/infill", {"Host": "evil.example"}, 403),
        (f"/t/{TOKEN}/infill", {"Origin": "https://evil.example"}, 403),
    ],
)
async def test_nothing_else_does(path: str, headers: dict[str, str], status: int) -> None:
    async with running() as daemon:
        reply = await ask(daemon, path, headers)
    assert reply.status_code == status
    if status in (401, 403):
        assert TOKEN not in reply.text


@pytest.mark.parametrize("path", ["/generate", "/", "/models/bigcode/starcoder", "/api/generate"])
async def test_clients_that_read_a_text_as_the_error_are_given_one(path: str) -> None:
    """llm-ls shows the error as it is, and of another shape says at every keystroke that it is no JSON of its own."""
    async with running() as daemon:
        without_token = await ask(daemon, path)
        from_a_page = await ask(daemon, f"/t/{TOKEN}{path}", {"Origin": "https://evil.example"})
        by_another_method = await daemon.http.put(path)
    assert (without_token.status_code, without_token.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "understudy runtime status --token" in without_token.json()["error"]
    assert (from_a_page.status_code, from_a_page.json()["error"]) == (403, "requests from web pages are refused")
    assert (by_another_method.status_code, by_another_method.headers["Allow"]) == (405, "POST")
    assert "does not answer PUT" in by_another_method.json()["error"]


async def test_other_clients_are_refused_in_their_words_too() -> None:
    async with running() as daemon:
        llama = (await ask(daemon, "/infill")).json()["error"]
        ours = [(await ask(daemon, path)).json()["error"] for path in ("/v1/completions", "/nowhere")]
    assert (llama["code"], llama["type"]) == (401, "authentication_error")
    assert [error["code"] for error in ours] == ["unauthorized"] * 2


async def test_the_token_is_in_no_log_and_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "local_runtime")
    async with running() as daemon:
        replies = [await ask(daemon, f"/t/{TOKEN}/{path}") for path in ("nowhere", "infill", "api/show")]
    assert TOKEN not in caplog.text
    assert all(TOKEN not in reply.text for reply in replies)
