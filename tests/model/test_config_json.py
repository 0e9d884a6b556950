"""Hugging Face's configurations, in both spellings, and those that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from folders import LLAMA, ODDITIES, QWEN2

from local_runtime.errors import ModelInvalid, ModelMissing
from local_runtime.model.chat_config import read_chat_config
from local_runtime.model.config_json import ConfigJson, decoder_config, family_of
from local_runtime.model.decoder_config import Activation, DecoderConfig, RopeScaling
from local_runtime.model.json_file import read_json
from local_runtime.model.synthetic import write_folder

DEEP = b'{"unknown": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def read(file: Path) -> DecoderConfig:
    found = read_json(file, ConfigJson)
    return decoder_config(found, family_of(found, file), file)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tiny", LLAMA)


@pytest.mark.parametrize("spelling", [4, 5])
@pytest.mark.parametrize("config", ODDITIES.values(), ids=ODDITIES.keys())
def test_both_spellings_give_the_decoder(tmp_path: Path, config: DecoderConfig, spelling: int) -> None:
    assert read(write_folder(tmp_path, config, transformers=spelling) / "config.json") == config


@pytest.mark.parametrize("config", ODDITIES.values(), ids=ODDITIES.keys())
def test_what_transformers_itself_writes_gives_the_decoder(tmp_path: Path, config: DecoderConfig) -> None:
    folder = write_folder(tmp_path / "ours", config, transformers=4)
    transformers.AutoConfig.from_pretrained(folder).save_pretrained(tmp_path / "theirs")
    written = json.loads((tmp_path / "theirs" / "config.json").read_text())
    # A configuration without a model has no architecture.
    written["architectures"] = json.loads((folder / "config.json").read_text())["architectures"]
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(written))
    assert read(tmp_path / "theirs" / "config.json") == config


def test_a_sliding_window_ends_the_context(tiny: Path) -> None:
    changed(tiny, architectures=["MistralForCausalLM"], sliding_window=256)
    assert read(tiny / "config.json").context_tokens == 256


@pytest.mark.parametrize(("switch", "context_tokens"), [(False, 256), (None, 256), (True, 64)])
def test_the_window_of_qwen2_has_a_switch(tmp_path: Path, switch: bool | None, context_tokens: int) -> None:
    folder = write_folder(tmp_path, QWEN2)
    changed(folder, sliding_window=64, use_sliding_window=switch)
    assert read(folder / "config.json").context_tokens == context_tokens


def test_yarn_computes_the_factor_of_attention_as_transformers_does(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ODDITIES["yarn"])
    content = json.loads((folder / "config.json").read_text())
    del content["rope_parameters"]["attention_factor"]
    (folder / "config.json").write_text(json.dumps(content))
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # noqa: PLC0415

    _, expected = ROPE_INIT_FUNCTIONS["yarn"](transformers.AutoConfig.from_pretrained(folder), None)
    assert read(folder / "config.json").rope_scaling.attention_factor == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"architectures": ["GPT2LMHeadModel"]},
            "architecture GPT2LMHeadModel is not known; known are LlamaForCausalLM",
        ),
        ({"architectures": None}, "architecture none is not known"),
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "architecture Qwen3MoeForCausalLM is a mixture of experts"),
        ({"architectures": ["Starcoder2ForCausalLM"], "hidden_act": "relu"}, "activation 'relu'; expected gelu or"),
        ({"architectures": ["GPTBigCodeForCausalLM"], "hidden_act": None, "multi_query": False}, "without multi-query"),
        ({"architectures": ["GPTBigCodeForCausalLM"], "hidden_act": None, "scale_attn_weights": False}, "scaling"),
        ({"hidden_act": "gelu"}, "activation 'gelu'; expected silu"),
        ({"num_key_value_heads": 3}, "4 heads are not a multiple of 3"),
        ({"head_dim": 15}, "head_dim 15; expected an even number"),
        ({"head_dim": None, "hidden_size": 130}, "4 heads do not divide 130"),
        ({"hidden_size": -1}, "hidden_size"),
        ({"hidden_size": "128"}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"vocab_size": 2**62}, "vocab_size"),
        ({"num_attention_heads": 2**21, "head_dim": 2**21}, "too many"),
        ({"max_position_embeddings": None}, "length of the context"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised already"),
        ({"partial_rotary_factor": 0.5}, "part of each head"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic' is not served; known are default"),
        ({"rope_parameters": {"rope_type": "linear"}}, "no factor"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor < high_freq_factor"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "truncate": False}}, "without truncation"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "full_attention"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_is_not_served_is_refused_with_a_sentence(tiny: Path, change: dict[str, Any], sentence: str) -> None:
    changed(tiny, **change)
    with pytest.raises(ModelInvalid, match=r"config\.json") as fault:
        read(tiny / "config.json")
    assert sentence in str(fault.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff\xfe", b"{", b'{"hidden_size": NaN}', b"[" * 100_000, DEEP],
    ids=lambda content: repr(content)[:30],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelInvalid, match=r"config\.json"):
        read(tmp_path / "config.json")


def test_the_configurations_of_mlcs_own_folders(tmp_path: Path) -> None:
    """As `mlc_llm gen_config` wrote them for TinyLlama 1.1B and for Qwen2 1.5B."""
    shared = {"num_attention_heads": 32, "rms_norm_eps": 1e-05, "vocab_size": 32000, "prefill_chunk_size": 2048}
    tiny_llama = shared | {
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "position_embedding_base": 10000.0,
        "context_window_size": 2048, "num_key_value_heads": 4, "head_dim": 64, "tensor_parallel_shards": 1, "max_batch_size": 80,
    }  # fmt: skip
    qwen2 = {
        "hidden_act": "silu", "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
        "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "vocab_size": 151936, "tie_word_embeddings": True, "context_window_size": 32768, "prefill_chunk_size": 2048,
        "tensor_parallel_shards": 1, "head_dim": 128, "dtype": "float32", "max_batch_size": 80,
    }  # fmt: skip
    found = []
    for model_type, model_config in (("llama", tiny_llama), ("qwen2", qwen2)):
        outer = {"version": "0.1.0", "model_type": model_type, "quantization": "q4f16_1", "model_config": model_config}
        (tmp_path / "mlc-chat-config.json").write_text(json.dumps(outer))
        found.append(read_chat_config(tmp_path)[1])
    assert found == [
        DecoderConfig("llama", 2048, 5632, 22, 32, 4, 64, 32000, 2048, norm_eps=1e-5),
        DecoderConfig(
            "qwen2", 1536, 8960, 28, 12, 2, 128, 151936, 32768, rope_theta=1e6, tied_embeddings=True, qkv_bias=True
        ),
    ]


BIGCODE = {"qkv_bias": True, "o_bias": True, "mlp_bias": True, "layer_norm": True, "tied_embeddings": True}
PUBLISHED = {
    "starcoder2-3b": (
        {
            "architectures": ["Starcoder2ForCausalLM"], "hidden_act": "gelu_pytorch_tanh", "hidden_size": 3072,
            "intermediate_size": 12288, "max_position_embeddings": 16384, "mlp_type": "default", "norm_epsilon": 1e-05,
            "norm_type": "layer_norm", "num_attention_heads": 24, "num_hidden_layers": 30, "num_key_value_heads": 2,
            "rope_theta": 999999.4420358813, "sliding_window": 4096, "use_bias": True, "vocab_size": 49152,
        },
        DecoderConfig(
            "starcoder2", 3072, 12288, 30, 24, 2, 128, 49152, 16384, norm_eps=1e-5, rope_theta=999999.4420358813,
            activation=Activation.GELU_TANH, sliding_window=4096, **BIGCODE,
        ),
    ),
    "starcoder": (
        {
            "activation_function": "gelu", "architectures": ["GPTBigCodeForCausalLM"], "attention_softmax_in_fp32": True,
            "layer_norm_epsilon": 1e-05, "multi_query": True, "n_embd": 6144, "n_head": 48, "n_inner": 24576, "n_layer": 40,
            "n_positions": 8192, "scale_attn_weights": True, "vocab_size": 49152,
        },
        DecoderConfig(
            "gpt_bigcode", 6144, 24576, 40, 48, 1, 128, 49152, 8192, norm_eps=1e-5, activation=Activation.GELU,
            learned_positions=8192, **BIGCODE,
        ),
    ),
    "granite-3.1-2b-base": (
        {
            "architectures": ["GraniteForCausalLM"], "attention_bias": False, "attention_multiplier": 0.015625,
            "embedding_multiplier": 12.0, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
            "logits_scaling": 8.0, "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 32,
            "num_hidden_layers": 40, "num_key_value_heads": 8, "residual_multiplier": 0.22, "rms_norm_eps": 1e-05,
            "rope_scaling": None, "rope_theta": 5000000.0, "tie_word_embeddings": True, "vocab_size": 49152,
        },
        DecoderConfig(
            "granite", 2048, 8192, 40, 32, 8, 64, 49152, 131072, norm_eps=1e-5, rope_theta=5e6, tied_embeddings=True,
            embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.015625, logits_divisor=8.0,
        ),
    ),
    "qwen3-0.6b": (
        {
            "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
            "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True,
            "use_sliding_window": False, "vocab_size": 151936,
        },
        DecoderConfig(
            "qwen3", 1024, 3072, 28, 16, 8, 128, 151936, 40960, rope_theta=1e6, tied_embeddings=True, qk_norm=True
        ),
    ),
    "deepseek-coder-1.3b": (
        {
            "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 5504,
            "max_position_embeddings": 16384, "num_attention_heads": 16, "num_hidden_layers": 24,
            "num_key_value_heads": 16, "rms_norm_eps": 1e-06, "rope_scaling": {"factor": 4.0, "type": "linear"},
            "rope_theta": 100000, "tie_word_embeddings": False, "vocab_size": 32256,
        },
        DecoderConfig(
            "llama", 2048, 5504, 24, 16, 16, 128, 32256, 16384, rope_theta=1e5, rope_scaling=RopeScaling("linear", 4.0)
        ),
    ),
    "codellama-7b": (
        {
            "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
            "max_position_embeddings": 16384, "num_attention_heads": 32, "num_hidden_layers": 32,
            "num_key_value_heads": 32, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 1000000,
            "tie_word_embeddings": False, "vocab_size": 32016,
        },
        DecoderConfig("llama", 4096, 11008, 32, 32, 32, 128, 32016, 16384, norm_eps=1e-5, rope_theta=1e6),
    ),
    "seed-coder-8b": (
        {
            "architectures": ["LlamaForCausalLM"], "attention_bias": False, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768, "mlp_bias": False,
            "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
            "rope_scaling": None, "rope_theta": 500000.0, "tie_word_embeddings": False, "vocab_size": 155136,
        },
        DecoderConfig("llama", 4096, 14336, 32, 32, 8, 128, 155136, 32768, rope_theta=5e5),
    ),
}  # fmt: skip
"""What the makers' own `config.json` say, without fields that nobody computes with, and the decoder behind it."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(tmp_path: Path, name: str) -> None:
    content, expected = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert read(tmp_path / "config.json") == expected


def test_a_huge_configuration_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelInvalid, match="at most 4,194,304 bytes"):
        read(tmp_path / "config.json")


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"config\.json is not there"):
        read(tmp_path / "config.json")


def changed(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | changes))
