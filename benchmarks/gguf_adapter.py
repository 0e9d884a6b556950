"""An adapter that was exported as GGUF, in llama.cpp: does its greedy text follow the adapter as ours does?

The tests' tiny model as GGUF (Q8_0), a random adapter on every linear, strong enough to change the text; each prompt is completed
greedily by llama-server without and with `--lora`, and by our engine without and with the adapter. Needs `gguf` and llama-server
(built as `lsp_replay_llama_cpp.py` says).

    python benchmarks/gguf_adapter.py --llama-server build/bin/llama-server
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lsp_replay_gguf import write_gguf
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_model

from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.engines.protocol import Adapter, Prompt, Sampling
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.layout import fused_tensors
from local_runtime.model.model_folder import ModelFolder
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.prompts.hole import Hole
from local_runtime.tvm.run.opening import EngineOptions, open_engine
from trainer.adapters.exchange import export_gguf

N_TOKENS = 24
STARTS = (
    "import os\n\n\ndef read_lines(path):\n    ",
    "class Stack:\n    def __init__(self):\n        ",
    "function total(items) {\n  ",
    "def fib(n):\n    if n < 2:\n        return n\n    return ",
    "for name in sorted(names):\n    print(",
    "try:\n    value = int(text)\nexcept ",
)


def random_adapter(folder: Path, config: DecoderConfig, base_hash: str, rank: int = 8, size: float = 0.07) -> Adapter:
    """A PEFT folder with random matrices on every linear of the layers."""
    dice = np.random.default_rng(5)
    tensors: dict[str, Any] = {}
    for fused in fused_tensors(config):
        for part in fused.parts:
            if ".layers." in part.name and len(fused.shape) == 2:
                n_out, n_in = fused.part_shape(part)
                for side, shape in (("A", (rank, n_in)), ("B", (n_out, rank))):
                    name = f"base_model.model.{part.name.removesuffix('.weight')}.lora_{side}.weight"
                    tensors[name] = dice.normal(0, size, shape).astype(np.float32)
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}))
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"base_hash": base_hash}))
    return read_adapter(folder)


@contextmanager
def served(command: Path, model: Path, *more: str) -> Iterator[str]:
    """llama-server's address, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [str(command), "-m", str(model), "--port", str(port), "-t", "2", "-c", "1024", "--no-webui", *more]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            if process.poll() is not None:
                raise SystemExit(f"{command} ended with status {process.returncode}")
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


def theirs(url: str, ids: Sequence[int]) -> tuple[list[int], list[float]]:
    """Greedy ids and their log-probabilities from llama-server."""
    body = {"prompt": list(ids), "n_predict": N_TOKENS, "temperature": 0.0, "n_probs": 1, "return_tokens": True}
    body |= {"ignore_eos": False, "cache_prompt": False}
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        said = json.load(reply)
    return said["tokens"], [entry["logprob"] for entry in said.get("completion_probabilities", ())]


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-server", type=Path, required=True)
    command = parser.parse_args().llama_server
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.environ["UNDERSTUDY_HOME"] = str(home / "home")
        model = tiny_model.ensure_imported()
        engine = open_engine(model, EngineOptions(kv_cache_tokens=4096, n_threads=2))
        folder = engine.model.folder
        assert folder is not None
        opened, fim = ModelFolder.open(folder), FimTokenizer.open(folder)
        adapter = random_adapter(home / "adapter", opened.config, engine.model.base_hash)
        export_gguf(opened, adapter, home / "exported")
        write_gguf(tiny_model.FOLDER, home / "model.gguf")
        prompts = [fim.prompt(Hole("a.py", "python", start, "\n")) for start in STARTS]

        def ours(prompt: Prompt, with_adapter: Adapter | None) -> tuple[list[int], list[float]]:
            free = Prompt(prompt.token_ids)  # llama-server reports the end differently: compare what comes before
            pieces = list(engine.stream(free, Sampling(max_tokens=N_TOKENS), with_adapter))
            return [i for p in pieces for i in p.token_ids], [x for p in pieces for x in p.logprobs]

        report: dict[str, Any] = {"prompts": len(prompts), "tokens": N_TOKENS}
        for label, used, more in (
            ("base", None, ()),
            ("adapter", adapter, ("--lora", str(home / "exported" / "adapter.gguf"))),
        ):
            with served(command, home / "model.gguf", *more) as url:
                report[label] = compare([(ours(p, used), theirs(url, p.token_ids)) for p in prompts])
        changed = sum(ours(p, adapter)[0] != ours(p, None)[0] for p in prompts)
        engine.close()
    print(json.dumps(report | {"prompts_that_the_adapter_changes": changed}))


def compare(pairs: Sequence[tuple[tuple[list[int], list[float]], tuple[list[int], list[float]]]]) -> dict[str, float]:
    """How much of the greedy text is the same, and how far the log-probabilities of the same text are apart."""
    same, length, apart = 0, 0, []
    for (ids, logprobs), (other_ids, other_logprobs) in pairs:
        n = next(
            (k for k, (a, b) in enumerate(zip(ids, other_ids, strict=False)) if a != b), min(len(ids), len(other_ids))
        )
        same, length = same + n, length + min(len(ids), len(other_ids))
        apart += [abs(a - b) for a, b in zip(logprobs[:n], other_logprobs[:n], strict=False)]
    return {
        "same_tokens": same,
        "of": length,
        "mean_logprob_distance": round(float(np.mean(apart)) if apart else -1, 4),
    }


if __name__ == "__main__":
    main()
