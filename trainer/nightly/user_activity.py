"""Whether the machine is the user's right now: what a night looks at twice a second, and yields to.

The best signal of all is the daemon's last request of a person. On top of it come the user's own word (`understudy learn pause`)
and mains power.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from local_runtime.client.client import Client
from local_runtime.errors import RuntimeFault
from trainer.collect.folders import LearnedFolders


@dataclass(frozen=True, slots=True)
class UserActivity:
    """What was seen of the user in one look."""

    idle_seconds: float | None
    """Since a person's last request to the daemon; None: no daemon runs, so nobody asks."""
    on_mains: bool = True
    """Also where there is no battery."""
    paused_until: float = 0.0
    """Unix time until which the user wants no training."""


def paused_until(folders: LearnedFolders, now: float) -> float:
    """The end of the user's pause, infinity for one without an end, 0 for none."""
    pause = folders.paused(now)
    if pause is None:
        return 0.0
    return math.inf if pause.until is None else pause.until


def on_mains() -> bool:
    """Whether power comes from the wall; machines without a battery always say yes."""
    read = getattr(psutil, "sensors_battery", None)  # psutil leaves it out where the system has no such thing
    battery = None
    with suppress(OSError, RuntimeError):
        battery = read() if read else None
    return battery is None or battery.power_plugged is not False


class ActivityMonitor:
    """Looks at the user through the daemon, if one runs; never starts one."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._folders = LearnedFolders()

    def __call__(self) -> UserActivity:
        """One look; it takes milliseconds."""
        return UserActivity(self._idle_seconds(), on_mains(), paused_until(self._folders, time.time()))

    def close(self) -> None:
        """Give the connection back."""
        if self._client is not None:
            self._client.__exit__()
            self._client = None

    def _idle_seconds(self) -> float | None:
        if self._client is None:
            self._client = Client("trainer", start=False)
        try:
            return self._client.health().idle_seconds
        except RuntimeFault:
            return None


class Patience:
    """Decides, look by look, whether training has to stand still. Once it stands, it waits until the user is really away."""

    def __init__(
        self,
        look: Callable[[], UserActivity],
        resume_seconds: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._resume_seconds = resume_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._last_look = monotonic()
        self._standing = False

    def reason(self) -> str | None:
        """Why training must stand still now, in a few words; None if it may go on."""
        now, glance = self._monotonic(), self._look()
        since, self._last_look = now - self._last_look, now
        reason = self._reason(glance, since)
        self._standing = reason is not None
        return reason

    def _reason(self, glance: UserActivity, since: float) -> str | None:
        if glance.paused_until > self._clock():
            return "you asked for a pause"
        if not glance.on_mains:
            return "the machine runs on battery"
        if glance.idle_seconds is not None:
            # A request since the last look is activity; an older one was known when training began.
            limit = self._resume_seconds if self._standing else since
            if glance.idle_seconds < limit:
                return "you are typing"
        return None
