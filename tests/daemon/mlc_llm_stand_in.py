"""Stands in for `mlc_llm`: the arguments of its `cli/*.py`, the files that its commands write, the protocol of its server.

Weights are really quantised (by our importer, which follows MLC's rules); the "library" is a text, and the server answers every
prompt with the hash of the weights that it serves. Each call is written into `calls.jsonl` beside the command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_SHAPE = "hidden_size intermediate_size num_attention_heads num_hidden_layers vocab_size"
_QWEN = f"{_SHAPE} hidden_act num_key_value_heads rms_norm_eps rope_theta"
REQUIRED = {
    "llama": f"{_SHAPE} rms_norm_eps",
    "qwen2": _QWEN,
    "qwen3": f"{_QWEN} attention_bias",
    "starcoder2": f"{_SHAPE} hidden_act num_key_value_heads norm_epsilon rope_theta use_bias use_cache bos_token_id eos_token_id",
    "gpt_bigcode": "n_embd n_inner n_head n_layer n_positions layer_norm_epsilon vocab_size",
}
"""Fields without a default of the configurations in MLC's `*_model.py`."""


def convert_weight(arguments: list[str]) -> None:
    from local_runtime.model.importing import import_model  # noqa: PLC0415
    from local_runtime.model.quantization import QUANTIZATIONS  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--quantization", required=True, choices=["q0f16", "q0f32", "q4f16_1", "q4f32_1"])
    parser.add_argument("--model-type", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--source", default="auto")
    parser.add_argument("--source-format", default="auto")
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--lora-adapter", type=Path)
    parsed = parser.parse_args(arguments)
    given = json.loads((parsed.config / "config.json").read_text())
    missing = [name for name in REQUIRED[given["model_type"]].split() if name not in given]
    if missing:
        raise TypeError(f"missing required positional arguments: {missing}")
    parsed.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["UNDERSTUDY_HOME"] = home
        written = import_model(parsed.config, QUANTIZATIONS[parsed.quantization], "converted")
        for file in written.iterdir():
            if file.name == "tensor-cache.json" or file.suffix == ".bin":
                shutil.copyfile(file, parsed.output / file.name)


def compile_(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    for flag in ("--quantization", "--model-type", "--device", "--host", "--opt", "--overrides", "--debug-dump"):
        parser.add_argument(flag)
    parser.add_argument("--output", "-o", type=Path, required=True)
    parsed = parser.parse_args(arguments)
    config = json.loads(parsed.model.read_text())
    parsed.output.write_text(config["quantization"])


def serve(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model-lib", type=Path)
    parser.add_argument("--mode", choices=["local", "interactive", "server"], default="local")
    parser.add_argument("--overrides", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--allow-origins", type=json.loads, default=["*"])
    parsed = parser.parse_args(arguments)
    config = json.loads((parsed.model / "mlc-chat-config.json").read_text())
    assert parsed.model_lib.read_text() == config["quantization"]
    digest = hashlib.md5()
    for shard in sorted(parsed.model.glob("params_shard_*.bin")):
        digest.update(shard.read_bytes())
    answer = f"weights {digest.hexdigest()[:8]}"

    def load() -> None:
        raise ValueError("the weights were told not to load")

    if Path(sys.argv[0]).with_name("serve-hangs").exists():  # as MLC waits for a background thread that has died
        threading.Thread(target=load).start()
        threading.Event().wait()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/v1/models"
            data = json.dumps({"object": "list", "data": [{"id": str(parsed.model), "owned_by": "MLC-LLM"}]}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(data if found else b"{}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/completions"
            assert all(isinstance(i, int) for i in body["prompt"]) and body["stream"]
            if body["model"] != str(parsed.model):
                self.send_error(400)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.end_headers()
            for n, word in enumerate(answer.split(" ")):
                if any(stop in word for stop in body.get("stop", ())):
                    break  # as StopStrHandler: nothing of the token in which a stop string begins
                self.say({"text": word if n == 0 else f" {word}", "index": 0, "finish_reason": None})
            self.say({"text": "", "index": 0, "finish_reason": "stop"})
            self.wfile.write(b"data: [DONE]\n\n")

        def say(self, choice: dict[str, object]) -> None:
            event = {"id": "cmpl-1", "object": "text_completion", "choices": [choice], "usage": None}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer((parsed.host, parsed.port), Handler).serve_forever()


def main() -> None:
    name, arguments = sys.argv[1], sys.argv[2:]
    with Path(sys.argv[0]).with_name("calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"command": name, "arguments": arguments, "pid": os.getpid()}) + "\n")
    print(f"{name} begins")
    if Path(sys.argv[0]).with_name(f"{name}-fails").exists():
        print(f"error: {name} was told to fail", file=sys.stderr)  # which is not held back
        sys.exit(1)
    {"convert_weight": convert_weight, "compile": compile_, "serve": serve}[name](arguments)


if __name__ == "__main__":
    main()
