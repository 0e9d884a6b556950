"""The remote engine against another daemon of ours, on its loopback port with its token: the laws that it can keep."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_in_process import TOKEN, running
from engine_laws import EngineLaws, Subject, ids_of, said, text_of

from local_runtime.engines.echo import EchoEngine
from local_runtime.engines.protocol import Prompt, Sampling
from local_runtime.errors import RemoteFailed
from local_runtime.model.synthetic import write_folder
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Hole
from local_runtime.remote.address import parse_address
from local_runtime.remote.opening import open_remote
from local_runtime.remote.wording import SuffixPrompting

VOCAB_SIZE = 1 << 18


class Elsewhere:
    """A daemon in an event loop of its own."""

    def __init__(self, engine: EchoEngine) -> None:
        self.engine = engine
        self.port = 0
        self._up, self._end = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()))

    def __enter__(self) -> Elsewhere:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        async with running(self.engine) as daemon:
            self.port = daemon.port
            self._up.set()
            await self._end.wait()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("tokenizer") / "model")


@pytest.fixture(scope="module")
def elsewhere(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(tmp_path_factory.mktemp("elsewhere")))
        with Elsewhere(EchoEngine(folder=tokenizer, vocab_size=VOCAB_SIZE)) as started:
            yield started


class TestRemoteLaws(EngineLaws):
    test_healed_text_is_said_and_not_shown = None  # it stays in the prompt
    test_a_score_covers_the_target = None  # nothing is scored there
    test_a_score_of_the_greedy_answer_is_greedy = None

    @pytest.fixture
    def subject(self, elsewhere: Elsewhere, tokenizer: Path) -> Iterator[Subject]:
        engine = open_remote(parse_address(f"http://127.0.0.1:{elsewhere.port}", TOKEN), None, str(tokenizer))
        fim = FimTokenizer.open(tokenizer)
        encoded = [fim.encode(text) for text in ("total = sum(values)\n" * 80, "def name(first):\n    return first(")]
        decode = elsewhere.engine._vocabulary.token_bytes

        def text(ids: tuple[int, ...]) -> str:
            return b"".join(decode[i] for i in ids).decode("utf-8", "ignore")

        yield Subject(engine, tuple(Prompt(ids) for ids in encoded), lambda: engine.forwards, text)
        engine.close()

    def test_between_two_nexts_at_most_one_forward_runs(self, subject: Subject) -> None:
        for prompt in subject.prompts:
            assert ids_of(self._counted(subject, subject.engine.stream(prompt, self.sampling)))

    def test_it_says_what_the_other_daemon_says(self, subject: Subject, elsewhere: Elsewhere) -> None:
        before = len(elsewhere.engine.requests)
        for prompt in subject.prompts:
            here = said(subject, prompt, Sampling(max_tokens=7))
            there = list(elsewhere.engine.stream(prompt, Sampling(max_tokens=7)))
            assert (ids_of(here), text_of(here)) == (ids_of(there), text_of(there))
        asked = elsewhere.engine.requests[before::2]
        assert [request.prompt.token_ids for request in asked] == [prompt.token_ids for prompt in subject.prompts]


def test_a_wrong_token_is_told_before_anything_is_sent(elsewhere: Elsewhere, tokenizer: Path) -> None:
    for token, words in (("s3cr3t", "refuses the token"), (None, "wants a token")):
        with pytest.raises(RemoteFailed, match=words) as raised:
            open_remote(parse_address(f"http://127.0.0.1:{elsewhere.port}", token), None, str(tokenizer))
        assert "s3cr3t" not in str(raised.value)
        assert "UNDERSTUDY_REMOTE_TOKEN" in str(raised.value)


def test_without_a_tokenizer_the_other_daemon_fills_in_the_middle() -> None:
    with Elsewhere(EchoEngine()) as other:
        engine = open_remote(parse_address(f"http://127.0.0.1:{other.port}", TOKEN), None, None)
        prompt = SuffixPrompting().hole(Hole("a.py", "python", "a = 1\nb = é", "\nc = 3\n"), [], 1000)
        pieces = list(engine.stream(prompt, Sampling()))
        engine.close()
        [asked] = other.engine.requests
    assert text_of(pieces) == "b = é"
    assert bytes(asked.prompt.token_ids).decode() == "a = 1\nb = é"
