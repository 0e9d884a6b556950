"""Builds other programs' stores as their documentation lays them out, with a small real GGUF file in each."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType, GGUFWriter
from small_gguf import write_gguf

APACHE = "\n                                 Apache License\n                           Version 2.0, January 2004\n"
VARIABLES = (
    "OLLAMA_MODELS", "LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "MLC_LLM_HOME", "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)  # fmt: skip
"""What moves a store; unset, it is where it is by default."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def gguf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_gguf(path)


def altered(path: Path, architecture: str = "qwen2", *, weights: bool = True, **metadata: Any) -> Path:
    """The small GGUF file with other metadata: keys are written with `__` for a dot, values are text, whole numbers or lists."""
    read = GGUFReader(gguf(path.with_suffix(".made")))
    writer = GGUFWriter(path, architecture)
    wanted = {key.replace("__", "."): value for key, value in metadata.items()}
    for key, field in read.fields.items():
        name = key.replace("qwen2.", f"{architecture}.", 1)
        if not key.startswith("GGUF.") and key != "general.architecture" and name not in wanted:
            writer.add_key_value(name, field.contents(), field.types[0], field.types[1] if field.types[1:] else None)
    for key, value in wanted.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            kind = {str: GGUFValueType.STRING, bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32}[type(value)]
            writer.add_key_value(key, value, kind)
    for tensor in read.tensors if weights else []:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.with_suffix(".made").unlink()
    return path


def blob(root: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    put(root / "blobs" / f"sha256-{digest}", content)
    return f"sha256:{digest}"


def ollama(home: Path, name: str = "registry.ollama.ai/library/coder/1.5b") -> Path:
    """One model with a licence layer; its manifest is returned."""
    root = home / ".ollama" / "models"
    made = gguf(home / "made.gguf")
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": blob(root, made.read_bytes()), "size": 1},
        {"mediaType": "application/vnd.ollama.image.license", "digest": blob(root, APACHE.encode()), "size": 1},
        {"mediaType": "application/vnd.ollama.image.params", "digest": blob(root, b"{}"), "size": 2},
    ]
    made.unlink()
    return put(root / "manifests" / name, json.dumps({"schemaVersion": 2, "layers": layers}))


def lm_studio(home: Path) -> Path:
    return gguf(home / ".lmstudio" / "models" / "maker" / "coder-GGUF" / "coder-q8_0.gguf")


def hub(home: Path, repo: str = "models--Maker--Coder-GGUF") -> Path:
    """A snapshot of links into blobs, as huggingface_hub and llama.cpp make it."""
    root = home / ".cache" / "huggingface" / "hub" / repo
    stored = gguf(root / "blobs" / "f00d")
    put(root / "refs" / "main", COMMIT)
    link = root / "snapshots" / COMMIT / "coder-q8_0.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("../../blobs/f00d"))
    assert link.resolve() == stored
    return link


def older_snapshot(link: Path, commit: str = "f" * 40) -> Path:
    """Beside `link`'s snapshot one that was fetched earlier: the same file, and another that the repository has no more."""
    older = link.parent.with_name(commit)
    older.mkdir()
    (older / link.name).symlink_to(link.readlink())
    write_gguf(link.parents[2] / "blobs" / "cafe", seed=1)
    (older / "coder-old.gguf").symlink_to(Path("../../blobs/cafe"))
    return older


def hub_folder(home: Path, model: Path) -> Path:
    """A Hugging Face folder in the hub's cache; its snapshot is returned."""
    repo = home / ".cache" / "huggingface" / "hub" / "models--Maker--Coder"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    put(repo / "refs" / "main", COMMIT)
    for file in model.iterdir():
        if file.suffix in (".json", ".safetensors"):
            stored = put(repo / "blobs" / hashlib.sha1(file.name.encode()).hexdigest(), file.read_bytes())
            (snapshot / file.name).symlink_to(Path("../../blobs") / stored.name)
    return snapshot


def llama_cpp(home: Path) -> Path:
    return gguf(home / ".cache" / "llama.cpp" / "maker_coder_coder-q8_0.gguf")


def mlc(home: Path, imported: Path) -> Path:
    folder = home / ".cache" / "mlc_llm" / "model_weights" / "hf" / "mlc-ai" / "Coder-q4f16_1-MLC"
    folder.parent.mkdir(parents=True)
    shutil.copytree(imported, folder)
    return folder


def jan(home: Path) -> Path:
    data = home / ".local" / "share" / "Jan" / "data"
    file = gguf(data / "llamacpp" / "models" / "maker" / "coder" / "model.gguf")
    put(file.with_name("model.yml"), "model_path: llamacpp/models/maker/coder/model.gguf\nname: coder\nsize_bytes: 1\n")
    return file


def gpt4all(home: Path) -> Path:
    return gguf(home / ".local" / "share" / "nomic.ai" / "GPT4All" / "coder.Q8_0.gguf")
