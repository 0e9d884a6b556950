"""Fetches a float model, or a GGUF file, from a Hugging Face hub: the one `HF_ENDPOINT` names, or the public one. Only when asked.

Of a float model, configuration, tokenizer and safetensors are fetched, into a folder of the cache that belongs to one commit. A
file grows under the name `….part`, and an interrupted one goes on where it stopped, also in another process (huggingface_hub alone
would begin anew); sizes, and SHA-256 where the hub has them, are checked before it gets its name.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import httpx2
from huggingface_hub import HfApi, errors, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from local_runtime.errors import BadRequest, BuildFailed, ModelInvalid, ModelMissing
from local_runtime.file_hash import file_sha256
from local_runtime.model.chat_config import TOKENIZER_FILES
from local_runtime.model.float_weights import INDEX, SINGLE
from local_runtime.places import folder, places

WANTED = ("config.json", "generation_config.json", INDEX, *TOKENIZER_FILES)
WEIGHTS = re.compile(r"model(-[0-9]{1,6}-of-[0-9]{1,6})?\.safetensors")

Progress = Callable[[int], None]
"""Told how many bytes have come since it was last told."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository."""

    name: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository at one commit, and the files of it that are wanted."""

    repo: str
    commit: str
    license: str
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def path(self) -> Path:
        """The folder that the files are fetched into."""
        return places().cache / "hub" / self.repo.replace("/", "--") / self.commit


def look_up(repo: str, only: str = "") -> HubModel:
    """Which files `repo` (ORG/NAME) has for us, or that one file. Raises BadRequest, ModelMissing, ModelInvalid."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", repo):
        raise BadRequest(f"{repo[:200]!r} is no repository: expected ORG/NAME")
    with _faults(repo):
        info = HfApi().model_info(repo, files_metadata=True)
    if not re.fullmatch("[0-9a-f]{40}", info.sha or ""):
        raise ModelInvalid(f"{repo}: the hub named no commit")
    if any(entry.size is None for entry in info.siblings or []):
        raise ModelInvalid(f"{repo}: the hub named no sizes")
    files = [
        HubFile(entry.rfilename, entry.size or 0, entry.lfs.sha256 if entry.lfs else None)
        for entry in info.siblings or []
        if (entry.rfilename == only if only else entry.rfilename in WANTED or WEIGHTS.fullmatch(entry.rfilename))
    ]
    if any(file.name == INDEX for file in files):
        files = [file for file in files if file.name != SINGLE]
    if only and not files:
        raise ModelMissing(f"{repo} has no file {only}")
    if not only and not any(WEIGHTS.fullmatch(file.name) for file in files):
        raise ModelMissing(f"{repo} has no safetensors weights; pickled ones are never opened")
    license_name = getattr(info.card_data, "license", None)
    return HubModel(repo, info.sha or "", license_name if isinstance(license_name, str) else "", tuple(files))


def missing_bytes(model: HubModel) -> int:
    """How much is still to be fetched."""
    path = model.path
    return sum(file.size_bytes - max(_size_of(path / file.name), _size_of(_part(path, file))) for file in model.files)


def download(model: HubModel, progress: Progress) -> Path:
    """Fetch what is not there yet and return the folder. Raises ModelMissing, ModelInvalid, BadRequest, BuildFailed."""
    path = folder(model.path)
    needed_bytes, free_bytes = missing_bytes(model), shutil.disk_usage(path).free
    if needed_bytes > free_bytes:
        raise BuildFailed(f"{path}: expected {needed_bytes:,} bytes free, found {free_bytes:,}")
    try:
        with filelock.FileLock(path / ".lock", timeout=0):
            for file in model.files:
                if (path / file.name).exists() and _size_of(path / file.name) == file.size_bytes:
                    progress(file.size_bytes)
                else:
                    _fetch(model, file, path, progress)
    except filelock.Timeout:
        raise BadRequest(f"another process is fetching {model.repo}; wait until it is done") from None
    return path


def forget(model: HubModel) -> None:
    """Remove everything that was fetched of a repository."""
    shutil.rmtree(model.path.parent, ignore_errors=True)


def _fetch(model: HubModel, file: HubFile, path: Path, progress: Progress) -> None:
    part = _part(path, file)
    if _size_of(part) > file.size_bytes:
        part.unlink()
    progress(_size_of(part))
    with _faults(f"{model.repo}: {file.name}"), _Counted(part, progress) as opened:
        http_get(
            hf_hub_url(model.repo, file.name, revision=model.commit),
            opened,
            resume_size=_size_of(part),
            headers=build_hf_headers(library_name="understudy"),
            expected_size=file.size_bytes,
            displayed_filename=file.name,
        )
    found_size = _size_of(part)
    found_hash = file_sha256(part) if file.sha256 else None
    if (found_size, found_hash) != (file.size_bytes, file.sha256):
        part.unlink()
        expected = f"{file.size_bytes} bytes {file.sha256 or ''}".strip()
        raise ModelInvalid(
            f"{model.repo}: {file.name}: expected {expected}, found {found_size} bytes {found_hash or ''}"
        )
    part.rename(path / file.name)


class _Counted(io.BufferedWriter):
    """A file that is appended to and tells how much."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._progress = progress

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._progress(len(data))
        return super().write(data)


def _part(path: Path, file: HubFile) -> Path:
    return path / f"{file.name}.part"


def _size_of(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@contextlib.contextmanager
def _faults(what: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into our faults."""
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise ModelMissing(f"{what}: HF_HUB_OFFLINE is set, so nothing is fetched", "unset HF_HUB_OFFLINE") from None
    except errors.GatedRepoError:
        raise ModelMissing(f"{what} is gated: accept its terms on the hub", "hf auth login") from None
    except errors.RepositoryNotFoundError:
        raise ModelMissing(f"{what}: the hub has no such repository, or not for you") from None
    except errors.HfHubHTTPError as problem:
        raise ModelMissing(f"{what}: the hub answered {problem.response.status_code}", "try again later") from None
    except httpx2.HTTPError as problem:
        raise ModelMissing(f"{what}: the hub cannot be reached: {problem}", "the same command goes on later") from None
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise ModelInvalid(f"{what}: the hub's answer makes no sense: {problem!r:.200}") from None
    except OSError as problem:
        raise BuildFailed(f"{what}: {problem.strerror or problem}", "the same command goes on later") from None
