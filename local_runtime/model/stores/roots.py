"""Where each program keeps its models, by platform and environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from local_runtime.model.stores.walking import expanded

MAX_POINTER_BYTES = 4096


def roots(
    environment: Mapping[str, str] | None = None, home: Path | None = None, platform: str = sys.platform
) -> dict[str, tuple[Path, ...]]:
    """Folders by kind of store, whether they exist or not; the one that its program looks into first comes first."""
    env = os.environ if environment is None else environment
    home = home or Path.home()
    cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    local = Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local")
    support = home / "Library" / "Application Support"
    data = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share")

    def by_platform(linux: list[Path], mac: list[Path], windows: list[Path]) -> list[Path]:
        return mac if platform == "darwin" else windows if platform == "win32" else linux

    def named(*names: str) -> list[Path]:
        return [expanded(Path(env[name])) for name in names if env.get(name)]

    hf_home = [path / "hub" for path in named("HF_HOME")]
    ollama = [home / ".ollama" / "models", *by_platform([Path("/usr/share/ollama/.ollama/models")], [], [])]
    found = {
        "ollama": named("OLLAMA_MODELS") or ollama,
        "lmstudio": [_lm_studio_home(home) / "models", cache / "lm-studio" / "models"],
        "hf": [
            *named("LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"),
            *hf_home,
            cache / "huggingface" / "hub",
        ],
        "llamacpp": [
            *named("LLAMA_CACHE"),
            *by_platform([cache / "llama.cpp"], [home / "Library" / "Caches" / "llama.cpp"], [local / "llama.cpp"]),
        ],
        "mlc": named("MLC_LLM_HOME") or by_platform([cache / "mlc_llm"], [cache / "mlc_llm"], [local / "mlc_llm"]),
        "jan": [
            *by_platform(
                [data / "Jan" / "data", home / ".config" / "Jan" / "data"],
                [support / "Jan" / "data"],
                [Path(env.get("APPDATA") or home / "AppData" / "Roaming") / "Jan" / "data"],
            ),
            home / "jan",
        ],
        "gpt4all": by_platform(
            [data / "nomic.ai" / "GPT4All"], [support / "nomic.ai" / "GPT4All"], [local / "nomic.ai" / "GPT4All"]
        ),
    }
    return {kind: tuple(dict.fromkeys(paths)) for kind, paths in found.items()}


def _lm_studio_home(home: Path) -> Path:
    """Its base folder, which a text file may name."""
    usual = home / ".lmstudio"
    try:
        with (home / ".lmstudio-home-pointer").open("rb") as file:
            named = file.read(MAX_POINTER_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return usual
    return Path(named) if named and Path(named).is_absolute() else usual
