"""What a request must be before it costs a forward."""

from __future__ import annotations

import math

from local_runtime.engines.protocol import Adapter, EngineModel, Prompt, Sampling
from local_runtime.errors import AdapterInvalid, BadRequest

MAX_STRENGTH = 2.0


def check_prompt(model: EngineModel, prompt: Prompt) -> None:
    """Raise BadRequest if `prompt` is empty, leaves no room for a token, or has ids outside the vocabulary."""
    n = len(prompt.token_ids)
    if n == 0:
        raise BadRequest("the prompt is empty")
    if n >= model.context_tokens:
        raise BadRequest(
            f"the prompt has {n} tokens; {model.name} has a context of {model.context_tokens}, one of them to answer"
        )
    _check_ids(model, prompt.token_ids, "the prompt")


def check_target(model: EngineModel, prompt: Prompt, target: tuple[int, ...]) -> None:
    """Raise BadRequest if prompt and target do not fit the context together, or ids are outside the vocabulary."""
    n = len(prompt.token_ids) + len(target)
    if n > model.context_tokens:
        raise BadRequest(f"prompt and target have {n} tokens; {model.name} has a context of {model.context_tokens}")
    _check_ids(model, target, "the target")


def check_sampling(sampling: Sampling) -> None:
    """Raise BadRequest for numbers that mean nothing."""
    if sampling.max_tokens < 1:
        raise BadRequest(f"max_tokens is {sampling.max_tokens}; it must be 1 or more")
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise BadRequest(f"temperature is {sampling.temperature}; it must be 0 or more")
    if not 0 < sampling.top_p <= 1:
        raise BadRequest(f"top_p is {sampling.top_p}; it must be above 0 and at most 1")


def check_adapter(model: EngineModel, adapter: Adapter | None, strength: float) -> None:
    """Raise BadRequest for a strength outside 0 to 2, AdapterInvalid for an adapter of another base."""
    if not (math.isfinite(strength) and 0 <= strength <= MAX_STRENGTH):
        raise BadRequest(f"adapter strength is {strength}; it must be between 0 and {MAX_STRENGTH:g}")
    if adapter is not None and adapter.base_hash and adapter.base_hash != model.base_hash:
        raise AdapterInvalid(
            f"{adapter.path} was made for base {adapter.base_hash[:12]}; {model.name} is base {model.base_hash[:12]}",
            "understudy train",
        )


def _check_ids(model: EngineModel, token_ids: tuple[int, ...], what: str) -> None:
    if token_ids and not (min(token_ids) >= 0 and max(token_ids) < model.vocab_size):
        bad = next(i for i in token_ids if not 0 <= i < model.vocab_size)
        raise BadRequest(f"{what} has token id {bad}; {model.name} has a vocabulary of {model.vocab_size}")
