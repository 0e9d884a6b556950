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
from local_runtime.model import tokenizer_file
from local_runtime.model.gguf import tokenizer as gguf_tokenizer
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


TEXT = "x12345 = a.b\n\n\tif don't:  getValue();\n"
WAYS = {
    "gpt-2": "x 12345 Ġ= Ġa . b ĊĊ ĉ if Ġdon 't : Ġ ĠgetValue (); Ċ",
    "starcoder": "x 1 2 3 4 5 Ġ= Ġa . b ĊĊ ĉ if Ġdon 't : Ġ ĠgetValue (); Ċ",
    "qwen2": "x 1 2 3 4 5 Ġ= Ġa .b ĊĊ ĉif Ġdon 't : Ġ ĠgetValue ();Ċ",
    "llama-bpe": "x 123 45 Ġ= Ġa .b ĊĊ ĉif Ġdon 't : Ġ ĠgetValue ();Ċ",
    "dbrx": "x 123 45 Ġ= Ġa .b ĊĊ ĉif Ġdon 't : Ġ ĠgetValue ();Ċ",
    "tekken": "x 1 2 3 4 5 Ġ= Ġa .b ĊĊ ĉif Ġdon 't : Ġ Ġget Value ();Ċ",
    "gpt-4o": "x 123 45 Ġ= Ġa .b ĊĊ ĉif Ġdon't : Ġ Ġget Value ();Ċ",
    "deepseek-coder": "x 1 2 3 4 5 Ġ= Ġa . b Ċ Ċ ĉif Ġdon ' t : Ġ ĠgetValue (); Ċ",
    "deepseek-llm": "x 12345 Ġ= Ġa . b Ċ Ċ ĉif Ġdon ' t : Ġ ĠgetValue (); Ċ",
    "seed-coder": "x 1 2 3 4 5 Ġ= Ġa .b ĊĊ ĉif Ġdon 't : Ġ ĠgetValue (); Ċ",
}
"""Where each way cuts `TEXT`, found by hand from its rules."""
SAME = {
    "gpt-2": ("mellum", "phi-2", "a.x-4.0", "granite-docling", "trillion"),
    "starcoder": ("refact", "smollm", "command-r", "codeshell", "mellum2", "minerva-7b"),
    "qwen2": ("deepseek-r1-qwen", "stablelm2", "kormo", "megrez"),
    "llama-bpe": ("llama3", "llama-v3", "falcon3", "midm-2.0", "pixtral"),
    "dbrx": ("smaug-bpe",),
}


def all_of(text: str, pre: str) -> Metadata:
    """A vocabulary in which every part of `text` is a token and every two join: tokens then show where text was cut, nothing else."""
    written = "".join(piece for piece, _ in ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))
    parts = {written[a:b] for a in range(len(written)) for b in range(a + 2, len(written) + 1)}
    made = byte_level(pre=pre)
    made["tokenizer.ggml.tokens"] += sorted(parts)
    made["tokenizer.ggml.token_type"] += [NORMAL] * len(parts)
    made["tokenizer.ggml.merges"] = [f"{one[:at]} {one[at:]}" for one in sorted(parts) for at in range(1, len(one))]
    return made


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_each_way_to_cut_text(pre: str) -> None:
    way = next((way for way, names in SAME.items() if pre in names), pre)
    assert tokens_of(all_of(TEXT, pre), TEXT) == WAYS[way].split()


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("qwen2", "IT'S a\r\n\r\n b", ["IT", "'S", " a", "\r\n\r\n", " b"]),
        ("gpt-2", "IT'S a\r\n\r\n b", ["IT", "'", "S", " a", "\r\n\r\n", " b"]),
        ("qwen2", "\u3000值１２\xa0é", ["\u3000值", "１", "２", "\xa0é"]),
        ("qwen2", "ab你好c", ["ab你好c"]),
        ("deepseek-coder", "ab你好c", ["ab", "你好", "c"]),
        ("deepseek-llm", "ab你好c", ["ab", "你好", "c"]),
        ("gpt-4o", "HTTPServer2000a", ["HTTPServer", "200", "0", "a"]),
        ("tekken", "HTTPServer20", ["HTTPServer", "2", "0"]),
    ],
)
def test_cases_line_ends_and_other_scripts(pre: str, text: str, pieces: list[str]) -> None:
    tokenizer = opened(all_of(text, pre))
    assert [text[a:b] for a, b in tokenizer.encode(text, add_special_tokens=False).offsets] == pieces


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",))))
def test_every_text_comes_back(pre: str, text: str) -> None:
    tokenizer = opened(byte_level(("the", "Ġthe"), pre))
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_every_character_of_every_byte_comes_back() -> None:
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x11000), 0x40000, 0x80000, 0xC0000, 0x10FFFF)))
    tokenizer = opened(byte_level())
    found = tokenizer.encode(text, add_special_tokens=False)
    assert len(set(found.tokens)) == len(set(text.encode())) == 256 - len((0xC0, 0xC1, *range(0xF5, 0x100)))
    assert tokenizer.decode(found.ids) == text


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


def test_deepseeks_sentinels_are_control_tokens_though_its_files_call_them_words() -> None:
    sentinels = ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")
    ends = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
    metadata = byte_level(
        (), "deepseek-coder", (*((one, CONTROL) for one in ends), *((one, USER) for one in sentinels))
    )
    added = {one["content"]: one["special"] for one in tokenizer_json(metadata, WHERE)["added_tokens"]}
    assert added == dict.fromkeys(("<end>", *ends, *sentinels), True)
    ids = opened(metadata).encode("".join(sentinels), add_special_tokens=False).ids
    assert max(ids) < len(BYTES)


def test_the_end_of_a_turn_is_a_control_token_unless_it_was_learnt_as_text() -> None:
    user_defined = byte_level(extra=(("</s>", USER), ("<|eot_id|>", NORMAL)))
    tokens = user_defined["tokenizer.ggml.tokens"]
    assert opened(user_defined).encode("</s>", add_special_tokens=False).tokens == list("</s>")
    eos, *others = special_ids(user_defined, WHERE).eos_ids
    assert tokens[eos] == "<end>" and {tokens[i] for i in others} == {"</s>", "<|eot_id|>"}
    learnt = byte_level(("</s>",))
    assert [one["content"] for one in tokenizer_json(learnt, WHERE)["added_tokens"]] == ["<end>"]
    assert [learnt["tokenizer.ggml.tokens"][i] for i in special_ids(learnt, WHERE).eos_ids] == ["<end>"]


def test_a_key_cannot_make_an_end_of_plain_text() -> None:
    metadata = byte_level(("the",))
    word = metadata["tokenizer.ggml.tokens"].index("the")
    assert tokens_of(metadata | {"tokenizer.ggml.padding_token_id": word}, "the") == ["the"]
    for name in ("eos_token_id", "fim_mid_token_id"):
        with pytest.raises(ModelInvalid, match=f"tokenizer.ggml.{name} is {word}, which is the plain text 'the'"):
            special_ids(metadata | {f"tokenizer.ggml.{name}": word}, WHERE)
    with pytest.raises(ModelInvalid, match="eos_token_id is 0, which is the plain text '!'"):
        special_ids(metadata | {"tokenizer.ggml.eos_token_id": 0}, WHERE)
    pieces = sentence_piece()
    ab = pieces["tokenizer.ggml.tokens"].index("ab")
    with pytest.raises(ModelInvalid, match="plain text 'ab'"):
        tokenizer_json(pieces | {"tokenizer.ggml.eot_token_id": ab}, WHERE)


def test_merges_never_make_a_control_token() -> None:
    metadata = byte_level(("ended",))
    metadata["tokenizer.ggml.token_type"][metadata["tokenizer.ggml.tokens"].index("end")] = CONTROL
    assert tokens_of(metadata, "ended") == ["en", "d", "e", "d"]
    sentinels = ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")
    pieces = sentence_piece()
    parts = [sentinel[:end] for sentinel in sentinels for end in range(2, len(sentinel) + 1)]
    parts = list(dict.fromkeys((*"<PRESUFMIDOT>", *parts)))
    pieces["tokenizer.ggml.tokens"] += parts
    pieces["tokenizer.ggml.scores"] += [-20.0] * len(parts)
    pieces["tokenizer.ggml.token_type"] += [NORMAL] * len(parts)
    assert tokens_of(pieces, "<PRE> <MI") == ["▁<PRE", ">", "▁<MI"]
    assert {one["content"] for one in tokenizer_json(pieces, WHERE)["added_tokens"]} == {
        "<unk>",
        "<s>",
        "</s>",
        *sentinels,
    }
    assert tokens_of(pieces, "<unk>")[-1] == ">"


def test_what_ends_is_what_the_file_names_then_what_its_family_ends_with() -> None:
    spelled = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>", "<|endoftext|>")
    qwen = byte_level(extra=(*((one, CONTROL) for one in (*spelled, "<|fim_pad|>", "<|im_end|>")), ("<x>", CONTROL)))
    tokens = qwen["tokenizer.ggml.tokens"]
    qwen["tokenizer.ggml.eos_token_id"] = tokens.index("<|im_end|>")
    qwen["tokenizer.ggml.fim_sep_token_id"] = tokens.index("<x>")
    ends = [tokens[i] for i in special_ids(qwen, WHERE).eos_ids]
    assert ends[:2] == ["<|im_end|>", "<|endoftext|>"] and ends[-1] == "<x>"
    assert set(ends) == {*spelled, "<|fim_pad|>", "<|im_end|>", "<x>"}


def test_unused_tokens_are_none() -> None:
    vocab = tokenizer_json(byte_level(extra=(("[PAD1]", UNUSED),)), WHERE)["model"]["vocab"]
    assert "[PAD1]" not in vocab and len(vocab) == 257


def test_sentence_piece_joins_the_best_first() -> None:
    assert tokens_of(sentence_piece(), "ab b") == ["▁ab", "▁", "b"]
    pieces = sentence_piece()
    for name, value in (("tokens", "ba"), ("scores", -1.5), ("token_type", NORMAL)):
        pieces[f"tokenizer.ggml.{name}"].append(value)
    assert tokens_of(pieces, "aba bab") == ["▁a", "ba", "▁", "ba", "b"]
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
        (byte_level, _put("tokens", ["a"] * (1 << 20)), "tokenizer.ggml.tokens has 1,048,576 entries"),
        (byte_level, _put("merges", ["a b"] * (1 << 22)), "tokenizer.ggml.merges has 4,194,304 entries"),
        (byte_level, _put("tokens", [chr(0x4E00 + i) for i in range(257)]), "cannot write plain text"),
        (byte_level, _put("token_type", [9] * 257), "tokenizer.ggml.token_type has 9"),
        (byte_level, _put("eos_token_id", True), "tokenizer.ggml.eos_token_id is True"),
        (byte_level, _put("padding_token_id", -1), "tokenizer.ggml.padding_token_id is -1"),
        (byte_level, _put("tokens", [*BYTES, BYTES[0]]), "twice"),
        (byte_level, _put("tokens", ["x" * 5000]), "more than 4096 characters"),
        (byte_level, _put("token_type", [1]), "has 1 entries for 257 tokens"),
        (byte_level, _put("eos_token_id", 257), "tokenizer.ggml.eos_token_id is 257"),
        (byte_level, _put("fim_pre_token_id", "x"), "tokenizer.ggml.fim_pre_token_id is x"),
        (sentence_piece, _drop("scores"), "tokenizer.ggml.scores is missing"),
        (sentence_piece, _put("scores", [1.0]), "tokenizer.ggml.scores has 1 entries"),
        (sentence_piece, _put("scores", [math.nan] * 265), "not finite"),
        (sentence_piece, _put("add_space_prefix", "yes"), "tokenizer.ggml.add_space_prefix"),
        (
            sentence_piece,
            lambda its: its["tokenizer.ggml.tokens"].__setitem__(-1, "b" * 300),
            "more than 256 characters",
        ),
        (sentence_piece, _put("token_type", [UNUSED] * 265), "neither a token for every byte"),
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


def test_pieces_that_come_together_in_too_many_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_tokenizer, "MAX_MERGES", 1)
    with pytest.raises(
        ModelInvalid, match=r"tokenizer\.ggml\.tokens has pieces that come together in more than 1 ways"
    ):
        tokenizer_json(sentence_piece(), WHERE)
    monkeypatch.setattr(gguf_tokenizer, "MAX_PIECES_CHARS", 5)
    with pytest.raises(ModelInvalid, match=r"tokenizer\.ggml\.tokens has pieces of more than 5 characters together"):
        tokenizer_json(sentence_piece(), WHERE)


_NAMES = (
    "model",
    "pre",
    "tokens",
    "token_type",
    "merges",
    "scores",
    "eos_token_id",
    "bos_token_id",
    "add_space_prefix",
)
_SMALL = st.sampled_from(
    ("", " ", "a", "ab", "a b", " a", "a ", "<unk>", "<0x41>", "</s>", "▁", "\0", "é", "Ġ", "llama")
)
_VALUES = st.one_of(
    _SMALL,
    st.integers(-2, 1 << 64),
    st.floats(),
    st.booleans(),
    st.lists(_SMALL, max_size=8),
    st.lists(st.integers(-1, 9), max_size=300),
    st.lists(st.floats(), max_size=8),
)


@settings(max_examples=400, deadline=None)
@given(
    make=st.sampled_from((byte_level, sentence_piece)),
    spoilt=st.dictionaries(st.sampled_from(_NAMES), _VALUES, min_size=1, max_size=3),
    longer=st.lists(st.tuples(_SMALL, st.integers(1, 6)), max_size=5),
)
def test_hostile_metadata_makes_a_tokenizer_or_a_sentence(
    make: Callable[[], Metadata], spoilt: dict[str, object], longer: list[tuple[str, int]]
) -> None:
    metadata = make()
    metadata["tokenizer.ggml.tokens"] += [token for token, _ in longer]
    metadata["tokenizer.ggml.token_type"] += [kind for _, kind in longer]
    if "tokenizer.ggml.scores" in metadata:
        metadata["tokenizer.ggml.scores"] += [0.0] * len(longer)
    metadata |= {f"tokenizer.ggml.{name}": value for name, value in spoilt.items()}
    try:
        content = msgspec.json.encode(tokenizer_json(metadata, WHERE))
        special = special_ids(metadata, WHERE)
        n_tokens = len(metadata["tokenizer.ggml.tokens"])
        assert tokenizer_file.check_content(content, WHERE, n_tokens) <= n_tokens
        assert all(0 <= i < n_tokens for i in (*special.bos_ids, *special.eos_ids))
    except ModelInvalid as fault:
        assert fault.message.startswith(str(WHERE))
