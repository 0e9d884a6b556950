"""When and how much is trained: `config.toml`'s `[learn]` table. Every field has a default that suits a laptop."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from local_runtime.errors import BadRequest
from local_runtime.places import places
from trainer.gate.thresholds import THRESHOLDS

Hour = Annotated[int, Meta(ge=0, le=23)]
Positive = Annotated[float, Meta(gt=0)]


class LearnOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The clock's settings, and the trainer's limits."""

    from_hour: Hour = 1
    """Local time at which the night begins; equal to `until_hour`: at any time."""
    until_hour: Hour = 6
    idle_minutes: Positive = 15.0
    """Nobody must have asked for a suggestion for this long."""
    min_new_edits: Annotated[int, Meta(ge=1)] = 8
    """Fewer saved edits than this since the last night are left for the next one."""
    max_load: Positive = 0.5
    """Highest load average per core at which a night begins."""
    min_free_mb: Annotated[int, Meta(ge=0)] = 1500
    """Least available memory at which a night begins; what the model needs counts on top of it where it is known."""
    memory_cap_mb: Annotated[int, Meta(ge=256)] | None = None
    """The training process is ended when it takes more; absent: half of the machine's memory."""
    resume_seconds: Positive = 60.0
    """After the user's last request, before a paused training goes on."""
    threads: Annotated[int, Meta(ge=1, le=256)] | None = None
    """Of the training process; absent: all cores. A run keeps the number that it began with."""
    preset: str | None = None
    """Name of a recipe (`understudy train --help` lists them); absent: chosen for the device."""
    judged_places: Annotated[int, Meta(ge=THRESHOLDS.min_hunks)] | None = None
    """At most so many held-out hunks, and as many places of the general set, are judged on; absent: 200 hunks and the whole set.
    Fewer are quicker, and a small gain is then less often sure enough to serve."""
    rebuild_days: Positive = 7.0
    """After this long the adapter is trained from the base again instead of from yesterday's."""


class _ConfigFile(msgspec.Struct):
    learn: LearnOptions = LearnOptions()


def read_options() -> LearnOptions:
    """The options of `config.toml`. Raises BadRequest naming file, key and what was expected."""
    path = places().config_file
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_ConfigFile).learn
    except FileNotFoundError:
        return LearnOptions()
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BadRequest(f"{path}: {problem}", f"$EDITOR {path}") from None
