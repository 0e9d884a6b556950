"""`understudy bench`."""

from __future__ import annotations

import click
import msgspec
from rich.console import Console
from rich.table import Table

from local_runtime.model.chosen import chosen_model

EXAMPLES = """\b
Examples:
  understudy bench                            the chosen model
  understudy bench qwen-q4f16_1 --prompt-tokens 1500 --rounds 10
  understudy bench --json > bench.json
"""
UNITS = {
    "load_seconds": "s to load",
    "prefill_tokens_per_second": "tokens/s read",
    "first_token_ms": "ms to the first token",
    "decode_tokens_per_second": "tokens/s written",
    "http_overhead_ms": "ms added by the daemon",
}


@click.command(epilog=EXAMPLES)
@click.argument("model", required=False)
@click.option("--prompt-tokens", type=click.IntRange(16, 16384), default=512, show_default=True)
@click.option("--tokens", type=click.IntRange(2, 1024), default=64, show_default=True, help="Tokens to write.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="Medians are over these.")
@click.option("--no-daemon", is_flag=True, help="Do not measure what the daemon adds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
def bench(*, model: str | None, prompt_tokens: int, tokens: int, rounds: int, no_daemon: bool, as_json: bool) -> None:
    """How fast MODEL is on this machine."""
    from local_runtime.setup.bench import measure  # noqa: PLC0415 - loads the compiled runtime

    with Console(stderr=True).status("measuring"):
        speed = measure(model or chosen_model(), prompt_tokens, tokens, rounds, http=not no_daemon)
    if as_json:
        click.echo(msgspec.json.encode(speed).decode())
        return
    table = Table.grid(padding=(0, 2))
    for name, unit in UNITS.items():
        value = getattr(speed, name)
        table.add_row("" if value is None else f"{value:,.2f}", unit)
    console = Console(highlight=False)
    console.print(
        f"{speed.model}, {speed.quantization} on {speed.device}: {speed.prompt_tokens} tokens read, {tokens} written"
    )
    console.print(table)
