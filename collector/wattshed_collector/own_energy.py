"""The collector's own energy, where the store knows what this machine's CPUs use.

Of what the CPU packages used between two looks, this process is given its part of the time in
which CPUs were busy (``/proc/stat``: user, nice, system, irq, softirq and steal; proc(5)). So it
carries its part of idle power too, and nothing of memory, disks and fans. Without a measured
package of this machine in the store, or on a kernel that does not count, nothing is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .store.client import Client

TICKS_PER_SECOND = 100
"""USER_HZ, which is 100 on every architecture that Linux runs on."""
BUSY = (0, 1, 2, 5, 6, 7)
"""Columns of the line ``cpu`` that are not waiting."""

PACKAGES = """
SELECT key, argMax(energy_uj, ts), argMax(start_ts, ts)
FROM tick FINAL INNER JOIN (
    SELECT device_id, key FROM device FINAL
    WHERE node = {node:String} AND kind = 'cpu' AND overlap = ''
) AS package USING device_id
WHERE toStartOfHour(ts) >= toStartOfHour(now() - 600) AND ts > now() - 600
  AND method IN ('counter', 'integral') AND energy_uj IS NOT NULL
GROUP BY key ORDER BY key
"""

Counters = dict[str, tuple[int, object]]
"""Microjoules and the start of the counter by device."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was there at one time; CPU times in seconds."""

    counters: Counters
    own_seconds: float
    busy_seconds: float


class OwnEnergy:
    """Counts the joules of this process from look to look.

    Args:
        node: name of this machine, as its exporter says it.
        stat: ``/proc/stat``.
        cpu_seconds: CPU time of this process so far.
    """

    def __init__(
        self,
        node: str,
        stat: Path = Path("/proc/stat"),
        cpu_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self.joules: float | None = None
        """Since the first look that another followed; None while nothing is known."""
        self._node = node
        self._stat = stat
        self._cpu_seconds = cpu_seconds
        self._last: Look | None = None

    def look(self, client: Client) -> None:
        """Ask the store and count on."""
        rows = client.rows(PACKAGES, {"node": self._node})
        busy_seconds = _busy_seconds(self._stat)
        if not rows or busy_seconds is None:
            self._last = None
            return
        counters = {str(key): (int(energy_uj), start) for key, energy_uj, start in rows}
        look = Look(counters, self._cpu_seconds(), busy_seconds)
        if self._last is not None and (more := share_joules(self._last, look)) is not None:
            self.joules = (self.joules or 0.0) + more
        self._last = look


def share_joules(before: Look, after: Look) -> float | None:
    """Return this process' part between two looks; None where a counter began anew or stood."""
    if before.counters.keys() != after.counters.keys():
        return None
    used_uj = 0
    for key, (energy_uj, start) in after.counters.items():
        was_uj, was_start = before.counters[key]
        if was_start != start or energy_uj <= was_uj:
            return None
        used_uj += energy_uj - was_uj
    busy = after.busy_seconds - before.busy_seconds
    own = after.own_seconds - before.own_seconds
    if busy <= 0 or own < 0:
        return None
    return used_uj / 1e6 * min(1.0, own / busy)


def _busy_seconds(stat: Path) -> float | None:
    try:
        name, *told = stat.read_text("ascii").partition("\n")[0].split()
        times = [int(text) for text in told]
    except (OSError, ValueError):
        return None
    if name != "cpu" or len(times) <= max(BUSY):
        return None
    return sum(times[column] for column in BUSY) / TICKS_PER_SECOND
