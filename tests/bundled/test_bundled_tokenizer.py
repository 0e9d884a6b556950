"""The tokenizer: lossless, indentation in one token, sentinels out of reach, and the pre-tokeniser that llama.cpp calls qwen2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from local_runtime.fim import FimTokenizer
from trainer.pretrain.tokenizer import INDENTS, PATTERN, SENTINELS, load_tokenizer, train_tokenizer

SOURCE = Path(json.__file__).parent
VOCAB_SIZE = 700


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = [file.read_text() for file in sorted(SOURCE.glob("*.py"))]
    train_tokenizer(texts, VOCAB_SIZE).save(str(path))
    return load_tokenizer(path)


def test_sentinels_come_first_and_the_size_holds(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_to_id(sentinel) for sentinel in SENTINELS] == list(range(6))
    assert VOCAB_SIZE - len(INDENTS) <= tokenizer.get_vocab_size() <= VOCAB_SIZE


@pytest.mark.parametrize("indent", INDENTS, ids=lambda run: f"{len(run)}x{run[0]!r}")
def test_every_indentation_is_one_token(tokenizer: Tokenizer, indent: str) -> None:
    assert len(tokenizer.encode(indent).ids) == 1


def test_a_line_has_the_same_tokens_alone_and_in_a_file(tokenizer: Tokenizer) -> None:
    """Prompts put the cursor's line after the middle sentinel: it must look there as it looks in a file."""
    line = "        return decoder.decode(text)"
    inside = tokenizer.encode("def f(self):\n" + line).tokens
    assert inside[-len(tokenizer.encode(line).tokens) :] == tokenizer.encode(line).tokens


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("2048").tokens == ["2", "0", "4", "8"]


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_nothing_is_lost(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text or any(
        s in text for s in SENTINELS
    )


def test_fim_recognises_it_and_keeps_sentinels_out_of_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    fim = FimTokenizer.open(tmp_path)
    assert fim.family.name == "understudy"
    assert fim.stop_ids == frozenset(range(6))
    assert fim.stop_ids.isdisjoint(fim.encode("x = '<fim_middle>' + \"<|endoftext|>\""))


def test_the_pattern_is_the_one_in_the_file(tokenizer: Tokenizer) -> None:
    steps = json.loads(tokenizer.to_str())["pre_tokenizer"]["pretokenizers"]
    assert [step["type"] for step in steps] == ["Split", "ByteLevel"]
    assert steps[0]["pattern"] == {"Regex": PATTERN}
    assert steps[1]["use_regex"] is False
