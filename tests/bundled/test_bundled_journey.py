"""From a packed corpus to a model that this runtime imports: the commands, as they are typed on another machine."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from local_runtime.fim import FimTokenizer
from local_runtime.model import registry
from local_runtime.model.importing import import_model
from local_runtime.model.quantization import QUANTIZATIONS
from trainer.pretrain import checkpoint
from trainer.pretrain.__main__ import pretrain
from trainer.pretrain.corpus import Document


@pytest.fixture
def work(documents: list[Document], tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    general = [replace(document, role="general", package="held-out") for document in documents[:3]]
    with gzip.open(folder / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(asdict(document)) + "\n" for document in [*general, *documents[3:]])
    return folder


def run(*words: str) -> str:
    done = CliRunner().invoke(pretrain, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.filterwarnings("ignore:.*lr_scheduler:UserWarning")
def test_a_packed_corpus_becomes_a_model_in_pieces(work: Path, tmp_path: Path) -> None:
    run("pack", str(tmp_path / "corpus.tar"), "--work", str(work))
    out = tmp_path / "out"
    asked = ("--shape", "tiny", "--minutes", "0.01", "--samples-per-step", "2")
    run("make", str(tmp_path / "corpus.tar"), *asked, "--out", str(out))
    assert all(piece.stat().st_size <= 15_000_000 for piece in out.iterdir())
    joined = tmp_path / "joined"
    joined.mkdir()
    for piece in sorted(out.iterdir()):
        with (joined / piece.stem).open("ab") as file:
            file.write(piece.read_bytes())
    imported = import_model(joined, QUANTIZATIONS["q8f16_g32"], "made")
    assert imported == registry.find("made")
    assert FimTokenizer.open(imported).family.name == "understudy"
    standing = checkpoint.standing(joined)
    said = json.loads((joined / "training.json").read_text())
    assert said["step"] == standing.step > 0
    assert said["n_tokens"] == standing.n_tokens
    assert (joined / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_later_sitting_goes_on_from_before_the_cool_down(work: Path) -> None:
    run("tokenizer", "--shape", "tiny", "--work", str(work))
    run("train", "--shape", "tiny", "--minutes", "0.02", "--samples-per-step", "2", "--work", str(work))
    first = checkpoint.standing(work / "tiny")
    assert first.cooldown is not None
    log = (work / "tiny" / "steps.jsonl").read_text()
    assert json.loads(log.splitlines()[-1])["step"] == first.step
    said = run("train", "--shape", "tiny", "--minutes", "0.01", "--work", str(work))
    assert f"step {first.cooldown.first_step}" in said
