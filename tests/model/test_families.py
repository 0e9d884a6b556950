"""What the families' tensors are called, by MLC and by PEFT, and which folders MLC's own tools can serve."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from folders import ODDITIES
from peft import LoraConfig, get_peft_model

from local_runtime.model.chat_config import read_chat_config, why_mlc_cannot_serve
from local_runtime.model.config_writing import huggingface_config
from local_runtime.model.importing import import_model
from local_runtime.model.layout import fused_tensors, peft_targets
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import write_folder

ALL_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NEW = ("qwen3", "granite", "starcoder2", "starcoder")
MLC_NAMES = {  # of one layer and of the model, as mlc_llm's `qwen3_model.py`, `starcoder2_model.py` and `gpt_bigcode_model.py` have them
    "qwen3": "self_attn.c_attn self_attn.q_norm self_attn.k_norm self_attn.o_proj mlp.gate_up_proj mlp.down_proj "
    "input_layernorm post_attention_layernorm model.embed_tokens model.norm",
    "starcoder2": "self_attn.wqkv_pack self_attn.o_proj mlp.c_fc mlp.c_proj input_layernorm post_attention_layernorm "
    "model.embed_tokens model.norm lm_head",
    "starcoder": "attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj ln_1 ln_2 transformer.wte transformer.wpe transformer.ln_f "
    "lm_head",
}


@pytest.mark.parametrize("name", MLC_NAMES)
def test_tensors_are_called_as_mlcs_definitions_call_them(name: str) -> None:
    modules = {tensor.name.rpartition(".")[0] for tensor in fused_tensors(ODDITIES[name])}
    assert {re.sub(r"^.*\.\d+\.", "", module) for module in modules} == set(MLC_NAMES[name].split())


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("quantization", ["q4f16_1", "q0f32"])
def test_an_imported_folder_stands_for_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, quantization: str
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    config = ODDITIES[name]
    source = write_folder(tmp_path / "source", config)
    model = ModelFolder.open(import_model(source, QUANTIZATIONS[quantization]))
    assert model.config == config
    decoder = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    for tensor, weight in decoder.named_parameters():
        stored, floats = model.dequantized(tensor), weight.detach().numpy()
        error = np.abs(stored - floats).max() / np.abs(floats).max()
        assert error < (0.08 if quantization == "q4f16_1" else 1e-7), tensor
    if name in ("starcoder2", "starcoder"):  # mlc_llm's definitions have a head of their own, tied or not
        ends = ("q_weight", "q_scale") if QUANTIZATIONS[quantization].grouped else ("weight",)
        table = {"starcoder2": "model.embed_tokens", "starcoder": "transformer.wte"}[name]
        for end in ends:
            np.testing.assert_array_equal(model.tensor(f"lm_head.{end}"), model.tensor(f"{table}.{end}"))


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("targets", [ALL_LINEARS, ("gate_proj", "up_proj", "down_proj"), ("q_proj", "o_proj")])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT's own use of transformers
def test_peft_finds_exactly_the_linears_that_are_meant(name: str, targets: tuple[str, ...]) -> None:
    config = ODDITIES[name]
    decoder = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**huggingface_config(config, "float32"))
    )
    adapted = get_peft_model(decoder, LoraConfig(r=2, target_modules=list(peft_targets(config.family, targets))))
    found = {
        n.split(".lora_")[0].removeprefix("base_model.model.") for n, _ in adapted.named_parameters() if "lora_" in n
    }
    linears = {p.name.removesuffix(".weight") for t in fused_tensors(config) if t.takes_adapter for p in t.parts}
    assert found <= linears
    if targets == ALL_LINEARS:
        assert found == linears
    else:
        in_mlp = "gate_proj" in targets
        assert found == {m for m in linears if (".mlp." in m) == in_mlp and not m.endswith(("k_proj", "v_proj"))}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("qwen3", None),
        ("starcoder", None),
        ("starcoder2", "a sliding window of 256 tokens"),
        ("granite", "it has no definition of Granite"),
    ],
)
def test_which_folders_mlc_can_serve(name: str, reason: str | None) -> None:
    assert why_mlc_cannot_serve(ODDITIES[name], QUANTIZATIONS["q4f16_1"]) == ([reason] if reason else [])


def test_the_configurations_of_mlcs_own_folders(tmp_path: Path) -> None:
    """As `mlc_llm gen_config` writes them: its own fields alone, no word about ties and windows."""
    run = {"context_window_size": 1024, "prefill_chunk_size": 1024, "tensor_parallel_shards": 1, "max_batch_size": 128}
    starcoder = {
        "n_embd": 128, "n_inner": 512, "n_head": 4, "n_layer": 2, "n_positions": 1024, "layer_norm_epsilon": 1e-05,
        "vocab_size": 512, "activation_function": "gelu",
    }  # fmt: skip
    starcoder2 = {
        "vocab_size": 512, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "hidden_act": "gelu_pytorch_tanh", "norm_epsilon": 1e-05, "intermediate_size": 512,
        "rope_theta": 100000, "use_bias": True, "use_cache": True, "bos_token_id": 0, "eos_token_id": 0, "head_dim": 32,
    }  # fmt: skip
    full = replace(ODDITIES["starcoder2"], sliding_window=0)  # which is what mlc_llm computes
    for model_type, shape, expected in (
        ("gpt_bigcode", starcoder, ODDITIES["starcoder"]),
        ("starcoder2", starcoder2, full),
    ):
        outer = {"model_type": model_type, "quantization": "q4f16_1", "model_config": shape | run}
        (tmp_path / "mlc-chat-config.json").write_text(json.dumps(outer))
        assert read_chat_config(tmp_path)[1] == expected
