"""`python -m trainer.pretrain`: make the bundled model, from package names to the folder that ships.

corpus, tokenizer, train, export, in this order; each reads what the one before wrote under `--work`.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import click

HERE = Path(__file__).parent
WORK = HERE.parents[1] / ".cache" / "pretrain"
BUNDLED = HERE.parents[1] / "local_runtime" / "bundled"

work_option = click.option(
    "--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help="Where the large files are."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def pretrain() -> None:
    """Train the model that ships with the project, from scratch.

    \b
    Examples:
      python -m trainer.pretrain corpus                      fetch and clean the pinned packages
      python -m trainer.pretrain tokenizer --shape 10m
      python -m trainer.pretrain train --shape 10m --minutes 480
      python -m trainer.pretrain export
    On a machine with a GPU and no network:
      python -m trainer.pretrain pack corpus.tar             (here; under 60 MB)
      python -m trainer.pretrain make corpus.tar --shape 45m --minutes 10 --out $OUT   (there)
    """


@pretrain.command()
@click.option(
    "--lock", is_flag=True, help="Pin the newest versions of sources.toml anew, instead of what the manifest pins."
)
@work_option
def corpus(lock: bool, work: Path) -> None:
    """Fetch the packages, check their hashes and licences, and write corpus.jsonl.gz."""
    from trainer.pretrain import corpus as corpora  # noqa: PLC0415
    from trainer.pretrain import fetch  # noqa: PLC0415

    archives = work / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    wanted = corpora.chosen() if lock else [p for p in corpora.pinned() if p.ecosystem != "stdlib"]
    with ThreadPoolExecutor(4) as pool:
        fetched = list(pool.map(lambda package: fetch.fetch(package, archives), wanted))
    if lock:
        wanted = [fetch.describe(package, path) for package, path in zip(wanted, fetched, strict=True)]
    else:
        for package, path in zip(wanted, fetched, strict=True):
            fetch.check_hash(package, path)
    if refused := [f"{p.name} ({p.licence})" for p in wanted if not fetch.permissive(p.licence)]:
        raise click.ClickException(f"not permissive: {', '.join(refused)}")
    stdlib = fetch.describe_stdlib()
    if not lock and stdlib not in corpora.pinned():
        click.echo(
            f"the standard library here ({stdlib.version}) is not the pinned one: the corpus will differ a little",
            err=True,
        )
    entries = corpora.build([*wanted, stdlib], archives, work / "corpus.jsonl.gz", os.cpu_count() or 2)
    if lock:
        corpora.MANIFEST.write_text(json.dumps({"packages": entries}, indent=1) + "\n")
    click.echo(
        f"{work / 'corpus.jsonl.gz'}: {sum(e['kept'].get('files', 0) for e in entries)} files of {len(entries)} packages"
    )


@pretrain.command()
@click.option("--shape", default="3m", show_default=True)
@work_option
def tokenizer(shape: str, work: Path) -> None:
    """Learn the tokenizer from the training packages."""
    from trainer.pretrain import corpus as corpora  # noqa: PLC0415
    from trainer.pretrain.decoder import SHAPES  # noqa: PLC0415
    from trainer.pretrain.tokenizer import train_tokenizer  # noqa: PLC0415

    texts = (document.text for document in corpora.read(work / "corpus.jsonl.gz"))
    folder = work / shape
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(texts, SHAPES[shape].vocab_size).save(str(folder / "tokenizer.json"))
    click.echo(folder / "tokenizer.json")


@pretrain.command()
@click.option(
    "--shape", default="3m", show_default=True, help="tiny, 3m, 5m, 10m or 45m; the run's folder has this name."
)
@click.option(
    "--minutes", type=float, default=60, show_default=True, help="All of the time, the cool-down at its end included."
)
@click.option("--cool-down-steps", type=int, help="Begin the cool-down now, over so many steps.")
@click.option("--seed", type=int, default=20, show_default=True)
@click.option("--samples-per-step", type=int, help="From here on; a fresh run has 16 unless told otherwise.")
@click.option("--threads", type=int, default=0, help="0: PyTorch decides.")
@work_option
def train(work: Path, shape: str, **asked: Any) -> None:
    """Train, or go on from the last checkpoint. Ctrl-C (or a kill) loses a minute at most."""
    from trainer.pretrain.session import Sitting, train_here  # noqa: PLC0415

    train_here(work, shape, Sitting(**asked))


@pretrain.command()
@click.option("--shape", default="3m", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=BUNDLED, show_default=True)
@work_option
def export(shape: str, out: Path, work: Path) -> None:
    """Write the last checkpoint as a Hugging Face folder (bf16 safetensors)."""
    from trainer.pretrain.export import export as write  # noqa: PLC0415

    write(work / shape, out)
    click.echo(out)


@pretrain.command()
@click.argument("quality", type=click.Path(exists=True, path_type=Path))
@click.option("--compute", required=True, help="The machine, in words.")
@click.option("--out", type=click.Path(path_type=Path), default=BUNDLED, show_default=True)
def card(quality: Path, compute: str, out: Path) -> None:
    """Write MODEL.md from QUALITY, the JSON line of benchmarks/bundled_quality.py."""
    from trainer.pretrain.card import write_card  # noqa: PLC0415

    write_card(out, json.loads(quality.read_text().splitlines()[-1]), compute)


@pretrain.command()
@work_option
def holes(work: Path) -> None:
    """Draw the general set anew. It is frozen: do this only when its packages change, and judge all models again."""
    from trainer.pretrain import corpus as corpora  # noqa: PLC0415
    from trainer.pretrain.general import freeze, licence_texts  # noqa: PLC0415

    documents = list(corpora.read(work / "corpus.jsonl.gz", ("general",)))
    n_holes = freeze(documents, corpora.pinned(), BUNDLED)
    (BUNDLED / "GENERAL_SET_LICENCES.md").write_text(licence_texts(corpora.pinned(), work / "archives"))
    click.echo(f"{BUNDLED / 'general_holes.jsonl'}: {n_holes} holes")


@pretrain.command()
@click.argument("archive", type=click.Path(path_type=Path))
@work_option
def pack(archive: Path, work: Path) -> None:
    """Put the corpus into one file for a machine without a network. It must stay under 60 MB."""
    with tarfile.open(archive, "w") as tar:
        tar.add(work / "corpus.jsonl.gz", "corpus.jsonl.gz")
    click.echo(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB")


@pretrain.command()
@click.argument("archive", type=click.Path(exists=True, path_type=Path))
@click.option("--shape", default="45m", show_default=True)
@click.option("--minutes", type=float, default=10, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Weights and checkpoint come here in pieces of 15 MB."
)
@click.option("--samples-per-step", type=int, default=256, show_default=True)
@click.pass_context
def make(context: click.Context, /, archive: Path, out: Path, **training: Any) -> None:
    """On the machine with the GPU: unpack, tokenise, train, export, split. Join the pieces with `cat`."""
    shape = training["shape"]
    work = out.parent / f"pretrain-{time.strftime('%H%M%S')}"
    work.mkdir(parents=True)
    with tarfile.open(archive) as tar, (work / "corpus.jsonl.gz").open("wb") as corpus:
        shutil.copyfileobj(cast(IO[bytes], tar.extractfile("corpus.jsonl.gz")), corpus)
    context.invoke(tokenizer, shape=shape, work=work)
    context.invoke(train, work=work, **training)
    context.invoke(export, shape=shape, out=work / "model", work=work)
    out.mkdir(parents=True, exist_ok=True)
    for path in [*sorted((work / "model").iterdir()), *sorted((work / shape).iterdir())]:
        with path.open("rb") as file:
            for number, piece in enumerate(iter(lambda: file.read(15_000_000), b"")):
                (out / f"{path.name}.{number:03d}").write_bytes(piece)


if __name__ == "__main__":
    pretrain(prog_name="python -m trainer.pretrain")
