"""The steps of a set-up. Each is skipped where its result is there already, so a set-up that was cut off goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_runtime.client.client import Client
from local_runtime.devices.target import choose_target, usable_cores
from local_runtime.engines.protocol import Sampling
from local_runtime.errors import ModelMissing, RuntimeFault
from local_runtime.model import catalogue, importing, registry
from local_runtime.model.catalogue import DataPackages, Entry, HubFile
from local_runtime.model.chosen import chosen_model, configured_model, fit_to_serve
from local_runtime.model.fetching import discard, fetch
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.quantization import DEFAULT_QUANTIZATION, QUANTIZATIONS
from local_runtime.model.stores import resolve
from local_runtime.model.use import use_model
from local_runtime.places import folder, places
from local_runtime.prompts.hole import Hole
from local_runtime.setup.choice import Machine, choose
from local_runtime.setup.probe import measure
from local_runtime.tvm.run.library import ensure_library, find_library

LOAD_SECONDS = 900.0
WARM_UP = Hole("warm_up.py", "python", "def add(a, b):\n    return ", "\n")

Told = Callable[[str, int, int, str], None]
"""Told the stage (`measure`, `fetch`, `import`, `compile` or `warm`), how much is done, of how much (0: unknown), and a word."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set-up is about to do."""

    model: str
    """Under which name it will be registered."""
    title: str
    quantization: str
    licence: str
    non_commercial: bool
    download_bytes: int
    disk_bytes: int
    reason: str
    alternatives: tuple[str, ...] = ()
    """Larger models, each with what to expect of it."""
    entry: Entry | None = None
    """To fetch; None: it is on this machine."""
    path: Path | None = None
    """To import; None: it is imported, or fetched first."""
    source: str = ""


def look() -> Machine:
    """This machine, in the figures that decide."""
    memory = psutil.virtual_memory()
    device = choose_target().kind
    free_disk = shutil.disk_usage(folder(places().data)).free
    return Machine(usable_cores(), memory.total, memory.available, free_disk, device)


def ready() -> str | None:
    """The chosen model, if it is whole and compiled: then there is nothing to do."""
    try:
        name = chosen_model()
        opened = ModelFolder.open(registry.find(name))
        compiled = find_library(opened.config, opened.quantization, choose_target())
    except RuntimeFault:
        return None
    return name if compiled and configured_model() == name else None


def plan(machine: Machine, wanted: str | None, quantization: str | None, told: Told, *, offline: bool) -> Plan:
    """What to bring: `wanted` is a catalogue's name, an earlier plan's `model`, an imported model, a path or a reference; None: what suits
    the machine.

    Raises ModelMissing with what was looked for.
    """
    if wanted is None:
        return _suitable(machine, quantization, told, offline)
    if wanted in registry.names():
        return _imported(wanted)
    reason = f"you asked for {wanted}"
    for entry in catalogue.entries():
        if wanted == entry.name:
            return _of_entry(entry, quantization or DEFAULT_QUANTIZATION, reason)
        for name in QUANTIZATIONS:  # as `plan` names it: an editor asks with that, once its user agreed
            if wanted == entry.model_name(name):
                return _of_entry(entry, name, reason)
    found = resolve(wanted)
    name = quantization or DEFAULT_QUANTIZATION
    size = found.size_bytes
    licence = found.license_name or "not said"
    stem = found.path.name.removesuffix(".gguf")
    return Plan(
        registry.checked_name(f"{stem}-{name}"), stem, name, licence, False, 0, size, reason, path=found.path, source=found.source
    )  # fmt: skip


def carry_out(the: Plan, told: Told, *, offline: bool) -> None:
    """Fetch, import, compile, choose and warm up. Raises what the steps raise."""
    if the.model not in registry.names():
        _bring(the, told, offline)
    opened = ModelFolder.open(registry.find(the.model))
    ensure_library(
        opened.config, opened.quantization, choose_target(), progress=lambda word: told("compile", 0, 0, word)
    )
    use_model(the.model)
    told("warm", 0, 0, "loading the model")
    with Client("setup") as client:
        client.wait_ready(LOAD_SECONDS)
        told("warm", 0, 0, "asking it for a first completion")
        client.complete(WARM_UP, sampling=Sampling(max_tokens=8))


def _suitable(machine: Machine, quantization: str | None, told: Told, offline: bool) -> Plan:
    imported = fit_to_serve()
    if imported:
        return _imported(chosen_model() if _is_chosen(imported) else imported[-1])
    entries = [entry for entry in catalogue.entries() if not offline or _is_here(entry)]
    if not entries:
        raise ModelMissing("offline, and this machine has no model of the catalogue", "understudy model find")
    told("measure", 0, 0, "running our kernels for a few seconds")
    busy = psutil.getloadavg()[0] > machine.n_cores / 2
    best, slower = choose(machine, measure(), entries)
    return _of_entry(
        best.entry,
        quantization or best.quantization,
        f"here it takes {best.expectation}" + (", measured while other programs computed" if busy else ""),
        tuple(f"{one.entry.name}: better, but {one.expectation}" for one in slower),
    )


def _is_chosen(names: list[str]) -> bool:
    try:
        return chosen_model() in names
    except RuntimeFault:
        return False


def _is_here(entry: Entry) -> bool:
    for source in entry.sources:
        if isinstance(source, HubFile | DataPackages):
            continue
        try:
            resolve(source.reference)
        except RuntimeFault:
            continue
        return True
    return False


def _of_entry(entry: Entry, quantization: str, reason: str, alternatives: tuple[str, ...] = ()) -> Plan:
    name = entry.model_name(quantization)
    if name in registry.names():
        return _imported(name)
    return Plan(
        name,
        entry.title,
        quantization,
        entry.license_text,
        entry.non_commercial,
        entry.download_bytes,
        entry.download_bytes + entry.weight_bytes(quantization),
        reason,
        alternatives,
        entry,
    )


def _imported(name: str) -> Plan:
    opened = ModelFolder.open(registry.find(name))
    licence = (opened.note.license if opened.note else "") or "not said"
    return Plan(name, name, opened.quantization.name, licence, False, 0, 0, "it is imported already")


def _bring(the: Plan, told: Told, offline: bool) -> None:
    with _source(the, told, offline) as (path, source, licence):
        importing.import_model(
            path,
            QUANTIZATIONS[the.quantization],
            the.model,
            source=source,
            license_name=licence,
            progress=lambda tensor, done, total: told("import", done, total, tensor),
        )


@contextmanager
def _source(the: Plan, told: Told, offline: bool) -> Iterator[tuple[Path, str, str]]:
    """The file to import, and where it is from; what was fetched for it is deleted once it is imported."""
    if the.path is not None:
        yield the.path, the.source, the.licence
        return
    assert the.entry is not None
    import_bytes = the.entry.weight_bytes(the.quantization)
    fetched = fetch(the.entry, lambda done, total: told("fetch", done, total, ""), offline, import_bytes)
    yield fetched.path, fetched.source, fetched.license_name
    discard(fetched)
