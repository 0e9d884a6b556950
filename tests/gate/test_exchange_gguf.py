"""An adapter as GGUF: read back by the specification, it computes what PEFT's matrices compute; and kin of one base."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gate_worlds import TINY, write_adapter
from safetensors.numpy import load_file, save_file

from local_runtime.adapters.peft_folder import read_adapter, read_low_ranks
from local_runtime.engines.protocol import Adapter
from local_runtime.errors import AdapterInvalid, BadRequest
from local_runtime.model.importing import import_model
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.places import places
from trainer.adapters.commands import adapter as adapter_command
from trainer.adapters.exchange import export_gguf, import_peft
from trainer.adapters.gguf_lora import write_gguf
from trainer.adapters.kinship import learnt_on_kin

Matrix = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(autouse=True)
def home(home_with_model: Path) -> Path:
    return home_with_model


@pytest.fixture
def everywhere(tmp_path: Path, tiny_model: ModelFolder) -> Adapter:
    """An adapter on all linears, with a rank and an alpha of its own on some: what a single alpha cannot say."""
    dice, tensors, ranks = np.random.default_rng(3), {}, {}
    for fused in fused_tensors(TINY):
        for part in fused.parts:
            if ".layers." in part.name and len(fused.shape) == 2:
                module = part.name.removesuffix(".weight")
                rank = 2 if module.endswith("k_proj") else 4
                ranks[module] = rank
                n_out, n_in = fused.part_shape(part)
                for side, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
                    tensors[f"base_model.model.{module}.lora_{side}.weight"] = dice.normal(0, 0.1, shape).astype(
                        np.float32
                    )
    folder = tmp_path / "everywhere"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": {"k_proj": 2}}
    config["alpha_pattern"] = {"down_proj": 3}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"base_hash": tiny_model.base_hash}))
    return read_adapter(folder)


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Matrix]]:
    """Keys and tensors of a GGUF file, by its specification and nothing of ours."""
    data, at = path.read_bytes(), 0

    def take(form: str) -> Any:
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def text() -> str:
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length : at].decode()

    assert take("4s") == b"GGUF"
    version, n_tensors, n_keys = take("I"), take("Q"), take("Q")
    assert version == 3
    keys: dict[str, Any] = {}
    for _ in range(n_keys):
        key = text()
        keys[key] = {8: text, 4: lambda: take("I"), 6: lambda: take("f")}[take("I")]()
    described = []
    for _ in range(n_tensors):
        name, n_dimensions = text(), take("I")
        assert n_dimensions == 2
        described.append((name, take("QQ"), take("I"), take("Q")))
    start = -(-at // 32) * 32
    tensors = {}
    for name, (columns, rows), kind, offset in described:
        assert (kind, offset % 32) == (0, 0)
        values = np.frombuffer(data, "<f4", rows * columns, start + offset)
        tensors[name] = values.reshape(rows, columns)
    return keys, tensors


def as_llama_cpp(keys: dict[str, Any], tensors: dict[str, Matrix], name: str) -> Matrix:
    """What llama.cpp adds to a weight: alpha / rank * B A, the rank being the length of B's rows."""
    a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
    return keys["adapter.lora.alpha"] / b.shape[1] * (b @ a)


def half_rotation_to_neighbours(weight: Matrix, n_heads: int) -> Matrix:
    """Row 2i of a head is row i of its first half, row 2i + 1 row i of its second."""
    size = len(weight) // n_heads
    order = [head * size + half * size // 2 + i for head in range(n_heads) for i in range(size // 2) for half in (0, 1)]
    return weight[order]


def test_the_file_is_what_llama_cpp_reads_and_adds_what_peft_adds(
    everywhere: Adapter, tiny_model: ModelFolder, tmp_path: Path
) -> None:
    export_gguf(tiny_model, everywhere, tmp_path / "out", 0.5)
    keys, tensors = read_gguf(tmp_path / "out" / "adapter.gguf")
    assert keys["general.architecture"] == "llama"
    assert (keys["general.type"], keys["adapter.type"]) == ("adapter", "lora")
    assert keys["adapter.lora.alpha"] == 8 * 0.5
    low_ranks = read_low_ranks(everywhere)
    assert len(tensors) == 2 * len(low_ranks) == 2 * 7 * TINY.n_layers
    names = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}  # fmt: skip
    heads = {"q_proj": TINY.n_heads, "k_proj": TINY.n_kv_heads}
    for module, low_rank in low_ranks.items():
        layer, linear = module.split(".")[2], module.rpartition(".")[2]
        expected = 0.5 * (low_rank.b @ low_rank.a)
        if linear in heads:
            expected = half_rotation_to_neighbours(expected, heads[linear])
        found = as_llama_cpp(keys, tensors, f"blk.{layer}.{names[linear]}.weight")
        assert np.abs(found - expected).max() < 1e-5 < np.abs(expected).max()


def test_a_plain_peft_folder_keeps_its_very_matrices(tiny_model: ModelFolder, tmp_path: Path) -> None:
    plain = write_adapter(tmp_path / "plain", tiny_model.base_hash)
    export_gguf(tiny_model, plain, tmp_path / "out")
    keys, tensors = read_gguf(tmp_path / "out" / "adapter.gguf")
    source = load_file(plain.path / "adapter_model.safetensors")
    for side in "AB":
        peft = source[f"base_model.model.model.layers.1.mlp.up_proj.lora_{side}.weight"]
        assert (tensors[f"blk.1.ffn_up.weight.lora_{side.lower()}"] == peft).all()
    assert keys["adapter.lora.alpha"] == 4


def test_other_families_rotate_halves_in_llama_cpp_too(everywhere: Adapter, tmp_path: Path) -> None:
    low_ranks = read_low_ranks(everywhere)
    qwen2 = dataclasses.replace(TINY, family="qwen2")
    write_gguf(low_ranks, qwen2, tmp_path / "a.gguf", name="a", alpha=8.0)
    keys, tensors = read_gguf(tmp_path / "a.gguf")
    assert keys["general.architecture"] == "qwen2"
    q_proj = low_ranks["model.layers.0.self_attn.q_proj"]
    assert np.allclose(as_llama_cpp(keys, tensors, "blk.0.attn_q.weight"), q_proj.b @ q_proj.a, atol=1e-6)
    with pytest.raises(BadRequest, match="cannot be written as GGUF"):
        write_gguf(low_ranks, dataclasses.replace(TINY, family="other"), tmp_path / "b.gguf", name="b", alpha=8.0)


def test_the_command_writes_it_and_refuses_what_has_no_meaning(
    everywhere: Adapter, tiny_model: ModelFolder, tmp_path: Path
) -> None:
    import_peft(everywhere.path, places().adapters, tiny_model, "mine")
    arguments = ["export", "mine", str(tmp_path / "gguf"), "--as", "gguf"]
    said = CliRunner().invoke(adapter_command, arguments, catch_exceptions=False).output
    assert "(gguf, " in said
    assert [file.name for file in (tmp_path / "gguf").iterdir()] == ["adapter.gguf"]
    with pytest.raises(BadRequest, match="already"):
        CliRunner().invoke(adapter_command, arguments, catch_exceptions=False)
    with pytest.raises(BadRequest, match="above 0"):
        export_gguf(tiny_model, everywhere, tmp_path / "nothing", 0.0)
    assert not (tmp_path / "nothing").exists()


def test_quantisations_of_one_base_are_kin_and_it_is_said(
    tiny_home: Path, tiny_model: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "gpu"))
    for name in ("q4f16_1", "q0f16"):
        for_gpu = ModelFolder.open(import_model(tiny_home / "source", QUANTIZATIONS[name]))
        assert for_gpu.base_hash == tiny_model.base_hash
        source = write_adapter(tmp_path / f"on-{name}", for_gpu.base_hash, quantization=name)
        assert learnt_on_kin(source, for_gpu) is None
        assert f"learnt on the {name} weights" in (learnt_on_kin(source, tiny_model) or "")
    unsaid = write_adapter(tmp_path / "old", tiny_model.base_hash)
    assert learnt_on_kin(unsaid, tiny_model) is None


def test_import_and_use_say_that_it_is_kin_and_refuse_a_foreign_base(tiny_model: ModelFolder, tmp_path: Path) -> None:
    kin = write_adapter(tmp_path / "kin", tiny_model.base_hash, quantization="q4f16_1")
    for arguments in (["import", str(kin.path)], ["use", "kin"]):
        result = CliRunner().invoke(adapter_command, arguments, catch_exceptions=False)
        assert "learnt on the q4f16_1 weights of this base and serves on the q8f16_g32 ones" in result.output
        assert result.exit_code == 0
    own = write_adapter(tmp_path / "own", tiny_model.base_hash, quantization="q8f16_g32")
    assert "learnt on" not in CliRunner().invoke(adapter_command, ["import", str(own.path)]).output
    foreign = write_adapter(tmp_path / "foreign", "f" * 64, quantization="q8f16_g32")
    with pytest.raises(AdapterInvalid, match="made for base ffffffffffff"):
        CliRunner().invoke(adapter_command, ["import", str(foreign.path)], catch_exceptions=False)
