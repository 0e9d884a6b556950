"""The path of a keystroke, with a runtime whose words come when the test says so. No clock decides anything here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path

from local_runtime.engines.protocol import Piece, Sampling, Stop
from local_runtime.errors import EngineDied, RuntimeFault
from local_runtime.prompts.hole import Chunk, Hole
from lsp_server.answer import Answer, Request, Source
from lsp_server.completer import Completer
from lsp_server.confidence import N_OF_EACH_KIND, Confidence
from lsp_server.cursor import Cursor, cursor_at
from lsp_server.documents import Documents, Position, split_lines
from lsp_server.runtime import Phase, Runtime, RuntimeState
from lsp_server.settings import Settings
from lsp_server.skip import Skip


class Stream:
    """One stream that a test feeds by hand."""

    def __init__(self, hole: Hole, sampling: Sampling, background: bool) -> None:
        self.hole, self.sampling, self.background = hole, sampling, background
        self.began = False
        self.closed = asyncio.Event()
        self._pieces: asyncio.Queue[Piece | RuntimeFault] = asyncio.Queue()

    def say(self, text: str, stop: Stop | None = None, logprob: float = -0.1) -> None:
        self._pieces.put_nowait(Piece(text, (1,), (logprob,), stop))

    def fail(self, fault: RuntimeFault) -> None:
        self._pieces.put_nowait(fault)

    async def read(self) -> AsyncGenerator[Piece, None]:
        self.began = True
        try:
            while True:
                piece = await self._pieces.get()
                if isinstance(piece, RuntimeFault):
                    raise piece
                yield piece
                if piece.stop:
                    return
        finally:
            await asyncio.sleep(0)  # closing a connection takes a turn of the loop
            self.closed.set()


class HandFed(Runtime):
    """A runtime that is ready, and says what tests have it say."""

    def __init__(self) -> None:
        super().__init__("test", lambda _: None, start=False)
        self.state = RuntimeState(Phase.READY, "m q0")
        self.streams: list[Stream] = []

    def wake(self) -> None:
        pass

    def stream(self, hole: Hole, chunks: Sequence[Chunk], sampling: Sampling, *, document: str, background: bool = False) -> AsyncGenerator[Piece, None]:  # fmt: skip
        self.streams.append(Stream(hole, sampling, background))
        return self.streams[-1].read()

    async def asked(self, n: int) -> Stream:
        """The `n`-th stream, once it has begun."""
        async with asyncio.timeout(5):
            while len(self.streams) <= n or not self.streams[n].began:
                await asyncio.sleep(0)
        return self.streams[n]


class Nothing:
    """No context, and no rules."""

    async def related(self, request: Request, deadline_ms: float) -> tuple[Chunk, ...]:
        return ()

    def is_ignored(self, path: Path, folder: Path | None) -> bool:
        return path.name == "ignored.py"

    def is_secret(self, path: Path) -> bool:
        return path.name == ".env"


class Desk:
    """A completer with its runtime, and requests made from text with a `|` in it."""

    def __init__(self, *, prefetch: bool = False, history: Sequence[tuple[str, float, bool]] = ()) -> None:
        self.runtime = HandFed()
        self.completer = Completer(self.runtime, Nothing(), Nothing(), Confidence(history))
        self.completer.settings = Settings(prefetch=prefetch, deadline_ms=4000)
        self.current = True

    def cursor(self, text: str, name: str = "a.py") -> Cursor:
        before, after = text.split("|")
        documents = Documents()
        document = documents.open(f"file:///w/{name}", "python", 1, before + after)
        above = split_lines(before)
        return cursor_at(documents, document, Position(len(above) - 1, len(above[-1])))

    def ask(self, text: str, *, invoked: bool = False, name: str = "a.py") -> asyncio.Task[Answer]:
        request = Request(self.cursor(text, name), Path("/w") / name, Path("/w"), invoked)
        return asyncio.create_task(self.completer.complete(request, lambda: self.current))

    def typed(self, text: str) -> None:
        self.completer.moved(self.cursor(text))


async def test_the_answer_of_the_model_is_shown_and_then_remembered() -> None:
    desk = Desk()
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).say("compute(a)", Stop.END)
    answer = await asked
    assert (answer.suggestions[0].text, answer.source) == ("compute(a)", Source.MODEL)
    assert (await desk.ask("x = |")).source is Source.EXACT
    assert (await desk.ask("x = comp|")).suggestions[0].text == "ute(a)"
    assert (await desk.ask("x = com|")).source is Source.TYPED, "deleting back"


async def test_a_request_that_waits_for_words_which_lead_elsewhere_asks_anew() -> None:
    desk = Desk()
    before = desk.ask("y|")
    stream = await desk.runtime.asked(0)
    desk.typed("y=|")
    asked = desk.ask("y=|")
    assert (await before).skip is Skip.SUPERSEDED
    stream.say("_of(b)")
    (await desk.runtime.asked(1)).say("compute(a)", Stop.END)
    assert (await asked).suggestions[0].text == "compute(a)"


async def test_what_is_not_worth_showing_tells_where_it_came_from() -> None:
    desk = Desk()
    asked = desk.ask("x = 1|")
    (await desk.runtime.asked(0)).say("", Stop.END)
    answer, again = await asked, await desk.ask("x = 1|")
    assert (answer.skip, answer.source) == (Skip.EMPTY, Source.MODEL)
    assert (again.skip, again.source) == (Skip.EMPTY, Source.EXACT)
    assert (await desk.ask("x = fo|o")).source is None


async def test_an_edit_far_away_forgets_nothing() -> None:
    desk = Desk()
    near = "".join(f"a{n} = {n}\n" for n in range(40))
    asked = desk.ask(near + "x = |" + "\n" * 40)
    (await desk.runtime.asked(0)).say("compute(a)", Stop.END)
    await asked
    assert (await desk.ask("import os\n" + near + "x = |" + "\n" * 40 + "y")).source is Source.EXACT
    desk.ask(near + "b = 1\nx = |" + "\n" * 40)
    await desk.runtime.asked(1)


async def test_a_newer_request_supersedes_the_older_one_and_its_stream_ends() -> None:
    desk = Desk()
    older = desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    newer = desk.ask("y = |")
    assert (await older).skip is Skip.SUPERSEDED
    (await desk.runtime.asked(1)).say("1", Stop.END)
    assert (await newer).suggestions
    await stream.closed.wait()


async def test_a_stream_is_kept_while_the_user_types_along() -> None:
    desk = Desk()
    older = desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    stream.say("comp")
    desk.typed("x = c|")
    newer = desk.ask("x = c|")
    assert (await older).skip is Skip.SUPERSEDED
    stream.say("ute(a)", Stop.END)
    answer = await newer
    assert (answer.suggestions[0].text, answer.source) == ("ompute(a)", Source.STREAM)
    assert len(desk.runtime.streams) == 1


async def test_what_is_typed_before_the_model_says_it_is_typed_along_too() -> None:
    desk = Desk()
    desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    newer = desk.ask("x = co|")
    stream.say("compute(a)", Stop.END)
    assert (await newer).suggestions[0].text == "mpute(a)"


async def test_a_stream_that_goes_another_way_than_the_user_is_left_at_once() -> None:
    desk = Desk()
    desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    newer = desk.ask("x = q|")
    for _ in range(5):
        await asyncio.sleep(0)
    stream.say("compute")
    (await desk.runtime.asked(1)).say("uery()", Stop.END)
    assert (await newer).suggestions[0].text == "uery()"
    await stream.closed.wait()


async def test_a_stream_that_the_daemon_cut_is_asked_for_again() -> None:
    desk = Desk()
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).say("", Stop.CANCELLED)
    (await desk.runtime.asked(1)).say("compute(a)", Stop.END)
    assert (await asked).suggestions[0].text == "compute(a)"


async def test_the_first_edit_that_leaves_the_text_stops_the_stream_before_anybody_asks() -> None:
    desk = Desk()
    asked = desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    stream.say("comp")
    await asyncio.sleep(0)
    desk.typed("x = q|")
    async with asyncio.timeout(5):
        await stream.closed.wait()
    assert (await asked).skip is Skip.STALE
    assert len(desk.runtime.streams) == 1, "nobody asks for a place that is left"


async def test_a_stream_stops_as_soon_as_it_cannot_lead_to_the_cursor_any_more() -> None:
    desk = Desk()
    desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    desk.typed("x = q|")
    stream.say("compute")
    async with asyncio.timeout(5):
        await stream.closed.wait()


async def test_cancelling_twice_still_closes_the_stream() -> None:
    desk = Desk()
    desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    generation = desk.completer._desks["file:///w/a.py"].running
    assert generation is not None
    generation.cancel()
    await asyncio.sleep(0)
    generation.cancel()
    async with asyncio.timeout(5):
        await stream.closed.wait()


async def test_a_line_that_is_typed_elsewhere_is_not_typed_along() -> None:
    desk = Desk()
    desk.ask("|" + "\n" * 10)
    stream = await desk.runtime.asked(0)
    desk.typed("\n" * 5 + "name = \n|" + "\n" * 5)
    async with asyncio.timeout(5):
        await stream.closed.wait()


async def test_a_cancelled_request_leaves_the_stream_for_the_next_one() -> None:
    desk = Desk()
    older = desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    older.cancel()
    newer = desk.ask("x = c|")
    for _ in range(5):
        await asyncio.sleep(0)
    stream.say("compute(a)", Stop.END)
    assert (await newer).source is Source.STREAM


async def test_at_the_deadline_whole_words_are_shown() -> None:
    desk = Desk()
    desk.completer.settings = Settings(prefetch=False, deadline_ms=50)
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).say("first + secon")
    assert (await asked).suggestions[0].text == "first +"


async def test_nothing_by_the_deadline_has_a_name() -> None:
    desk = Desk()
    desk.completer.settings = Settings(prefetch=False, deadline_ms=50)
    assert (await desk.ask("x = |")).skip is Skip.DEADLINE


async def test_the_stream_ends_where_the_scope_does() -> None:
    desk = Desk()
    asked = desk.ask("def f(x):\n    |")
    stream = await desk.runtime.asked(0)
    stream.say("y = x\n")
    stream.say("    return y\nprint")
    assert (await asked).suggestions[0].text == "y = x\n    return y"
    await stream.closed.wait()


async def test_what_comes_next_is_prepared_and_found_after_the_accept() -> None:
    desk = Desk(prefetch=True)
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).say("compute(a)", Stop.END)
    await asked
    ahead = await desk.runtime.asked(1)
    assert ahead.background
    assert ahead.hole.prefix == "x = compute(a)"
    ahead.say("", Stop.END)
    next_line = await desk.runtime.asked(2)
    assert next_line.hole.prefix == "x = compute(a)\n"
    desk.typed("x = compute(a)\n|")
    after = desk.ask("x = compute(a)\n|")
    next_line.say("print(x)", Stop.END)
    answer = await after
    assert (answer.suggestions[0].text, answer.source) == ("print(x)", Source.AHEAD)


async def test_a_keystroke_elsewhere_stops_the_preparation() -> None:
    desk = Desk(prefetch=True)
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).say("compute(a)", Stop.END)
    await asked
    ahead = await desk.runtime.asked(1)
    await asyncio.sleep(0)
    desk.typed("x = 7|")
    async with asyncio.timeout(5):
        await ahead.closed.wait()


async def test_by_hand_there_are_several_and_none_twice() -> None:
    desk = Desk()
    asked = desk.ask("x = |", invoked=True)
    for n, text in enumerate(["one()", "two()", "one()"]):
        stream = await desk.runtime.asked(n)
        assert (stream.sampling.temperature > 0) == (n > 0)
        stream.say(text, Stop.END)
    answer = await asked
    assert [suggestion.text for suggestion in answer.suggestions] == ["one()", "two()"]


async def test_an_adapter_swap_forgets_what_another_voice_said() -> None:
    desk = Desk()
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).say("base()", Stop.END)
    await asked
    desk.runtime.state = replace(desk.runtime.state, adapter="mine")
    again = desk.ask("x = |")
    (await desk.runtime.asked(1)).say("mine()", Stop.END)
    assert (await again).suggestions[0].text == "mine()"
    desk.runtime.state = replace(desk.runtime.state, strength=0.5)
    desk.ask("x = |")
    await desk.runtime.asked(2)


async def test_an_answer_for_a_document_that_moved_on_is_stale() -> None:
    desk = Desk()
    asked = desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    desk.current = False
    stream.say("compute(a)", Stop.END)
    assert (await asked).skip is Skip.STALE


async def test_a_daemon_that_dies_is_a_skip() -> None:
    desk = Desk()
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).fail(EngineDied("gone"))
    assert (await asked).skip is Skip.RUNTIME_DIED


async def test_unsure_answers_are_silent_once_the_user_is_known() -> None:
    history = [("python", -0.1, True), ("python", -2.0, False)] * N_OF_EACH_KIND
    desk = Desk(history=history)
    asked = desk.ask("x = |")
    (await desk.runtime.asked(0)).say("compute(a)", Stop.END, logprob=-2.0)
    assert (await asked).skip is Skip.LOW_CONFIDENCE


async def test_refused_before_anything_is_asked() -> None:
    desk = Desk()
    reasons = [
        (await desk.ask("x = |", name=".env")).skip,
        (await desk.ask("x = |", name="ignored.py")).skip,
        (await desk.ask("x = fo|o")).skip,
        (await desk.ask("x = \0|")).skip,
        (await desk.ask("x = " + "y" * 5000 + "|")).skip,
    ]
    assert reasons == [Skip.SECRET_FILE, Skip.IGNORED_FILE, Skip.INSIDE_WORD, Skip.BINARY, Skip.LONG_LINE]
    assert not desk.runtime.streams


async def test_a_fault_of_ours_costs_one_suggestion() -> None:
    desk = Desk()

    def broken(path: Path) -> bool:
        raise ZeroDivisionError

    desk.completer._rules.is_secret = broken  # type: ignore[method-assign]
    assert (await desk.ask("x = |")).skip is Skip.FAILED


async def test_closing_a_document_ends_all_that_runs_for_it() -> None:
    desk = Desk()
    asked = desk.ask("x = |")
    stream = await desk.runtime.asked(0)
    desk.completer.closed("file:///w/a.py")
    assert (await asked).skip is Skip.SUPERSEDED
    await stream.closed.wait()
