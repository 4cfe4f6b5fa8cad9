"""Which policy charges which hour: table ``policy``, one row per change, by start hour."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from wattshed_exporter.model import IdlePolicy

from .client import Client


class HostRemainder(StrEnum):
    """Who pays what a host draws beside the devices inside of it."""

    PLATFORM = "platform"
    """Nobody: it is the platform's."""
    PROPORTIONAL = "proportional"
    """Who works on its devices, in proportion to what they draw."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How an hour is charged. ``idle_below_e4``: utilisation x 1e4 under which a device idles."""

    idle: IdlePolicy = IdlePolicy.HOLDER
    idle_below_e4: int = 500
    host_remainder: HostRemainder = HostRemainder.PLATFORM

    def parameters(self) -> dict[str, str | int]:
        """Return the query parameters of the ledger's statements."""
        return {
            "idle_policy": str(self.idle),
            "idle_below_e4": self.idle_below_e4,
            "host_remainder": str(self.host_remainder),
        }


@dataclass(frozen=True, slots=True)
class Override:
    """What a recomputation charges otherwise than the policies in force; None leaves it."""

    idle: IdlePolicy | None = None
    idle_below_e4: int | None = None

    def __bool__(self) -> bool:
        return self.idle is not None or self.idle_below_e4 is not None

    def of(self, rule: Rule) -> Rule:
        if self.idle is not None:
            rule = replace(rule, idle=self.idle)
        if self.idle_below_e4 is not None:
            rule = replace(rule, idle_below_e4=self.idle_below_e4)
        return rule


ROWS = """
SELECT toUnixTimestamp(start_ts), idle, idle_below_e4, host_remainder FROM policy FINAL
ORDER BY start_ts
"""


class Policies:
    """The policies in time, as they were when this was read. Times are Unix seconds."""

    def __init__(self, rows: Iterable[tuple[int, Rule]], default: Rule) -> None:
        """``rows`` ascend by time; ``default`` is in force before the first of them."""
        self.rows = list(rows)
        self._default = default
        self._starts = [start for start, _ in self.rows]

    def at(self, time_s: int) -> Rule:
        """Return the rule in force at ``time_s``."""
        index = bisect.bisect_right(self._starts, time_s)
        return self.rows[index - 1][1] if index else self._default

    def adopting(self, rule: Rule, hour: int) -> list[tuple[int, Rule]]:
        """Return the rows to write so that ``rule`` is in force from ``hour`` on: one or none.

        The first rule of all is in force for all times: there is nothing that it could change.
        """
        if not self.rows:
            return [(0, rule)]
        start, known = self.rows[-1]
        return [] if known == rule else [(max(start, hour), rule)]

    def overriding(self, override: Override, lo: int, hi: int) -> list[tuple[int, Rule]]:
        """Return the rows to write so that ``override`` is in force during [lo, hi) only."""
        base = [] if self.rows else [(0, self._default)]
        inside = [lo, *(start for start in self._starts if lo < start < hi)]
        changed = [(start, override.of(self.at(start))) for start in inside]
        return [*base, *changed, (hi, self.at(hi))]


def read(client: Client, default: Rule) -> Policies:
    rows = client.rows(ROWS)
    return Policies(
        (
            (int(start), Rule(IdlePolicy(idle), int(below), HostRemainder(remainder)))
            for start, idle, below, remainder in rows
        ),
        default,
    )


def write(client: Client, rows: Iterable[tuple[int, Rule]], version: int) -> None:
    """Write ``rows``; ``version`` is above that of every row before."""
    found = list(rows)
    if not found:
        return
    client.insert(
        "policy",
        {
            "start_ts": [start for start, _ in found],
            "idle": [str(rule.idle) for _, rule in found],
            "idle_below_e4": [rule.idle_below_e4 for _, rule in found],
            "host_remainder": [str(rule.host_remainder) for _, rule in found],
            "version": [version] * len(found),
        },
    )
