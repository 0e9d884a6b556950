"""The model card: MODEL.md, written from what the run, the manifest and the judging said, so that no figure is typed by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from trainer.pretrain.corpus import MANIFEST

LANGUAGES = ("all", "python", "typescript", "javascript")


def write_card(folder: Path, quality: dict[str, Any], compute: str) -> None:
    """Write `folder/MODEL.md` beside the weights. `quality` is the JSON line of benchmarks/bundled_quality.py."""
    training = json.loads((folder / "training.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    packages = json.loads(MANIFEST.read_text())["packages"]
    (folder / "MODEL.md").write_text(
        "\n".join(
            [*_what(training, config, quality), *_how_good(quality), *_data(packages), *_rebuild(training, compute)]
        )
    )


def _what(training: dict[str, Any], config: dict[str, Any], quality: dict[str, Any]) -> list[str]:
    return [
        "# The bundled model",
        "",
        f"A fill-in-the-middle code model of {training['n_parameters'] / 1e6:.1f} million parameters, trained from scratch for "
        f"this project on {training['n_tokens'] / 1e6:.1f} million tokens ({training['n_tokens'] / training['n_parameters']:.1f} for each "
        "parameter; about 20 are usual). It is here so that a fresh machine runs the whole way without a download, and as the "
        "base on which personal training is tested. Read its figures below before you expect help of it, and import a larger "
        "model for real work.",
        "",
        f"- Shape: Llama; {config['num_hidden_layers']} layers, hidden {config['hidden_size']}, inner {config['intermediate_size']}, "
        f"{config['num_attention_heads']} heads and {config['num_key_value_heads']} for keys and values, {config['head_dim']} wide; tied "
        f"embeddings; vocabulary {config['vocab_size']:,}; context {config['max_position_embeddings']:,}; bf16 safetensors.",
        "- Tokenizer: byte-level BPE with Qwen2's pre-tokeniser (llama.cpp: `qwen2`); indentation runs are single tokens, digits "
        "stand alone. Sentinels: `<fim_prefix> <fim_suffix> <fim_middle> <file_sep> <repo_name> <|endoftext|>`.",
        "- Prompts: `<file_sep>path`, related pieces first, prefix, suffix, and the cursor's line after the middle sentinel "
        "(`local_runtime/fim.py`). Samples have up to about 1,700 tokens, as prompts have; positions beyond that were never seen.",
        f"- From a fresh folder to the first completion (import, quantise, compile, load): {quality['first_completion_s']} s.",
        "- Licence: Apache-2.0, as the project.",
        "",
    ]


def _how_good(quality: dict[str, Any]) -> list[str]:
    """A table of the general set's figures."""
    rows = [("model", "this model, int8"), ("ngram", "5-gram of the same corpus"), ("copy", "copying from nearby")]
    lines = [
        "## How good",
        "",
        f"{quality['n_holes']} frozen holes of packages it never saw (`general_holes.jsonl`), through the compiled int8 runtime. Exact and similarity: "
        "holes within one line, greedy. Stops: the end token comes first after the true middle. Silent: nothing said where "
        "something was missing. The n-gram reads only what stands before the cursor.",
        "",
        "| predictor | language | nats per byte | exact | similarity | silent | stops |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, name in rows:
        for language in LANGUAGES:
            said = quality.get(key, {}).get(language)
            if said:
                figures = (said.get(field, "") for field in ("nats_per_byte", "exact", "similarity", "silent", "stops"))
                lines.append(f"| {name} | {language} | " + " | ".join(map(str, figures)) + " |")
    if unasked := quality.get("unasked"):
        lines += [
            "",
            f"Of {unasked['samples']:,} samples from empty files ({unasked['chars']:,} characters, temperature 1), "
            f"{unasked['with_legal_words_or_address']} held licence wording or an e-mail address.",
        ]
    return [*lines, ""]


def _data(packages: list[dict[str, Any]]) -> list[str]:
    total = Counter[str]()
    for entry in packages:
        if entry["package"]["role"] == "training":
            total.update(entry["kept"])
    lines = [
        "## Data",
        "",
        f"{total['files']:,} files: {total['python_chars'] / 1e6:.1f} million characters of Python, {total['typescript_chars'] / 1e6:.1f} of TypeScript, "
        f"{total['javascript_chars'] / 1e6:.1f} of JavaScript, drawn 70 : 15 : 15. Generated, minified, vendored, test and licence text, "
        "e-mail addresses, keys, and exact and near duplicates (MinHash, 0.7) are left out. Hashes and counts: "
        "`trainer/pretrain/manifest.json`.",
        "",
    ]
    for role, title in (
        ("training", "Trained on"),
        ("general", "Held out: the general set"),
        ("reserved", "Left out, for the trainer's replays"),
    ):
        named = [
            f"{e['package']['name']} {e['package']['version']} ({e['package']['licence']})"
            for e in packages
            if e["package"]["role"] == role and (e["kept"] or role != "training")
        ]
        lines += [f"{title}: {', '.join(named)}.", ""]
    return lines


def _rebuild(training: dict[str, Any], compute: str) -> list[str]:
    losses = training["held_out_losses"]
    return [
        "## Training",
        "",
        f"{training['n_tokens'] / 1e6:.2f} million tokens in {training['step']:,} steps of {training['samples_per_step']} samples; {training['seconds'] / 60:.0f} minutes in steps; "
        f"{training['n_tokens'] / training['seconds']:,.0f} tokens/s on {compute}. Muon for matrices, AdamW for the rest; warm-up, stable, linear "
        "cool-down. 90 % holes, 10 % plain text; a middle's tokens weigh 4, text before it 1.",
        "",
        f"Loss (nats per token, weighted): training {training['training_loss']}; held-out packages "
        + (
            f"{losses[0][1]} after {losses[0][0] / 1e6:.2f} million tokens, {losses[-1][1]} at the end"
            if losses
            else "not measured"
        )
        + ". See `loss.png`.",
        "",
        "## Limits",
        "",
        "It was still learning fast when it had to stop: compare its tokens with its parameters. It knows no API by heart, and "
        "its longer completions drift. Other languages than Python, TypeScript and JavaScript were never seen.",
        "",
        "## Make it anew, or larger",
        "",
        "```",
        "pip install -e '.[train,pretrain]'",
        "python -m trainer.pretrain corpus            # fetches by name and hash, cleans",
        "python -m trainer.pretrain tokenizer --shape 10m",
        "python -m trainer.pretrain train --shape 10m --minutes 480     # again: goes on from the checkpoint",
        "python -m trainer.pretrain export --shape 10m",
        "```",
        "",
        "On a machine with a GPU and no network, 45 million parameters in ten minutes:",
        "",
        "```",
        "python -m trainer.pretrain pack corpus.tar                     # here: one file under 60 MB",
        "python -m trainer.pretrain make corpus.tar --shape 45m --minutes 10 --out out     # there: pieces of 15 MB",
        "```",
        "",
    ]
