"""Which engine serves which model. The only place that chooses."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from local_runtime.client.options import RuntimeOptions
from local_runtime.daemon.readiness import Phase, Standing
from local_runtime.engines.echo import EchoEngine, Script
from local_runtime.engines.protocol import Engine
from local_runtime.errors import BadRequest, EngineDied
from local_runtime.model import registry
from local_runtime.model.chosen import chosen_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places
from local_runtime.prompts.prompting import BytePrompting, FimPrompting, Prompting
from local_runtime.remote.address import RemoteAddress, parse_address, read_token
from local_runtime.remote.wording import SuffixPrompting

Report = Callable[[Standing], None]

ECHO_VOCAB_SIZE = 1 << 18
"""Room for every tokenizer's ids."""
ECHO_VOCAB_BYTES = 256


class EchoScript(msgspec.Struct, forbid_unknown_fields=True):
    """One answer of the echo engine; see `echo_engine.Script`."""

    pieces: list[str] | None = None
    first_delay_ms: float = 0.0
    delay_ms: float = 0.0
    failure: str | None = None
    logprob: float = -0.25

    def script(self) -> Script:
        """As the engine takes it."""
        pieces = None if self.pieces is None else tuple(self.pieces)
        failure = EngineDied(self.failure) if self.failure else None
        return Script(pieces, self.first_delay_ms, self.delay_ms, failure=failure, logprob=self.logprob)


class EchoFile(msgspec.Struct, forbid_unknown_fields=True):
    """The file behind `--engine echo:FILE`: answers in order, then the default for ever."""

    scripts: list[EchoScript] = []
    default: EchoScript = msgspec.field(default_factory=EchoScript)
    folder: str | None = None
    """A model folder, for its tokenizer."""
    context_tokens: int = 8192
    forward_ms: float = 5.0
    load_seconds: float = 0.0


def open_engine(options: RuntimeOptions, report: Report) -> tuple[Engine, Prompting]:
    """Load what `options` name, compiling first if need be. Runs on the engine's own thread; raises RuntimeFault."""
    kind, _, argument = options.engine.partition(":")
    if kind == "echo":
        return _echo(argument, report)
    if kind == "compiled" and not argument:
        return _compiled(options.model, options.target, report)
    if kind == "remote" and not argument:
        return _remote(options, report)
    if kind == "mlc_llm" and not argument:
        return _mlc_llm(options, report)
    raise BadRequest(
        f"engine {options.engine!r} is unknown: expected compiled, remote, mlc_llm, echo or echo:FILE",
        "understudy runtime start --help",
    )


def remote_host(options: RuntimeOptions) -> str | None:
    """The host that prompts would be sent to; None for an engine on this machine. Raises BadRequest."""
    return _address(options).host if options.engine == "remote" else None


def model_here(options: RuntimeOptions) -> str:
    """Name of the model that would be served on this machine. Raises ModelMissing; BadRequest if the engine is elsewhere."""
    refuse_elsewhere(remote_host(options))
    return options.model or chosen_model()


def refuse_elsewhere(remote: str | None) -> None:
    """Raise BadRequest if the model runs on the host `remote`: what learns needs its weights."""
    if remote is not None:
        raise BadRequest(
            f"the model runs on {remote}: learning and adapters need a model on this machine",
            f'engine = "compiled" in {places().config_file}, then: understudy runtime stop',
        )


def _echo(argument: str, report: Report) -> tuple[Engine, Prompting]:
    try:
        file = msgspec.json.decode(Path(argument).read_bytes(), type=EchoFile) if argument else EchoFile()
    except (OSError, msgspec.MsgspecError) as problem:
        raise BadRequest(f"the echo engine's script {argument}: {problem}") from None
    report(Standing(Phase.LOADING, "the echo engine is loading", 0.0))
    time.sleep(file.load_seconds)
    folder = Path(file.folder) if file.folder else None
    engine = EchoEngine(
        tuple(script.script() for script in file.scripts),
        default=file.default.script(),
        folder=folder,
        vocab_size=ECHO_VOCAB_SIZE if folder else ECHO_VOCAB_BYTES,
        context_tokens=file.context_tokens,
        forward_ms=file.forward_ms,
    )
    engine.requests = deque(maxlen=64)  # type: ignore[assignment]  # it remembers all, which a daemon cannot afford
    return engine, FimPrompting(folder, ECHO_VOCAB_SIZE) if folder else BytePrompting()


def _address(options: RuntimeOptions) -> RemoteAddress:
    if options.address is None:
        raise BadRequest(
            "the remote engine needs an address",
            f'address = "https://HOST:PORT" below [runtime] in {places().config_file}',
        )
    return parse_address(options.address, read_token(), plain_http=options.plain_http)


def _remote(options: RuntimeOptions, report: Report) -> tuple[Engine, Prompting]:
    from local_runtime.remote.opening import open_remote  # noqa: PLC0415 - who serves by themselves needs no TLS

    address = _address(options)
    report(Standing(Phase.LOADING, f"asking {address.host} what it serves"))
    engine = open_remote(address, options.model, options.tokenizer)
    folder = engine.model.folder
    return engine, SuffixPrompting() if folder is None else FimPrompting(folder, engine.model.vocab_size)


def _mlc_llm(options: RuntimeOptions, report: Report) -> tuple[Engine, Prompting]:
    from local_runtime.mlc_llm.command import find_command  # noqa: PLC0415 - nobody else needs it
    from local_runtime.mlc_llm.mlc_engine import MlcEngine  # noqa: PLC0415

    command = find_command(options.mlc_llm, options.mlc_device)
    model = ModelFolder.open(registry.find(options.model or chosen_model()))
    engine = MlcEngine(model, command, lambda doing: report(Standing(Phase.COMPILING, f"{model.path.name}: {doing}")))
    return engine, FimPrompting(model.path, model.config.vocab_size)


def _compiled(name: str | None, target: str, report: Report) -> tuple[Engine, Prompting]:
    # An echo daemon needs neither TVM nor numpy's weight formats.
    from local_runtime.tvm.run.opening import EngineOptions  # noqa: PLC0415
    from local_runtime.tvm.run.opening import open_engine as open_compiled  # noqa: PLC0415

    def progress(phase: str) -> None:
        loading = phase.startswith("loading")
        report(Standing(Phase.LOADING if loading else Phase.COMPILING, f"{name}: {phase}"))

    if name is None:
        report(Standing(Phase.LOADING, "looking for a model"))
        name = chosen_model()
    report(Standing(Phase.LOADING, f"{name}: looking for its library"))
    engine = open_compiled(name, EngineOptions(target=target), progress)
    assert engine.model.folder is not None
    return engine, FimPrompting(engine.model.folder, engine.model.vocab_size)
