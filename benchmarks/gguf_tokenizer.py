"""The tokenizer that is rebuilt from a GGUF file, beside llama.cpp's own: whether both make the same ids of the same text.

    pip install llama-cpp-python==0.3.36
    python benchmarks/gguf_tokenizer.py FILE.gguf… [--pre NAME…] [--fuzzed 5000]

The texts: every hole of the general set, every source file of this project, and Unicode drawn from what tokenizers trip over.
With `--pre` the file's vocabulary is also cut in those other ways (its `tokenizer.ggml.pre` replaced in a copy that holds the
vocabulary alone). Prints one JSON line: for each file and way the texts, the ids, and how many texts differ, the first of them shown.
A text with a control token that the file calls a word (DeepSeek's `<|EOT|>`) differs: here no text becomes one.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import gguf
import msgspec
import tokenizers

from local_runtime.general_set import general_holes
from local_runtime.model.gguf.file import GgufFile
from local_runtime.model.gguf.tokenizer import tokenizer_json

ROOT = Path(__file__).parents[1]
SOURCES = ("*.py", "*.md", "*.txt", "*.ts", "*.js", "*.mjs", "*.lua", "*.toml", "*.json", "*.sh")
MAX_SOURCE_BYTES = 200_000
ALPHABETS = (
    " \t\n\r\x0b\x0c\x85\xa0\u1680\u2002\u2028\u2029\u3000\ufeff",
    "abcXYZ_09 ",
    "(){}[]<>=+-*/\\|&^%$#@!?;:,.'\"`~ ",
    "äöüßÉñçŁøÐþǅʰªº ",
    "\u0300\u0301\u0308\u20dd\u093e\u0e31e",
    "你好世界，。ーカひ가힣ㄱ",
    "𝔘𝒳😀👩\u200d💻🇩🇪\ufe0f",
    "٠١٢३४५௧²½Ⅷ①１２３ ",
    "אבגדعربيไทยहिन्दी ",
    "don't I'll we'VE it'S 'd'm're ",
    "\x00\x01\x1b\x7f\u200b\u200e\u202e\ud7ff\ue000\uf8ff\ufffd\uffff\U00010000\U0010ffff",
    "\r\n \t\r\n\n\r",
)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--pre", "ways", multiple=True, help="Also cut text in this way; may be repeated.")
@click.option("--fuzzed", type=int, default=5000, show_default=True, help="Drawn texts.")
def main(files: tuple[Path, ...], ways: tuple[str, ...], fuzzed: int) -> None:
    """Compare, and print one JSON line."""
    texts = [*known_texts(), *drawn_texts(fuzzed)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            found.append(compare(file, texts))
            for way in ways:
                copy = Path(folder) / f"{way}.gguf"
                write_vocabulary(file, copy, way)
                found.append(compare(copy, texts) | {"file": file.name})
    print(json.dumps({"texts": len(texts), "compared": found}))


def known_texts() -> Iterator[str]:
    """Real text: the general set, and this project."""
    for one in general_holes():
        yield one.hole.prefix + one.middle + one.hole.suffix
    for pattern in SOURCES:
        for path in sorted(ROOT.rglob(pattern)):
            inside = path.relative_to(ROOT).parts
            is_ours = not any(part.startswith(".") or part == "node_modules" for part in inside)
            if is_ours and path.stat().st_size < MAX_SOURCE_BYTES:
                yield path.read_text("utf-8", "replace")


def drawn_texts(n: int, seed: int = 0) -> Iterator[str]:
    """Short texts of characters that tokenizers trip over; no half surrogate pairs, which are no UTF-8."""
    dice = random.Random(seed)
    for _ in range(n):
        alphabets = dice.sample(ALPHABETS, dice.randint(1, 4))
        text = "".join(dice.choice(dice.choice(alphabets)) for _ in range(dice.randint(1, 60)))
        if dice.random() < 0.2:
            text += "".join(chr(c) for c in dice.choices(range(0x20, 0x2FFF), k=8))
        yield text


def compare(file: Path, texts: list[str]) -> dict[str, Any]:
    """One file, all texts."""
    from llama_cpp import Llama  # noqa: PLC0415  loads a library

    metadata = GgufFile.open(file).metadata
    ours = tokenizers.Tokenizer.from_buffer(msgspec.json.encode(tokenizer_json(metadata, file)))
    ours.encode_special_tokens = True
    theirs = Llama(str(file), vocab_only=True, verbose=False)
    n_ids, different = 0, []
    for text in texts:
        expected = theirs.tokenize(text.encode(), add_bos=False, special=False)
        got = ours.encode(text, add_special_tokens=False).ids
        n_ids += len(expected)
        if got != expected:
            different.append((text, got, expected))
    report = {"file": file.name, "pre": metadata.get("tokenizer.ggml.pre"), "ids": n_ids, "different": len(different)}
    return report | ({"first": shown(*min(different, key=lambda one: len(one[0])))} if different else {})


def shown(text: str, got: list[int], expected: list[int]) -> dict[str, Any]:
    """The surroundings of the first difference of the shortest text."""
    at = next((i for i, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), min(len(got), len(expected)))
    return {"text": ascii(text[:80]), "ours": got[at : at + 6], "theirs": expected[at : at + 6]}


def write_vocabulary(file: Path, copy: Path, pre: str) -> None:
    """A GGUF file with the vocabulary alone, cut in another way."""
    metadata = GgufFile.open(file).metadata
    writer = gguf.GGUFWriter(copy, str(metadata["general.architecture"]))
    writer.add_tokenizer_model(str(metadata["tokenizer.ggml.model"]))
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(metadata["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
    writer.add_token_types(metadata["tokenizer.ggml.token_type"])  # type: ignore[arg-type]
    writer.add_token_merges(metadata["tokenizer.ggml.merges"])  # type: ignore[arg-type]
    writer.add_bos_token_id(int(metadata["tokenizer.ggml.bos_token_id"]))  # type: ignore[arg-type]
    writer.add_eos_token_id(int(metadata["tokenizer.ggml.eos_token_id"]))  # type: ignore[arg-type]
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
