"""A process that completes: what it loads, and what it costs while it waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import GROUPED

CODE = """
import json, sys, time
from local_runtime.tvm.run.opening import open_engine
from local_runtime.engines.protocol import Prompt, Sampling
engine = open_engine(sys.argv[1])
pieces = list(engine.stream(Prompt(tuple(range(50, 90))), Sampling(max_tokens=8)))
used = time.process_time()
sys.stdin.read(1)
print(json.dumps({
    "ids": [i for piece in pieces for i in piece.token_ids],
    "loaded": sorted(name for name in ("torch", "tvm", "transformers", "peft") if name in sys.modules),
    "cpu_while_waiting": time.process_time() - used,
}))
"""


@pytest.mark.e2e
def test_it_loads_neither_compiler_nor_torch_and_rests_when_idle(make_model: Callable[..., Path], home: Path) -> None:
    model = make_model(GROUPED, "q8f16_g32").name
    environment = os.environ | {"UNDERSTUDY_HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-c", CODE, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            process.wait(2)  # it waits for us: this is the time in which it must rest
        except subprocess.TimeoutExpired:
            out, _ = process.communicate(b"x")
    found = json.loads(out)
    assert len(found["ids"]) == 8
    assert found["loaded"] == []
    assert found["cpu_while_waiting"] < 0.1
