"""Folders that are imported, and folders that MLC's own tools made: read tensor by tensor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tvm
from folders import LLAMA, ODDITIES, edit_json, imported
from tvm.contrib import tvmjs

from local_runtime.model import tensor_cache
from local_runtime.model.chat_config import why_mlc_cannot_serve
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS, dequantize, quantize
from local_runtime.model.synthetic import DTYPES, random_weight


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("config", ODDITIES.values(), ids=ODDITIES.keys())
def test_every_weight_comes_back(tmp_path: Path, config: DecoderConfig, quantization: str) -> None:
    model = ModelFolder.open(imported(tmp_path, config, quantization))
    assert model.config == config
    q = QUANTIZATIONS[quantization]
    for fused in fused_tensors(config):
        for part in fused.parts:
            expected: Any = random_weight(part.name, fused.part_shape(part), 0)
            if fused.quantized and q.grouped:
                expected = dequantize(*quantize(expected, q), q)
            expected = expected.astype(q.float_dtype).astype(np.float32) if not q.grouped else expected
            if q.grouped and not fused.quantized:
                expected = expected.astype(q.float_dtype).astype(np.float32)
            np.testing.assert_array_equal(model.dequantized(part.name), expected, err_msg=part.name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_float_dtypes_are_read(tmp_path: Path, dtype: str) -> None:
    model = ModelFolder.open(imported(tmp_path, LLAMA, "q0f32", dtype=dtype))
    name = "model.layers.1.mlp.up_proj.weight"
    expected = random_weight(name, (320, 128), 0).astype(DTYPES[dtype]).astype(np.float32)
    np.testing.assert_array_equal(model.dequantized(name), expected)


def test_shards_and_one_file_give_the_same_model(tmp_path: Path) -> None:
    one = imported(tmp_path / "one")
    many = imported(tmp_path / "many", shard_bytes=50_000)
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    assert (one / "params_shard_0.bin").read_bytes() == (many / "params_shard_0.bin").read_bytes()
    assert ModelFolder.open(one).base_hash == ModelFolder.open(many).base_hash


def test_kin_quantisations_share_the_base_hash_and_other_weights_do_not(tmp_path: Path) -> None:
    hashes = {ModelFolder.open(imported(tmp_path / "a", LLAMA, name)).base_hash for name in QUANTIZATIONS}
    assert len(hashes) == 1
    assert ModelFolder.open(imported(tmp_path / "b", LLAMA, "q0f16", seed=1)).base_hash not in hashes


# TVM's reader leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_tvms_own_reader_reads_ours(tmp_path: Path, quantization: str) -> None:
    folder = imported(tmp_path, LLAMA, quantization)
    model = ModelFolder.open(folder)
    theirs, metadata = tvmjs.load_tensor_cache(str(folder), tvm.cpu())
    assert len(theirs) == metadata["ParamSize"]
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(model.tensor(name), tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("listing", ["tensor-cache.json", "ndarray-cache.json"])
@pytest.mark.parametrize("quantization", [name for name, q in QUANTIZATIONS.items() if q.mlc_can_serve])
def test_a_folder_written_by_tvms_own_writer_is_run_as_it_is(
    tmp_path: Path, quantization: str, listing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = ModelFolder.open(imported(tmp_path / "hf", LLAMA, quantization))
    theirs = written_by_tvm(ours, tmp_path / "theirs", listing)
    found = ModelFolder.open(theirs)
    assert found.note is None and found.config == LLAMA
    assert len(found.base_hash) == 64 and found.base_hash != ours.base_hash
    for name in ours.huggingface_names():
        # MLC stores all float32 as bfloat16.
        rounded = ours.dequantized(name) if quantization != "q0f32" else halved(ours.dequantized(name))
        tolerance = 0.01 if quantization == "q4f32_1" else 0
        np.testing.assert_allclose(found.dequantized(name), rounded, rtol=tolerance, err_msg=name)


def test_the_base_hash_stays_what_it_was(tmp_path: Path) -> None:
    """Adapters are bound to it: a new version that computed another one would orphan them all."""
    assert (
        ModelFolder.open(imported(tmp_path)).base_hash
        == "24e807cd73f47730805522df5c82a487002187f054f9fc01f962135fd86f15f3"
    )


def test_the_hash_of_a_foreign_folder_follows_its_weights(tmp_path: Path) -> None:
    first = ModelFolder.open(written_by_tvm(ModelFolder.open(imported(tmp_path / "a")), tmp_path / "1"))
    again = ModelFolder.open(written_by_tvm(ModelFolder.open(imported(tmp_path / "a2")), tmp_path / "2"))
    other = ModelFolder.open(written_by_tvm(ModelFolder.open(imported(tmp_path / "b", seed=1)), tmp_path / "3"))
    assert first.base_hash == again.base_hash != other.base_hash


def test_float32_is_halved_only_when_no_bit_is_lost(tmp_path: Path) -> None:
    writer = tensor_cache.TensorCacheWriter(tmp_path)
    exact = np.array([1.0, -2.5, 0.0], np.float32)
    writer.add("exact", exact)
    writer.add("fine", exact + np.float32(1e-5))
    writer.finish()
    cache = tensor_cache.TensorCache(tmp_path)
    assert {name: record.format for name, record in cache.records.items()} == {"exact": "f32-to-bf16", "fine": "raw"}
    np.testing.assert_array_equal(cache.tensor("exact"), exact)
    np.testing.assert_array_equal(cache.tensor("fine"), exact + np.float32(1e-5))


def test_shards_are_cut_as_mlc_cuts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors together, a large one alone: the same files as TVM's writer makes with the same limit."""
    monkeypatch.setattr(tensor_cache, "SHARD_BYTES", 1 << 20)
    random = np.random.default_rng(0)
    tensors = {
        f"t{n}": random.standard_normal(size).astype(np.float16)
        for n, size in enumerate([9, 300_000, 100_000, 200_000, 400_000, 7])
    }
    (tmp_path / "ours").mkdir()
    writer = tensor_cache.TensorCacheWriter(tmp_path / "ours")
    for name, tensor in tensors.items():
        writer.add(name, tensor)
    writer.finish()
    tvmjs.dump_tensor_cache(tensors, str(tmp_path / "theirs"), shard_cap_mb=1, show_progress=False)
    shards = sorted(file.name for file in (tmp_path / "theirs").glob("*.bin"))
    assert len(shards) > 2
    for shard in shards:
        assert (tmp_path / "ours" / shard).read_bytes() == (tmp_path / "theirs" / shard).read_bytes()
    theirs = json.loads((tmp_path / "theirs" / "tensor-cache.json").read_text())
    assert [s.md5sum for s in tensor_cache.TensorCache(tmp_path / "ours").shards] == [
        s["md5sum"] for s in theirs["records"]
    ]


def test_a_part_lies_in_its_rows_of_the_fused_tensor(tmp_path: Path) -> None:
    """What the engine maps PEFT's targets with."""
    model = ModelFolder.open(imported(tmp_path, LLAMA, "q0f32"))
    qkv = next(t for t in fused_tensors(LLAMA) if t.name == "model.layers.1.self_attn.qkv_proj.weight")
    stored = model.tensor(qkv.name)
    assert stored.shape == qkv.shape == (256, 128)
    for part, rows in (("q", slice(0, 128)), ("k", slice(128, 192)), ("v", slice(192, 256))):
        name = f"model.layers.1.self_attn.{part}_proj.weight"
        assert qkv.rows_of(name) == rows
        np.testing.assert_array_equal(stored[rows], random_weight(name, (rows.stop - rows.start, 128), 0))


def test_tensors_cannot_be_written_to(tmp_path: Path) -> None:
    model = ModelFolder.open(imported(tmp_path))
    with pytest.raises(ValueError, match="read-only"):
        model.tensor("model.norm.weight")[0] = 1


def test_weights_are_read_once_and_then_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = imported(tmp_path)
    hashed: list[Path] = []
    real = tensor_cache.md5_of
    monkeypatch.setattr("local_runtime.model.verified.md5_of", lambda file: (hashed.append(file), real(file))[1])
    for _ in range(3):
        ModelFolder.open(folder)
    assert [file.name for file in hashed] == ["params_shard_0.bin"]


def test_the_end_of_text_may_be_several_tokens(tmp_path: Path) -> None:
    folder = imported(tmp_path / "one")
    assert ModelFolder.open(folder).eos_ids == (0,)
    edit_json(folder / "mlc-chat-config.json", lambda content: content.update(eos_token_id=[5, 3, 99999]))
    assert ModelFolder.open(folder).eos_ids == (5, 3)


def test_what_mlc_cannot_serve_is_said() -> None:
    reasons = {name: why_mlc_cannot_serve(config, QUANTIZATIONS["q4f16_1"]) for name, config in ODDITIES.items()}
    assert reasons["llama"] == reasons["qwen2"] == reasons["llama3"] == []
    assert reasons["linear"] == ["rope scaling linear"] and reasons["yarn"] == ["rope scaling yarn"]
    assert reasons["untied"] == ["biases in attention", "biases in the MLP"]
    assert why_mlc_cannot_serve(replace(LLAMA, n_heads=6), QUANTIZATIONS["q0f16"]) == ["6 heads do not divide 128"]
    assert why_mlc_cannot_serve(LLAMA, QUANTIZATIONS["q8f16_g32"]) == ["quantization q8f16_g32 is ours alone"]


def written_by_tvm(model: ModelFolder, folder: Path, listing: str = "tensor-cache.json") -> Path:
    """A folder with the same weights, as `mlc_llm convert_weight` and `gen_config` leave it."""
    tensors = {name: np.array(model.tensor(name)) for name in tensor_cache.TensorCache(model.path).records}
    tvmjs.dump_tensor_cache(tensors, str(folder), show_progress=False)
    (folder / "tensor-cache.json").rename(folder / listing)
    (folder / "tensor-cache-b16.json").unlink(missing_ok=True)
    for name in ("mlc-chat-config.json", "tokenizer.json"):
        (folder / name).write_bytes((model.path / name).read_bytes())
    edit_json(folder / "mlc-chat-config.json", lambda content: content["model_config"].pop("hidden_act"))
    return folder


def halved(values: Any) -> Any:
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)
