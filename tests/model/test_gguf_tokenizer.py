"""The tokenizer of a GGUF file: the ids that its vocabulary means, nothing guessed, nothing hostile let in."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from local_runtime.errors import ModelInvalid
from local_runtime.model.gguf.pre_tokenizers import PRE_TOKENIZERS
from local_runtime.model.gguf.tokenizer import special_ids, tokenizer_json

WHERE = Path("a.gguf")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BYTES = sorted(ByteLevel.alphabet())
Metadata = dict[str, Any]


def byte_level(words: tuple[str, ...] = (), pre: str = "qwen2", extra: tuple[tuple[str, int], ...] = ()) -> Metadata:
    """A byte-level vocabulary in which the words come together, letter by letter; `extra`: further tokens with their types."""
    tokens, merges = list(BYTES), []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in tokens:
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    extra = (("<end>", CONTROL), *extra)
    types = [NORMAL] * len(tokens) + [kind for _, kind in extra]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*tokens, *(token for token, _ in extra)],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens),
    }


def sentence_piece() -> Metadata:
    pieces = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    pieces += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    pieces += [("▁a", -1.0, NORMAL), ("ab", -2.0, NORMAL), ("▁ab", -3.0, NORMAL)]
    pieces += [(letter, -10.0, NORMAL) for letter in "▁ab"]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [piece for piece, _, _ in pieces],
        "tokenizer.ggml.scores": [score for _, score, _ in pieces],
        "tokenizer.ggml.token_type": [kind for _, _, kind in pieces],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def opened(metadata: Metadata) -> tokenizers.Tokenizer:
    found = tokenizers.Tokenizer.from_buffer(msgspec.json.encode(tokenizer_json(metadata, WHERE)))
    found.encode_special_tokens = True
    return found


def tokens_of(metadata: Metadata, text: str) -> list[str]:
    return opened(metadata).encode(text, add_special_tokens=False).tokens


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("qwen2", "x1 = 234\n\n", ["x", "1", "Ġ=", "Ġ", "2", "3", "4", "ĊĊ"]),
        ("llama-bpe", "x1 = 2345", ["x", "1", "Ġ=", "Ġ", "234", "5"]),
        ("gpt-2", "x1 = 2345\n\n", ["x", "1", "Ġ=", "Ġ2345", "ĊĊ"]),
        ("starcoder", "x = 234", ["x", "Ġ=", "Ġ", "2", "3", "4"]),
        ("deepseek-coder", "\tab\n\n", ["ĉab", "Ċ", "Ċ"]),
        ("seed-coder", "a);\n", ["a", ");", "Ċ"]),
        ("qwen2", "a);\n", ["a", ");Ċ"]),
        ("tekken", "getValue", ["get", "Value"]),
    ],
)
def test_each_way_to_cut_text(pre: str, text: str, pieces: list[str]) -> None:
    assert tokens_of(byte_level(tuple(pieces), pre), text) == pieces


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",))))
def test_every_text_comes_back(pre: str, text: str) -> None:
    tokenizer = opened(byte_level(("the", "Ġthe"), pre))
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_a_word_that_is_a_token_needs_no_merges_where_its_makers_say_so() -> None:
    words = byte_level(extra=(("hello", NORMAL),))
    assert tokens_of(words, "hello") == list("hello")
    assert tokens_of(words | {"tokenizer.ggml.pre": "llama-bpe"}, "hello") == ["hello"]


def test_text_never_becomes_a_control_token() -> None:
    sentinels = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>", "<|endoftext|>")
    # A file that calls its family's sentinels normal tokens, and one more that a key names.
    metadata = byte_level(extra=(*((one, NORMAL) for one in sentinels), ("[END]", NORMAL), ("<mine>", USER)))
    metadata["tokenizer.ggml.eot_token_id"] = metadata["tokenizer.ggml.tokens"].index("[END]")
    added = {one["content"]: one["special"] for one in tokenizer_json(metadata, WHERE)["added_tokens"]}
    assert added.pop("<mine>") is False
    assert added.pop("<end>")
    assert added == dict.fromkeys((*sentinels, "[END]"), True)
    tokenizer = opened(metadata)
    ids = tokenizer.encode("<|fim_prefix|>[END]<mine>", add_special_tokens=False).ids
    assert [tokenizer.id_to_token(i) for i in ids[-1:]] == ["<mine>"]
    assert not {tokenizer.token_to_id(one) for one in (*sentinels, "[END]")} & set(ids)


def test_another_familys_sentinel_is_text() -> None:
    found = tokenizer_json(byte_level(("<s>",)), WHERE)
    assert "<s>" in found["model"]["vocab"]
    assert [one["content"] for one in found["added_tokens"]] == ["<end>"]


def test_ids_are_the_files_own_wherever_control_tokens_and_gaps_lie() -> None:
    metadata = byte_level(extra=(("[PAD]", UNUSED), ("<a>", CONTROL), ("late", NORMAL), ("<b>", USER)))
    for made in (metadata, sentence_piece()):
        tokenizer = opened(made)
        tokens, types = made["tokenizer.ggml.tokens"], made["tokenizer.ggml.token_type"]
        used = {token: i for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind != UNUSED}
        assert tokenizer.get_vocab(with_added_tokens=True) == used


def test_unused_tokens_are_none() -> None:
    vocab = tokenizer_json(byte_level(extra=(("[PAD1]", UNUSED),)), WHERE)["model"]["vocab"]
    assert "[PAD1]" not in vocab and len(vocab) == 257


def test_sentence_piece_joins_the_best_first() -> None:
    assert tokens_of(sentence_piece(), "ab b") == ["▁ab", "▁", "b"]
    assert tokens_of(sentence_piece(), "é") == ["▁", "<0xC3>", "<0xA9>"]
    assert tokens_of(sentence_piece() | {"tokenizer.ggml.add_space_prefix": False}, "ab") == ["ab"]
    tokenizer = opened(sentence_piece())
    assert tokenizer.decode(tokenizer.encode("a é  b\n", add_special_tokens=False).ids) == "a é  b\n"


def test_where_a_text_begins_and_ends() -> None:
    found = special_ids(sentence_piece() | {"tokenizer.ggml.eot_token_id": 7}, WHERE)
    assert (found.bos_ids, found.eos_ids) == ((1,), (2, 7))
    assert special_ids(byte_level() | {"tokenizer.ggml.eot_token_id": 256}, WHERE).eos_ids == (256,)


def _put(name: str, value: object) -> Callable[[Metadata], None]:
    return lambda metadata: metadata.update({f"tokenizer.ggml.{name}": value})


def _drop(name: str) -> Callable[[Metadata], None]:
    return lambda metadata: metadata.pop(f"tokenizer.ggml.{name}")


@pytest.mark.parametrize(
    ("make", "spoil", "said"),
    [
        (byte_level, _put("model", "bert"), "tokenizer.ggml.model is 'bert'"),
        (byte_level, _drop("model"), "tokenizer.ggml.model is missing"),
        (byte_level, _put("pre", "newest"), "tokenizer.ggml.pre is 'newest'"),
        (byte_level, _drop("pre"), "tokenizer.ggml.pre is missing"),
        (byte_level, _put("pre", 3), "tokenizer.ggml.pre is no text but int"),
        (byte_level, _drop("merges"), "tokenizer.ggml.merges is missing"),
        (byte_level, _put("merges", ["a b"]), "does not join two tokens"),
        (byte_level, _put("merges", ["ab"]), "has 'ab', which does not join"),
        (byte_level, _put("merges", [1]), "tokenizer.ggml.merges is a list of int"),
        (byte_level, _put("tokens", []), "tokenizer.ggml.tokens is empty"),
        (byte_level, _put("tokens", [*BYTES, BYTES[0]]), "twice"),
        (byte_level, _put("tokens", ["x" * 5000]), "more than 4096 characters"),
        (byte_level, _put("token_type", [1]), "has 1 entries for 257 tokens"),
        (byte_level, _put("eos_token_id", 257), "tokenizer.ggml.eos_token_id is 257"),
        (byte_level, _put("fim_pre_token_id", "x"), "tokenizer.ggml.fim_pre_token_id is x"),
        (sentence_piece, _drop("scores"), "tokenizer.ggml.scores is missing"),
        (sentence_piece, _put("scores", [1.0]), "tokenizer.ggml.scores has 1 entries"),
        (sentence_piece, _put("scores", [math.nan] * 265), "not finite"),
        (sentence_piece, _put("add_space_prefix", "yes"), "tokenizer.ggml.add_space_prefix"),
    ],
)
def test_what_does_not_add_up_is_refused_by_name(
    make: Callable[[], Metadata], spoil: Callable[[Metadata], None], said: str
) -> None:
    metadata = make()
    spoil(metadata)
    with pytest.raises(ModelInvalid) as fault:
        tokenizer_json(metadata, WHERE)
        special_ids(metadata, WHERE)
    assert str(WHERE) in fault.value.message and said in fault.value.message
