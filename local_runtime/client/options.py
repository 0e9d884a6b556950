"""How a daemon is started: `config.toml`'s `[runtime]` table, overridden by what its starter says."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from local_runtime.errors import BadRequest
from local_runtime.places import places


class RuntimeOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Every field has a default; the same names stand in `config.toml`."""

    model: str | None = None
    """Name of an imported model; absent: the one imported last."""
    engine: str = "compiled"
    """`compiled`, `remote` (at `address`), `mlc_llm` (MLC's own runtime), or `echo` with an optional script:
    `echo:answers.json` (for tests)."""
    address: str | None = None
    """Of the `remote` engine: a server that speaks OpenAI's `/v1/completions`, as `https://HOST[:PORT]`. Your code is sent there."""
    tokenizer: str | None = None
    """Of the remote model: a folder with its `tokenizer.json`, or an imported model of the same vocabulary. Absent: the server
    fills in the middle by itself (`suffix`)."""
    mlc_llm: str | None = None
    """Of the `mlc_llm` engine: the environment with MLC's wheels. Absent: the `mlc_llm` on PATH."""
    mlc_device: str = "auto"
    """What mlc_llm compiles for and runs on: `auto`, `cuda`, `metal`, `vulkan`, `rocm`, `cpu`…"""
    plain_http: bool = False
    """Whether `address` may be `http://` on another machine than this one."""
    target: Literal["auto", "cpu", "cuda", "metal"] = "auto"
    """What the compiled engine runs on; `auto`: the GPU once `understudy doctor --run` has found it to be right, else the CPU."""
    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    """Also listen on this port of 127.0.0.1, with a token; 0 lets the system choose. Absent: Unix socket only."""
    idle_minutes: Annotated[float, Meta(gt=0)] = 30.0
    """The daemon ends itself when nobody has asked for this long."""


class _ConfigFile(msgspec.Struct):
    runtime: RuntimeOptions = RuntimeOptions()


def read_options(overrides: dict[str, str | int | float] | None = None) -> RuntimeOptions:
    """The options of `config.toml`, with `overrides` on top. Raises BadRequest naming file, key and what was expected."""
    path = places().config_file
    try:
        configured = msgspec.toml.decode(path.read_bytes(), type=_ConfigFile).runtime
    except FileNotFoundError:
        configured = RuntimeOptions()
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BadRequest(f"{path}: {problem}", f"$EDITOR {path}") from None
    try:
        return msgspec.convert(msgspec.to_builtins(configured) | (overrides or {}), RuntimeOptions)
    except msgspec.ValidationError as problem:
        raise BadRequest(f"the daemon's options: {problem}", "understudy runtime start --help") from None
