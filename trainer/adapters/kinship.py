"""Whether an adapter belongs to a model: learnt on its very weights, on kin of them, or on another base.

Kin are quantisations of one float model: `base_hash`, written at import, is the hash of its configuration and float weights,
so a model for the CPU (`q8f16_g32`) and one for a GPU (`q4f16_1`, `q0f16`) share it.
"""

from __future__ import annotations

from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid
from local_runtime.model.model_folder import ModelFolder


def check_base(adapter: Adapter, model: ModelFolder) -> None:
    """Raise AdapterInvalid if `adapter` says that it was made for another base. One that says nothing is believed."""
    if adapter.base_hash and adapter.base_hash != model.base_hash:
        raise AdapterInvalid(
            f"{adapter.path} was made for base {adapter.base_hash[:12]}; {model.path.name} is base {model.base_hash[:12]}",
            "understudy model list",
        )


def learnt_on_kin(adapter: Adapter, model: ModelFolder) -> str | None:
    """A sentence if `adapter` was learnt on another quantisation of `model`'s base; None if on this one, or if it does not say."""
    served = model.quantization.name
    if not adapter.quantization or adapter.quantization == served or adapter.base_hash != model.base_hash:
        return None
    return (
        f"{adapter.path.name} was learnt on the {adapter.quantization} weights of this base and serves on the {served} ones: "
        "it fits, but part of what it learnt makes up for the other rounding"
    )
