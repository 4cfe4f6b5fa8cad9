"""From what is held at each round to allocations: intervals that tile time, and never overlap.

A round sees only instants. What it sees counts until the next one: a holder begins at the round
that sees it first and ends at the round that sees it no more, so that on average neither is too
long, and one that takes over from another leaves no hole. What is held without an activity is one
allocation that grows from round to round, and begins anew with each hour and with each other share.
What has an activity becomes a window from the last round to this one.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wattshed_exporter.model import Allocation

from .combine import Held

log = logging.getLogger(__name__)

HOUR_MS = 3_600_000
GOES_ON_MS = 600_000
"""What is there before and after a pause of at most this time was there all along."""
SAME_SHARE = 1e-9
VERSION = 1


@dataclass(frozen=True, slots=True)
class Open:
    """An allocation that goes on: told from ``start_ms`` up to ``until_ms``."""

    device: str
    workload: str
    start_ms: int
    until_ms: int
    share: float
    method: str = ""


class Tenure:
    """The allocations that go on.

    Args:
        file: where they are kept from ``save`` to the next start. Without one, or after a crash,
            who held what is unknown from the last round until the first one of the next run.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._open = {(o.device, o.workload): o for o in self._load()}
        self._last_ms = max((o.until_ms for o in self._open.values()), default=None)
        # What processes used while this one was not here, nobody knows.
        self._resumed = bool(self._open)

    def round(self, now_ms: int, held: Iterable[Held]) -> list[Allocation]:
        """Return what is known now of the time since the last round.

        Where the clock was set back, or the last round is more than ten minutes ago, everything
        begins anew.
        """
        last_ms, self._last_ms = self._last_ms, now_ms
        went_on = last_ms is not None and 0 < now_ms - last_ms <= GOES_ON_MS
        before, self._open = self._open if went_on else {}, {}
        told: list[Allocation] = []
        for h in held:
            if not (h.share or h.activity):
                continue
            known = before.pop((h.device, h.workload), None)
            if known is not None:
                told += self._extended(known, now_ms, None if self._resumed else h.activity)
            elif h.activity and went_on and not self._resumed and last_ms is not None:
                told += _windows(h, last_ms, now_ms)
            self._open[h.device, h.workload] = self._next(h, known, now_ms, told)
        for gone in before.values():
            told += self._extended(gone, now_ms, None)
        self._resumed = False
        return told

    def save(self) -> None:
        """Keep what goes on for the next start; a failure is told and changes nothing else."""
        if self._file is None or not self._open:
            return
        import json

        said = {"version": VERSION, "open": [asdict(o) for o in self._open.values()]}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft = self._file.with_suffix(".tmp")
            draft.write_text(json.dumps(said))
            os.replace(draft, self._file)
        except OSError as error:
            log.warning("open allocations cannot be kept in %s: %s", self._file, error)

    def _extended(self, known: Open, now_ms: int, activity: float | None) -> list[Allocation]:
        """Return what a holder had until now."""
        if activity is None:
            return list(_hours(known, known.start_ms, now_ms, None))
        return list(_hours(known, known.until_ms, now_ms, activity))

    def _next(self, h: Held, known: Open | None, now_ms: int, told: list[Allocation]) -> Open:
        """Return what goes on from now: the same allocation, or another one."""
        same = known is not None and abs(known.share - h.share) <= SAME_SHARE
        goes_on = same and (self._resumed or h.activity is None)
        start_ms = told[-1].start_ms if goes_on else now_ms
        if goes_on and start_ms // HOUR_MS < now_ms // HOUR_MS:
            start_ms = now_ms // HOUR_MS * HOUR_MS
        method = known.method if goes_on and known is not None else h.method
        return Open(h.device, h.workload, start_ms, now_ms, h.share, method)

    def _load(self) -> list[Open]:
        if self._file is None:
            return []
        # Only where there is a folder, because a node without one need not give the memory.
        import json

        try:
            text = self._file.read_text()
            # It is true once: what is told from now on is not in it.
            self._file.unlink()
            said = json.loads(text)
            if said["version"] != VERSION:
                raise ValueError(f"version {said['version']!r} is not {VERSION}")
            return [_checked(Open(**row)) for row in said["open"]]
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("open allocations cannot be read from %s: %s", self._file, error)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("%s is broken and left out: %s", self._file, error)
        return []


def _windows(h: Held, start_ms: int, end_ms: int) -> Iterator[Allocation]:
    """Yield the work of a holder that was not seen before: how long it held, nobody knows."""
    new = Open(h.device, h.workload, start_ms, end_ms, 0.0, h.method)
    return _hours(new, start_ms, end_ms, h.activity)


def _hours(known: Open, start_ms: int, end_ms: int, activity: float | None) -> Iterator[Allocation]:
    """Yield an allocation, cut at full hours."""
    whole = Allocation(
        known.device, known.workload, start_ms, end_ms, known.share, known.method, activity
    )
    while start_ms < end_ms:
        edge_ms = min((start_ms // HOUR_MS + 1) * HOUR_MS, end_ms)
        yield replace(whole, start_ms=start_ms, end_ms=edge_ms)
        start_ms = edge_ms


def _checked(told: Open) -> Open:
    texts = (told.device, told.workload, told.method)
    times = (told.start_ms, told.until_ms)
    fits = all(isinstance(t, str) for t in texts) and all(isinstance(t, int) for t in times)
    if not (fits and told.start_ms <= told.until_ms and math.isfinite(told.share)):
        raise ValueError(f"{told} is no allocation")
    if not 0 <= told.share <= 1:
        raise ValueError(f"{told.share} is no share")
    return told
