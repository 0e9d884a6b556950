r"""How a byte-level vocabulary's text is cut before merges apply, by the value of `tokenizer.ggml.pre`.

Each value stands for one or more regular expressions, applied one after the other: what matches becomes a piece, and so does what
lies between two matches. The names are llama.cpp's (`src/llama-vocab.cpp`); the expressions are those of the models' own
tokenizers. Where llama.cpp writes one differently, because its engine has no classes for upper and lower case, the model's counts:
`tekken` and `gpt-4o` then differ from llama.cpp in words that mix cases outside ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED_WORD = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+{end}"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*{end}"
)
_CJK = "[一-龥ࠀ-一가-\ud7ff]+"


def _llama3(digits: str) -> str:
    return "|".join((_CONTRACTION, _WORD, rf"\p{{N}}{digits}", _SIGNS, _BLANKS))


def _cased(digits: str, end: str) -> str:
    words = _CASED_WORD.replace("{end}", end)
    return "|".join((words, rf"\p{{N}}{digits}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", _BLANKS))


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How one kind of vocabulary cuts text."""

    patterns: tuple[str, ...]
    whole_words: bool = False
    """A piece that is a token is that token, whatever the merges say (`ignore_merges`)."""


_DIGITS_THEN_GPT2 = PreTokenizer((r"\p{N}", _GPT2))
_QWEN2 = PreTokenizer((_llama3(""),))
_LLAMA3 = PreTokenizer((_llama3("{1,3}"),), whole_words=True)
_DBRX = PreTokenizer((_llama3("{1,3}"),))

PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "gpt-2": PreTokenizer((_GPT2,)),
    "mellum": PreTokenizer((_GPT2,)),
    "phi-2": PreTokenizer((_GPT2,)),
    "starcoder": _DIGITS_THEN_GPT2,
    "refact": _DIGITS_THEN_GPT2,
    "smollm": _DIGITS_THEN_GPT2,
    "command-r": _DIGITS_THEN_GPT2,
    "codeshell": _DIGITS_THEN_GPT2,
    "mellum2": _DIGITS_THEN_GPT2,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "stablelm2": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "dbrx": _DBRX,
    "smaug-bpe": _DBRX,
    "tekken": PreTokenizer((_cased("", ""),), whole_words=True),
    "gpt-4o": PreTokenizer((_cased("{1,3}", _CONTRACTION + "?"),)),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")),
    "seed-coder": PreTokenizer(
        ("|".join((_CONTRACTION, _WORD, r"\p{N}{1}", r" ?[^\s\p{L}\p{N}\r\n]+", _BLANKS)),),
    ),
}
"""By the value of `tokenizer.ggml.pre`."""
