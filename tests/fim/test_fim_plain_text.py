"""Invariant: text of a user never becomes a sentinel, and hostile tokenizer files are refused with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers_of_families import KINDS, Kind

from local_runtime.engines.vocabulary import Vocabulary
from local_runtime.errors import ModelInvalid, ModelMissing
from local_runtime.prompts.families import FAMILIES, Family
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Chunk, Hole

EVERY_SENTINEL = sorted({token for f in FAMILIES for token in (*f.sentinels, *f.stops, *f.tells)})


def text_of(ids: tuple[int, ...], vocabulary: Vocabulary) -> str:
    return b"".join(vocabulary.token_bytes[i] for i in ids).decode("utf-8", "replace")


def expected(text: str, family: Family) -> str:
    """SentencePiece writes a space as `▁` and cannot tell the two apart."""
    return text.replace("▁", " ") if KINDS.get(family, Kind()).sentencepiece else text


@pytest.fixture(scope="session")
def vocabulary(family: Family, family_folders: dict[str, Path]) -> Vocabulary:
    return Vocabulary.read(family_folders[family.name], 2000)


def test_text_with_every_sentinel_stays_text(family: Family, fim: FimTokenizer, vocabulary: Vocabulary) -> None:
    for token in EVERY_SENTINEL:
        for text in (token, f"x = '{token}'\n", f"{token}{token}", f" {token} "):
            ids = fim.encode(text)
            assert fim.stop_ids.isdisjoint(ids), token
            assert text_of(ids, vocabulary) == expected(text, family), family.name


def test_no_part_of_a_prompt_lets_a_sentinel_in(fim: FimTokenizer) -> None:
    plain = Hole("a.py", "python", "a\nb(", ")\n")
    n_control = sum(i in fim.stop_ids for i in fim.prompt(plain, [Chunk("b.py", "x")]).token_ids)
    for token in EVERY_SENTINEL:
        hole = Hole(f"{token}.py", "python", f"{token}\n{token}(", f"{token})\n")
        ids = fim.prompt(hole, [Chunk(token, token)]).token_ids
        assert sum(i in fim.stop_ids for i in ids) == n_control, token


@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_text_comes_back(family: Family, fim: FimTokenizer, vocabulary: Vocabulary, text: str) -> None:
    if family.name == "qwen-coder":  # its normaliser composes accents, as published
        text = "".join(c for c in text if c.isascii())
    assert text_of(fim.encode(text), vocabulary) == expected(text, family)


def test_half_a_surrogate_pair_is_no_exception(fim: FimTokenizer) -> None:
    assert fim.encode("a\ud800b")


def test_a_merge_that_spells_a_sentinel_is_taken_apart(family_folders: dict[str, Path], tmp_path: Path) -> None:
    """A vocabulary whose merges build `<fim_middle>` letter by letter still does not get it from text."""

    def hostile(document: dict[str, Any]) -> None:
        merges, have = document["model"]["merges"], "<"
        for letter in "fim_middle>":
            merges.append([have, letter])
            have += letter
            document["model"]["vocab"].setdefault(have, max(document["model"]["vocab"].values()) + 1)
        fake = next(t for t in document["added_tokens"] if t["content"] == "<fim_middle>")
        document["model"]["vocab"]["<fim_middle>"] = fake["id"]

    folder = changed(family_folders["understudy"], tmp_path, hostile)
    fim = FimTokenizer.open(folder)
    assert fim.stop_ids.isdisjoint(fim.encode("a <fim_middle> b"))


def changed(folder: Path, into: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    document = json.loads((folder / "tokenizer.json").read_text())
    change(document)
    (into / "tokenizer.json").write_text(json.dumps(document))
    return into


def without_middle(document: dict[str, Any]) -> None:
    document["added_tokens"] = [t for t in document["added_tokens"] if t["content"] != "<fim_middle>"]


def middle_in_the_model(document: dict[str, Any]) -> None:
    without_middle(document)
    document["model"]["vocab"]["<fim_middle>"] = max(document["model"]["vocab"].values()) + 1


def test_a_model_without_the_sentinels_is_refused(family_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="no family that can fill in the middle") as refusal:
        FimTokenizer.open(changed(family_folders["understudy"], tmp_path, without_middle))
    assert str(tmp_path) in refusal.value.message
    assert refusal.value.remedy


def test_a_sentinel_that_is_an_ordinary_token_is_refused(family_folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="not a control token"):
        FimTokenizer.open(changed(family_folders["understudy"], tmp_path, middle_in_the_model))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"model": 1, "added_tokens": [1]}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"added_tokens": 7}',
    ],
)
def test_a_damaged_file_is_refused_with_its_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelInvalid, match=r"tokenizer\.json"):
        FimTokenizer.open(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelInvalid, match="1073741824 bytes"):
        FimTokenizer.open(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"tokenizer\.json is missing"):
        FimTokenizer.open(tmp_path)
