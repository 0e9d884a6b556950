"""What works on this machine and what does not: one finding per thing looked at, each failure with the command that mends it.

Looks and changes nothing. The command is in `doctor_command`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from local_runtime import __version__
from local_runtime.client import lock, sockets
from local_runtime.client.client import Client
from local_runtime.client.options import read_options
from local_runtime.devices import cuda_parts, target
from local_runtime.devices.proven import is_proven
from local_runtime.errors import BadRequest, DaemonUnreachable, ModelMissing, RuntimeFault
from local_runtime.mlc_llm.command import find_command
from local_runtime.model import registry
from local_runtime.model.chosen import BRING_ONE, NO_MODEL, chosen_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.pip_command import pip_command
from local_runtime.places import places
from local_runtime.tvm.build import linker
from local_runtime.tvm.run.library import find_library

LOW_DISK_BYTES = 2 << 30
LOW_MEMORY_BYTES = 1 << 30
BREAKING_VARIABLES = ("TVM_USE_RUNTIME_LIB", "TVM_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "LD_PRELOAD")
"""Environment variables that make a compiled library load something else."""
NOT_RUN = "compiled, not yet run on such hardware by those who wrote it; used once doctor --run finds it right"
USE_CPU = 'target = "cpu" under [runtime] in config.toml'
_PIN = re.compile(r"([A-Za-z0-9_.-]+)==([^\s;]+)\s*$")

State = Literal["ok", "note", "bad"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    area: str
    state: State
    """`bad`: something does not work; `note`: it works, but you may want to know."""
    text: str
    remedy: str | None = None
    """What to type to mend it."""


def findings() -> Iterator[Finding]:
    """Look at everything. A look that fails is a finding itself, so that one damaged thing does not hide the others."""
    looks: Mapping[str, Callable[[], Iterator[Finding]]] = {
        "machine": machine,
        "wheels": wheels,
        "toolchain": toolchain,
        "gpu": gpu,
        "folders": folders,
        "settings": settings,
        "models": models,
        "mlc_llm": mlc_llm,
        "daemon": daemon,
    }
    for area, look in looks.items():
        try:
            yield from look()
        except (RuntimeFault, OSError, psutil.Error) as fault:
            yield Finding(area, "bad", str(getattr(fault, "message", fault)), getattr(fault, "remedy", None))


def machine() -> Iterator[Finding]:
    """System, processor, memory."""
    known = sys.platform in ("linux", "darwin")
    system = f"{platform.system()} {platform.release()} on {platform.machine()}, Python {platform.python_version()}"
    yield Finding(
        "machine", "ok" if known else "bad", system, None if known else "wsl --install    (Windows: run inside WSL2)"
    )
    found = target.detect()
    text = f"{found.n_threads} cores compute with {found.isa.value} kernels ({found.triple}, {found.mcpu} {' '.join(found.mattr)})"
    slow = found.isa is target.Isa.GENERIC
    yield Finding("processor", "note" if slow else "ok", text + (": portable and slow" if slow else ""))
    memory = psutil.virtual_memory()
    low = memory.available < LOW_MEMORY_BYTES
    text = f"{memory.available >> 20:,} of {memory.total >> 20:,} MB are free"
    yield Finding(
        "memory", "note" if low else "ok", text, "close something, or import a smaller model" if low else None
    )
    for name in BREAKING_VARIABLES:
        if os.environ.get(name):
            yield Finding(
                "environment", "note", f"{name} is set: compiled code may load another library", f"unset {name}"
            )


def wheels() -> Iterator[Finding]:
    """Whether what is installed is what was tested: the exact pins of the distribution."""
    wrong = False
    for requirement in metadata.requires("understudy") or ():
        if not (pin := _PIN.fullmatch(requirement)):
            continue  # of an extra
        try:
            found = metadata.version(pin[1])
        except metadata.PackageNotFoundError:
            found = "missing"
        if found != pin[2]:
            wrong = True
            known_bad = " (others crash while compiling)" if pin[1] == "apache-tvm-ffi" else ""
            yield Finding(
                "wheels",
                "bad",
                f"{pin[1]} is {found}, expected {pin[2]}{known_bad}",
                pip_command(f"install {pin[1]}=={pin[2]}"),
            )
    for other in ("mlc-ai", "mlc-ai-nightly", "tvm"):
        if _installed(other):
            wrong = True
            text = f"{other} is installed here, too: it brings another package `tvm` over ours"
            yield Finding(
                "wheels",
                "bad",
                text,
                f"{pip_command(f'uninstall {other}')} && {pip_command('install --force-reinstall apache-tvm')}",
            )
    if not wrong:
        tvm = f"apache-tvm {metadata.version('apache-tvm')}, apache-tvm-ffi {metadata.version('apache-tvm-ffi')}"
        yield Finding("wheels", "ok", f"understudy {__version__}; all dependencies as tested ({tvm})")


def toolchain() -> Iterator[Finding]:
    """What links a compiled model."""
    found = linker.find_linker()
    if found is None:
        yield Finding("toolchain", "bad", "nothing here can link a compiled model", linker.remedy())
    else:
        yield Finding("toolchain", "ok", f"{found.name} links compiled models ({found.command[0]})")


def gpu() -> Iterator[Finding]:
    """A GPU, if there is one, and what it lacks. Whether it computes rightly, `doctor --run` tells."""
    if target.best_kind() == target.METAL:
        yield _whole_gpu("Metal", target.METAL)
        return
    found = cuda_parts.find_gpu()
    if found is None:
        yield Finding("gpu", "ok", "no GPU that Understudy can use: models run on the CPU")
        return
    name = f"{found.name}, {found.arch}, {found.memory_bytes >> 20:,} MB"
    if not found.supported:
        yield Finding("gpu", "note", f"{name} is not used: code is made for sm_75 to sm_90")
        return
    missing = cuda_parts.missing_parts()
    for what, remedy in missing.items():
        yield Finding("gpu", "note", f"{name} is not used: {what} is missing", remedy)
    if not missing:
        yield _whole_gpu(name, target.CUDA)


def _whole_gpu(name: str, kind: str) -> Finding:
    if is_proven(kind):
        return Finding("gpu", "ok", f"{name}: computes what the CPU does")
    return Finding("gpu", "note", f"{name}: {NOT_RUN}", "understudy doctor --run")


def folders() -> Iterator[Finding]:
    """That everything is this user's alone, and that there is room."""
    here = places()
    for path in (here.data, here.cache, here.config, here.runtime, sockets.socket_path().parent):
        if path.exists() and (problem := _exposed(path)):
            yield problem
    for path in (sockets.token_path(), sockets.socket_path()):
        if path.exists() and (problem := _exposed(path)):
            yield problem
    socket = sockets.socket_path()
    short = "" if socket.parent == here.runtime else f" (short, since {here.runtime} is too long for a socket)"
    yield Finding(
        "folders", "ok", f"data {here.data}, cache {here.cache}, config {here.config}, socket {socket}{short}"
    )
    for path in dict.fromkeys((_existing(here.data), _existing(here.cache))):
        free = shutil.disk_usage(path).free
        low = free < LOW_DISK_BYTES
        remedy = f"rm -r {here.libraries} {here.packed}    (they are made again)" if low else None
        yield Finding("disk", "note" if low else "ok", f"{free >> 20:,} MB are free at {path}", remedy)


def settings() -> Iterator[Finding]:
    """Whether config.toml is understood."""
    options = read_options()
    port = "no port" if options.port is None else f"port {options.port}"
    text = f"engine {options.engine}, model {options.model or 'the one imported last'}, {port}, idle {options.idle_minutes:g} minutes"
    yield Finding("settings", "ok", text)


def models() -> Iterator[Finding]:
    """Every model, whole or not, compiled or not."""
    names = registry.names()
    try:
        chosen = chosen_model()
    except ModelMissing:
        chosen = ""
        yield Finding("models", "bad", NO_MODEL, BRING_ONE)
    if chosen and "/" not in chosen and chosen not in names:
        yield Finding("models", "bad", f"config.toml names {chosen}, which is not there", "understudy model list")
    for name in names:
        try:
            model = ModelFolder.open(registry.find(name))
        except RuntimeFault as fault:
            yield Finding(
                "models", "bad", f"{name}: {fault.message}", fault.remedy or f"understudy model remove {name}"
            )
            continue
        device = target.choose_target()
        compiled = find_library(model.config, model.quantization, device)
        text = f"{name}: {model.config.family}, {model.quantization.name}, {model.weight_bytes >> 20:,} MB"
        text += ", the one that answers" if name == chosen else ""
        if compiled:
            yield Finding("models", "ok", f"{text}, compiled for this machine's {device.name}")
        else:
            yield Finding("models", "note", f"{text}, compiled at first use", f"understudy model compile {name}")


def mlc_llm() -> Iterator[Finding]:
    """MLC's own runtime, for who has it. Silent for who neither has nor wants it."""
    options = read_options()
    wanted = options.engine == "mlc_llm"
    try:
        command = find_command(options.mlc_llm, options.mlc_device)
    except BadRequest as fault:
        if wanted or options.mlc_llm:
            yield Finding("mlc_llm", "bad", fault.message, fault.remedy)
        return
    serves = "serves" if wanted else 'is there; engine = "mlc_llm" in config.toml serves with it'
    text = f"{command.executable} {serves} ({command.device}); not yet tested with the real one, adapters are merged"
    yield Finding("mlc_llm", "note" if wanted else "ok", text)


def daemon() -> Iterator[Finding]:
    """Who serves, if anybody."""
    holder = lock.holder(sockets.lock_path())
    try:
        with Client("doctor", start=False) as client:
            health = client.health()
    except DaemonUnreachable:
        if holder is not None and holder.alive():
            yield Finding(
                "daemon", "bad", f"process {holder.pid} runs but does not answer", "understudy runtime stop --force"
            )
        else:
            yield Finding("daemon", "ok", "not running; editors start it when they need it")
        return
    text = f"process {health.pid}, version {health.version}, {health.status}"
    if health.status == "failed":
        yield Finding("daemon", "bad", f"{text}: {health.message}", health.remedy or "understudy runtime logs")
    elif health.version != __version__:
        yield Finding("daemon", "note", f"{text}; installed is {__version__}", "understudy runtime stop")
    else:
        serving = f", serves {health.model.id}" if health.model else ""
        adapter = f" with adapter {health.active.adapter} x {health.active.strength:g}" if health.active.adapter else ""
        yield Finding("daemon", "ok", text + serving + adapter)


def _exposed(path: Path) -> Finding | None:
    """What is wrong with the permissions of a folder or file of ours."""
    found = path.lstat()
    if found.st_uid != os.getuid():
        return Finding("folders", "bad", f"{path} belongs to user {found.st_uid}", f"sudo chown -R $USER {path}")
    if found.st_mode & 0o077:
        mode = "700" if stat.S_ISDIR(found.st_mode) else "600"
        text = f"{path} can be reached by other users (mode {stat.S_IMODE(found.st_mode):o})"
        return Finding("folders", "bad", text, f"chmod {mode} {path}")
    return None


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
