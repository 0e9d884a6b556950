"""What this machine has, and whether it runs here: by the header of each file alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from gguf.constants import GGUFType, LlamaFileType

from local_runtime.errors import ModelInvalid, RuntimeFault
from local_runtime.model import tokenizer_file
from local_runtime.model.config_json import ConfigJson, decoder_config, family_of
from local_runtime.model.float_weights import FloatWeights
from local_runtime.model.gguf.config import read_config
from local_runtime.model.gguf.file import GgufFile
from local_runtime.model.gguf.pre_tokenizers import PRE_TOKENIZERS
from local_runtime.model.gguf.weights import HEAD, GgufWeights
from local_runtime.model.json_file import read_json
from local_runtime.model.model_folder import ModelFolder
from local_runtime.model.registry import FILE_NAME as MLC_FILE
from local_runtime.model.stores.layouts import LAYOUTS, any_folder
from local_runtime.model.stores.local_model import LocalModel, licence_in
from local_runtime.model.stores.roots import roots
from local_runtime.model.stores.walking import Told, exists, expanded, printable
from local_runtime.prompts.families import recognise
from local_runtime.prompts.fim import FimTokenizer

MAX_MODELS = 500
"""Each costs up to half a second: a large vocabulary is read to the end."""
NOT_MODELS = {
    GGUFType.ADAPTER: "an adapter",
    GGUFType.MMPROJ: "the part that sees images",
    GGUFType.IMATRIX: "statistics",
}
EMBEDDING_ARCHITECTURES = ("bert", "embed", "encoder")
"""In the names of llama.cpp's architectures that write no text."""
MLX = "an MLX model: its weights are in another format"


@dataclass(frozen=True, slots=True)
class Found:
    """A model, and what its header says."""

    model: LocalModel
    size_bytes: int
    architecture: str = ""
    quantization: str = ""
    fills_in_the_middle: bool = False
    license_name: str = ""
    problem: str = ""
    """Why it cannot be imported; empty: it can."""


class _Marks(msgspec.Struct):
    """What MLX adds to the `config.json` of a model that it quantised."""

    quantization: Any = None


def find_models(
    folders: Sequence[Path] = (),
    looking_at: Callable[[str], None] = lambda name: None,
    told: Told = lambda sentence: None,
) -> list[Found]:
    """Every model of every store and of the named folders, each file once however often it is linked.

    `told` hears of each place that could not be looked at. Nothing that lies there makes it raise.
    """
    found: list[Found] = []
    seen: set[tuple[int, int]] = set()
    for model in _listed(folders, told):
        identity = None if model.problem else _identity(model.path)
        if identity in seen:
            continue
        if len(found) == MAX_MODELS:
            told(f"there are more than {MAX_MODELS} models; name one folder to see what is in it")
            break
        if identity is not None:
            seen.add(identity)
        looking_at(model.reference)
        found.append(describe(model))
    return found


def places_looked_at(folders: Sequence[Path] = ()) -> list[Path]:
    """All folders that are looked into, there or not."""
    return [*folders, *(root for paths in roots().values() for root in paths)]


def describe(model: LocalModel) -> Found:
    """What a model's header says of it."""
    facts: dict[str, Any] = {"license_name": model.stored_license}
    problem = model.problem or _checked(model, lambda: _read(model, facts))
    return Found(model, model.size_bytes, **facts, problem=printable(problem))


def _checked(model: LocalModel, read: Callable[[], None]) -> str:
    """Why reading fails; empty if it does not."""
    try:
        read()
    except RuntimeFault as fault:
        return fault.message.removeprefix(f"{model.path}: ").removeprefix(f"{model.path}/")
    except OSError as problem:
        return f"it cannot be read: {problem.strerror or problem}"
    return ""


def _read(model: LocalModel, facts: dict[str, Any]) -> None:
    """Fill `facts` in as far as one gets. Raises RuntimeFault for what cannot be imported."""
    if not model.path.is_dir():
        _read_gguf(model.path, facts)
    elif (model.path / MLC_FILE).is_file():
        opened = ModelFolder.open(model.path)
        facts |= {"architecture": opened.config.family, "quantization": opened.quantization.name}
        facts["fills_in_the_middle"] = _fills_in_the_middle(model.path)
    else:
        _read_folder(model.path, facts)


def _read_gguf(path: Path, facts: dict[str, Any]) -> None:
    file = GgufFile.open(path)
    facts["architecture"] = file.architecture
    facts["quantization"] = _quantization(file)
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    facts["fills_in_the_middle"] = (
        isinstance(tokens, list) and recognise(set(map(str, tokens)).__contains__) is not None
    )
    facts["license_name"] = facts["license_name"] or licence_in(file)
    _refuse(_why_no_decoder(file))
    GgufWeights(file, read_config(file, tied=HEAD not in file.tensors))
    _refuse(_tokenizer_problem(file))


def _read_folder(path: Path, facts: dict[str, Any]) -> None:
    file = path / "config.json"
    found = read_json(file, ConfigJson)
    config = decoder_config(found, family_of(found, file), file)
    facts |= {"architecture": config.family, "quantization": "floats"}
    facts["fills_in_the_middle"] = _fills_in_the_middle(path)
    _refuse(MLX if read_json(file, _Marks).quantization else "")
    FloatWeights(path, config)
    _refuse("" if (path / tokenizer_file.FILE_NAME).is_file() else f"it has no {tokenizer_file.FILE_NAME}")


def _fills_in_the_middle(path: Path) -> bool:
    try:
        FimTokenizer.open(path)
    except RuntimeFault:
        return False
    return True


def _why_no_decoder(file: GgufFile) -> str:
    """Why a file is none that writes text: llama.cpp keeps other things in this format, too."""
    kind, architecture = file.metadata.get("general.type"), file.architecture
    if isinstance(kind, str) and kind in NOT_MODELS:
        return f"it is {NOT_MODELS[kind]}, not a model"
    if architecture == "clip":
        return f"it is {NOT_MODELS[GGUFType.MMPROJ]}, not a model"
    if file.metadata.get(f"{architecture}.pooling_type") or any(
        word in architecture for word in EMBEDDING_ARCHITECTURES
    ):
        return f"a model for embeddings ({architecture[:40]}), which writes no text"
    if not file.tensors:
        return "it has a vocabulary and no weights"
    return ""


def _tokenizer_problem(file: GgufFile) -> str:
    kind, pre = file.metadata.get("tokenizer.ggml.model"), file.metadata.get("tokenizer.ggml.pre")
    if kind == "llama" or (kind == "gpt2" and isinstance(pre, str) and pre in PRE_TOKENIZERS):
        return ""
    return f"its tokenizer ({str(kind)[:20]}, {str(pre)[:30]}) is not known"


def _quantization(file: GgufFile) -> str:
    """The label that its maker gave it, else what most of its weights are in."""
    label = file.metadata.get("general.file_type")
    if isinstance(label, int) and label in LlamaFileType._value2member_map_:
        return LlamaFileType(label).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    sizes: Counter[str] = Counter()
    for tensor in file.tensors.values():
        sizes[tensor.kind.name] += tensor.n_bytes
    return sizes.most_common(1)[0][0] if sizes else ""


def _refuse(problem: str) -> None:
    if problem:
        raise ModelInvalid(problem)


def _listed(folders: Sequence[Path], told: Told) -> Iterator[LocalModel]:
    for kind, paths in roots().items():
        for root in paths:
            yield from LAYOUTS[kind](root, told)
    for folder in map(expanded, folders):
        if exists(folder):
            yield from any_folder(folder, told)
        else:
            told(f"{folder} is not there")


def _identity(path: Path) -> tuple[int, int] | None:
    """Of a file, or of a folder's largest file, which holds weights: however it is linked and called."""
    try:
        status = path.stat()
        if path.is_dir():
            inside = [file.stat() for file in path.iterdir() if file.is_file()]
            status = max(inside, key=lambda one: one.st_size, default=status)
    except OSError:
        return None
    return status.st_dev, status.st_ino
