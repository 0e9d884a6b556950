"""`understudy doctor --run`: whether this machine's GPU computes what its CPU does. Only then `auto` takes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from local_runtime.cli.doctor import USE_CPU, Finding
from local_runtime.devices import target
from local_runtime.devices.proven import remember
from local_runtime.engines.protocol import Prompt, Sampling
from local_runtime.errors import RuntimeFault
from local_runtime.model import registry
from local_runtime.model.chosen import chosen_model
from local_runtime.tvm.run.opening import EngineOptions, open_engine

LARGEST_DIFFERENCE, SAME_CHOICE = 0.05, 0.9
"""Mean difference of a token's log-probability in nats, and share of tokens that both hold most likely or both do not: int8
activations on the CPU, half precision on a GPU, and both are far within."""
N_WRITTEN = 16
TEXT = """class Account:
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance

    def deposit(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount

    def withdraw(self, amount: int) -> None:
        if amount > self.balance:
            raise ValueError("not enough")
        self.balance -= amount
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine said of the fixed text."""

    device: str
    logprobs: tuple[float, ...]
    most_likely: tuple[bool, ...]
    n_written: int
    seconds: float
    """Of writing."""


def self_test() -> Iterator[Finding]:
    """Run the chosen model on the CPU and on the GPU, compare, and remember."""
    try:
        name = chosen_model()
        reference = run(name, target.CPU)
    except RuntimeFault as fault:
        yield Finding("self-test", "bad", fault.message, fault.remedy)
        return
    yield Finding("self-test", "ok", f"{reference.device} writes {speed(reference)} with {name}")
    kind = target.best_kind()
    if kind == target.CPU:
        yield Finding("self-test", "ok", "there is no GPU to compare with")
        return
    found = tested(name, kind, reference)
    remember(kind, found.state == "ok")
    yield found


def tested(name: str, kind: str, reference: Run) -> Finding:
    """Whether `kind` says what the CPU said. `target.HOST` is a GPU's graph on this CPU: float32 and TVM's own kernels."""
    try:
        return compare(reference, run(name, kind))
    except RuntimeFault as fault:
        return Finding("self-test", "bad", f"{kind} does not run: {fault.message}", fault.remedy or USE_CPU)


def run(name: str, kind: str) -> Run:
    """Score the fixed text, then write on. Raises RuntimeFault."""
    from tokenizers import Tokenizer  # noqa: PLC0415  (20 ms that a doctor without --run need not take)

    engine = open_engine(name, EngineOptions(kv_cache_tokens=1024, context_tokens=1024, target=kind))
    try:
        ids = tuple(Tokenizer.from_file(str(registry.find(name) / "tokenizer.json")).encode(TEXT).ids)
        scores = list(engine.score(Prompt(ids[:8]), ids[8:]))
        began = time.perf_counter()
        written = sum(len(p.token_ids) for p in engine.stream(Prompt(ids), Sampling(max_tokens=N_WRITTEN)))
        return Run(
            engine.model.device,
            tuple(x for score in scores for x in score.logprobs),
            tuple(x for score in scores for x in score.greedy),
            written,
            time.perf_counter() - began,
        )
    finally:
        engine.close()


def compare(reference: Run, tested: Run) -> Finding:
    """Whether two engines say the same."""
    difference = float(np.abs(np.array(reference.logprobs) - np.array(tested.logprobs)).mean())
    same = float(np.mean(np.array(reference.most_likely) == np.array(tested.most_likely)))
    text = (
        f"over {len(tested.logprobs)} tokens, {tested.device} differs from {reference.device} by {difference:.4f} nats a token"
        f" and agrees on the likeliest at {same:.0%}; it writes {speed(tested)}"
    )
    if difference <= LARGEST_DIFFERENCE and same >= SAME_CHOICE:  # so that NaN fails
        return Finding("self-test", "ok", text)
    return Finding("self-test", "bad", f"wrong results: {text}", USE_CPU)


def speed(run: Run) -> str:
    """Tokens and time, as a user reads them."""
    return f"{run.n_written} tokens in {1000 * run.seconds:.0f} ms"
