"""How each store is laid out: from its folder to the models in it. Files are only listed here; what is in them is not looked at.

Layouts: LM Studio's `model import` page, llama.cpp's cache, MLC's `support/constants`, Jan's `model.yml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from local_runtime.model.registry import FILE_NAME as MLC_FILE
from local_runtime.model.stores.hub_cache import hub_cache
from local_runtime.model.stores.local_model import LocalModel
from local_runtime.model.stores.ollama import ollama
from local_runtime.model.stores.walking import MAX_DEPTH, Told, files, folders, gguf_files, is_file, is_inside, small

_MODEL_PATH = re.compile(rb"(?m)^model_path:[ \t]*(\S[^\r\n]*)")
"""In Jan's `model.yml`, a flat list of keys."""

Layout = Callable[[Path, Told], Iterator[LocalModel]]
"""From a store's folder, there or not, to its models."""


def lm_studio(root: Path, told: Told) -> Iterator[LocalModel]:
    """`PUBLISHER/REPO/*.gguf`; MLX's models lie beside them."""
    for repo in folders(root, 2, told):
        name = "/".join(repo.relative_to(root).parts)
        for file in gguf_files(repo, 1, told):
            yield LocalModel(f"lmstudio:{name}/{file.name}", file)
        if is_file(repo / "config.json"):
            yield LocalModel(f"lmstudio:{name}", repo, problem="an MLX model: its weights are in another format")


def plain_files(kind: str) -> Layout:
    """GGUF files in one folder: llama.cpp's cache as it was until 2026, GPT4All's."""

    def listed(root: Path, told: Told) -> Iterator[LocalModel]:
        for file in gguf_files(root, 1, told):
            yield LocalModel(f"{kind}:{file.name}", file)

    return listed


def mlc(root: Path, told: Told) -> Iterator[LocalModel]:
    """`model_weights/hf/OWNER/NAME`."""
    weights = root / "model_weights" / "hf"
    for path in folders(weights, 2, told):
        if is_file(path / MLC_FILE):
            yield LocalModel(f"mlc:{'/'.join(path.relative_to(weights).parts)}", path)


def jan(root: Path, told: Told) -> Iterator[LocalModel]:
    """`llamacpp/models/ID/model.yml`, which names the file relative to the data folder; older ones `models/ID/*.gguf`."""
    for models in (root / "llamacpp" / "models", root / "models"):
        for path in files(models, MAX_DEPTH, told, lambda name: name == "model.yml"):
            reference = f"jan:{path.parent.relative_to(models).as_posix()}"
            try:
                named = _MODEL_PATH.search(small(path))
            except OSError:
                named = None
            if named is None:
                yield LocalModel(reference, path, problem="its model.yml names no file")
                continue
            file = root / named[1].decode("utf-8", "replace").strip().strip("'\"").replace("\0", "")
            problem = "" if is_file(file) else "its file is not there"
            yield LocalModel(
                reference, file, problem=problem if is_inside(file, root) else "its file is outside of Jan's folder"
            )
    for file in gguf_files(root / "models", MAX_DEPTH, told):
        yield LocalModel(f"jan:{file.relative_to(root / 'models').as_posix()}", file)


def any_folder(root: Path, told: Told) -> Iterator[LocalModel]:
    """What its user names: a GGUF file, or GGUF files and folders of Hugging Face's and MLC's kind, a few levels down."""
    if is_file(root):
        yield LocalModel(str(root), root)
    for file in gguf_files(root, MAX_DEPTH, told):
        yield LocalModel(str(file), file)
    has: dict[Path, set[str]] = {}
    for file in files(root, MAX_DEPTH, lambda sentence: None):
        has.setdefault(file.parent, set()).add(file.name)
    for path, names in has.items():
        if MLC_FILE in names or ("config.json" in names and any(name.endswith(".safetensors") for name in names)):
            yield LocalModel(str(path), path)


LAYOUTS: dict[str, Layout] = {
    "ollama": ollama,
    "lmstudio": lm_studio,
    "hf": hub_cache,
    "llamacpp": plain_files("llamacpp"),
    "mlc": mlc,
    "jan": jan,
    "gpt4all": plain_files("gpt4all"),
}
"""By the kind that a reference begins with."""
