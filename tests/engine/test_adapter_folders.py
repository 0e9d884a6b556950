"""Adapters on disk: what is served, what is refused, and with which sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from small_models import GROUPED, QWEN2, write_adapter

from local_runtime.adapters.mixing import mix_adapters
from local_runtime.adapters.peft_config import parse_config
from local_runtime.adapters.peft_folder import check_fits, read_adapter, read_low_ranks
from local_runtime.errors import AdapterInvalid, BadRequest

NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of `adapter_config.json`."""
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def tensors(folder: Path, **changes: np.ndarray) -> None:
    """Replace all tensors by A and B of one module."""
    safetensors.numpy.save_file(
        {NAME.format(side): array for side, array in changes.items()}, folder / "adapter_model.safetensors"
    )


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def test_an_adapter_is_named_by_its_content(tmp_path: Path) -> None:
    first = read_adapter(write_adapter(tmp_path / "a", GROUPED, manifest={"base_hash": "b" * 64, "parent": "p"}))
    assert (first.rank, first.base_hash, first.parent) == (8, "b" * 64, "p")
    assert first.targets == ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    assert (
        read_adapter(write_adapter(tmp_path / "b", GROUPED, manifest={"base_hash": "b" * 64, "parent": "q"})).id
        == first.id
    )
    others = [
        write_adapter(tmp_path / "c", GROUPED, manifest={"base_hash": "c" * 64}),
        write_adapter(tmp_path / "d", GROUPED, seed=2, manifest={"base_hash": "b" * 64}),
        write_adapter(tmp_path / "e", GROUPED, lora_alpha=3, manifest={"base_hash": "b" * 64}),
    ]
    assert len({first.id, *(read_adapter(path).id for path in others)}) == 4


def test_what_changed_on_disk_is_not_served_under_the_old_name(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path, GROUPED))
    write_adapter(tmp_path, GROUPED, seed=9)
    with pytest.raises(AdapterInvalid, match="has changed"):
        read_low_ranks(adapter)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peft_type": "IA3"}, "only LORA is served"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trained tokens"),
        ({"bias": "all"}, "trained biases"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"rank_pattern": {"(a+)+b": 4}}, "only module names"),
        ({"alpha_pattern": {"[": 4}}, "only module names"),
        ({"r": 0}, "rank 0"),
        ({"r": 65}, "rank 65"),
        ({"rank_pattern": {"q_proj": -1}}, "rank -1"),
        ({"lora_alpha": -1}, "lora_alpha -1"),
        ({"r": "8"}, "Expected `int`"),
        ({"r": 4}, "its rank is 4"),
    ],
)
def test_other_kinds_are_refused_with_a_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    edit(write_adapter(tmp_path, GROUPED), **changes)
    with pytest.raises(AdapterInvalid, match=sentence) as refused:
        read_adapter(tmp_path)
    assert "adapter_" in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"A": ones(8, 128)}, "only one of"),
        ({"A": ones(8, 128), "B": ones(128, 7)}, "its rank is 8"),
        ({"A": ones(8, 128) * math.nan, "B": ones(128, 8)}, "NaN or infinity"),
        ({"A": ones(8, 128), "B": ones(128, 8) * math.inf}, "NaN or infinity"),
        ({"A": ones(8, 128), "B": ones(128, 8) * 1e5}, "beyond 65504"),
        ({"A": ones(8, 128, dtype=np.int8), "B": ones(128, 8)}, "expected a matrix"),
        ({"A": ones(8), "B": ones(128, 8)}, "expected a matrix"),
        ({"A": ones(8, 0), "B": ones(128, 8)}, "expected a matrix"),
        ({}, "holds no tensor"),
    ],
)
def test_wrong_tensors_are_refused(wrong: dict[str, np.ndarray], sentence: str, tmp_path: Path) -> None:
    write_adapter(tmp_path, GROUPED)
    tensors(tmp_path, **wrong)
    with pytest.raises(AdapterInvalid, match=sentence):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    "name", ["lora_embedding_A", "x.lora_A.weight", NAME.format("A") + ".more", NAME.format("magnitude_vector")]
)
def test_unknown_tensors_are_refused(name: str, tmp_path: Path) -> None:
    write_adapter(tmp_path, GROUPED)
    safetensors.numpy.save_file({name: ones(8, 128)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterInvalid, match="none of a LoRA"):
        read_adapter(tmp_path)


def test_half_precision_is_read(tmp_path: Path) -> None:
    write_adapter(tmp_path, GROUPED, lora_alpha=8)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        tensors(tmp_path, A=ones(8, 128, dtype=dtype), B=ones(128, 8, dtype=dtype))
        (low_rank,) = read_low_ranks(read_adapter(tmp_path)).values()
        assert low_rank.a.dtype == low_rank.b.dtype == np.float32
        assert (low_rank.a == 1).all() and (low_rank.b == 1).all()


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    write_adapter(tmp_path, GROUPED)
    (tmp_path / "adapter_model.safetensors").unlink()
    for name in ("adapter_model.bin", "adapter_model.pt"):
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        with pytest.raises(AdapterInvalid, match="never opened"):
            read_adapter(tmp_path)
        (tmp_path / name).unlink()
    with pytest.raises(AdapterInvalid, match="is missing"):
        read_adapter(tmp_path)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "manifest.json"])
@given(damage=st.one_of(st.binary(max_size=60), st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=8))))
def test_damaged_files_are_refused_or_harmless(
    damage: bytes | tuple[int, bytes], file: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    write_adapter(folder, QWEN2, rank=2, targets=("q_proj",), manifest={"base_hash": ""})
    content = (folder / file).read_bytes()
    if isinstance(damage, bytes):
        content = damage
    else:
        at = damage[0] % len(content)
        content = content[:at] + damage[1] + content[at + len(damage[1]) :]
    (folder / file).write_bytes(content)
    try:
        adapter = read_adapter(folder)
        for low_rank in read_low_ranks(adapter).values():
            assert np.isfinite(low_rank.a).all() and np.isfinite(low_rank.b).all()
    except AdapterInvalid as refused:
        assert str(folder) in str(refused)


@given(
    st.dictionaries(
        st.sampled_from(
            ["r", "lora_alpha", "bias", "rank_pattern", "alpha_pattern", "use_rslora", "peft_type", "modules_to_save"]
        ),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=8),
            st.lists(st.integers(), max_size=2),
            st.dictionaries(
                st.sampled_from(["q_proj", "layers.0", "^a", "(", ""]), st.integers() | st.floats(), max_size=2
            ),
        ),
    )
)
def test_any_configuration_is_parsed_or_refused(changes: dict[str, Any]) -> None:
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16} | changes
    try:
        parsed = parse_config(json.dumps(config).encode(), Path("adapter_config.json"))
    except AdapterInvalid:
        return
    scaling = parsed.scaling("model.layers.0.self_attn.q_proj")
    assert math.isfinite(scaling) and scaling > 0


def test_an_adapter_of_another_shape_is_refused(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "a", GROUPED))
    with pytest.raises(AdapterInvalid, match=r"made for \[out, in\] \[128, 192\], the model has \[64, 96\]"):
        check_fits(adapter, read_low_ranks(adapter), QWEN2)
    tensors(write_adapter(tmp_path / "b", GROUPED), A=ones(8, 128), B=ones(128, 8))
    file = tmp_path / "b" / "adapter_model.safetensors"
    for module in ("lm_head", "model.embed_tokens", "model.layers.9.self_attn.q_proj"):
        safetensors.numpy.save_file({f"base_model.model.{module}.lora_{s}.weight": ones(8, 8) for s in "AB"}, file)
        adapter = read_adapter(tmp_path / "b")
        with pytest.raises(AdapterInvalid, match=f"no linear {module}"):
            check_fits(adapter, read_low_ranks(adapter), GROUPED)


def test_mixes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    small = read_adapter(write_adapter(tmp_path / "a", GROUPED, rank=32, manifest={"base_hash": "a"}))
    large = read_adapter(write_adapter(tmp_path / "b", GROUPED, rank=33, manifest={"base_hash": "a"}))
    other = read_adapter(write_adapter(tmp_path / "c", GROUPED, rank=4, manifest={"base_hash": "b"}))
    with pytest.raises(AdapterInvalid, match=r"32 \+ 33 = 65; at most 64"):
        mix_adapters([(small, 1.0), (large, 1.0)])
    with pytest.raises(AdapterInvalid, match="different bases"):
        mix_adapters([(small, 1.0), (other, 1.0)])
    for parts in ([], [(small, -1.0)], [(small, math.nan)], [(small, 2.5)]):
        with pytest.raises(BadRequest):
            mix_adapters(parts)
    mix = mix_adapters([(small, 1.0), (small, 0.5)])
    assert (mix.rank, mix.base_hash) == (64, "a")
    assert mix.id != mix_adapters([(small, 0.5), (small, 1.0)]).id != small.id
