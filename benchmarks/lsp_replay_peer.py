"""The strategy of llama.vim on llama.cpp, as its sources have it: layout, ring, caches, time boxes, one request at a time.

What is theirs and kept: 256 lines above and 64 below; the current line after the middle sentinel; 16 chunks of 32 lines in
front; at most 768 + 256 tokens around the cursor; 128 tokens, cut after 250 ms once there is a new line (1000 ms for the
speculative request for what follows the shown text); a cache of 250 results that is searched back by up to 128 typed
characters; while a request runs, the next key tries again after 100 ms; no automatic request with more than 8 characters
right of the cursor. llama.cpp runs in this process: its HTTP server and curl, which cost llama.vim some milliseconds, are
left out. Decoding is greedy on both sides.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from lsp_replay_typist import Scene
from safetensors import safe_open
from tokenizers import Tokenizer

N_PREFIX_LINES, N_SUFFIX_LINES = 256, 64
N_PREDICT = 128
FIRST_BOX_MS, SPECULATIVE_BOX_MS = 250.0, 1000.0
N_BATCH, N_CONTEXT = 1024, 2048
N_CHUNKS, CHUNK_LINES = 16, 32
N_RESULTS, N_BACK = 250, 128
RETRY_MS = 100.0
MAX_RIGHT_CHARS = 8


class LlamaCpp:
    """A model in llama.cpp with a prompt cache: the longest common prefix of the last prompt is kept."""

    def __init__(self, path: Path, n_threads: int) -> None:
        self._llama = llama_cpp.Llama(
            str(path),
            n_ctx=N_CONTEXT,
            n_batch=N_BATCH,
            n_ubatch=512,
            n_threads=n_threads,
            n_threads_batch=n_threads,
            verbose=False,
        )
        self._context = self._llama.ctx
        self._n_vocab = self._llama.n_vocab()
        self._tokens: list[int] = []

    def prompt(self, tokens: Sequence[int]) -> int:
        """Make `tokens` the state; returns the greedy next token."""
        kept = 0
        while kept < min(len(tokens) - 1, len(self._tokens)) and tokens[kept] == self._tokens[kept]:
            kept += 1
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._context), 0, kept, -1)
        for start in range(kept, len(tokens), N_BATCH):
            self._decode(tokens[start : start + N_BATCH])
        self._tokens = list(tokens)
        return self._best()

    def step(self, token: int) -> int:
        """Append a token; returns the greedy next one."""
        self._decode([token])
        self._tokens.append(token)
        return self._best()

    def _decode(self, tokens: Sequence[int]) -> None:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        status = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(tokens)))
        assert status == 0, f"llama_decode gave {status}"

    def _best(self) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        return int(
            np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (self._n_vocab,)).argmax()
        )


class LlamaVim:
    """The client. `answers[key]` is (milliseconds, text, from the cache) of each key that was answered before the next one."""

    def __init__(self, model: LlamaCpp, tokenizer: Tokenizer, scene: Scene) -> None:
        self.answers: dict[int, tuple[float, str, bool]] = {}
        self._model, self._tokenizer, self._scene = model, tokenizer, scene
        self._stops = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._encode = functools.cache(lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
        self._results: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._job: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._key, self._key_at = -1, 0.0
        self._before, self._after = scene.before, scene.after
        self._chunks = [
            (path, "\n".join(lines[start : start + CHUNK_LINES]))
            for path, text in scene.neighbours
            for lines in [text.split("\n")]
            for start in range(0, min(len(lines), N_CHUNKS // 2 * CHUNK_LINES), CHUNK_LINES)
        ][:N_CHUNKS]

    def warm(self) -> None:
        """The background request that fills the KV cache while the user does nothing."""
        self._model.prompt(self._prompt(self._before))

    def key(self, number: int, before: str) -> None:
        """A key was pressed."""
        self._key, self._key_at, self._before = number, time.perf_counter(), before
        if self._show(cached=True):
            return
        self._request()

    async def idle(self) -> None:
        """Wait for what still runs."""
        if self._retry:
            self._retry.cancel()
        while self._job is not None:
            await self._job

    def _request(self) -> None:
        if len(self._after.partition("\n")[0]) > MAX_RIGHT_CHARS:
            return
        if self._retry:
            self._retry.cancel()
        if self._job is not None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_MS / 1000, self._again)
            return
        self._job = asyncio.create_task(self._run(self._before, FIRST_BOX_MS))

    def _again(self) -> None:
        if not self._show(cached=True):
            self._request()

    async def _run(self, before: str, box_ms: float, speculative: bool = False) -> None:
        text = await asyncio.to_thread(self._complete, before, box_ms)
        self._results[before[-4000:], self._after[:1000]] = text
        while len(self._results) > N_RESULTS:
            self._results.popitem(last=False)
        self._job = None
        shown = None if speculative else self._show(cached=False)
        if shown:
            self._job = asyncio.create_task(self._run(self._before + shown, SPECULATIVE_BOX_MS, speculative=True))

    def _show(self, cached: bool) -> str | None:
        """Show what the cache has for this place; None if it has nothing."""
        for n_back in range(min(N_BACK, len(self._before)) + 1):
            before = self._before[: len(self._before) - n_back] if n_back else self._before
            text = self._results.get((before[-4000:], self._after[:1000]))
            typed = self._before[len(before) :]
            if text is not None and text.startswith(typed) and (len(text) > n_back or not n_back):
                if self._key not in self.answers:
                    self.answers[self._key] = ((time.perf_counter() - self._key_at) * 1000, text[n_back:], cached)
                return text[n_back:]
        return None

    def _prompt(self, before: str) -> list[int]:
        above, _, line = before.rpartition("\n")
        prefix = "\n".join(above.split("\n")[-N_PREFIX_LINES:]) + "\n"
        suffix = "\n".join(self._after.split("\n")[: N_SUFFIX_LINES + 1])
        ids = {
            name: self._tokenizer.token_to_id(name)
            for name in ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>")
        }
        extra: list[int] = []
        for path, text in self._chunks:
            extra += [ids["<file_sep>"], *self._encode(f"{path}\n{text}\n")]
        extra = extra[-(N_CONTEXT - N_BATCH - 2 * N_PREDICT) :]
        current = [ids["<file_sep>"], *self._encode(self._scene.path + "\n")] if extra else []
        last = self._encode(line)
        top = self._encode(prefix)[-(3 * N_BATCH // 4) :]
        below = self._encode(suffix)[: max(0, N_BATCH // 4 - 2 - len(last))]
        return [*extra, *current, ids["<fim_prefix>"], *top, ids["<fim_suffix>"], *below, ids["<fim_middle>"], *last]

    def _complete(self, before: str, box_ms: float) -> str:
        line = before.rpartition("\n")[2]
        n_indent = len(line) - len(line.lstrip(" "))
        began = time.perf_counter()
        token = self._model.prompt(self._prompt(before))
        said: list[int] = []
        text = ""
        while token not in self._stops and len(said) < N_PREDICT:
            said.append(token)
            text = self._tokenizer.decode(said)
            head, newline, last = text.rpartition("\n")
            if newline and (time.perf_counter() - began) * 1000 > box_ms:
                break
            if newline and last.strip() and len(last) - len(last.lstrip(" ")) < n_indent:
                return head
            token = self._model.step(token)
        return text


def write_gguf(folder: Path, path: Path) -> None:
    """A Llama-shaped Hugging Face folder as GGUF, Q8_0: the format whose groups of 32 int8 values ours are kin to."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    heads, kv_heads, n_layers = (
        config["num_attention_heads"],
        config["num_key_value_heads"],
        config["num_hidden_layers"],
    )
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(n_layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    names = {number: name for name, number in (tokenizer["model"]["vocab"] | added).items()}
    tokens = [names.get(number, f"[PAD{number}]") for number in range(config["vocab_size"])]
    kinds = [gguf.TokenType.CONTROL if name in added else gguf.TokenType.NORMAL if n in names else gguf.TokenType.UNUSED for n, name in enumerate(tokens)]  # fmt: skip
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(config["eos_token_id"])
    names_of = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    with safe_open(folder / "model.safetensors", "pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a dictionary
            array = weights.get_tensor(name).float().numpy()
            short = name.removesuffix(".weight").removeprefix("model.")
            if short.startswith("layers."):
                _, layer, part = short.split(".", 2)
                if part in ("self_attn.q_proj", "self_attn.k_proj"):  # llama.cpp rotates neighbours, not halves
                    n = heads if part.endswith("q_proj") else kv_heads
                    array = array.reshape(n, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(array.shape)
                short = f"blk.{layer}.{names_of[part]}"
            else:
                short = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[short]
            if array.ndim == 1:
                writer.add_tensor(f"{short}.weight", array)
            else:
                kind = gguf.GGMLQuantizationType.Q8_0
                writer.add_tensor(f"{short}.weight", gguf.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
