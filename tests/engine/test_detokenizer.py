"""Bytes of tokens, incremental text, stop strings, healing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from local_runtime.engines.detokenizer import Detokenizer
from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.errors import ModelInvalid, ModelMissing

CORPUS = ["def add(a, b):\n    return a + b\n", "naïve café — 你好 🙂 end", "for i in range(10):\n\tprint(i)"] * 3


def byte_level(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken("<|fim|>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def sentencepiece(folder: Path) -> Tokenizer:
    vocab = (
        {"<unk>": 0}
        | {f"<0x{b:02X}>": b + 1 for b in range(256)}
        | {c: 257 + n for n, c in enumerate("▁abcdefghijklmnopqrstuvwxyz")}
    )
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
@pytest.mark.parametrize("text", [*CORPUS[:3], "\x00\x7f\u200b ünï", "   leading"])
def test_bytes_of_tokens_make_the_text(make: object, text: str, tmp_path: Path) -> None:
    tokenizer = make(tmp_path)  # type: ignore[operator]
    vocabulary = Vocabulary.read(tmp_path, tokenizer.get_vocab_size())
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(vocabulary.token_bytes[i] for i in ids).decode() == text
    detokenizer = Detokenizer(vocabulary)
    pieces = [detokenizer.push(i) for i in ids] + [detokenizer.finish()]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


def test_special_tokens_are_no_text(tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path)
    vocabulary = Vocabulary.read(tmp_path, tokenizer.get_vocab_size() + 5)
    assert vocabulary.token_bytes[tokenizer.token_to_id("<|fim|>")] == b""
    assert vocabulary.token_bytes[-5:] == (b"",) * 5


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    size = byte_level(tmp_path).get_vocab_size()
    with pytest.raises(ModelInvalid, match=f"token id {size - 1}"):
        Vocabulary.read(tmp_path, size - 1)
    with pytest.raises(ModelMissing):
        Vocabulary.read(tmp_path / "none", 10)
    for bad in (
        "",
        "[]",
        "{}",
        '{"model": 3}',
        json.dumps({"model": {"vocab": {"a": "b"}}}),
        json.dumps({"model": {"vocab": [3]}}),
    ):
        (tmp_path / "tokenizer.json").write_text(bad)
        with pytest.raises(ModelInvalid):
            Vocabulary.read(tmp_path, 10)


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=5), max_size=3), st.integers(0, 5))
def test_text_is_cut_at_the_first_stop(text: str, stops: list[str], healed: int) -> None:
    vocabulary = Vocabulary.of_bytes()
    detokenizer = Detokenizer(vocabulary, tuple(stops), text[:healed])
    shown = ""
    rest = text[healed:]
    ends = [rest.find(s) + len(s) for s in stops if s in rest]
    expected = min(
        (rest[: rest.find(s)] for s in stops if s in rest and rest.find(s) + len(s) == min(ends)), key=len, default=rest
    )
    for byte in text.encode():
        shown += detokenizer.push(byte)
        assert expected.startswith(shown)
    shown += detokenizer.finish()
    assert shown == expected
    assert detokenizer.stopped == bool(ends)


def test_an_unfinished_character_is_dropped() -> None:
    detokenizer = Detokenizer(Vocabulary.of_bytes())
    assert [detokenizer.push(b) for b in "é".encode()] == ["", "é"]
    assert detokenizer.push("€".encode()[0]) + detokenizer.finish() == ""


@given(st.binary(min_size=1, max_size=3), st.lists(st.binary(max_size=4), max_size=30))
def test_compatible_tokens(wanted: bytes, tokens: list[bytes]) -> None:
    found = Vocabulary(tokens).compatible(wanted)
    expected = [i for i, t in enumerate(tokens) if t and (t.startswith(wanted) or wanted.startswith(t))]
    assert list(found) == expected
