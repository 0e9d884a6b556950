"""Spans of time as people write them: `90d`, `12h`, `2w`."""

from __future__ import annotations

import re

import click

_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0, "y": 365 * 86_400.0}


class Duration(click.ParamType[float]):
    """An option's value in seconds."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`90d` to 7,776,000.0."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"\s*(\d{1,6})\s*([mhdwy])\s*", value)
        if found is None:
            self.fail(f"{value!r} is no span of time: expected a number and m, h, d, w or y, as in 90d", param, ctx)
        return int(found[1]) * _SECONDS[found[2]]
