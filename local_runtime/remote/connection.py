"""HTTP to the remote server: asked from the engine's thread, spoken on a thread of its own, ended by hanging up.

Nothing is asked twice, no redirect is followed, no proxy of the environment is used: the prompt goes to the named address, once.
"""

from __future__ import annotations

import asyncio
import queue
import ssl
import threading
from concurrent.futures import Future
from typing import Any

import httpx
import msgspec

from local_runtime.errors import BadRequest, RemoteFailed, RuntimeFault
from local_runtime.remote.address import TOKEN_VARIABLE, RemoteAddress, token_file
from local_runtime.remote.event_stream import EventStream, TooMuch

CONNECT_SECONDS = 5.0
SILENT_SECONDS = 30.0
"""A server that sends nothing for this long is given up."""
ANSWER_SECONDS = 120.0
"""No answer takes longer, however steadily it comes."""
LOOK_SECONDS = 20.0
"""For a look at what is served."""
MAX_REPLY_BYTES = 1 << 20
DONE = b"[DONE]"
HTTP_NOT_FOUND = 404


class Answer:
    """The events of one request, as they come."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[bytes | RuntimeFault] = queue.SimpleQueue()
        self.speaking: Future[None] | None = None
        self.ended = False
        """Set when the completion is over: what is left of the stream is read, so that the connection serves the next request."""

    def next(self, seconds: float) -> bytes | None:
        """The data of the next event, None if none came within `seconds`. Raises what became of the request."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, RuntimeFault):
            raise event
        return event

    def put(self, event: bytes | RuntimeFault) -> None:
        """Add an event; a fault is the last. Callable from any thread."""
        self._events.put(event)

    def close(self) -> None:
        """Hang up, unless the completion is over."""
        if self.speaking is not None and not self.ended:
            self.speaking.cancel()


class Connection:
    """One server. `close` ends the thread and all that still streams."""

    def __init__(self, address: RemoteAddress) -> None:
        self.address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote", daemon=True)
        self._thread.start()
        # The loop's own thread must make what belongs to it.
        self._http = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def ask(self, path: str, body: dict[str, Any]) -> Answer:
        """Begin a request whose answer streams; returns at once."""
        answer = Answer()
        answer.speaking = asyncio.run_coroutine_threadsafe(self._speak(path, body, answer), self._loop)
        return answer

    def look(self, path: str) -> bytes | None:
        """A small reply, waited for; None if there is no such path. Raises RemoteFailed."""
        return asyncio.run_coroutine_threadsafe(self._look(path), self._loop).result()

    def close(self) -> None:
        """Hang up on everything and end."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> httpx.AsyncClient:
        headers = {"Accept-Encoding": "identity"}  # nothing to unpack, so nothing that unpacks to gigabytes
        if self.address.token:
            headers["Authorization"] = f"Bearer {self.address.token}"
        return httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            verify=ssl.create_default_context(),  # the system's authorities, so also a company's own
            trust_env=False,
            follow_redirects=False,
        )

    async def _speak(self, path: str, body: dict[str, Any], answer: Answer) -> None:
        events, done = EventStream(), False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                request = self._http.build_request("POST", self.address.url + path, content=msgspec.json.encode(body))
                request.headers["Content-Type"] = "application/json"
                response = await self._http.send(request, stream=True)
                try:
                    self._check(response, "text/event-stream")
                    async for received in response.aiter_raw():
                        for event in events.feed(received):
                            answer.put(event)
                            done = done or event == DONE
                finally:
                    await response.aclose()
            if not done:
                answer.put(self._failed("ended in the middle of an answer"))
        except (httpx.HTTPError, TimeoutError, TooMuch, RuntimeFault, OSError) as problem:
            answer.put(self._fault(problem))
        except Exception as problem:  # whoever waits must hear of it
            answer.put(self._failed(f"could not be asked ({type(problem).__name__})"))

    async def _look(self, path: str) -> bytes | None:
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._http.stream("GET", self.address.url + path) as response:
                if response.status_code == HTTP_NOT_FOUND:
                    return None
                self._check(response, "application/json")
                reply = b""
                async for received in response.aiter_raw():
                    reply += received
                    if len(reply) > MAX_REPLY_BYTES:
                        raise TooMuch
                return reply
        except (httpx.HTTPError, TimeoutError, TooMuch, OSError) as problem:
            raise self._fault(problem) from None

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._http.aclose()

    def _check(self, response: httpx.Response, media_type: str) -> None:
        """Raise what a status means. The reply's own words are left out: they may quote the prompt."""
        status = response.status_code
        if status in (401, 403):
            shown = "refuses the token" if self.address.token else "wants a token"
            raise RemoteFailed(
                f"{self.address.host} {shown} (status {status})",
                f"export {TOKEN_VARIABLE}=TOKEN    (or write it into {token_file()}, mode 600)",
            )
        if status == 429:
            raise self._failed("answers too many requests already (status 429)")
        if status in (400, 404, 413, 422):
            raise BadRequest(
                f"{self.address.host} refuses such requests (status {status}): look at model, address and tokenizer in "
                "the settings; a server without fill-in-the-middle needs a tokenizer"
            )
        if status != 200:
            raise self._failed(f"answers with status {status}")
        found = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if found != media_type or response.headers.get("content-encoding", "identity") != "identity":
            raise self._failed(f"answers with {found[:100] or 'no content type'}, expected {media_type}")

    def _fault(self, problem: Exception) -> RuntimeFault:
        if isinstance(problem, RuntimeFault):
            return problem
        if isinstance(problem, TooMuch):
            return self._failed("sends more than any completion is long")
        if isinstance(problem, httpx.ConnectError | httpx.ConnectTimeout):
            return self._failed("cannot be reached", f"curl -sS {self.address.url}/v1/models")
        if isinstance(problem, httpx.TimeoutException | TimeoutError):
            return self._failed("takes too long to answer")
        return self._failed("broke off")

    def _failed(self, what: str, remedy: str | None = None) -> RemoteFailed:
        return RemoteFailed(f"the remote server {self.address.host} {what}", remedy)
