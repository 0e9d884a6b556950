"""`understudy complete FILE:LINE[:COL]`: one completion in the terminal, in this process, without a daemon."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter, Completion, Engine, Prompt, Sampling
from local_runtime.errors import BadRequest
from local_runtime.model.chosen import chosen_model
from local_runtime.places import places
from local_runtime.prompts.fim import DEFAULT_BUDGET, FimTokenizer
from local_runtime.prompts.hole import Hole
from local_runtime.prompts.languages import language_of
from local_runtime.tvm.run.opening import open_engine

LINES_SHOWN = 3
"""Lines of the file that are printed above the completion."""
LARGEST_FILE_BYTES = 8 << 20
_PLACE = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?::(?P<column>\d+))?")

EXAMPLES = """\b
Examples:
  understudy complete src/app.py:42                   at the end of line 42
  understudy complete src/app.py:42:9 --json          before its ninth character, for a program
  understudy complete src/app.py:42 --adapter mine --strength 0.5
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """A completion, and what it took to get there."""

    completion: Completion
    load_ms: float
    n_prompt_tokens: int


@click.command(epilog=EXAMPLES)
@click.argument("place", metavar="FILE:LINE[:COL]")
@click.option("--model", "name", help="Name or folder of a model. Default: the chosen one.")
@click.option("--adapter", help="Name or folder of an adapter. Default: none.")
@click.option("--strength", type=float, default=1.0, show_default=True, help="Of the adapter, 0 to 2.")
@click.option("--max-tokens", type=int, default=64, show_default=True)
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=int, help="Makes sampling repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def complete(
    *,
    place: str,
    name: str | None,
    adapter: str | None,
    strength: float,
    max_tokens: int,
    temperature: float,
    seed: int | None,
    as_json: bool,
) -> None:
    """Complete a file at LINE (from 1) and COL (from 1, in characters; default: the end of the line), and print it in place."""
    hole = hole_at(place)
    tuned = _adapter(adapter) if adapter else None
    console = Console(stderr=True)
    with console.status("loading the model") as status:
        measured = run(
            hole,
            Sampling(max_tokens, temperature, seed=seed),
            name=name,
            adapter=tuned,
            strength=strength,
            say=status.update,
        )
    if as_json:
        click.echo(json.dumps(report(measured, name or chosen_model(), strength)))
        return
    above = "".join(hole.prefix.splitlines(keepends=True)[-LINES_SHOWN - 1 :])
    rest = hole.suffix.partition("\n")[0]
    Console().print(Text(above) + Text(measured.completion.text, style="dim") + Text(rest), soft_wrap=True)
    Console().print(Text(timings(measured), style="italic"), soft_wrap=True)


def hole_at(place: str) -> Hole:
    """The hole that FILE:LINE[:COL] names. Raises BadRequest for a place that is none."""
    found = _PLACE.fullmatch(place)
    if not found:
        raise BadRequest(f"{place!r} is no place: expected FILE:LINE or FILE:LINE:COL", "understudy complete --help")
    file, line = Path(found["file"]), int(found["line"])
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise BadRequest(f"{file} is larger than {LARGEST_FILE_BYTES >> 20} MB")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise BadRequest(f"{file} cannot be read: {problem}") from None
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        raise BadRequest(f"{file} has {len(lines)} lines, no line {line}")
    length = len(lines[line - 1].rstrip("\r"))
    column = int(found["column"]) if found["column"] else length + 1
    if not 1 <= column <= length + 1:
        raise BadRequest(f"line {line} of {file} has {length} characters: column 1 to {length + 1}, not {column}")
    at = sum(len(before) + 1 for before in lines[: line - 1]) + column - 1
    absolute, here = file.absolute(), Path.cwd()
    path = absolute.relative_to(here) if absolute.is_relative_to(here) else Path(file.name)
    return Hole(path.as_posix(), language_of(file.name) or "plaintext", text[:at], text[at:])


def run(
    hole: Hole,
    sampling: Sampling,
    *,
    name: str | None = None,
    adapter: Adapter | None = None,
    strength: float = 1.0,
    say: Callable[[str], None],
) -> Measured:
    """Load the model, complete, and let go of it."""
    began = time.perf_counter()
    engine = open_engine(name or chosen_model(), progress=say)
    try:
        assert engine.model.folder is not None
        budget = DEFAULT_BUDGET.within(engine.model.context_tokens, sampling.max_tokens)
        prompt = FimTokenizer.open(engine.model.folder).prompt(hole, (), budget)
        load_ms = (time.perf_counter() - began) * 1000
        say("completing")
        return Measured(finish(engine, prompt, sampling, adapter, strength), load_ms, len(prompt.token_ids))
    finally:
        engine.close()


def finish(engine: Engine, prompt: Prompt, sampling: Sampling, adapter: Adapter | None, strength: float) -> Completion:
    """Run one stream to its end and sum it up."""
    began, first_ms, text = time.perf_counter(), 0.0, ""
    logprobs: list[float] = []
    stop = None
    for piece in engine.stream(prompt, sampling, adapter, strength):
        text += piece.text
        logprobs += piece.logprobs
        stop = piece.stop
        if not first_ms and (piece.token_ids or stop):
            first_ms = (time.perf_counter() - began) * 1000
    assert stop is not None
    mean = sum(logprobs) / len(logprobs) if logprobs else 0.0
    total_ms = (time.perf_counter() - began) * 1000
    return Completion(text, stop, len(logprobs), first_ms, total_ms, adapter.id if adapter else None, mean)


def report(measured: Measured, model: str, strength: float) -> dict[str, str | float | None]:
    """What `--json` prints."""
    done = measured.completion
    return {
        "text": done.text,
        "stop": done.stop.value,
        "model": model,
        "adapter": done.adapter_id,
        "strength": strength,
        "n_prompt_tokens": measured.n_prompt_tokens,
        "n_tokens": done.n_tokens,
        "logprob": round(done.logprob, 4),
        "load_ms": round(measured.load_ms, 1),
        "first_token_ms": round(done.first_token_ms, 1),
        "total_ms": round(done.total_ms, 1),
    }


def timings(measured: Measured) -> str:
    """One line for people."""
    done = measured.completion
    return (
        f"{done.n_tokens} tokens in {done.total_ms:.0f} ms, the first after {done.first_token_ms:.0f} ms; "
        f"prompt {measured.n_prompt_tokens} tokens; model loaded in {measured.load_ms:.0f} ms"
    )


def _adapter(name: str) -> Adapter:
    """By name, or a path with a slash."""
    return read_adapter(Path(name).expanduser() if "/" in name else places().adapters / name)
