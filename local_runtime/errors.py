"""Everything that can go wrong and that a user can mend.

RuntimeFault
├── ModelMissing      no such model, or a file of it is not there
├── ModelInvalid      a file of a model folder is damaged, hostile or of an unknown kind
├── AdapterInvalid    an adapter is damaged, or was made for another base
├── BuildFailed       the compiler, the linker or the disk gave up
├── LibraryStale      a compiled library does not fit this runtime (another TVM, another CPU): rebuild
├── OutOfMemory       it would not fit; said before loading
├── BadRequest        the request cannot be served as written
│   └── OtherBase     it names a base model that is not the one that is served
├── NotReady          the model is still being loaded or compiled, or could not be
├── EngineDied        the engine or the daemon went away in the middle
├── RemoteFailed      the server that the settings name does not answer, or not as agreed
└── DaemonUnreachable nobody answers on the socket

A message is for the user: what is wrong, in which file, what was expected and found; `remedy` is the command that mends
it. `str(fault)` shows both.
"""

from __future__ import annotations


class RuntimeFault(Exception):
    """Base of all faults. `message` says what and where; `remedy`, if any, is what to type next."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  to mend it: {self.remedy}" if self.remedy else self.message


class ModelMissing(RuntimeFault):
    """No such model, or a file of it is not there."""


class ModelInvalid(RuntimeFault):
    """A file of a model folder is damaged, hostile or of an unknown kind."""


class AdapterInvalid(RuntimeFault):
    """An adapter is damaged, or was made for another base."""


class BuildFailed(RuntimeFault):
    """The compiler, the linker or the disk gave up."""


class LibraryStale(RuntimeFault):
    """A compiled library does not fit this runtime or this CPU and has to be rebuilt."""


class OutOfMemory(RuntimeFault):
    """The model, its KV cache or an adapter would not fit into memory; said before loading."""


class BadRequest(RuntimeFault):
    """The request cannot be served as written."""


class OtherBase(BadRequest):
    """The request is for another base model than the one that is served."""


class NotReady(RuntimeFault):
    """The model is still being loaded or compiled, or could not be."""


class EngineDied(RuntimeFault):
    """The engine or the daemon went away in the middle of an answer."""


class RemoteFailed(RuntimeFault):
    """The completion server that the settings name does not answer, or not as agreed."""


class DaemonUnreachable(RuntimeFault):
    """Nobody answers on the daemon's socket."""
