"""What serves, per base model: told to the daemon when it runs, and to the file that it takes up when it does not."""

from __future__ import annotations

import msgspec

from local_runtime.adapters.mixing import mix_adapters
from local_runtime.adapters.peft_folder import read_adapter
from local_runtime.adapters.shelf import AdapterShelf, Choice, Remembered, memory_file
from local_runtime.client.client import Client
from local_runtime.client.options import read_options
from local_runtime.client.wire import BASE, AdapterCard, Health, Selection
from local_runtime.daemon.serving import model_here, refuse_elsewhere
from local_runtime.errors import AdapterInvalid, DaemonUnreachable, EngineDied, NotReady, OtherBase
from local_runtime.model import registry
from local_runtime.model.model_folder import ModelFolder
from local_runtime.places import places

LOAD_SECONDS = 600.0
"""A daemon that is just loading its model is waited for."""


class Serving:
    """Which adapter serves one base model. Nothing is kept here: the daemon's file is the only memory."""

    def __init__(self, base_hash: str) -> None:
        self.base_hash = base_hash

    def current(self) -> Choice:
        """What serves, or would when the daemon starts: an adapter that can be read, or the base."""
        shelf = _shelf()
        shelf.take_up(self.base_hash)
        return shelf.active

    def remembered(self) -> Remembered | None:
        """What was chosen, whether it can be read or not; None for the base."""
        try:
            return msgspec.json.decode(memory_file().read_bytes(), type=dict[str, Remembered]).get(self.base_hash)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def problem(self) -> str | None:
        """Why the adapter that was chosen does not serve, if it cannot be read any more."""
        shelf = _shelf()
        shelf.take_up(self.base_hash)
        return shelf.problem

    def cards(self) -> list[AdapterCard]:
        """All adapters on disk, with what is wrong with those that cannot serve this base."""
        return list(_shelf().cards(self.base_hash))

    def select(self, name: str | None, strength: float = 1.0) -> bool:
        """Have an adapter, a mix (`adapter_shelf.mix_name`) or the base (None) serve; False if no daemon runs that does so already.

        Running requests keep what they began with. Raises BadRequest and AdapterInvalid, and then changes nothing.
        """
        if self._told(name, strength):
            return True
        shelf = _shelf()
        choice = shelf.choose(BASE if name is None else name, strength)
        if choice.adapter is not None and choice.adapter.base_hash not in ("", self.base_hash):
            raise AdapterInvalid(
                f"{name} was made for base {choice.adapter.base_hash[:12]}, what serves is {self.base_hash[:12]}",
                "understudy adapter list",
            )
        shelf.activate(choice, self.base_hash)
        # One that was just starting may have read the file before it was written.
        return self._told(name, strength)

    def _told(self, name: str | None, strength: float) -> bool:
        """Tell the daemon, if there is one that serves this base model."""
        selection = Selection(adapter=name, strength=strength, base_hash=self.base_hash)
        with Client("adapters", start=False) as client:
            try:
                try:
                    client.select(selection)
                except NotReady:
                    if client.health().status not in ("loading", "compiling"):
                        return False
                    client.wait_ready(LOAD_SECONDS)
                    client.select(selection)
            except (DaemonUnreachable, EngineDied, NotReady, OtherBase):
                return False
            return True


def served_model() -> ModelFolder:
    """The model that the daemon serves, or would if it ran. Raises ModelMissing, ModelInvalid; BadRequest if it is elsewhere."""
    with Client("adapters", start=False) as client:
        try:
            health: Health | None = client.health()
        except (DaemonUnreachable, EngineDied):
            health = None
    if health is not None:
        refuse_elsewhere(health.remote)
    served = health.model.id if health is not None and health.model else model_here(read_options())
    return ModelFolder.open(registry.find(served))


def _shelf() -> AdapterShelf:
    return AdapterShelf(places().adapters, memory_file(), read_adapter, mix_adapters)
