"""Models that other programs keep on this machine: found, described, and opened for reading. Nothing there is ever written."""

from __future__ import annotations

from local_runtime.model.stores.finding import Found, find_models, places_looked_at
from local_runtime.model.stores.local_model import LocalModel
from local_runtime.model.stores.reference import resolve
from local_runtime.model.stores.walking import printable

__all__ = ["Found", "LocalModel", "find_models", "places_looked_at", "printable", "resolve"]
