"""From what is held at each round to allocations: intervals that tile time, and never overlap.

A round sees only instants. What it sees counts until the next one: a holder begins at the round
that sees it first and ends at the round that sees it no more, so that on average neither is too
long, and one that takes over from another leaves no hole. What is held without an activity is one
allocation that grows from round to round, and begins anew with each hour and with each other share.
What has an activity is gathered into windows, each with the mean over its time. They end at
multiples of their length, and before where the share changes, the holder or the hour ends, or
nobody can tell the activity any more.
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
    """An allocation that goes on: known from ``start_ms`` up to ``until_ms``.

    ``work_ms`` is the activity of a window in that time, times milliseconds, and is told when the
    window ends; None where the activity is unknown, and all is told.
    """

    device: str
    workload: str
    start_ms: int
    until_ms: int
    share: float
    method: str = ""
    work_ms: float | None = None


class Tenure:
    """The allocations that go on.

    Args:
        file: where they are kept from ``save`` to the next start. Without one, or after a crash,
            who held what is unknown from what was told last until the first round of the next run.
        window_ms: longest time over which activity is averaged.
    """

    def __init__(self, file: Path | None = None, window_ms: int = 60_000) -> None:
        self._file = file
        self._window_ms = window_ms
        self._open = {(o.device, o.workload): o for o in self._load()}
        self._last_ms = max((o.until_ms for o in self._open.values()), default=None)
        # What processes used while this one was not here, nobody knows.
        self._resumed = bool(self._open)

    def round(self, now_ms: int, held: Iterable[Held]) -> list[Allocation]:
        """Return what is known now and was not told yet.

        Where the clock was set back, or the last round is more than ten minutes ago, everything
        begins anew.
        """
        last_ms, self._last_ms = self._last_ms, now_ms
        if last_ms is not None and not 0 < now_ms - last_ms <= GOES_ON_MS:
            told, self._open, last_ms = self.end(), {}, None
        else:
            told = []
        before, self._open = self._open, {}
        for h in held:
            known = before.pop((h.device, h.workload), None)
            if known is None and h.activity and last_ms is not None and not self._resumed:
                # It worked before it was seen to hold; how long it held, nobody knows.
                known = Open(h.device, h.workload, last_ms, last_ms, 0.0, h.method)
            if known is not None:
                known = self._extended(known, now_ms, None if self._resumed else h.activity, told)
            self._keep(_next(h, known, now_ms, told))
        for gone in before.values():
            # Who has no share is not seen while it does nothing.
            rests = not gone.share and gone.work_ms is not None
            known = self._extended(gone, now_ms, 0.0 if rests else None, told)
            if rests:
                self._keep(known)
        self._resumed = False
        return told

    def known_ms(self, now_ms: int) -> int:
        """Return until when all is told, at a time at which there was a round."""
        gathered = (o.start_ms for o in self._open.values() if o.work_ms is not None)
        return min(gathered, default=now_ms)

    def going_on(self) -> list[Allocation]:
        """Return who holds what, as far as it is known, told or not."""
        return [
            Allocation(o.device, o.workload, o.start_ms, o.until_ms, o.share, o.method)
            for o in self._open.values()
        ]

    def end(self) -> list[Allocation]:
        """Return what windows have gathered up to the last round; others begin there."""
        told = [window for known in self._open.values() for window in _window(known)]
        for known in list(self._open.values()):
            if known.work_ms is not None:
                del self._open[known.device, known.workload]
                self._keep(replace(known, start_ms=known.until_ms, work_ms=None))
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

    def _keep(self, known: Open) -> None:
        """Go on with what holds a share, or gathers work."""
        if known.share or known.work_ms:
            self._open[known.device, known.workload] = known

    def _extended(
        self, known: Open, now_ms: int, activity: float | None, told: list[Allocation]
    ) -> Open:
        """Go on until now; add what is complete by that to ``told``."""
        if activity is not None:
            return self._gathered(known, now_ms, activity, told)
        told += _window(known)
        start_ms = known.start_ms if known.work_ms is None else known.until_ms
        if known.share:
            told += _hours(known, start_ms, now_ms)
        start_ms = max(start_ms, now_ms // HOUR_MS * HOUR_MS)
        return replace(known, start_ms=start_ms, until_ms=now_ms, work_ms=None)

    def _gathered(self, known: Open, now_ms: int, activity: float, told: list[Allocation]) -> Open:
        if known.work_ms is None:
            known = replace(known, start_ms=known.until_ms, work_ms=0.0)
        while known.until_ms < now_ms:
            end_ms = min(_next_multiple(known.until_ms, w) for w in (self._window_ms, HOUR_MS))
            until_ms = min(end_ms, now_ms)
            work_ms = (known.work_ms or 0.0) + activity * (until_ms - known.until_ms)
            known = replace(known, until_ms=until_ms, work_ms=work_ms)
            if until_ms == end_ms:
                told += _window(known)
                known = replace(known, start_ms=until_ms, work_ms=0.0)
        return known

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


def _next(h: Held, known: Open | None, now_ms: int, told: list[Allocation]) -> Open:
    """Return what goes on from now: the same allocation, or another one."""
    if known is not None:
        if abs(known.share - h.share) <= SAME_SHARE:
            return known
        told += _window(known)
    return Open(h.device, h.workload, now_ms, now_ms, h.share, h.method)


def _window(known: Open) -> Iterator[Allocation]:
    """Yield what was gathered; who has no share had nothing where it did nothing."""
    length_ms = known.until_ms - known.start_ms
    if known.work_ms is not None and length_ms and (known.share or known.work_ms):
        yield Allocation(
            known.device,
            known.workload,
            known.start_ms,
            known.until_ms,
            known.share,
            known.method,
            min(known.work_ms / length_ms, 1.0),
        )


def _hours(known: Open, start_ms: int, end_ms: int) -> Iterator[Allocation]:
    """Yield what was held without a known activity, cut at full hours."""
    whole = Allocation(known.device, known.workload, start_ms, end_ms, known.share, known.method)
    while start_ms < end_ms:
        edge_ms = min(_next_multiple(start_ms, HOUR_MS), end_ms)
        yield replace(whole, start_ms=start_ms, end_ms=edge_ms)
        start_ms = edge_ms


def _next_multiple(time_ms: int, of_ms: int) -> int:
    """Return the first multiple after a time."""
    return (time_ms // of_ms + 1) * of_ms


def _checked(told: Open) -> Open:
    texts = (told.device, told.workload, told.method)
    times = (told.start_ms, told.until_ms)
    fits = all(isinstance(t, str) for t in texts) and all(isinstance(t, int) for t in times)
    if not (fits and told.start_ms <= told.until_ms and math.isfinite(told.share)):
        raise ValueError(f"{told} is no allocation")
    if not 0 <= told.share <= 1:
        raise ValueError(f"{told.share} is no share")
    return told
