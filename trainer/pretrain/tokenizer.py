"""The bundled model's tokenizer: byte-level BPE over code, with Qwen2's pre-tokeniser.

That pre-tokeniser was chosen because llama.cpp knows it by name (`qwen2`), so the same weights run there as GGUF, and because
it keeps line ends and the indentation after them apart: the cursor's line, which a prompt puts after the middle sentinel,
has the same tokens there as inside a file. Digits stand alone, and one mark may lead a word (`.append`, `(self`, `_name`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

LLAMA_CPP_PRE_TOKENIZER = "qwen2"
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Of Qwen2's tokenizer.json, as llama.cpp has it in `llama-vocab.cpp`."""
SENTINELS = ("<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<repo_name>")
END = SENTINELS[0]
INDENTS = tuple(" " * n for n in range(2, 33)) + tuple("\t" * n for n in range(2, 9))
"""Every indentation of a usual file is one token: the run itself, or the run less the space that leads the word."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn at most `vocab_size` entries, the sentinels (ids 0 to 5) and the indentation runs among them.

    BPE learns no indentation of a rare width, so places are kept for them; what is not needed of those stays unused.
    """
    learner = _bare(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(INDENTS),
        special_tokens=[AddedToken(s, normalized=False, special=True) for s in SENTINELS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=32,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    return _with_indents(learner)


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json written by `train_tokenizer(...).save(path)`."""
    return Tokenizer.from_file(str(path))


def _bare(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _with_indents(learner: Tokenizer) -> Tokenizer:
    """`learner` with merges added at the end that make each of `INDENTS` one token: they change nothing but runs."""
    model = json.loads(learner.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    merges = [(a, b) for a, b in model["merges"]]
    tokenizer = _bare(models.BPE(vocab=vocab, merges=merges))
    for run in INDENTS:
        while len(pieces := tokenizer.encode(run).tokens) > 1:
            merges.append((pieces[0], pieces[1]))
            vocab.setdefault(pieces[0] + pieces[1], len(vocab))
            tokenizer = _bare(models.BPE(vocab=vocab, merges=merges))
    tokenizer.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SENTINELS])
    return tokenizer
