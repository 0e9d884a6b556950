"""The table of models that fit is what the product itself computes from their shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_model

from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import read_source, stored_bytes
from local_runtime.model.memory import kv_bytes
from local_runtime.model.quantization import QUANTIZATIONS

PAGE = Path(__file__).parents[2] / "BENCHMARKS.md"
TABLE = "| machine | model | quantisation | weights | KV cache, 16,384 tokens |"
UNITS = {"MB": 1e6, "GB": 1e9}


def qwen(
    hidden: int, intermediate: int, layers: int, heads: tuple[int, int, int], *, tied: bool = True
) -> DecoderConfig:
    """`heads`: of queries, of keys and values, and their size."""
    vocabulary = 151936 if tied else 152064
    return DecoderConfig(
        "qwen2", hidden, intermediate, layers, *heads, vocabulary, 32768, tied_embeddings=tied, qkv_bias=True
    )


SHAPES = {
    "Qwen2.5-Coder 0.5B": qwen(896, 4864, 24, (14, 2, 64)),
    "Qwen2.5-Coder 1.5B": qwen(1536, 8960, 28, (12, 2, 128)),
    "Qwen2.5-Coder 3B": qwen(2048, 11008, 36, (16, 2, 128)),
    "Qwen2.5-Coder 7B": qwen(3584, 18944, 28, (28, 4, 128), tied=False),
    "Qwen2.5-Coder 14B": qwen(5120, 13824, 48, (40, 8, 128), tied=False),
}


def rows() -> list[list[str]]:
    lines = PAGE.read_text().split(TABLE)[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]


@pytest.mark.parametrize(("machine", "model", "quantization", "weights", "kv"), rows())
def test_the_models_that_fit_take_what_the_table_says(
    machine: str, model: str, quantization: str, weights: str, kv: str
) -> None:
    config = SHAPES.get(model) or read_source(tiny_model.FOLDER).config
    found = stored_bytes(config, QUANTIZATIONS[quantization.strip("`")]), kv_bytes(config, 16384)
    assert [size(weights), size(kv)] == pytest.approx(found, rel=0.006), f"{machine}: {found}"


def size(said: str) -> float:
    number, unit = said.split()
    return float(number) * UNITS[unit]
