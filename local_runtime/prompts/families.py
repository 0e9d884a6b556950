"""The fill-in-the-middle layouts of the model families, as data: the only file in which a sentinel is written.

A template is text with slots in braces. Everything in it that a family lists as a sentinel becomes one token id; the rest
is plain text. The slots: `{path}` of the file, `{comment}` the path as a comment of the file's language, `{text}` a related
piece, `{commented}` a related piece as comments, `{related}` all related pieces, `{prefix}` the lines above the cursor's,
`{suffix}` what follows the cursor, `{line}` the cursor's line up to the cursor.

`{line}` stands after the middle sentinel, as in llama.cpp's `/infill`: while the user types, only the last tokens change.
Models that were trained on whole lines there meet a word cut in two, hence `heals` (see `fim.heal`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """How one kind of model wants its prompts."""

    name: str
    alone: str
    """Template of a prompt without related pieces."""
    among: str
    """Template of a prompt with related pieces; contains `{related}`."""
    chunk: str
    """Template of one related piece."""
    sentinels: tuple[str, ...]
    """Every control token of the layout, each a single id of the vocabulary."""
    end: str
    """The sentinel after a finished middle."""
    stops: tuple[str, ...] = ()
    """Further control tokens that end a completion in those vocabularies that have them."""
    tells: tuple[str, ...] = ()
    """Tokens outside the layout that tell this family from others with the same sentinels."""
    heals: bool = True
    """A word cut in two by the cursor is taken back and generated whole: the family never saw half words after the middle
    sentinel."""
    leading_space: bool = False
    """SentencePiece's dummy prefix: the text after the prefix sentinel begins with a space."""


# Ours. Trained with holes cut at any character and with the line after the middle sentinel, so it needs no healing.
# `<repo_name>` is reserved: it ends a completion and is not used yet.
UNDERSTUDY = Family(
    name="understudy",
    alone="<file_sep>{path}\n<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{line}",
    among="{related}<file_sep>{path}\n<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{line}",
    chunk="<file_sep>{path}\n{text}",
    sentinels=("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<repo_name>", "<|endoftext|>"),
    end="<|endoftext|>",
    heals=False,
)

# StarCoder 2 and The Stack v2 (arXiv 2402.19173), section 5.1: the path comes after the prefix sentinel.
STARCODER2 = Family(
    name="starcoder2",
    alone="<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{line}",
    among="<repo_name>project{related}<file_sep><fim_prefix>{path}\n{prefix}<fim_suffix>{suffix}<fim_middle>{line}",
    chunk="<file_sep>{path}\n{text}",
    sentinels=("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<repo_name>", "<|endoftext|>"),
    end="<|endoftext|>",
    stops=("<fim_pad>", "<issue_start>"),
    tells=("<issue_start>",),
)

# StarCoder (arXiv 2305.06161), Granite code (arXiv 2405.04324), which keeps its vocabulary, and Stable Code, which adds these
# tokens to another. Trained on single files, so related pieces are comments.
STARCODER = Family(
    name="starcoder",
    alone="<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{line}",
    among="<fim_prefix>{related}{prefix}<fim_suffix>{suffix}<fim_middle>{line}",
    chunk="{commented}",
    sentinels=("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|endoftext|>"),
    end="<|endoftext|>",
    stops=("<fim_pad>", "<filename>", "<reponame>"),
)

# Granite 3.3 and 4: StarCoder's sentinels in another spelling.
GRANITE = Family(
    name="granite",
    alone="<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{line}",
    among="<|fim_prefix|>{related}{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{line}",
    chunk="{commented}",
    sentinels=("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|end_of_text|>"),
    end="<|end_of_text|>",
    stops=("<|fim_pad|>", "<|filename|>", "<|reponame|>"),
)

# Qwen2.5-Coder's model card, "repository level"; Qwen3-Coder has the same vocabulary.
QWEN_CODER = Family(
    name="qwen-coder",
    alone="<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{line}",
    among="<|repo_name|>project\n{related}<|file_sep|>{path}\n"
    "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{line}",
    chunk="<|file_sep|>{path}\n{text}",
    sentinels=(
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        "<|file_sep|>",
        "<|repo_name|>",
        "<|endoftext|>",
    ),
    end="<|endoftext|>",
    stops=("<|fim_pad|>", "<|im_end|>", "<|im_start|>"),
)

# Code Llama's `infilling_prompt_tokens`: the prefix is encoded with SentencePiece's leading space, the suffix without.
CODE_LLAMA = Family(
    name="code-llama",
    alone="<s>▁<PRE>{prefix}▁<SUF>{suffix}▁<MID>{line}",
    among="<s>▁<PRE>{related}{prefix}▁<SUF>{suffix}▁<MID>{line}",
    chunk="{commented}",
    sentinels=("<s>", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"),
    end="▁<EOT>",
    stops=("</s>",),
    leading_space=True,
)

# DeepSeek-Coder's README: files of a repository follow each other, each under `#path`.
DEEPSEEK_CODER = Family(
    name="deepseek-coder",
    alone="<｜begin▁of▁sentence｜><｜fim▁begin｜>{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>{line}",
    among="<｜begin▁of▁sentence｜><｜fim▁begin｜>{related}#{path}\n{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>{line}",
    chunk="#{path}\n{text}",
    sentinels=(
        "<｜begin▁of▁sentence｜>",
        "<｜fim▁begin｜>",
        "<｜fim▁hole｜>",
        "<｜fim▁end｜>",
        "<｜end▁of▁sentence｜>",
    ),
    end="<｜end▁of▁sentence｜>",
    stops=("<|EOT|>",),
)

# CodeGemma's model card: files are divided by `<|file_separator|>`, which also ends a completion.
CODE_GEMMA = Family(
    name="code-gemma",
    alone="<bos><|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{line}",
    among="<bos>{related}<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{line}",
    chunk="{comment}{text}<|file_separator|>",
    sentinels=("<bos>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"),
    end="<|file_separator|>",
    stops=("<eos>", "<end_of_turn>"),
)

# mistral-common's `encode_fim`: suffix first and no middle sentinel. `+++++ path` is the header that other clients use.
CODESTRAL = Family(
    name="codestral",
    alone="<s>[SUFFIX]{suffix}[PREFIX]{prefix}{line}",
    among="<s>[SUFFIX]{suffix}[PREFIX]{related}+++++ {path}\n{prefix}{line}",
    chunk="+++++ {path}\n{text}\n",
    sentinels=("<s>", "[SUFFIX]", "[PREFIX]", "</s>"),
    end="</s>",
    stops=("[MIDDLE]",),
    leading_space=True,
)

# Seed-Coder (arXiv 2506.03524), section on fill-in-the-middle: suffix first.
SEED_CODER = Family(
    name="seed-coder",
    alone="<[fim-suffix]>{suffix}<[fim-prefix]>{prefix}<[fim-middle]>{line}",
    among="<[fim-suffix]>{suffix}<[fim-prefix]>{related}{prefix}<[fim-middle]>{line}",
    chunk="{commented}",
    sentinels=("<[fim-suffix]>", "<[fim-prefix]>", "<[fim-middle]>", "<[end▁of▁sentence]>"),
    end="<[end▁of▁sentence]>",
    stops=("<[begin▁of▁sentence]>",),
)

# In the order of recognition: of those with the same spelling, the one that asks for more tokens comes first.
FAMILIES = (
    STARCODER2,
    UNDERSTUDY,
    STARCODER,
    QWEN_CODER,
    GRANITE,
    CODE_GEMMA,
    CODE_LLAMA,
    DEEPSEEK_CODER,
    CODESTRAL,
    SEED_CODER,
)


def recognise(has: Callable[[str], bool]) -> Family | None:
    """The first family all of whose control tokens the vocabulary has; None if no family fits."""
    return next((f for f in FAMILIES if all(has(token) for token in (*f.sentinels, *f.tells))), None)
