"""Lengths of time as Prometheus and Grafana write them: 30s, 10m, 2h, 1d."""

from __future__ import annotations

import re

_LENGTH = re.compile(r"(\d+)([smhd])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> int:
    """Return a length in seconds; raises ValueError where it is none."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no length such as 30s, 10m, 2h or 1d")
    return int(found[1]) * _SECONDS[found[2]]


def text(length_s: int) -> str:
    """Return seconds in the largest unit of which they are whole."""
    for unit, size in _SECONDS.items():
        if length_s >= size and length_s % size == 0:
            return f"{length_s // size}{unit}"
    return "0s"
