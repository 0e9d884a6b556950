"""The random folders that everyone's tests stand on: real to `transformers` and `tokenizers`, and the same every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from folders import LLAMA, ODDITIES
from hypothesis import given
from hypothesis import strategies as st

from local_runtime.model.chat_config import tokenizer_info
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.synthetic import SENTINELS, byte_level_tokenizer, random_weight, write_folder


@pytest.mark.parametrize("spelling", [4, 5])
@pytest.mark.parametrize("config", ODDITIES.values(), ids=ODDITIES.keys())
def test_transformers_loads_every_weight(tmp_path: Path, config: DecoderConfig, spelling: int) -> None:
    folder = write_folder(tmp_path, config, transformers=spelling)
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not loading["missing_keys"] and not loading["unexpected_keys"] and not loading["mismatched_keys"]
    with torch.no_grad():
        logits = model(torch.arange(40)[None]).logits
    # Neither flat nor saturated: a wrong kernel would show.
    assert 0.5 < logits.std() < 8


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, again = write_folder(tmp_path / "a", LLAMA, seed=3), write_folder(tmp_path / "b", LLAMA, seed=3)
    other = write_folder(tmp_path / "c", LLAMA, seed=4)
    for file in first.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    assert (first / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_a_weight_does_not_depend_on_the_others() -> None:
    assert (random_weight("a", (4, 4), 0) == random_weight("a", (4, 4), 0)).all()
    assert (random_weight("a", (4, 4), 0) != random_weight("b", (4, 4), 0)).all()


TOKENIZER = byte_level_tokenizer(600)


@given(st.text())
def test_every_text_survives_the_tokenizer(text: str) -> None:
    ids = TOKENIZER.encode(text).ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_the_tokenizer_is_padded_and_has_the_sentinels() -> None:
    assert TOKENIZER.get_vocab_size() == 600
    assert [TOKENIZER.token_to_id(token) for token in SENTINELS] == list(range(6))
    assert TOKENIZER.encode("<fim_prefix>").ids == [1]
    assert len(TOKENIZER.encode("def read_path").ids) < 6
    assert all(TOKENIZER.decode([n], skip_special_tokens=False) for n in range(600))
    with pytest.raises(ValueError, match="at least 262"):
        byte_level_tokenizer(261)


@pytest.mark.parametrize(
    ("stages", "found"),
    [
        ({"decoder": {"type": "ByteLevel"}}, ("byte_level", False, False)),
        ({}, ("byte_fallback", False, False)),
        (
            {
                "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}]},
                "decoder": {
                    "type": "Sequence",
                    "decoders": [{"type": "ByteFallback"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
                },
            },
            ("byte_fallback", True, True),
        ),
    ],
)
def test_what_mlc_detects_of_a_tokenizer(stages: dict[str, object], found: tuple[str, bool, bool]) -> None:
    assert tuple(tokenizer_info(stages).values()) == found


@pytest.mark.e2e
def test_the_command_writes_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local_runtime.model.synthetic", str(tmp_path / "out"), "--shape", "tiny"]
    subprocess.run(command, check=True, capture_output=True)
    assert tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab_size() == 512
