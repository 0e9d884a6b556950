"""What damaged and hostile folders get: a fault that names the file, what was expected and what was found."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from folders import LLAMA, QWEN2, edit_json, imported
from safetensors import TensorSpec, serialize_file
from safetensors.numpy import load_file, save_file

from local_runtime.errors import BadRequest, BuildFailed, ModelInvalid, ModelMissing, RuntimeFault
from local_runtime.model import registry
from local_runtime.model.importing import import_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder
from local_runtime.places import places

UNDERSTUDY = str(Path(sys.executable).with_name("understudy"))
Q4 = QUANTIZATIONS["q4f16_1"]
Edit = Callable[[Any], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return imported(tmp_path / "hf")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "hf", LLAMA)


def fails(folder: Path, kind: type[RuntimeFault], *parts: str) -> None:
    """Opening raises `kind`, and its message has all `parts`."""
    with pytest.raises(kind) as fault:
        ModelFolder.open(folder)
    for part in parts:
        assert part in str(fault.value)


def import_fails(source: Path, kind: type[RuntimeFault], *parts: str, quantization: str = "q4f16_1") -> None:
    """Importing raises `kind` with all `parts`, and leaves nothing behind."""
    with pytest.raises(kind) as fault:
        import_model(source, QUANTIZATIONS[quantization])
    for part in parts:
        assert part in str(fault.value)
    assert registry.names() == []
    assert not places().models.exists() or [p.name for p in places().models.iterdir() if p.name != ".lock"] == []


# --- a folder in MLC's format


def test_a_truncated_shard(folder: Path) -> None:
    shard = folder / "params_shard_0.bin"
    size = shard.stat().st_size
    os.truncate(shard, size - 3)
    fails(folder, ModelInvalid, str(shard), f"expected {size} bytes, found {size - 3}", "import the model again")


def test_a_missing_shard(folder: Path) -> None:
    (folder / "params_shard_0.bin").unlink()
    fails(folder, ModelMissing, "params_shard_0.bin is not there")


def test_swapped_shards_of_the_same_size(tmp_path: Path) -> None:
    folder, other = imported(tmp_path / "a"), imported(tmp_path / "b", seed=1)
    (folder / "params_shard_0.bin").write_bytes((other / "params_shard_0.bin").read_bytes())
    fails(folder, ModelInvalid, "params_shard_0.bin", "expected MD5", "found", "damaged or swapped")


def test_one_flipped_bit_after_the_first_opening(folder: Path) -> None:
    ModelFolder.open(folder)
    shard = folder / "params_shard_0.bin"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(1, 1))
    fails(folder, ModelInvalid, "expected MD5")


def first_record(listing: Any) -> Any:
    return listing["records"][0]["records"][0]


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (lambda c: c["records"][0]["records"].pop(), ["model.norm.weight is missing"]),
        (lambda c: first_record(c).update(name="rogue"), ["embed_tokens.q_weight is missing"]),
        (lambda c: c["records"].append(dict(c["records"][0], records=[])), ["is listed twice"]),
        (lambda c: c["records"].append(c["records"][0]), ["is listed twice"]),
        (lambda c: first_record(c).update(dtype="float32"), ["expected uint32 [512, 16], found float32"]),
        (lambda c: first_record(c).update(dtype="int4"), ["dtype"]),
        (lambda c: first_record(c).update(shape=[16, 512]), ["expected uint32 [512, 16], found uint32 [16, 512]"]),
        (lambda c: first_record(c).update(shape=[2**40, 2**40]), ["bytes, found"]),
        (lambda c: first_record(c).update(shape=[-1, -8192]), ["shape"]),
        (lambda c: first_record(c).update(nbytes=12), ["expected 32768 bytes, found 12"]),
        (lambda c: first_record(c).update(byteOffset=4), ["overlaps the record before it"]),
        (lambda c: first_record(c).update(byteOffset=2**47), ["the shard at"]),
        (lambda c: first_record(c).update(byteOffset=-4), ["byteOffset"]),
        (lambda c: first_record(c).update(format="zip"), ["format"]),
        (lambda c: c["records"][0].update(format="elf"), ["format"]),
        (lambda c: c["records"][0].update(dataPath="../x.bin"), ["file in the same folder", "../x.bin"]),
        (lambda c: c["records"][0].update(dataPath="/etc/passwd"), ["file in the same folder"]),
        (lambda c: c["records"][0].update(dataPath=".."), ["file in the same folder"]),
        (lambda c: c["records"][0].update(dataPath="a\0b"), ["file in the same folder"]),
        (lambda c: c["records"][0].update(dataPath=""), ["file in the same folder"]),
        (lambda c: c["records"][0].update(dataPath="x" * 5000), ["file in the same folder"]),
        (lambda c: c["records"][0].update(nbytes=1), ["the shard at 1"]),
        (lambda c: c["records"][0].update(md5sum="0" * 32), ["expected MD5 0000"]),
        (lambda c: c.pop("records"), ["records"]),
    ],
)
def test_a_listing_that_lies(folder: Path, edit: Edit, parts: list[str]) -> None:
    edit_json(folder / "tensor-cache.json", edit)
    with pytest.raises((ModelInvalid, ModelMissing)) as fault:
        ModelFolder.open(folder)
    for part in [str(folder), *parts]:
        assert part in str(fault.value)


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (lambda c: c.update(model_type="rwkv"), ["'rwkv' is not known; known are llama"]),
        (lambda c: c.update(quantization="q3f16_1"), ["'q3f16_1' is not known; known are q0f16"]),
        (lambda c: c.update(quantization="q8f16_g32"), ["expected uint32 [512, 32], found uint32 [512, 16]"]),
        (lambda c: c["model_config"].update(num_hidden_layers=3), ["model.layers.2", "is missing"]),
        (lambda c: c["model_config"].update(num_hidden_layers=1), ["model.layers.1", "belongs to no such decoder"]),
        (lambda c: c["model_config"].update(num_hidden_layers=1000), ["expected 1000 layers, found 23 tensors"]),
        (lambda c: c["model_config"].update(tie_word_embeddings=False), ["lm_head.q_weight is missing"]),
        (lambda c: c["model_config"].update(hidden_size=130), ["is not a multiple of 32"]),
        (lambda c: c["model_config"].update(vocab_size=500), ["expected uint32 [500, 16]"]),
        (lambda c: c["model_config"].update(rope_scaling={"rope_type": "dynamic"}), ["'dynamic' is not served"]),
        (lambda c: c.update(model_config=[]), ["model_config"]),
    ],
)
def test_a_configuration_that_does_not_fit(folder: Path, edit: Edit, parts: list[str]) -> None:
    edit_json(folder / "mlc-chat-config.json", edit)
    fails(folder, ModelInvalid, str(folder), *parts)


def test_a_tokenizer_that_does_not_fit(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", QWEN2)
    (folder / "tokenizer.json").write_bytes((other / "tokenizer.json").read_bytes())
    ModelFolder.open(folder)  # fewer tokens than rows of the embedding are usual
    edit_json(folder / "tokenizer.json", lambda c: c["added_tokens"][0].update(id=512))
    fails(folder, ModelInvalid, "tokenizer.json", "expected ids from 0 to 511, found 0 to 512")
    (folder / "tokenizer.json").unlink()
    fails(folder, ModelMissing, "tokenizer.json is not there")


def test_a_pipe_in_place_of_a_file_does_not_hang(folder: Path) -> None:
    (folder / "mlc-chat-config.json").unlink()
    os.mkfifo(folder / "mlc-chat-config.json")
    fails(folder, ModelInvalid, "expected a plain file")


def test_a_note_with_a_wrong_hash(folder: Path) -> None:
    edit_json(folder / "understudy.json", lambda c: c.update(base_hash="../../x"))
    fails(folder, ModelInvalid, "understudy.json", "expected a SHA-256")


def test_a_damaged_memory_of_findings_is_no_harm(folder: Path) -> None:
    ModelFolder.open(folder)
    for file in (places().cache / "verified").iterdir():
        file.write_bytes(b"\xff" * 50)
    ModelFolder.open(folder)


# --- a folder in Hugging Face's format


def test_only_pickled_weights(source: Path) -> None:
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    import_fails(source, ModelMissing, "model.safetensors is not there", "pickled and is never opened")


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b'\x08\0\0\0\0\0\0\0{"a":1}', pickle.dumps([1])], ids=repr)
def test_weights_that_are_no_safetensors(source: Path, content: bytes) -> None:
    (source / "model.safetensors").write_bytes(content)
    import_fails(source, ModelInvalid, "model.safetensors", "fetch the model again")


def test_truncated_weights(source: Path) -> None:
    os.truncate(source / "model.safetensors", 100_000)
    import_fails(source, ModelInvalid, "model.safetensors")


def reweigh(source: Path, edit: Edit) -> None:
    tensors = load_file(source / "model.safetensors")
    edit(tensors)
    save_file(tensors, source / "model.safetensors")


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (lambda t: t.pop("model.norm.weight"), ["tensor model.norm.weight is missing"]),
        (lambda t: t.update(rogue=np.zeros(3, np.float32)), ["tensor rogue belongs to no such decoder"]),
        (lambda t: t.update({"model.norm.weight": np.zeros(64, np.float32)}), ["expected shape [128], found [64]"]),
        (
            lambda t: t.update({"model.norm.weight": np.zeros(128, np.int8)}),
            ["expected one of F32, F16, BF16, found I8"],
        ),
        (lambda t: t["model.norm.weight"].fill(np.nan), ["model.norm.weight: a weight is not finite"]),
        (
            lambda t: t["model.layers.0.mlp.up_proj.weight"].fill(np.inf),
            ["gate_up_proj.weight: a weight is not finite"],
        ),
    ],
)
def test_weights_that_do_not_fit(source: Path, edit: Edit, parts: list[str]) -> None:
    reweigh(source, edit)
    import_fails(source, ModelInvalid, str(source), *parts)


def test_buffers_and_a_copy_of_a_tied_head_are_left_out(source: Path) -> None:
    def add(tensors: Any) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(16, np.float32)

    reweigh(source, add)
    assert "lm_head.weight" not in ModelFolder.open(import_model(source, Q4)).huggingface_names()


def test_a_shard_that_is_not_there_or_holds_what_another_should(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "hf", LLAMA, shard_bytes=50_000)
    first, second, *_ = sorted(source.glob("*.safetensors"))
    kept = second.read_bytes()
    second.write_bytes(first.read_bytes())
    import_fails(source, ModelInvalid, second.name, "is in another file too")
    second.unlink()
    import_fails(source, ModelMissing, f"{second.name} is not there")
    second.write_bytes(kept)
    edit_json(source / "model.safetensors.index.json", lambda c: c["weight_map"].update(rogue=first.name))
    import_fails(source, ModelInvalid, first.name, "tensor rogue is missing")


def test_an_index_that_points_elsewhere(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "hf", LLAMA, shard_bytes=50_000)
    edit_json(source / "model.safetensors.index.json", lambda c: c["weight_map"].update(x="../../secret.safetensors"))
    import_fails(source, ModelInvalid, "index.json", "expected a safetensors file here")


def test_a_tokenizer_of_another_model(source: Path) -> None:
    edit_json(source / "config.json", lambda c: c.update(vocab_size=300))
    import_fails(source, ModelInvalid, "tokenizer.json", "expected ids from 0 to 299, found 0 to 511")


@pytest.mark.parametrize("content", ["{}", '{"model": {"vocab": {}}}', '{"model": {"type": "BPE", "vocab": {"a": 0}}}'])
def test_what_is_no_tokenizer(source: Path, content: str) -> None:
    (source / "tokenizer.json").write_text(content)
    import_fails(source, ModelInvalid, "tokenizer.json")


PANICS = {"type": "Precompiled", "precompiled_charsmap": ""}
BROKEN = {"type": "Replace", "pattern": {"Regex": "(("}, "content": ""}


@pytest.mark.parametrize("normalizer", [PANICS, BROKEN, {"type": "Rogue"}], ids=lambda normalizer: normalizer["type"])
def test_a_tokenizer_that_the_library_stumbles_over(source: Path, folder: Path, normalizer: dict[str, Any]) -> None:
    edit_json(folder / "tokenizer.json", lambda c: c.update(normalizer=normalizer))
    fails(folder, ModelInvalid, "tokenizer.json")
    registry.remove(folder.name)
    edit_json(source / "tokenizer.json", lambda c: c.update(normalizer=normalizer))
    import_fails(source, ModelInvalid, "tokenizer.json")


def test_rows_that_are_no_multiple_of_a_group(tmp_path: Path) -> None:
    from local_runtime.model.decoder_config import DecoderConfig  # noqa: PLC0415

    source = write_folder(tmp_path / "odd", DecoderConfig("llama", 72, 100, 1, 2, 2, 36, 320, 64))
    import_fails(source, ModelInvalid, "hidden_size 72 is not a multiple of 32", "--quantization q0f16")
    assert ModelFolder.open(import_model(source, QUANTIZATIONS["q0f16"])).config.hidden_size == 72


def test_numbers_too_large_for_half_precision(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "hf", LLAMA, dtype="bfloat16")
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(source / "model.safetensors", "np") as opened:
        tensors = {name: np.array(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118
    tensors["model.layers.1.mlp.down_proj.weight"][3, 3] = ml_dtypes.bfloat16(1e5)
    specs = {
        name: TensorSpec(dtype=t.dtype.name, shape=t.shape, data_ptr=t.ctypes.data, data_len=t.nbytes)
        for name, t in tensors.items()
    }
    serialize_file(specs, str(source / "model.safetensors"), {})
    import_fails(source, ModelInvalid, "down_proj.weight", "not finite in float16")
    ModelFolder.open(import_model(source, QUANTIZATIONS["q4f32_1"]))


# --- the disk, and being killed


def test_a_disk_without_room_is_said_before_writing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = registry.shutil.disk_usage
    monkeypatch.setattr(registry.shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    import_fails(source, BuildFailed, "bytes free, found 1,000")


def test_a_disk_that_fails_in_the_middle(source: Path) -> None:
    """The system refuses to write past a limit, as it does when a disk is full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [UNDERSTUDY, "model", "import", str(source)],
        preexec_fn=limit, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "could not be written" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in places().models.iterdir()] == [".lock"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_being_stopped_in_the_middle_leaves_no_model(tmp_path: Path, sent: signal.Signals) -> None:
    from local_runtime.model.decoder_config import DecoderConfig  # noqa: PLC0415

    source = write_folder(tmp_path / "hf", DecoderConfig("llama", 512, 1536, 12, 8, 4, 64, 2048, 512))
    command = [UNDERSTUDY, "model", "import", str(source), "--name", "big"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(places().models.glob(f"{registry.UNFINISHED}*/*")) and process.poll() is None:
            assert time.monotonic() < deadline
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "Traceback" not in errors
    assert registry.names() == []
    with pytest.raises(ModelMissing):
        registry.find("big")
    left_over = list(places().models.glob(f"{registry.UNFINISHED}*"))
    assert bool(left_over) == (sent == signal.SIGKILL)
    small = import_model(write_folder(tmp_path / "small", LLAMA), Q4)
    assert not list(places().models.glob(f"{registry.UNFINISHED}*"))
    ModelFolder.open(small)


def test_a_second_model_of_the_same_name_is_refused(source: Path) -> None:
    import_model(source, Q4, "one")
    with pytest.raises(BadRequest, match="understudy model remove one"):
        import_model(source, Q4, "one")


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "", "x" * 101, "sp ace", "new\nline"])
def test_a_name_that_is_no_name(source: Path, name: str) -> None:
    with pytest.raises((BadRequest, ModelMissing)):
        registry.remove(name)
    if name:
        with pytest.raises(BadRequest):
            import_model(source, Q4, name)


def test_only_one_import_at_a_time(source: Path) -> None:
    with registry.new_model("first", 0), pytest.raises(BadRequest, match="another process"):
        import_model(source, Q4)


def test_a_copied_mlc_folder_is_the_same(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("not part of the model")
    copied = import_model(folder, Q4, "copy")
    assert not (copied / "notes.txt").exists()
    assert ModelFolder.open(copied).base_hash == ModelFolder.open(folder).base_hash
    assert json.loads((copied / "mlc-chat-config.json").read_text())["quantization"] == "q4f16_1"
