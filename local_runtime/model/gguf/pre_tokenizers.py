r"""How a byte-level vocabulary's text is cut before merges apply, by the value of `tokenizer.ggml.pre`.

Each value stands for one or more regular expressions, applied one after the other: what matches becomes a piece, and so does what
lies between two matches. The names are llama.cpp's (`src/llama-vocab.cpp`); the expressions are those of the models' own
tokenizers. Where llama.cpp writes one differently, because its engine knows fewer classes, the model's counts: `tekken` and `gpt-4o`
then differ from llama.cpp in words that mix cases outside ASCII or have combining marks, `deepseek-coder` and `deepseek-llm` in runs
of white space outside ASCII.
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
# DeepSeek's own lists: letters that have a case, by what Unicode knew of them when the list was made, and signs.
_DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943"
)
_DEEPSEEK_SIGNS = "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002"


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
    "a.x-4.0": PreTokenizer((_GPT2,)),
    "granite-docling": PreTokenizer((_GPT2,)),
    "trillion": PreTokenizer((_GPT2,)),
    "starcoder": _DIGITS_THEN_GPT2,
    "refact": _DIGITS_THEN_GPT2,
    "smollm": _DIGITS_THEN_GPT2,
    "command-r": _DIGITS_THEN_GPT2,
    "codeshell": _DIGITS_THEN_GPT2,
    "mellum2": _DIGITS_THEN_GPT2,
    "minerva-7b": _DIGITS_THEN_GPT2,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "stablelm2": _QWEN2,
    "kormo": _QWEN2,
    "megrez": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "midm-2.0": _LLAMA3,
    "pixtral": _LLAMA3,
    "dbrx": _DBRX,
    "smaug-bpe": _DBRX,
    "tekken": PreTokenizer((_cased("", ""),), whole_words=True),
    "gpt-4o": PreTokenizer((_cased("{1,3}", _CONTRACTION + "?"),)),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")),
    "deepseek-llm": PreTokenizer(
        (r"[\r\n]", rf"\s?[{_DEEPSEEK_LETTERS}]+", rf"\s?[{_DEEPSEEK_SIGNS}]+", r"\s+$", _CJK, r"\p{N}+")
    ),
    "seed-coder": PreTokenizer(
        ("|".join((_CONTRACTION, _WORD, r"\p{N}{1}", r" ?[^\s\p{L}\p{N}\r\n]+", _BLANKS)),),
    ),
}
"""By the value of `tokenizer.ggml.pre`."""
