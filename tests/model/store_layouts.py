"""Builds other programs' stores as their documentation lays them out, with a small real GGUF file in each."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from small_gguf import write_gguf

APACHE = "\n                                 Apache License\n                           Version 2.0, January 2004\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def gguf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_gguf(path)


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
