"""Another model from now on: config.toml names it, and a daemon that runs is replaced by one that serves it."""

from __future__ import annotations

from local_runtime.client import lifecycle
from local_runtime.client.client import Client
from local_runtime.client.options import read_options
from local_runtime.errors import BadRequest, DaemonUnreachable, EngineDied, RuntimeFault
from local_runtime.model import registry
from local_runtime.model.chosen import choose, configured_model
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places


def use_model(name: str) -> bool:
    """Choose a model of this machine; whether a running daemon was restarted for it. It loads in the background then.

    Raises ModelMissing, ModelInvalid or BadRequest before anything changes.
    """
    ModelFolder.open(registry.find(name))
    options = read_options()
    if options.engine not in ("compiled", "mlc_llm"):
        path = places().config_file
        raise BadRequest(
            f"{path}: the engine is {options.engine}, so no model of this machine answers", f"$EDITOR {path}"
        )
    if options.model != name:
        choose(name)
    return _follow(name)


def adopt_if_first(name: str) -> bool:
    """Choose a model that was just imported if config.toml names none; whether it is the chosen one now."""
    try:
        if configured_model() is None:
            use_model(name)
        return configured_model() == name
    except RuntimeFault:
        return False  # settings that cannot be read, or an engine elsewhere: importing worked all the same


def _follow(name: str) -> bool:
    """Replace a daemon that serves, or loads, something else. Editors reconnect at their next request."""
    with Client("cli", start=False) as client:
        try:
            health = client.health()
        except (DaemonUnreachable, EngineDied):
            return False
        if health.model is not None and health.model.id == name:
            return False
        client.stop(health.pid)
    lifecycle.start()
    return True
