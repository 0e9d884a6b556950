"""A small real tokenizer per family: its exact sentinels, its kind of pre-tokeniser, trained here on a few lines of code.

There is no hub in a test. What matters to a prompt is kept: byte-level or SentencePiece with byte fallback, the dummy
prefix, the normaliser, and which control tokens a family's published file marks as special.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from local_runtime.prompts.families import (
    CODE_GEMMA,
    CODE_LLAMA,
    CODESTRAL,
    DEEPSEEK_CODER,
    QWEN_CODER,
    SEED_CODER,
    Family,
)

CORPUS = (
    """
import os
from pathlib import Path


class Reader:
    def __init__(self, path: Path, limit: int = 10) -> None:
        self.path = path
        self.limit = limit

    def read(self, default=None):
        if not self.path.exists():
            return default
        for line in self.path.read_text().splitlines():
            print(line, self.limit)
        return [token for token in self.path.parts if token != os.sep]


export function total(items) {
    const sum = items.reduce((a, b) => a + b, 0);
    return sum;
}
"""
    * 4
)

# The pre-tokeniser of Qwen2.5 and of other byte-level vocabularies since cl100k.
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Kind:
    """How a family cuts text."""

    sentencepiece: bool = False
    dummy_prefix: bool = False
    regex: str = ""
    nfc: bool = False
    special: bool = True
    """Whether its published tokenizer.json marks the sentinels as special; Qwen's does not."""


KINDS = {
    CODE_LLAMA: Kind(sentencepiece=True, dummy_prefix=True),
    CODE_GEMMA: Kind(sentencepiece=True),
    CODESTRAL: Kind(sentencepiece=True, dummy_prefix=True),
    QWEN_CODER: Kind(regex=_CL100K, nfc=True, special=False),
    SEED_CODER: Kind(regex=_CL100K),
    DEEPSEEK_CODER: Kind(regex=r"[\r\n]|\s?\p{L}+|\s?\p{P}+|[一-龥ࠀ-一가-퟿]+|\p{N}|\s+"),
}


def write(family: Family, folder: Path) -> Path:
    """Train and write `tokenizer.json` of `family` into `folder`; return the folder."""
    kind = KINDS.get(family, Kind())
    tokenizer = _sentencepiece(kind) if kind.sentencepiece else _byte_level(kind)
    control = dict.fromkeys((*family.sentinels, *family.tells, *family.stops))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    document = json.loads(tokenizer.to_str())
    for token in document["added_tokens"]:
        token["special"] = kind.special or token["content"] == family.end
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return folder


def _byte_level(kind: Kind) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if kind.nfc:
        tokenizer.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not kind.regex)
    split = [pre_tokenizers.Split(Regex(kind.regex), "isolated")] if kind.regex else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    return tokenizer


def _sentencepiece(kind: Kind) -> Tokenizer:
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if kind.dummy_prefix else replace
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", *byte_tokens], show_progress=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # for the training alone
    tokenizer.train_from_iterator([CORPUS], trainer)
    document = json.loads(tokenizer.to_str())
    document["pre_tokenizer"] = None
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] == "<unk>"]
    return Tokenizer.from_str(json.dumps(document))
