"""What this machine has, and whether it runs here: by the header of each file alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf.constants import LlamaFileType

from local_runtime.errors import RuntimeFault
from local_runtime.model.config_json import ConfigJson, decoder_config, family_of
from local_runtime.model.gguf.config import read_config
from local_runtime.model.gguf.file import GgufFile
from local_runtime.model.gguf.pre_tokenizers import PRE_TOKENIZERS
from local_runtime.model.json_file import read_json
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.registry import FILE_NAME as MLC_FILE
from local_runtime.model.stores.layouts import LAYOUTS, LocalModel, any_folder
from local_runtime.model.stores.roots import roots
from local_runtime.prompts.families import recognise
from local_runtime.prompts.fim import FimTokenizer


@dataclass(frozen=True, slots=True)
class Found:
    """A model, and what its header says."""

    model: LocalModel
    size_bytes: int
    architecture: str = ""
    quantization: str = ""
    fills_in_the_middle: bool = False
    problem: str = ""
    """Why it cannot be imported; empty: it can."""


def find_models(folders: Sequence[Path] = (), looking_at: Callable[[str], None] = lambda name: None) -> list[Found]:
    """Every model of every store and of the named folders, each file once however often it is linked. Never raises."""
    found, seen = [], set()
    for model in _listed(folders):
        identity = _identity(model.path)
        if identity is not None and not model.problem:
            if identity in seen:
                continue
            seen.add(identity)
        looking_at(model.reference)
        found.append(describe(model))
    return found


def places_looked_at(folders: Sequence[Path] = ()) -> list[Path]:
    """All folders that are looked into, there or not."""
    return [*folders, *(root for paths in roots().values() for root in paths)]


def describe(model: LocalModel) -> Found:
    """What a model's header says of it."""
    size = model.size_bytes
    if model.problem:
        return Found(model, size, problem=model.problem)
    try:
        if model.path.is_file():
            return _describe_gguf(model, size)
        return _describe_folder(model, size)
    except RuntimeFault as fault:
        return Found(model, size, problem=fault.message.removeprefix(f"{model.path}: "))
    except OSError as problem:
        return Found(model, size, problem=f"it cannot be read: {problem.strerror or problem}")


def _describe_gguf(model: LocalModel, size: int) -> Found:
    file = GgufFile.open(model.path)
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    fills = isinstance(tokens, list) and recognise(set(map(str, tokens)).__contains__) is not None
    facts = Found(model, size, file.architecture, _quantization(file), fills)
    try:
        read_config(file, tied="output.weight" not in file.tensors)
        problem = _tokenizer_problem(file)
    except RuntimeFault as fault:
        problem = fault.message.removeprefix(f"{file.path}: ")
    return Found(model, size, facts.architecture, facts.quantization, fills, problem)


def _describe_folder(model: LocalModel, size: int) -> Found:
    if (model.path / MLC_FILE).is_file():
        opened = ModelFolder.open(model.path)
        architecture, quantization = opened.config.family, opened.quantization.name
    else:
        file = model.path / "config.json"
        config = read_json(file, ConfigJson)
        architecture, quantization = decoder_config(config, family_of(config, file), file).family, "floats"
    try:
        FimTokenizer.open(model.path)
        fills = True
    except RuntimeFault:
        fills = False
    return Found(model, size, architecture, quantization, fills)


def _tokenizer_problem(file: GgufFile) -> str:
    kind, pre = file.metadata.get("tokenizer.ggml.model"), file.metadata.get("tokenizer.ggml.pre")
    if kind == "llama" or (kind == "gpt2" and pre in PRE_TOKENIZERS):
        return ""
    return f"its tokenizer ({str(kind)[:20]}, {str(pre)[:30]}) is not known"


def _quantization(file: GgufFile) -> str:
    """The label that its maker gave it, else what most of its weights are in."""
    label = file.metadata.get("general.file_type")
    if isinstance(label, int) and label in LlamaFileType._value2member_map_:
        return LlamaFileType(label).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    sizes: Counter[str] = Counter()
    for tensor in file.tensors.values():
        sizes[tensor.kind.name] += tensor.n_rows
    return sizes.most_common(1)[0][0] if sizes else ""


def _listed(folders: Sequence[Path]) -> Iterator[LocalModel]:
    for kind, paths in roots().items():
        for root in paths:
            yield from LAYOUTS[kind](root)
    for folder in folders:
        yield from any_folder(folder.expanduser())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
