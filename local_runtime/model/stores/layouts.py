"""How each store is laid out: from its folder to the models in it. Files are only listed here; what is in them is not looked at.

Layouts: Ollama's `manifest` package, LM Studio's `model import` page, huggingface_hub's cache, llama.cpp's `common/hf-cache.cpp`, MLC's
`support/constants`, Jan's `model.yml`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from local_runtime.model.gguf.file import SPLIT_NAME
from local_runtime.model.registry import FILE_NAME as MLC_FILE

MAX_JSON_BYTES = 1 << 20
MAX_DEPTH = 5
MAX_ENTRIES = 20_000
"""Of one folder that is walked: a home is not a store."""
OLLAMA_HOST, OLLAMA_OWNER = "registry.ollama.ai", "library"
_MODEL_PATH = re.compile(rb"(?m)^model_path:[ \t]*(\S[^\r\n]*)")
"""In Jan's `model.yml`, a flat list of keys."""
MODEL_LAYER, LICENSE_LAYER = "application/vnd.ollama.image.model", "application/vnd.ollama.image.license"
LICENCES = {"Apache License": "Apache-2.0", "MIT License": "MIT", "Qwen RESEARCH": "Qwen Research"}


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that some program keeps here."""

    reference: str
    """What `understudy model import` takes."""
    path: Path
    """A GGUF file, or a folder of Hugging Face's or MLC's kind."""
    license_name: str = ""
    """What the store says of it; often nothing."""
    problem: str = ""
    """Why it cannot be opened at all."""

    @property
    def source(self) -> str:
        """Where it is from, for the imported model's note."""
        return self.reference

    @property
    def size_bytes(self) -> int:
        """Of all its files; 0 if they are not there."""
        try:
            if self.path.is_file():
                split = SPLIT_NAME.fullmatch(self.path.name)
                parts = self.path.parent.glob(f"{_escaped(split['stem'])}-*.gguf") if split else [self.path]
                return sum(part.stat().st_size for part in parts)
            return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())
        except OSError:
            return 0


class _Layer(msgspec.Struct):
    digest: str
    media_type: str = msgspec.field(default="", name="mediaType")


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def ollama(root: Path) -> Iterator[LocalModel]:
    """`manifests/HOST/OWNER/MODEL/TAG` name blobs by their hashes."""
    for path in _files(root / "manifests", 4):
        host, owner, model, tag = path.relative_to(root / "manifests").parts[-4:]
        before = "" if (host, owner) == (OLLAMA_HOST, OLLAMA_OWNER) else f"{owner}/" if host == OLLAMA_HOST else f"{host}/{owner}/"  # fmt: skip
        reference = f"ollama:{before}{model}:{tag}"
        try:
            layers = msgspec.json.decode(_small(path), type=_Manifest).layers
        except (OSError, ValueError) as problem:
            yield LocalModel(reference, path, problem=f"its manifest cannot be read: {str(problem)[:100]}")
            continue
        blobs = {layer.media_type: _blob(root, layer.digest) for layer in layers}
        blob = blobs.get(MODEL_LAYER)
        if MODEL_LAYER not in blobs:
            yield LocalModel(reference, path, problem="it is not kept as GGUF")
        elif blob is None or not blob.is_file():
            yield LocalModel(reference, blob or path, problem="its file is not there: not yet whole, or removed")
        else:
            yield LocalModel(reference, blob, _license(blobs.get(LICENSE_LAYER)))


def lm_studio(root: Path) -> Iterator[LocalModel]:
    """`PUBLISHER/REPO/*.gguf`; MLX's models lie beside them."""
    for repo in _folders(root, 2):
        name = "/".join(repo.relative_to(root).parts)
        for file in _gguf_files(repo, 1):
            yield LocalModel(f"lmstudio:{name}/{file.name}", file)
        if (repo / "config.json").is_file():
            yield LocalModel(f"lmstudio:{name}", repo, problem="an MLX model: its weights are in another format")


def hub_cache(root: Path) -> Iterator[LocalModel]:
    """`models--OWNER--NAME/snapshots/COMMIT/…`, links into `blobs`. The commit of `refs/main` counts, else the newest."""
    for repo in _folders(root, 1):
        match = re.fullmatch(r"models--([\w.-]+?)--([\w.-]+)", repo.name)
        snapshot = _snapshot(repo) if match else None
        if match is None or snapshot is None:
            continue
        name = f"{match[1]}/{match[2]}"
        for file in _gguf_files(snapshot, 3):
            reference = f"hf:{name}/{file.relative_to(snapshot).as_posix()}"
            inside = _inside(file, repo)
            yield LocalModel(reference, file, problem="" if inside else "it is a link to somewhere else")
        if (snapshot / MLC_FILE).is_file() or (
            (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors"))
        ):
            inside = all(_inside(file, repo) for file in snapshot.iterdir())
            yield LocalModel(
                f"hf:{name}", snapshot, problem="" if inside else "a file of it is a link to somewhere else"
            )


def plain_files(kind: str) -> Callable[[Path], Iterator[LocalModel]]:
    """GGUF files in one folder: llama.cpp's cache as it was until 2026, GPT4All's."""

    def listed(root: Path) -> Iterator[LocalModel]:
        for file in _gguf_files(root, 1):
            yield LocalModel(f"{kind}:{file.name}", file)

    return listed


def mlc(root: Path) -> Iterator[LocalModel]:
    """`model_weights/hf/OWNER/NAME`."""
    weights = root / "model_weights" / "hf"
    for path in _folders(weights, 2):
        if (path / MLC_FILE).is_file():
            yield LocalModel(f"mlc:{'/'.join(path.relative_to(weights).parts)}", path)


def jan(root: Path) -> Iterator[LocalModel]:
    """`llamacpp/models/ID/model.yml`, which names the file relative to the data folder; older ones `models/ID/*.gguf`."""
    for models in (root / "llamacpp" / "models", root / "models"):
        for path in _files(models, MAX_DEPTH, lambda name: name == "model.yml"):
            reference = f"jan:{path.parent.relative_to(models).as_posix()}"
            try:
                named = _MODEL_PATH.search(_small(path))
            except OSError:
                named = None
            if named is None:
                yield LocalModel(reference, path, problem="its model.yml names no file")
                continue
            file = root / named[1].decode("utf-8", "replace").strip().strip("'\"")
            problem = "" if file.is_file() else "its file is not there"
            yield LocalModel(reference, file, problem=problem if _inside(file, root) else "it is somewhere else")
        if models.name == "models" and models.parent == root:
            for file in _gguf_files(models, MAX_DEPTH):
                yield LocalModel(f"jan:{file.relative_to(models).as_posix()}", file)


def any_folder(root: Path) -> Iterator[LocalModel]:
    """What its user names: GGUF files, and folders of Hugging Face's and MLC's kind, a few levels down."""
    for file in _gguf_files(root, MAX_DEPTH):
        yield LocalModel(str(file), file)
    for marker in _files(root, MAX_DEPTH, lambda name: name in ("config.json", MLC_FILE)):
        path = marker.parent
        if marker.name == MLC_FILE or (any(path.glob("*.safetensors")) and not (path / MLC_FILE).exists()):
            yield LocalModel(str(path), path)


LAYOUTS: dict[str, Callable[[Path], Iterator[LocalModel]]] = {
    "ollama": ollama,
    "lmstudio": lm_studio,
    "hf": hub_cache,
    "llamacpp": plain_files("llamacpp"),
    "mlc": mlc,
    "jan": jan,
    "gpt4all": plain_files("gpt4all"),
}
"""By the kind that a reference begins with."""


def _snapshot(repo: Path) -> Path | None:
    snapshots = {path.name: path for path in _folders(repo / "snapshots", 1)}
    try:
        named = _small(repo / "refs" / "main").decode("ascii").strip()
    except (OSError, ValueError):
        named = ""
    if named in snapshots:
        return snapshots[named]
    return max(snapshots.values(), key=lambda path: path.stat().st_mtime, default=None)


def _blob(root: Path, digest: str) -> Path | None:
    """A layer's file; None for a name that is no hash."""
    match = re.fullmatch("sha256:([0-9a-f]{64})", digest)
    return root / "blobs" / f"sha256-{match[1]}" if match else None


def _license(blob: Path | None) -> str:
    """What a licence's text is called, or its first line."""
    try:
        text = _small(blob, at_most=4096).decode("utf-8", "replace") if blob else ""
    except (OSError, ValueError):
        return ""
    known = next((name for words, name in LICENCES.items() if words in text), None)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return known or first[:100]


def _gguf_files(root: Path, depth: int) -> Iterator[Path]:
    """GGUF files, of a split one the first part alone."""
    for path in _files(root, depth, lambda name: name.endswith(".gguf")):
        split = SPLIT_NAME.fullmatch(path.name)
        if split is None or int(split["part"]) == 1:
            yield path


def _files(root: Path, depth: int, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """Files at most (for four levels of manifests: exactly) so deep, sorted, links to folders not followed, a bounded number."""
    n_seen = 0
    for folder, subfolders, names in os.walk(root):
        level = len(Path(folder).relative_to(root).parts)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".")) if level < depth - 1 else []
        n_seen += len(names) + len(subfolders)
        if n_seen > MAX_ENTRIES:
            return
        if root.name == "manifests" and level != depth - 1:
            continue
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith(".") and wanted(name))


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """Folders exactly so deep, sorted."""
    try:
        inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return
    for path in inside[:MAX_ENTRIES]:
        if depth == 1:
            yield path
        else:
            yield from _folders(path, depth - 1)


def _inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def _small(path: Path, at_most: int = MAX_JSON_BYTES) -> bytes:
    """A regular file's content, or its beginning."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is no file")
    with path.open("rb") as file:
        return file.read(at_most)


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
