"""A GGUF file becomes the same model as the weights it was made from, and nothing that does not add up is let in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf_files import FAMILIES, TINY, all_linears, write_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_runtime.errors import ModelInvalid, ModelMissing, RuntimeFault
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import import_model, read_source
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder

Floats = np.ndarray[Any, np.dtype[np.float32]]


def weights(folder: Path) -> dict[str, Floats]:
    """What an imported model's weights stand for, by Hugging Face's names."""
    opened = ModelFolder.open(folder)
    return {name: opened.dequantized(name) for name in opened.huggingface_names()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_what_its_hugging_face_folder_is(family: str, tmp_path: Path) -> None:
    config = FAMILIES[family]
    write_gguf(tmp_path / "a.gguf", config)
    theirs = import_model(write_folder(tmp_path / "hf", config), QUANTIZATIONS["q0f16"], "theirs")
    ours = import_model(tmp_path / "a.gguf", QUANTIZATIONS["q0f16"], "ours")
    assert ModelFolder.open(ours).config == ModelFolder.open(theirs).config
    one, other = weights(ours), weights(theirs)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_mistrals_window_ends_the_context(tmp_path: Path) -> None:
    """Up to its length attention is full attention, and llama.cpp has one name for Llama and Mistral."""
    write_gguf(tmp_path / "a.gguf", TINY, change=keyed("llama.attention.sliding_window", 256))
    assert read_source(tmp_path / "a.gguf").config.context_tokens == 256


@pytest.mark.parametrize(
    ("kind", "quantization"), [("Q8_0", "q8f16_g32"), ("Q5_0", "q8f16_g32"), ("Q4_0", "q4f16_1"), ("Q4_0", "q8f16_g32")]
)
@pytest.mark.parametrize("family", ["llama", "qwen2", "granite", "untied"])
def test_these_lose_nothing(kind: str, quantization: str, family: str, tmp_path: Path) -> None:
    config = FAMILIES[family]
    meant = write_gguf(tmp_path / "a.gguf", config, all_linears(kind))
    folder = import_model(tmp_path / "a.gguf", QUANTIZATIONS[quantization], "exact")
    found = weights(folder)
    matrices = {name: values for name, values in meant.items() if values.ndim == 2}
    assert len(matrices) > 4
    for name, values in matrices.items():
        assert np.array_equal(found[name], values), name
    note = ModelFolder.open(folder).note
    assert note is not None and "100.0% are kept bit for bit" in note.kept


def test_four_bit_files_keep_theirs_and_others_become_int8(tmp_path: Path) -> None:
    for kind, expected in (("Q4_0", "q4f16_1"), ("Q4_1", "q8f16_g32"), ("Q8_0", "q8f16_g32"), ("F32", "q8f16_g32")):
        write_gguf(tmp_path / f"{kind}.gguf", TINY, all_linears(kind))
        folder = import_model(tmp_path / f"{kind}.gguf")
        assert ModelFolder.open(folder).quantization.name == expected
    note = ModelFolder.open(import_model(tmp_path / "Q4_1.gguf", name="again")).note
    assert note is not None and "rounded to q8f16_g32" in note.kept


def test_one_matrix_in_two_quantisations_is_tied_and_the_finer_kept(tmp_path: Path) -> None:
    def coarse_embedding(name: str, shape: tuple[int, ...]) -> str:
        return "Q4_0" if name == "token_embd.weight" else all_linears("Q8_0")(name, shape)

    from local_runtime.model.synthetic import random_weight  # noqa: PLC0415 - for this test alone

    matrix = random_weight("model.embed_tokens.weight", (TINY.vocab_size, TINY.hidden_size), 0).astype(np.float32)
    write_gguf(tmp_path / "same.gguf", TINY, coarse_embedding, extra={"output.weight": matrix})
    folder = import_model(tmp_path / "same.gguf", QUANTIZATIONS["q8f16_g32"], "same")
    assert ModelFolder.open(folder).config.tied_embeddings
    kept = weights(folder)["model.embed_tokens.weight"]
    assert np.abs(kept - matrix).max() < 0.01 * np.abs(matrix).max()  # Q8_0's error, not Q4_0's
    other = np.random.default_rng(1).normal(0, 0.1, matrix.shape).astype(np.float32)
    write_gguf(tmp_path / "other.gguf", TINY, coarse_embedding, extra={"output.weight": other})
    assert not read_source(tmp_path / "other.gguf").config.tied_embeddings


def keyed(name: str, value: object, kind: str = "uint32") -> Callable[[dict[str, Any]], None]:
    return lambda keys: keys.update({name: (value, kind)})


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda keys: keys.pop(name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("llama.embedding_length"), "llama.embedding_length is missing"),
        (without("llama.attention.layer_norm_rms_epsilon"), "layer_norm_rms_epsilon is missing"),
        (keyed("llama.attention.head_count", 0), "llama.attention.head_count is 0"),
        (keyed("llama.attention.head_count", "four", "string"), "llama.attention.head_count is 'four'"),
        (keyed("llama.attention.key_length", 16), "blk.0.attn_q.weight: expected shape"),
        (keyed("llama.attention.value_length", 16), "llama.attention.value_length is 16"),
        (keyed("llama.rope.dimension_count", 8), "llama.rope.dimension_count is 8"),
        (keyed("llama.embedding_length", 256), "token_embd.weight: expected shape"),
        (keyed("llama.block_count", 3), "blk.2"),
        (keyed("llama.block_count", 1), "belongs to no such decoder"),
        (keyed("llama.vocab_size", 99), "llama.vocab_size is 99"),
        (keyed("llama.expert_count", 8), "a mixture of experts"),
        (keyed("llama.rope.scaling.type", "longrope", "string"), "llama.rope.scaling.type is 'longrope'"),
        (keyed("general.architecture", "mamba", "string"), "architecture 'mamba' is not known"),
        (without("tokenizer.ggml.pre"), "tokenizer.ggml.pre is missing"),
    ],
)
def test_a_key_that_is_missing_or_contradicts_is_named(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    write_gguf(tmp_path / "a.gguf", TINY, change=change)
    with pytest.raises(ModelInvalid) as fault:
        read_source(tmp_path / "a.gguf")
    assert said in fault.value.message and "a.gguf" in fault.value.message


@pytest.mark.parametrize(
    ("change", "kind", "factor"),
    [
        (lambda keys: keys.update({"qwen2.rope.scaling.type": ("linear", "string"), "qwen2.rope.scaling.factor": (2.0, "float32")}), "linear", 2.0),
        (lambda keys: keys.update({"qwen2.rope.scaling.type": ("yarn", "string"), "qwen2.rope.scaling.factor": (4.0, "float32"), "qwen2.rope.scaling.original_context_length": (256, "uint32")}), "yarn", 4.0),
    ],
)  # fmt: skip
def test_rope_scaling(change: Callable[[dict[str, Any]], None], kind: str, factor: float, tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", FAMILIES["qwen2"], change=change)
    scaling = read_source(tmp_path / "a.gguf").config.rope_scaling
    assert (scaling.kind, scaling.factor) == (kind, factor)


def split(file: Path, n_parts: int) -> list[Path]:
    """The file's tensors over several parts, as llama.cpp's `gguf-split` writes them."""
    reader = gguf.GGUFReader(file)
    parts = []
    for number in range(n_parts):
        path = file.with_name(f"big-{number + 1:05}-of-{n_parts:05}.gguf")
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            for field in reader.fields.values():
                if not field.name.startswith(("GGUF.", "general.architecture")):
                    writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)  # fmt: skip
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", n_parts)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[number::n_parts]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts.append(path)
    return parts


def test_a_split_file_is_one_model(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", TINY, all_linears("Q8_0"))
    whole = ModelFolder.open(import_model(tmp_path / "a.gguf", name="whole"))
    parts = split(tmp_path / "a.gguf", 3)
    assert ModelFolder.open(import_model(parts[1], name="parts")).base_hash == whole.base_hash
    assert import_model(parts[0]).name == "big-q8f16_g32"
    kept = parts[2].read_bytes()
    parts[2].unlink()
    with pytest.raises(ModelMissing, match="00003-of-00003"):
        read_source(parts[0])
    shutil.copy(parts[1], parts[2])
    with pytest.raises(ModelInvalid, match="split"):
        read_source(parts[0])
    parts[2].write_bytes(kept)
    read_source(parts[0])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "a.gguf"
    write_gguf(path, TINY, all_linears("Q8_0"))
    return path.read_bytes()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_one_sentence_or_a_model(data: st.DataObject, small: bytes, tmp_path: Path) -> None:
    """In the header above all, and wherever else; nothing but our own faults comes out."""
    header = small.find(b"token_embd.weight") + 4096
    content = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(header, len(content) - 9)))
        new = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f" * 8]))
        )
        content[at : at + len(new)] = new
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    file = tmp_path / "hostile.gguf"
    file.write_bytes(content)
    try:
        source = read_source(file)
        for fused in fused_tensors(source.config):
            for _ in source.weights.blocks(fused):
                pass
    except RuntimeFault as fault:
        assert "\n" not in fault.message and len(fault.message) < 1000


@pytest.mark.parametrize(
    "bad", [b"", b"GGUF", b"GGML" + bytes(60), b"GGUF\x01\0\0\0" + bytes(60), b"GGUF\0\0\0\x03" + bytes(60)],
    ids=["empty", "magic alone", "another format", "version 1", "big-endian"],
)  # fmt: skip
def test_what_is_no_gguf_of_ours(bad: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(bad)
    with pytest.raises(ModelInvalid, match=r"a\.gguf"):
        read_source(tmp_path / "a.gguf")


ABSURD = """
import resource, sys
from pathlib import Path
from local_runtime.errors import ModelInvalid
from local_runtime.model.gguf.file import GgufFile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    GgufFile.open(Path(sys.argv[1]))
except ModelInvalid:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    "field",
    [
        b"GGUF\x03\0\0\0" + b"\xff" * 7 + b"\x0f" + bytes(8),  # tensors
        b"GGUF\x03\0\0\0" + bytes(8) + b"\xff" * 7 + b"\x0f",  # keys
        b"GGUF\x03\0\0\0" + bytes(8) + b"\x01" + bytes(7) + b"\xff" * 7 + b"\x0f",  # a key of 2^60 characters
        b"GGUF\x03\0\0\0" + bytes(8) + b"\x01" + bytes(7) + b"\x01" + bytes(7) + b"a" + b"\x09\0\0\0" + b"\x04\0\0\0" + b"\0\xca\x9a\x3b" + bytes(4),
    ],
    ids=["tensors", "keys", "string", "a billion entries"],
)  # fmt: skip
def test_absurd_counts_cost_no_memory(field: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(field + bytes(64))
    command = [sys.executable, "-P", "-c", ABSURD, str(tmp_path / "a.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 50_000  # kilobytes


def test_importing_takes_about_one_tensor_of_memory(tmp_path: Path) -> None:
    wide = DecoderConfig("qwen2", 1024, 4096, 6, 16, 16, 64, 2048, 512, tied_embeddings=True, qkv_bias=True)
    write_gguf(tmp_path / "a.gguf", wide, all_linears("Q8_0"))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from local_runtime.model.importing import import_model\n"
        "from local_runtime.model.quantization import QUANTIZATIONS\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); import_model(Path(sys.argv[1]), QUANTIZATIONS['q8f16_g32'], 'wide'); print(peak() - before)"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "a.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size_kb, largest_kb = (tmp_path / "a.gguf").stat().st_size >> 10, 2 * 4096 * 1024 * 4 >> 10
    assert size_kb > 2 * largest_kb
    assert int(done.stdout) < 4 * largest_kb
