"""llama.cpp behind llama.vim, in two ways: as llama.vim has it, and as favourable as can be.

`Served` is the real thing: `llama-server` with the settings of its own `--fim-…-default` presets, asked at `/infill` by one
`curl` process per request, with the request that llama.vim writes. `InProcess` is a bound no client of llama.cpp reaches: no
server, no curl, no JSON, greedy decoding, and the cursor's line after the middle sentinel, so that typing keeps the whole KV
cache (llama-server puts it before the suffix, and computes the suffix anew at each key).

`llama-server` is built from the sources that llama-cpp-python's source distribution carries:

    pip download --no-binary llama-cpp-python --no-deps llama-cpp-python==0.3.36 && tar xzf llama_cpp_python-0.3.36.tar.gz
    cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_OPENSSL=OFF \\
      -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    cmake --build build --target llama-server        (build/bin/llama-server; half an hour on one core)
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import json
import os
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from lsp_replay_peer import N_PREDICT, Infill
from tokenizers import Tokenizer

N_BATCH, N_CONTEXT = 1024, 2048
START_SECONDS = 60.0
N_TRIED = 64


class Served:
    """`llama-server`, asked by curl as llama.vim does."""

    name = "llama-server"

    def __init__(self, url: str) -> None:
        self._url = url

    async def complete(self, infill: Infill) -> str:
        """One `curl` process, one request that is not streamed."""
        return await asyncio.to_thread(self._complete, infill)

    def _complete(self, infill: Infill) -> str:
        body = {
            "id_slot": 0,
            "input_prefix": infill.above,
            "input_suffix": infill.below,
            "input_extra": [{"text": text, "filename": path} for path, text in infill.chunks],
            "prompt": infill.line,
            "n_predict": N_PREDICT,
            "stop": [],
            "n_indent": infill.n_indent,
            "top_k": 40,
            "top_p": 0.90,
            "seed": 0,
            "stream": False,
            "samplers": ["top_k", "top_p", "infill"],
            "cache_prompt": True,
            "t_max_prompt_ms": 500,
            "t_max_predict_ms": max(1, round(infill.box_ms)),
            "response_fields": ["content"],
        }
        command = ["curl", "--silent", "--no-buffer", "--request", "POST", "--url", f"{self._url}/infill", "--header", "Content-Type: application/json", "--data", "@-"]  # fmt: skip
        done = subprocess.run(command, input=json.dumps(body).encode(), stdout=subprocess.PIPE, check=True)
        return str(json.loads(done.stdout)["content"])


@contextmanager
def served(program: Path, model: Path, n_threads: int) -> Iterator[Served]:
    """A server for a GGUF file, for the time of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-ub", str(N_BATCH), "-b", str(N_BATCH), "-c", str(N_CONTEXT), "-n", str(N_PREDICT), "--cache-reuse", "256", "-np", "1", "-t", str(n_threads)]  # fmt: skip
    command = [str(program), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(process, f"{url}/health")
        yield Served(url)
    finally:
        process.terminate()
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r} does not serve") from None
            time.sleep(0.1)


class InProcess:
    """Through llama-cpp-python's C interface: the longest common prefix of the last prompt is kept."""

    name = "in process"

    def __init__(self, model: Path, tokenizer: Tokenizer, n_threads: int) -> None:
        import llama_cpp  # noqa: PLC0415 - the server's arm does without

        self.n_threads = n_threads
        self._api = llama_cpp
        self._llama = llama_cpp.Llama(
            str(model),
            n_ctx=N_CONTEXT,
            n_batch=N_BATCH,
            n_ubatch=512,
            n_threads=n_threads,
            n_threads_batch=n_threads,
            verbose=False,
        )
        self._context = self._llama.ctx
        self._n_vocab = self._llama.n_vocab()
        self._computed: list[int] = []
        self._tokenizer = tokenizer
        self._stops = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._encode = functools.cache(lambda text: tokenizer.encode(text, add_special_tokens=False).ids)

    @classmethod
    def fastest(cls, model: Path, tokenizer: Tokenizer) -> InProcess:
        """With one thread or with all, whichever decodes faster here: a small model may be better off with one."""
        found = [cls(model, tokenizer, n) for n in sorted({1, os.cpu_count() or 1})]
        return min(found, key=lambda one: one._decode_seconds())

    async def complete(self, infill: Infill) -> str:
        """Prompt and decode, as `llama-server` would with its time box and its limit of indentation."""
        return await asyncio.to_thread(self._complete, infill)

    def _complete(self, infill: Infill) -> str:
        began = time.perf_counter()
        token = self._read(self._prompt(infill))
        said: list[int] = []
        text = ""
        while token not in self._stops and len(said) < N_PREDICT:
            said.append(token)
            text = self._tokenizer.decode(said)
            head, newline, last = text.rpartition("\n")
            if newline and (time.perf_counter() - began) * 1000 > infill.box_ms:
                break
            if newline and last.strip() and len(last) - len(last.lstrip(" ")) < infill.n_indent:
                return head
            self._decode([token])
            self._computed.append(token)
            token = self._best()
        return text

    def _prompt(self, infill: Infill) -> list[int]:
        ids = {
            name: self._tokenizer.token_to_id(name)
            for name in ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>")
        }
        extra: list[int] = []
        for path, text in infill.chunks:
            extra += [ids["<file_sep>"], *self._encode(f"{path}\n{text}\n")]
        extra = extra[-(N_CONTEXT - N_BATCH - 2 * N_PREDICT) :]
        if extra:
            extra += [ids["<file_sep>"], *self._encode("filename\n")]
        line = self._encode(infill.line)
        above = self._encode(infill.above)[-(3 * N_BATCH // 4) :]
        below = self._encode(infill.below)[: max(0, N_BATCH // 4 - 2 - len(line))]
        return [*extra, ids["<fim_prefix>"], *above, ids["<fim_suffix>"], *below, ids["<fim_middle>"], *line]

    def _read(self, tokens: Sequence[int]) -> int:
        """Make `tokens` the state; returns the greedy next token."""
        kept = 0
        while kept < min(len(tokens) - 1, len(self._computed)) and tokens[kept] == self._computed[kept]:
            kept += 1
        self._api.llama_memory_seq_rm(self._api.llama_get_memory(self._context), 0, kept, -1)
        for start in range(kept, len(tokens), N_BATCH):
            self._decode(tokens[start : start + N_BATCH])
        self._computed = list(tokens)
        return self._best()

    def _decode_seconds(self) -> float:
        token, taken = self._read([1] * (N_CONTEXT // 2)), []
        for _ in range(N_TRIED):
            began = time.perf_counter()
            self._decode([token])
            taken.append(time.perf_counter() - began)
        self._read([1])
        return statistics.median(taken)

    def _decode(self, tokens: Sequence[int]) -> None:
        array = (self._api.llama_token * len(tokens))(*tokens)
        status = self._api.llama_decode(self._context, self._api.llama_batch_get_one(array, len(tokens)))
        assert status == 0, f"llama_decode gave {status}"

    def _best(self) -> int:
        logits = self._api.llama_get_logits_ith(self._context, -1)
        row = np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (self._n_vocab,))
        return int(row.argmax())
