"""Idleness that is expected, such as a warm standby or a notebook: of whom, why and until when."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_S = 366 * 86_400
"""Nobody remembers what was said for longer; it is to be said again."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Of the workloads that ``workload`` (a name or key), ``team`` and ``node`` name, "" is any.

    Times are Unix seconds. An ``until_s`` of None ends the entry of that ``id`` now; then the rest
    says nothing.
    """

    id: str
    until_s: float | None
    since_s: float = 0.0
    workload: str = ""
    team: str = ""
    node: str = ""
    reason: str = ""
    said_by: str = ""
