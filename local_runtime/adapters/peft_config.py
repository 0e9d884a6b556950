"""`adapter_config.json` of a PEFT folder: what a LoRA's numbers mean, and which kinds of LoRA are served."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec

from local_runtime.errors import AdapterInvalid

MAX_RANK = 64
"""The kernels' limit, for one adapter and for a mix."""
_PATTERN = re.compile(r"\^?[A-Za-z0-9_.\\]+")

Count = msgspec.Meta(ge=1, le=1 << 20)


class PeftConfig(msgspec.Struct, frozen=True):
    """The fields of `peft.LoraConfig` that change what an adapter computes; the others are left alone."""

    peft_type: str
    r: int
    lora_alpha: float
    use_rslora: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    bias: str = "none"
    init_lora_weights: bool | str | None = True
    use_dora: bool = False
    lora_bias: bool = False
    use_qalora: bool = False
    modules_to_save: Any = None
    trainable_token_indices: Any = None
    layer_replication: Any = None
    target_parameters: Any = None
    alora_invocation_tokens: Any = None
    use_bdlora: Any = None
    arrow_config: Any = None
    kasa_config: Any = None
    monteclora_config: Any = None

    def rank(self, module: str) -> int:
        """Rank of a module, for example `model.layers.0.self_attn.q_proj`."""
        return int(_matching(self.rank_pattern, module, self.r))

    def scaling(self, module: str) -> float:
        """The factor on B·A: `lora_alpha / r`, or `lora_alpha / sqrt(r)` with rank stabilisation."""
        rank = self.rank(module)
        return float(_matching(self.alpha_pattern, module, self.lora_alpha)) / (
            math.sqrt(rank) if self.use_rslora else rank
        )


def parse_config(content: bytes, file: Path) -> PeftConfig:
    """Check the content of `file`. Raises AdapterInvalid, with a sentence for what is not served."""
    try:
        config = msgspec.json.decode(content, type=PeftConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise AdapterInvalid(f"{file}: {problem}") from None
    refusal = _refusal(config)
    if refusal:
        raise AdapterInvalid(f"{file}: {refusal}")
    return config


def _refusal(config: PeftConfig) -> str | None:
    """Why such an adapter cannot be served."""
    unserved = {
        f"it is a {config.peft_type[:40]} adapter; only LORA is served": config.peft_type != "LORA",
        "DoRA (use_dora) rescales the base's weights, which are quantised here: train without it": config.use_dora,
        "modules_to_save replaces weights of the base: train without it": bool(config.modules_to_save),
        "trained tokens (trainable_token_indices) replace embeddings of the base": bool(config.trainable_token_indices),
        f"bias is {config.bias[:40]!r}: trained biases are not served, expected 'none'": config.bias != "none",
        "lora_bias adds trained biases, which are not served": config.lora_bias,
        f"init_lora_weights {config.init_lora_weights!r} changes the base's weights: convert it with PEFT's "
        "path_initial_model_for_weight_conversion": _changes_base(config.init_lora_weights),
    }
    for field in ("use_qalora", "layer_replication", "target_parameters", "alora_invocation_tokens", "use_bdlora"):
        unserved[f"{field} is not served"] = bool(getattr(config, field))
    for field in ("arrow_config", "kasa_config", "monteclora_config"):
        unserved[f"{field} is not served"] = bool(getattr(config, field))
    for pattern in (*config.rank_pattern, *config.alpha_pattern):
        unserved[f"pattern {pattern[:100]!r}: only module names are understood"] = not _is_pattern(pattern)
    for rank in (config.r, *config.rank_pattern.values()):
        unserved[f"rank {rank}: expected 1 to {MAX_RANK}"] = not 1 <= rank <= MAX_RANK
    for alpha in (config.lora_alpha, *config.alpha_pattern.values()):
        unserved[f"lora_alpha {alpha}: expected a number above 0"] = not (math.isfinite(alpha) and alpha > 0)
    return next((sentence for sentence, holds in unserved.items() if holds), None)


def _changes_base(init: bool | str | None) -> bool:
    return isinstance(init, str) and init.lower().startswith(("pissa", "olora", "corda", "loftq"))


def _is_pattern(pattern: str) -> bool:
    """A module name, perhaps with `^` and escaped dots: no regular expression that could take for ever."""
    return bool(_PATTERN.fullmatch(pattern)) and "\\" not in pattern.replace("\\.", "")


def _matching(pattern: dict[str, Any], module: str, default: float) -> float:
    """PEFT's `get_pattern_key`: the first pattern that matches the whole name, or its end after a dot."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", module)), default)
