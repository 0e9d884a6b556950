"""Prompts of other programs, taken apart: every family's layout, as clients really write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_runtime.errors import BadRequest
from local_runtime.prompts.families import FAMILIES, Family
from local_runtime.prompts.foreign import ForeignPrompt, split_files, split_foreign
from local_runtime.prompts.hole import Chunk, Hole

SENTINELS = tuple({token for family in FAMILIES for token in (*family.sentinels, *family.stops)})
HOLE = Hole("", "", "def f(x):\n    re", "\n\nf(1)\n")


def written(family: Family, hole: Hole) -> str:
    """The hole in the family's own layout, as text: SentencePiece's space is a space, and stands between the parts."""
    cut = hole.prefix.rfind("\n") + 1
    parts = {"{prefix}": hole.prefix[:cut], "{line}": hole.prefix[cut:], "{suffix}": hole.suffix, "{path}\n": "a.py\n"}
    text = family.alone
    if "▁<PRE>" in text:
        text = text.replace("▁<PRE>", "<PRE> ").replace("▁", " ")
    for slot, part in parts.items():
        text = text.replace(slot, part, 1)
    return text


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_familys_own_layout(family: Family) -> None:
    found = split_foreign(written(family, HOLE))
    assert found is not None
    assert (found.hole.prefix, found.hole.suffix, found.chunks) == (HOLE.prefix, HOLE.suffix, ())
    assert found.hole.path == ("a.py" if "{path}" in family.alone else "")


@pytest.mark.parametrize(
    ("text", "prefix", "suffix"),
    [
        pytest.param("<fim_prefix>a<fim_suffix>b<fim_middle>", "a", "b", id="llm-vscode, StarCoder"),
        pytest.param("<PRE> a <SUF>b <MID>", "a", "b", id="llm-vscode and Continue, Code Llama"),
        pytest.param("<PRE> a <SUF> b <MID>", "a", " b", id="twinny, Code Llama: one space is unknowable"),
        pytest.param("<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>", "a", "b", id="twinny, DeepSeek"),
        pytest.param("[SUFFIX]b[PREFIX]a", "a", "b", id="Continue, Codestral"),
        pytest.param("[SUFFIX]b[PREFIX]x\n\n+++++ a.py\na", "x\n\n+++++ a.py\na", "b", id="Continue, files"),
        pytest.param("<|fim_prefix|>a<|fim_suffix|><|fim_middle|>", "a", "", id="no suffix"),
        pytest.param("<fim_prefix>a<fim_suffix>b<fim_middle>line", "aline", "b", id="llama.cpp's own order"),
        pytest.param("<s>[SUFFIX]b[PREFIX]a", "a", "b", id="with the beginning of text"),
        pytest.param("<fim_prefix>a<fim_prefix><fim_suffix><fim_middle>b<fim_middle>", "a<fim_prefix>", "<fim_middle>b",
                     id="sentinels in the user's file"),
    ],
)  # fmt: skip
def test_layouts_as_clients_write_them(text: str, prefix: str, suffix: str) -> None:
    assert split_foreign(text) == ForeignPrompt(Hole("", "", prefix, suffix))


def test_files_before_the_hole_are_chunks_and_the_last_one_names_the_file() -> None:
    continues = (
        "<|repo_name|>shop\n<|file_sep|>src/tax.py\nRATE = 1\n<|file_sep|>src/shop.py\n"
        "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    )
    assert split_foreign(continues) == ForeignPrompt(
        Hole("src/shop.py", "", "a", "b"), (Chunk("src/tax.py", "RATE = 1\n"),)
    )
    unnamed = "<file_sep>import os\nx = 1<file_sep><fim_prefix>a<fim_suffix>b<fim_middle>"
    assert split_foreign(unnamed) == ForeignPrompt(Hole("", "", "a", "b"), (Chunk("", "import os\nx = 1"),))


@pytest.mark.parametrize(
    ("text", "chunks", "prefix"),
    [
        pytest.param("<|file_sep|>a.py\nA = 1\n<|file_sep|>src/my shop.py\nx = ",
                     (Chunk("a.py", "A = 1\n"),), "x = ", id="Qwen"),
        pytest.param("<repo_name>shop\n<file_sep>a.py\nA = 1\n<file_sep>src/my shop.py\nx = ",
                     (Chunk("a.py", "A = 1\n"),), "x = ", id="StarCoder"),
        pytest.param("<|file_separator|>a.py\nA = 1\n<|file_separator|>src/my shop.py\nx = ",
                     (Chunk("a.py", "A = 1\n"),), "x = ", id="CodeGemma"),
        pytest.param("<|repo_name|>shop\n<|file_sep|>src/my shop.py\n", (), "", id="an empty file alone"),
        pytest.param("<|file_sep|>src/my shop.py\nA = '<|file_sep|>b.py\n'", (), "A = '<|file_sep|>b.py\n'",
                     id="a mark in the user's file"),
    ],
)  # fmt: skip
def test_files_without_a_hole_are_gone_on_from_at_the_end_of_the_last(
    text: str, chunks: tuple[Chunk, ...], prefix: str
) -> None:
    """What twinny sends where nothing follows the cursor."""
    assert split_foreign(text) == ForeignPrompt(Hole("src/my shop.py", "", prefix, ""), chunks)


@pytest.mark.parametrize("before", ["", "<|im_start|>system\nYou complete code.<|im_end|>\n"])
def test_a_prompt_may_be_a_turn_of_a_conversation(before: str) -> None:
    """What twinny makes of its prompt for a model whose name has qwen3-coder in it."""
    own = "<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    files, hole = "<|file_sep|>tax.py\nRATE = 1\n<|file_sep|>shop.py\n", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"

    def turn(prompt: str) -> ForeignPrompt | None:
        return split_foreign(f"{before}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")

    chunks = (Chunk("tax.py", "RATE = 1\n"),)
    assert turn(hole) == ForeignPrompt(Hole("", "", "a", "b"))
    assert turn(files + hole) == ForeignPrompt(Hole("shop.py", "", "a", "b"), chunks)
    assert turn(files + "a" + own) == ForeignPrompt(Hole("shop.py", "", "a" + own, ""), chunks)
    assert turn("def f():\n") is None


def test_what_follows_continues_separator_is_the_users_own() -> None:
    separator = "<|system_separator_istruction_repository_level|>"
    own = f"MARK = 1\n<|file_sep|>b.py\n<|file_sep|>c.py{separator}"
    text = f"<|repo_name|>shop\n<|file_sep|>tax.py\nRATE = 1\n<|file_sep|>shop.py{separator}{own}"
    assert split_files(text) == ForeignPrompt(Hole("shop.py", "", own, ""), (Chunk("tax.py", "RATE = 1\n"),))
    assert split_files(own) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def f():\n",
        'FAMILY = "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>"\n',
        "<fim_prefix>a<fim_middle>",
        "<fim_prefix>a<fim_suffix>b",
        "a[SUFFIX]b[PREFIX]c",
        "<|endoftext|>def f():\n",
        "<filename>a.py\n</filename>\n",
        "<|repo_name|>shop\n",
        "MARK = 1\n<|file_sep|>a.py\n",
    ],
)
def test_other_text_is_plain_text(text: str) -> None:
    assert split_foreign(text) is None


def test_where_the_suffix_begins_must_be_knowable() -> None:
    with pytest.raises(BadRequest, match="<fim_suffix> 2 times"):
        split_foreign("<fim_prefix>a<fim_suffix>b<fim_suffix>c<fim_middle>")


texts = st.lists(
    st.one_of(st.text(max_size=20), st.sampled_from(["\n", " ", "|>", "<", "PRE", "fim_"])), max_size=6
).map("".join)


@given(st.sampled_from(FAMILIES), texts, texts)
def test_whatever_has_no_sentinel_in_it_comes_back_unchanged(family: Family, prefix: str, suffix: str) -> None:
    if any(token.strip("▁") in part for token in SENTINELS for part in (prefix, suffix)):
        return
    found = split_foreign(written(family, Hole("", "", prefix, suffix)))
    assert found is not None
    assert (found.hole.prefix, found.hole.suffix) == (prefix, suffix)


@given(st.lists(st.one_of(st.sampled_from(SENTINELS), st.text(max_size=5)), max_size=12).map("".join))
def test_no_text_does_harm(text: str) -> None:
    try:
        found = split_foreign(text)
    except BadRequest:
        return
    assert found is None or len(found.hole.prefix) + len(found.hole.suffix) <= len(text)
