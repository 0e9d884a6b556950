"""How much memory and time it takes to import a model of a 7B shape: 14 GB of bfloat16 that is made for it and deleted.

    python benchmarks/synthetic_7b_import.py [--quantization q8f16_g32] [--shape 7b] [--folder TEMPORARY]

Needs 14 GB of disk for the float model and 4 to 14 GB for the imported one. The import runs in a process of its own, through
the `understudy` command, so that the peak is the command's alone.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from local_runtime.model.synthetic import SHAPES, write_folder


@click.command()
@click.option("--quantization", default="q8f16_g32")
@click.option("--shape", type=click.Choice(list(SHAPES)), default="7b")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the two models are made.")
def main(quantization: str, shape: str, folder: Path | None) -> None:
    """Make, import, measure, delete."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        root = Path(made)
        started = time.monotonic()
        source = write_folder(root / shape, SHAPES[shape], dtype="bfloat16")
        written = time.monotonic()
        command = [
            str(Path(sys.executable).with_name("understudy")),
            "model",
            "import",
            str(source),
            "-q",
            quantization,
        ]
        environment = os.environ | {"UNDERSTUDY_HOME": str(root / "home")}
        subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
        imported = time.monotonic()
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        float_bytes = sum(file.stat().st_size for file in source.glob("*.safetensors"))
        stored_bytes = sum(file.stat().st_size for file in root.glob("home/data/models/*/*.bin"))
    figures = {
        "shape": shape,
        "quantization": quantization,
        "float_gb": round(float_bytes / 1e9, 2),
        "stored_gb": round(stored_bytes / 1e9, 2),
        "making_seconds": round(written - started, 1),
        "import_seconds": round(imported - written, 1),
        # Kilobytes on Linux, bytes on macOS.
        "peak_rss_gb": round(peak * (1 if sys.platform == "darwin" else 1024) / 1e9, 2),
    }
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
