"""Readings out of files into a store: checked as whatever a receiver takes, written in portions.

The time of a reading is that of the file, so a second import of the same writes the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wattshed_exporter.model import Batch

from .normalise.facts import Normaliser
from .receivers.files import Tally
from .receivers.files.reading import Told

PORTION = 5000
"""Lines that are written at once; as an OTLP request that is a few megabytes."""
LONGEST_WAIT_S = 5.0
"""How long a reading waits for others, where they come slowly."""
Deliver = Callable[[Batch], Mapping[str, int]]
"""Writes a batch durably; returns what was refused there, by reason."""


@dataclass(slots=True)
class Done:
    """What an import did; times are Unix milliseconds, None where nothing was taken."""

    readings: int = 0
    ticks: int = 0
    allocations: int = 0
    outcomes: int = 0
    workloads: int = 0
    devices: set[str] = field(default_factory=set)
    first_ms: int | None = None
    last_ms: int | None = None

    def add(self, batch: Batch) -> None:
        times = [tick.ts_ms for tick in batch.ticks]
        self.ticks += len(times)
        self.allocations += len(batch.allocations)
        self.outcomes += len(batch.outcomes)
        self.workloads += len(batch.workloads)
        self.devices.update(device.key for device in batch.devices)
        if times:
            self.first_ms = min(times if self.first_ms is None else (*times, self.first_ms))
            self.last_ms = max(times if self.last_ms is None else (*times, self.last_ms))


class Importer:
    """Takes readings over; ``tally`` gets what could not be used."""

    def __init__(
        self,
        normaliser: Normaliser,
        deliver: Deliver,
        tally: Tally,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done = Done()
        self._monotonic = monotonic
        self._normaliser = normaliser
        self._deliver = deliver
        self._tally = tally

    def take(self, told: Iterable[Told]) -> None:
        """Take readings over, a bounded number at a time; those of a live log within seconds."""
        for portion in self._portions(told):
            self.done.readings += len(portion)
            points = (point for one in portion for point in one.points)
            batch = self._normaliser.batch(points)
            self._reject(batch.rejected, portion)
            self.write(replace(batch, rejected={}))

    def _portions(self, told: Iterable[Told]) -> Iterator[list[Told]]:
        portion, begun = list[Told](), self._monotonic()
        for one in told:
            begun = begun if portion else self._monotonic()
            portion.append(one)
            if len(portion) == PORTION or self._monotonic() - begun >= LONGEST_WAIT_S:
                yield portion
                portion = []
        if portion:
            yield portion

    def write(self, batch: Batch) -> None:
        """Take over facts that need no more checks."""
        if not batch:
            return
        for reason, count in self._deliver(batch).items():
            self._tally.add(reason, None, count)
        self.done.add(batch)

    def _reject(self, rejected: Mapping[str, int], portion: Sequence[Told]) -> None:
        for reason, count in rejected.items():
            self._tally.add(reason, None, count)
        unseen = rejected.keys() - self._tally.first.keys()
        # Only of a new reason it is asked which line it was.
        for one in portion if unseen else ():
            for reason in unseen & self._normaliser.batch(one.points).rejected.keys():
                self._tally.add(reason, one.line, 0)
                unseen -= {reason}
            if not unseen:
                return
