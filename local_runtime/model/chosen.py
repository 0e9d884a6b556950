"""Which model answers: the one that config.toml names, else the one imported last. Every command and the daemon ask here."""

from __future__ import annotations

import tomlkit
from tomlkit.exceptions import TOMLKitError

from local_runtime.client.options import read_options
from local_runtime.durable_file import write_durably
from local_runtime.errors import BadRequest, BuildFailed, ModelMissing
from local_runtime.model import registry
from local_runtime.places import folder, places

NO_MODEL = "no model yet"
BRING_ONE = "understudy setup"
TOO_SMALL_TO_SERVE = "understudy-"
"""The names of the tiny models of earlier versions begin with it. Those serve only if config.toml names them."""


def chosen_model() -> str:
    """Name of the model that answers. Raises ModelMissing while there is none, BadRequest if config.toml cannot be read.

    A name that config.toml gives is returned as it is: opening it says whether it is there.
    """
    name = configured_model() or imported_last()
    if name is None:
        raise ModelMissing(NO_MODEL, BRING_ONE)
    return name


def configured_model() -> str | None:
    """What `[runtime] model` of config.toml names, if that is a model of this machine: a remote engine has names of its own."""
    options = read_options()
    return None if options.engine == "remote" else options.model


def fit_to_serve() -> list[str]:
    """All imported models but the tiny ones, sorted by name."""
    return [name for name in registry.names() if not name.startswith(TOO_SMALL_TO_SERVE)]


def imported_last() -> str | None:
    """The model that was imported last."""
    return max(fit_to_serve(), key=lambda name: registry.find(name).stat().st_mtime_ns, default=None)


def choose(name: str) -> None:
    """Write `[runtime] model = name` into config.toml. All else in it stays, comments and order too.

    Raises BadRequest if the file cannot be read, BuildFailed if it cannot be written.
    """
    path = places().config_file.resolve()  # of those who keep their settings elsewhere, the link stays
    try:
        document = tomlkit.parse(path.read_text("utf-8"))
    except FileNotFoundError:
        document = tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError) as problem:
        raise BadRequest(f"{path}: {problem}", f"$EDITOR {path}") from None
    if not isinstance(document.setdefault("runtime", tomlkit.table()), dict):
        raise BadRequest(f"{path}: runtime must be a table, got {document['runtime']!r}", f"$EDITOR {path}")
    document["runtime"]["model"] = name
    try:
        folder(path.parent)
        write_durably(path, tomlkit.dumps(document).encode())
    except OSError as problem:
        raise BuildFailed(f"{path} could not be written: {problem.strerror}") from None
