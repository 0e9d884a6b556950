"""`understudy model …` as its user meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from folders import LLAMA, imported

from local_runtime.cli.command import understudy
from local_runtime.errors import BadRequest, ModelMissing
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.synthetic import write_folder
from local_runtime.places import places


def run(*words: str, answer: str = "") -> Result:
    result = CliRunner().invoke(understudy, ["model", *words], input=answer, env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "coder", LLAMA, dtype="bfloat16")


def test_import_list_info_remove(source: Path) -> None:
    assert "no models yet" in run("list").output
    assert "imported coder-q8f16_g32" in run("import", str(source)).output
    run("import", str(source), "--quantization", "q4f16_1", "--name", "small")
    listed = run("list").output
    assert "coder-q8f16_g32" in listed and "small" in listed and "q4f16_1" in listed
    ours, theirs = run("info", "coder-q8f16_g32").output, run("info", "small").output
    assert "cannot serve it: quantization q8f16_g32 is ours alone" in ours
    assert "can serve this folder" in theirs
    assert ModelFolder.open(registry.find("small")).base_hash in ours and "coder" in ours
    # 8 bits and a scale of 2 bytes for 32 weights; 2 x 2 layers x 2 heads x 32 x 1024 tokens x 2 bytes.
    assert "436.5 kB" in ours and "524.3 kB of keys and values for 1,024 tokens" in ours
    assert "removed small" in run("remove", "small", answer="y\n").output
    assert registry.names() == ["coder-q8f16_g32"]


def test_a_model_that_cannot_fill_in_the_middle_is_told_apart_at_once(source: Path) -> None:
    said = run("import", str(source))
    assert "cannot complete" not in said.output
    assert re.search(r"layout +understudy", run("info", "coder-q8f16_g32").output)
    tokenizer = source / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("<fim_middle>", "<something>"))
    said = run("import", str(source), "--name", "other")
    assert said.exit_code == 0 and "imported other" in said.output
    assert "cannot complete in an editor" in said.output and "no family that can fill in the middle" in said.output
    assert "no family" in run("info", "other").output


def test_remove_asks(source: Path) -> None:
    run("import", str(source))
    assert run("remove", "coder-q8f16_g32", answer="n\n").exit_code == 1
    assert registry.names() == ["coder-q8f16_g32"]


def test_info_reads_a_folder_by_its_path(tmp_path: Path) -> None:
    assert "4 heads of 32, 2 for keys and values" in run("info", str(imported(tmp_path / "hf"))).output


def test_a_damaged_model_does_not_hide_the_others(source: Path) -> None:
    run("import", str(source), "--name", "good")
    run("import", str(source), "--name", "bad")
    (registry.find("bad") / "params_shard_0.bin").write_bytes(b"")
    listed = run("list").output
    assert "good" in listed and "q8f16_g32" in listed and "unusable" in listed
    run("remove", "bad", "--yes")
    assert registry.names() == ["good"]


def test_what_is_not_there_names_what_is(source: Path) -> None:
    run("import", str(source), "--name", "one")
    with pytest.raises(ModelMissing, match=r"no model two: .* known are one"):
        run("info", "two")
    with pytest.raises(BadRequest, match="is no name"):
        run("info", "..")


def test_a_folder_has_what_mlc_reads(source: Path) -> None:
    """The fields of `MLCChatConfig`, `LlamaConfig` and `TokenizerInfo` in mlc_llm."""
    run("import", str(source), "-q", "q4f16_1", "--name", "m")
    folder = registry.find("m")
    written = json.loads((folder / "mlc-chat-config.json").read_text())
    assert written.keys() >= {
        "version", "model_type", "quantization", "model_config", "vocab_size", "context_window_size", "sliding_window_size",
        "prefill_chunk_size", "attention_sink_size", "tensor_parallel_shards", "pipeline_parallel_stages", "active_vocab_size",
        "temperature", "presence_penalty", "frequency_penalty", "repetition_penalty", "top_p", "tokenizer_files",
        "tokenizer_info", "conv_template", "pad_token_id", "bos_token_id", "eos_token_id",
    }  # fmt: skip
    assert written["model_config"].keys() >= {
        "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "rms_norm_eps", "vocab_size",
        "tie_word_embeddings", "position_embedding_base", "rope_scaling", "context_window_size", "prefill_chunk_size",
        "num_key_value_heads", "head_dim", "tensor_parallel_shards", "pipeline_parallel_stages", "max_batch_size",
    }  # fmt: skip
    assert written["tokenizer_info"] == {
        "token_postproc_method": "byte_level", "prepend_space_in_encode": False, "strip_space_in_decode": False,
    }  # fmt: skip
    assert written["tokenizer_files"] == ["tokenizer.json", "tokenizer_config.json"]
    assert all((folder / name).read_bytes() == (source / name).read_bytes() for name in written["tokenizer_files"])
    assert written["conv_template"].keys() >= {"roles", "role_templates", "seps"} and written["eos_token_id"] == [0]
    assert written["active_vocab_size"] == 512


def test_a_second_model_of_the_same_shape_reuses_the_library(source: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", LLAMA, seed=1)
    for folder in (source, other):
        run("import", str(folder), "--name", folder.name)
    first, second = run("compile", "coder").output.split(": ")[1], run("compile", "other", "--target", "cpu").output
    assert Path(first.strip()).is_file() and first in second
    assert len(list(places().libraries.glob("*/model.so"))) == 1
