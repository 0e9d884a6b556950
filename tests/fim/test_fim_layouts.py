"""The exact prompt of every family, and that training and judging see the same."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from local_runtime.engines.protocol import Prompt
from local_runtime.prompts.families import Family
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Chunk, Hole

GOLDEN = Path(__file__).parent.parent / "golden" / "fim"
HOLE = Hole(
    path="src/reader.py",
    language="python",
    prefix="import os\n\n\ndef total(items):\n    for item in items:\n        print(it",
    suffix=")\n    return sum\n",
)
CHUNKS = (Chunk("src/paths.py", "def parts(path):\n    return path.parts\n"), Chunk("run.py", "total([1, 2])"))


def written(title: str, prompt: Prompt, target: tuple[int, ...], tokenizer: Tokenizer) -> str:
    """One token per line, so that a difference can be read."""
    rows = [f"{i:5d} {tokenizer.id_to_token(i)!r}" for i in prompt.token_ids]
    wanted = [f"{i:5d} {tokenizer.id_to_token(i)!r}" for i in target]
    return "\n".join([f"# {title}", *rows, f"# healed {prompt.healed!r}", "# target", *wanted, ""])


def test_the_prompt_of_every_family_is_the_golden_one(
    family: Family, fim: FimTokenizer, family_folders: dict[str, Path], update_golden: bool
) -> None:
    tokenizer = Tokenizer.from_file(str(family_folders[family.name] / "tokenizer.json"))
    alone, among = fim.prompt(HOLE), fim.prompt(HOLE, CHUNKS)
    found = "\n".join(
        [
            written("without related pieces", alone, fim.target(alone, "em, limit"), tokenizer),
            written("with related pieces", among, fim.target(among, "em, limit"), tokenizer),
            "# stop ids " + " ".join(sorted(tokenizer.id_to_token(i) for i in fim.stop_ids)),
            "",
        ]
    )
    golden = GOLDEN / f"{family.name}.txt"
    if update_golden:
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


def test_each_family_is_recognised_by_its_vocabulary(family: Family, fim: FimTokenizer) -> None:
    assert fim.family is family


def test_a_training_sample_is_the_served_prompt_and_the_target(fim: FimTokenizer) -> None:
    for middle in ("em)", "", "em)\n    yield\n", " <fim_middle>"):
        prompt = fim.prompt(HOLE, CHUNKS)
        ids, n_target = fim.training_tokens(HOLE, middle, CHUNKS)
        assert ids == prompt.token_ids + fim.target(prompt, middle)
        assert ids[-n_target:] == (*fim.encode(prompt.healed + middle), fim.end_id)
        assert ids[: len(ids) - n_target] == prompt.token_ids


def test_the_line_of_the_cursor_comes_last(fim: FimTokenizer) -> None:
    prompt = fim.prompt(Hole("a.py", "python", "x = 1\nreturn (", " + 1\n"))
    line = fim.encode("return (")
    assert prompt.token_ids[-len(line) :] == line


def test_ours_needs_no_healing_and_the_others_take_the_word_back(family: Family, fim: FimTokenizer) -> None:
    prompt = fim.prompt(Hole("a.py", "python", "def f():\n    self.tok", ""))
    assert prompt.healed == ("" if family.name == "understudy" else ".tok")
    before = fim.prompt(Hole("a.py", "python", "def f():\n    self", "")) if family.heals else None
    assert before is None or before.healed == " self"


def test_every_sentinel_ends_a_completion(family: Family, fim: FimTokenizer, family_folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.from_file(str(family_folders[family.name] / "tokenizer.json"))
    assert {tokenizer.token_to_id(token) for token in family.sentinels} <= fim.prompt(HOLE).stop_ids
