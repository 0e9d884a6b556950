"""A small world for the gate's benchmarks: a tiny model that learnt some code, and users who write other code.

The code is this Python's own standard library, which is on every machine: single modules for the model and its general set,
packages and large modules for the users. The model is trained in a minute, imported and compiled like any other.
"""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from local_runtime.model.config_writing import huggingface_config
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from local_runtime.model.synthetic import SENTINELS
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Hole
from local_runtime.tvm.run.compiled_engine import CompiledEngine
from local_runtime.tvm.run.opening import EngineOptions, open_engine
from trainer.batches import Sample, pad_together
from trainer.edits import Example, Kind
from trainer.spans import draw_span

SHAPE = DecoderConfig("llama", 64, 192, 2, 4, 2, 16, 512, 512, tied_embeddings=True)
PACKAGES = (
    "idlelib",
    "lib2to3",
    "email",
    "asyncio",
    "unittest",
    "multiprocessing",
    "tkinter",
    "importlib",
    "http",
    "xml",
)
MODULES = (
    "argparse",
    "typing",
    "inspect",
    "_pydecimal",
    "turtle",
    "tarfile",
    "pydoc",
    "doctest",
    "smtplib",
    "mailbox",
    "zipfile",
    "pickle",
)
PREFIX_CHARS, SUFFIX_CHARS, MIDDLE_CHARS = 200, 60, 120
MODEL = "tiny-world"


def library_texts(user: str) -> list[tuple[str, str]]:
    """Path and text of all files of a package or module of the standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [root / f"{user}.py"] if (root / f"{user}.py").is_file() else sorted((root / user).rglob("*.py"))
    return [(file.relative_to(root).as_posix(), file.read_text("utf-8", "replace")) for file in files]


def users() -> list[str]:
    """Those that this Python has, with enough code."""
    return [name for name in (*PACKAGES, *MODULES) if sum(len(text) for _, text in library_texts(name)) > 40_000]


def general_texts() -> list[tuple[str, str]]:
    """Path and text of the single modules that are nobody's."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [file for file in sorted(root.glob("*.py")) if file.stem not in MODULES and file.stat().st_size > 2000]
    return [(file.name, file.read_text("utf-8", "replace")) for file in files]


def draw_examples(
    texts: Sequence[tuple[str, str]], n: int, rng: random.Random, *, kind: Kind = Kind.HUNK, first_id: int = 1, saved: float = 0.0
) -> list[Example]:  # fmt: skip
    """Holes at random places, by character; each an edit of its own."""
    found: list[Example] = []
    paths = rng.choices(range(len(texts)), [len(text) for _, text in texts], k=20 * n)
    for at in paths:
        path, text = texts[at]
        span = draw_span(text, rng)
        middle = text[span.start : span.end]
        if not middle.strip() or len(middle) > MIDDLE_CHARS:
            continue
        hole = Hole(
            path,
            "python",
            text[max(0, span.start - PREFIX_CHARS) : span.start],
            text[span.end : span.end + SUFFIX_CHARS],
        )
        found.append(
            Example(
                hole,
                middle,
                saved + len(found),
                kind=kind,
                edit_id=0 if kind is Kind.GENERAL else first_id + len(found),
            )
        )
        if len(found) == n:
            break
    return found


def make_model(source: Path, n_steps: int, seed: int = 0) -> None:
    """Train the tiny decoder on the general texts and write it as a Hugging Face folder."""
    torch.manual_seed(seed)
    source.mkdir(parents=True, exist_ok=True)
    texts = general_texts()[::2]
    _tokenizer([text for _, text in texts]).save(str(source / "tokenizer.json"))
    (source / "config.json").write_text(json.dumps(huggingface_config(SHAPE, "float32")))
    config = transformers.AutoConfig.from_pretrained(source)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=n_steps, pct_start=0.1)
    fim, rng = FimTokenizer.open(source), random.Random(seed)
    for _ in range(n_steps):
        for batch in pad_together(_samples(fim, draw_examples(texts, 12, rng)), 1 << 20, fim.end_id):
            ids, wanted = batch.token_ids, batch.weights[:, 1:]
            nats = torch.nn.functional.cross_entropy(
                model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
            )
            ((nats * wanted.flatten()).sum() / 500).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
    weights = {name: weight.detach().clone().contiguous() for name, weight in model.named_parameters()}
    save_file(weights, source / "model.safetensors", {"format": "pt"})


def open_world(home: Path, n_steps: int) -> CompiledEngine:
    """The tiny model, trained, imported into the home that is set, compiled and opened."""
    if not (home / "source" / "model.safetensors").exists():
        make_model(home / "source", n_steps)
        import_model(home / "source", QUANTIZATIONS["q8f16_g32"], MODEL)
    return open_engine(MODEL, EngineOptions(kv_cache_tokens=4096, n_threads=1))


def general_split(n_judged: int, n_truth: int) -> tuple[list[Example], list[Example]]:
    """A frozen general set, and a larger independent one: of modules that the model never saw."""
    texts = general_texts()[1::2]
    rng = random.Random("general")
    return (
        draw_examples(texts, n_judged, rng, kind=Kind.GENERAL),
        draw_examples(texts, n_truth, rng, kind=Kind.GENERAL),
    )


def _samples(fim: FimTokenizer, examples: Sequence[Example]) -> list[Sample]:
    found = []
    for one in examples:
        ids, n_target = fim.training_tokens(one.hole, one.middle)
        found.append(Sample(ids, (*[0.3] * (len(ids) - n_target), *[1.0] * n_target)))
    return found


def _tokenizer(texts: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocab_size, special_tokens=list(SENTINELS), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
