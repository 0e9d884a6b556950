"""How fast this machine runs our kernels: a decoder of the 0.5B's width and a third of its layers, measured in a child process.

The child has a home of its own that is deleted, so nothing of the probe is ever seen as a model.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from local_runtime.errors import BuildFailed
from local_runtime.model.decoder_config import DecoderConfig

SHAPE = DecoderConfig("qwen2", 896, 4864, 8, 14, 2, 64, 4096, 2048, tied_embeddings=True, qkv_bias=True)
"""Larger than a CPU's caches, as a real model is."""
QUANTIZATION = "q8f16_g32"
PROMPT_TOKENS, WRITTEN_TOKENS, ROUNDS = 512, 16, 3
PROBE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Speed:
    """What the kernels do in a second."""

    weights_read: float
    """Prefill: tokens times the weights that each passes."""
    bytes_written: float
    """Decode: tokens times the bytes of weights that each needs."""


def measure() -> Speed:
    """Compile, run and forget the probe; about 15 seconds. Raises BuildFailed with the child's last words."""
    with tempfile.TemporaryDirectory(prefix="understudy-probe-") as home:
        command = [sys.executable, "-P", "-m", "local_runtime.setup.probe"]
        environment = os.environ | {"UNDERSTUDY_HOME": home}
        done = subprocess.run(
            command, env=environment, cwd=home, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    if done.returncode:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise BuildFailed(f"measuring this machine failed: {said[:300]}", "understudy doctor")
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


def _measure_here() -> Speed:
    from local_runtime.model import importing  # noqa: PLC0415
    from local_runtime.model.layout import fused_tensors  # noqa: PLC0415
    from local_runtime.model.quantization import QUANTIZATIONS  # noqa: PLC0415
    from local_runtime.model.synthetic import write_folder  # noqa: PLC0415
    from local_runtime.setup.bench import measure as bench  # noqa: PLC0415  loads the kernels, in the child alone

    source = write_folder(Path(os.environ["UNDERSTUDY_HOME"]) / "probe", SHAPE, dtype="float16")
    name = importing.import_model(source, QUANTIZATIONS[QUANTIZATION], "probe").name
    speed = bench(name, PROMPT_TOKENS, WRITTEN_TOKENS, ROUNDS, http=False)
    embedding = SHAPE.vocab_size * SHAPE.hidden_size
    weights = sum(math.prod(fused.shape) for fused in fused_tensors(SHAPE)) - embedding
    stored = importing.stored_bytes(SHAPE, QUANTIZATIONS[QUANTIZATION])
    return Speed(speed.prefill_tokens_per_second * weights, speed.decode_tokens_per_second * stored)


if __name__ == "__main__":
    print(json.dumps(asdict(_measure_here())))
