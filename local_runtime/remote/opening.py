"""From the settings to a remote engine: the address and the token checked, the server looked at, the tokenizer opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from local_runtime.errors import BadRequest, ModelInvalid, ModelMissing, RemoteFailed
from local_runtime.model import registry
from local_runtime.places import places
from local_runtime.prompts.fim import FimTokenizer
from local_runtime.remote.address import RemoteAddress
from local_runtime.remote.connection import Connection
from local_runtime.remote.remote_engine import RemoteEngine
from local_runtime.remote.wording import SUFFIX_ID, SuffixWording, TokenWording

CONTEXT_TOKENS = 4096
"""Of a server that does not say, and never more than `MOST_TOKENS`: a prompt of ours is shorter than 2,000."""
MOST_TOKENS = 8192
SUFFIX_BYTES = 8192
"""What a server without a named tokenizer is shown, in bytes."""


class ServedModel(msgspec.Struct):
    """An entry of `/v1/models`: `max_model_len` is vLLM's, `context_tokens` ours."""

    id: str
    max_model_len: int | None = None
    context_tokens: int | None = None


class ServedModels(msgspec.Struct):
    """`/v1/models`."""

    data: list[ServedModel] = []


def open_remote(address: RemoteAddress, model: str | None, tokenizer: str | None) -> RemoteEngine:
    """An engine for the server at `address`, which is asked what it serves.

    `model` may be left out where the server has one only. `tokenizer` is a folder with `tokenizer.json`, or the name of an imported
    model. Raises RemoteFailed, BadRequest, ModelMissing, ModelInvalid.
    """
    folder = None if tokenizer is None else _tokenizer_folder(tokenizer)
    fim = None if folder is None else FimTokenizer.open(folder)  # a wrong tokenizer is told before anybody is asked
    vocab_size = SUFFIX_ID + 1 if folder is None else _vocab_size(folder)
    connection = Connection(address)
    try:
        found = _choose(_served(connection), model, address.host)
    except BaseException:
        connection.close()
        raise
    told = found.max_model_len or found.context_tokens or CONTEXT_TOKENS
    return RemoteEngine(
        connection,
        SuffixWording() if fim is None else TokenWording(fim),
        found.id,
        context_tokens=SUFFIX_BYTES if fim is None else max(64, min(told, MOST_TOKENS)),
        vocab_size=vocab_size,
        folder=folder,
    )


def _served(connection: Connection) -> list[ServedModel]:
    """What the server says that it serves; nothing if it cannot say."""
    reply = connection.look("/v1/models")
    if reply is None:
        return []
    try:
        return msgspec.json.decode(reply, type=ServedModels).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RemoteFailed(
            f"the remote server {connection.address.host} answers /v1/models with something else than a list of models",
            f"curl -sS {connection.address.url}/v1/models",
        ) from None


def _choose(served: list[ServedModel], model: str | None, host: str) -> ServedModel:
    names = ", ".join(one.id[:100] for one in served[:8])
    if model is None:
        if len(served) == 1:
            return served[0]
        what = f"serves {names}" if served else "does not say what it serves"
        raise BadRequest(f"{host} {what}: name the model", f'model = "NAME" in {places().config_file}')
    found = next((one for one in served if one.id == model), None)
    if found is None and served:
        raise BadRequest(f"{host} does not serve {model[:100]!r}, but {names}", f"$EDITOR {places().config_file}")
    return found or ServedModel(model)


def _tokenizer_folder(tokenizer: str) -> Path:
    folder = Path(tokenizer).expanduser()
    if (folder / "tokenizer.json").is_file():
        return folder.absolute()
    if tokenizer in registry.names():
        return registry.find(tokenizer)
    raise ModelMissing(
        f"the tokenizer {tokenizer[:200]!r} is neither a folder with a tokenizer.json nor an imported model",
        f"$EDITOR {places().config_file}",
    )


def _vocab_size(folder: Path) -> int:
    """One more than the largest id of a `tokenizer.json` that `FimTokenizer` has opened."""
    try:
        document: dict[str, Any] = json.loads((folder / "tokenizer.json").read_bytes())
        vocab = document["model"]["vocab"]
        ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab))
        return 1 + max(int(i) for i in (*ids, *(token["id"] for token in document.get("added_tokens") or ())))
    except (KeyError, TypeError, ValueError) as problem:
        raise ModelInvalid(f"{folder / 'tokenizer.json'} is not a tokenizer of a known kind: {problem!r}") from None
