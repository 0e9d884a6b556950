"""What the tests of the gate share: adapters on disk, held-out hunks, and a judge that says what it is told."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import fused_tensors
from local_runtime.prompts.hole import Hole
from trainer.edits import Example, Kind
from trainer.gate.judge import Said, Score

TINY = DecoderConfig("llama", 64, 96, 2, 4, 2, 16, 512, 512, tied_embeddings=True)
BASE_HASH = "ba5e" * 16


def write_adapter(
    folder: Path, base_hash: str = BASE_HASH, *, seed: int = 0, size: float = 0.05, rank: int = 4,
    config: DecoderConfig = TINY, **manifest: Any,
) -> Adapter:  # fmt: skip
    """A PEFT folder with random matrices on the MLPs of `config`."""
    dice = np.random.default_rng(seed)
    tensors = {}
    for fused in fused_tensors(config):
        for part in fused.parts:
            if ".mlp." in part.name:
                module = part.name.removesuffix(".weight")
                n_out, n_in = fused.part_shape(part)
                for side, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
                    tensors[f"base_model.model.{module}.lora_{side}.weight"] = dice.normal(0, size, shape).astype(
                        np.float32
                    )
    folder.mkdir(parents=True, exist_ok=True)
    peft = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"}
    peft["target_modules"] = ["gate_proj", "up_proj", "down_proj"]
    (folder / "adapter_config.json").write_text(json.dumps(peft))
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"base_hash": base_hash, **manifest}))
    return read_adapter(folder)


def hunks(n: int, *, seed: int = 0, path: str = "src/mine.py", language: str = "python") -> list[Example]:
    """Held-out hunks of `n` edits, one each."""
    dice = random.Random(seed)
    names = ("alpha", "bravo", "delta", "gamma", "omega", "sigma")
    found = []
    for number in range(1, n + 1):
        one, two = dice.choice(names), dice.choice(names)
        hole = Hole(path, language, f"def {one}(x):\n    return ", f"\n\nprint({number})\n")
        found.append(Example(hole, f"{two}(x, {number})", float(number), edit_id=number))
    return found


def general(n: int = 20) -> list[Example]:
    return [
        Example(Hole("lib.py", "python", f"import os\nv{number} = ", "\n"), f"os.path.join(a, {number})", 0.0, kind=Kind.GENERAL)
        for number in range(n)
    ]  # fmt: skip


class ScriptedJudge:
    """Nats per byte by `loss(example, adapter id or None, strength)`; answers are right unless told otherwise."""

    def __init__(
        self,
        loss: Callable[[Example, str | None, float], float],
        *,
        base_hash: str = BASE_HASH,
        ends: Callable[[Example, str | None], bool] = lambda example, adapter: True,
        text: Callable[[Example, str | None], str] = lambda example, adapter: example.middle,
        ms_per_token: Callable[[str | None], float] = lambda adapter: 1.0,
    ) -> None:
        self.base_hash = base_hash
        self._loss, self._ends, self._text, self._ms = loss, ends, text, ms_per_token

    def score(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Score:
        who = adapter.id if adapter else None
        n_bytes = len(example.middle.encode())
        nats = self._loss(example, who, strength) * n_bytes
        return Score((-nats,), (nats < 0.7,), self._ends(example, who))

    def complete(self, example: Example, adapter: Adapter | None, strength: float = 1.0) -> Said:
        who = adapter.id if adapter else None
        return Said(self._text(example, who), 10, 10 * self._ms(who), True)


def noise(example: Example, scale: float = 0.1) -> float:
    """How hard a place is: the same for everybody."""
    return random.Random(f"{example.hole.path}{example.edit_id}{example.middle}").gauss(0, scale)


def losses(table: dict[str | None, float], *, general_rise: float = 0.0, jitter: float = 0.02) -> Any:
    """`loss` of a ScriptedJudge: a mean per adapter id, the place's difficulty, and some noise of each at each place."""

    def loss(example: Example, who: str | None, strength: float) -> float:
        if example.kind is Kind.GENERAL:
            return 0.9 + (general_rise * strength if who else 0.0)
        own = random.Random(f"{who}{strength}{example.edit_id}").gauss(0, jitter) if who else 0.0
        return max(0.01, table[None] + strength * (table.get(who, table[None]) - table[None]) + noise(example) + own)

    return loss


def middles(examples: Sequence[Example]) -> list[str]:
    return [one.middle for one in examples]
