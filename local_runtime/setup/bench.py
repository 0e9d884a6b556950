"""How fast the user's own model is here: loading, reading a prompt, writing tokens, and what the daemon adds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import msgspec

from local_runtime.client.client import Client
from local_runtime.client.sockets import socket_path
from local_runtime.engines.protocol import Engine, Prompt, Sampling
from local_runtime.tvm.run.opening import open_engine


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over `rounds`."""

    model: str
    quantization: str
    device: str
    prompt_tokens: int
    decoded_tokens: int
    rounds: int
    load_seconds: float
    """Opening the engine, without compiling if it was compiled before."""
    prefill_tokens_per_second: float
    first_token_ms: float
    """From a cold prompt of `prompt_tokens`."""
    decode_tokens_per_second: float
    """Without speculation, one token a forward."""
    http_overhead_ms: float | None
    """One token from a cached prompt: through the daemon, less the same in this process."""


def measure(name: str, prompt_tokens: int, n_tokens: int, rounds: int, *, http: bool) -> Speed:
    """Measure one model. With `http` the daemon is started, if need be with this very model."""
    began = time.perf_counter()
    engine = open_engine(name)
    load_seconds = time.perf_counter() - began
    with closing(engine):
        prompt_tokens = min(prompt_tokens, engine.model.context_tokens - n_tokens - 1)
        _run(engine, _prompt(engine, 8, 0), 4)  # the first kernel starts TVM's threads
        prefill, decode = [], []
        for n in range(rounds):
            prompt = _prompt(engine, prompt_tokens, n + 1)
            times = list(_run(engine, prompt, n_tokens))
            prefill.append(times[0])
            decode.append((times[-1] - times[0]) / (len(times) - 1))
        model = engine.model
        direct_ms = [_cached_token_ms(engine) for _ in range(4 * rounds)]
    overhead_ms = _daemon_token_ms(name, 4 * rounds) - statistics.median(direct_ms) if http else None
    first = statistics.median(prefill)
    return Speed(
        model=model.name,
        quantization=model.quantization,
        device=model.device,
        prompt_tokens=prompt_tokens,
        decoded_tokens=n_tokens,
        rounds=rounds,
        load_seconds=round(load_seconds, 3),
        prefill_tokens_per_second=round(prompt_tokens / first, 1),
        first_token_ms=round(first * 1000, 2),
        decode_tokens_per_second=round(1 / statistics.median(decode), 1),
        http_overhead_ms=None if overhead_ms is None else round(overhead_ms, 3),
    )


def _prompt(engine: Engine, n: int, salt: int) -> Prompt:
    """`n` ids that no earlier prompt began with, so that nothing is cached."""
    vocabulary = engine.model.vocab_size
    return Prompt(tuple((salt * 7919 + i * 104729) % (vocabulary - 16) + 8 for i in range(n)))


def _run(engine: Engine, prompt: Prompt, n_tokens: int) -> Iterator[float]:
    """Seconds from the start to each token."""
    began = time.perf_counter()
    for piece in engine.stream(prompt, Sampling(max_tokens=n_tokens, speculate=False)):
        for _ in piece.token_ids:
            yield time.perf_counter() - began


def _cached_token_ms(engine: Engine) -> float:
    began = time.perf_counter()
    for _ in engine.stream(_prompt(engine, 64, 0), Sampling(max_tokens=1)):
        pass
    return (time.perf_counter() - began) * 1000


def _daemon_token_ms(name: str, rounds: int) -> float:
    """The same through the daemon's socket, as any HTTP client would ask."""
    with Client("bench", overrides={"model": name}) as client:
        health = client.wait_ready()
        assert health.model is not None
        vocabulary = health.model.vocab_size
    ids = [(i * 104729) % (vocabulary - 16) + 8 for i in range(64)]
    body = {"prompt": ids, "max_tokens": 1, "user": "bench", "model": name}
    times = []
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket_path())), base_url="http://understudy") as http:
        for n in range(rounds + 3):
            began = time.perf_counter()
            http.post("/v1/completions", json=body).raise_for_status()
            if n >= 3:
                times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
