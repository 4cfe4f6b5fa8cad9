"""Which hours are marked dirty since the last run, also by marks that become visible late.

A mark is stamped by the node that takes the insert, before its block is visible: on a server that
may take as long as an insert may, a replica may lag, and two nodes' clocks differ. So stamps alone
do not tell what is new. Over a longer while the marks of each hour are counted as well, by the
hour of their stamp: where more are there than were seen, one is new, whatever its stamp says.
"""

from __future__ import annotations

from dataclasses import dataclass

from .client import Client

COUNTED = """
SELECT toUnixTimestamp(hour) AS at, toUnixTimestamp(toStartOfHour(ingested_at)) AS stamped,
       only_outcomes, count(), max(ingested_at) > fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
FROM dirty
WHERE ingested_at > fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
GROUP BY at, stamped, only_outcomes
"""

Seen = dict[tuple[int, int, int], int]
"""How many marks there are, by the hour marked, the hour of their stamps (Unix seconds) and whether
they are of outcomes alone."""


@dataclass(frozen=True, slots=True)
class News:
    """The hours (Unix seconds) whose charges something can have changed, and those with news of
    outcomes; ``seen`` is what is to be told to ``Marks.done`` once they are computed."""

    touched: frozenset[int]
    told: frozenset[int]
    seen: Seen

    def __bool__(self) -> bool:
        return bool(self.touched or self.told)


NO_NEWS = News(frozenset(), frozenset(), {})


class Marks:
    """Remembers what was seen; ``late_seconds`` 0: stamps tell everything, as in one process."""

    def __init__(self, late_seconds: float = 0.0) -> None:
        self._late_us = round(late_seconds * 1e6)
        self._seen: Seen = {}

    def read(self, client: Client, since_us: int) -> News:
        """Return the hours with a mark stamped after ``since_us`` or not seen before."""
        # From a full hour on, so that a count shrinks only when it is not looked at any more.
        from_us = since_us
        if self._late_us:
            from_us = max(0, since_us - self._late_us) // 3_600_000_000 * 3_600_000_000 - 1
        rows = client.rows(COUNTED, {"since_us": since_us, "from_us": from_us})
        found = {(int(hour), int(at), int(only)): int(n) for hour, at, only, n, _ in rows}
        marks = {(int(hour), int(only)) for hour, _, only, _, is_new in rows if is_new}
        if self._late_us:
            marks |= {(key[0], key[2]) for key, n in found.items() if n > self._seen.get(key, 0)}
        touched = frozenset(hour for hour, only in marks if not only)
        return News(touched, frozenset(hour for hour, only in marks if only), found)

    def done(self, seen: Seen) -> None:
        self._seen = seen

    def forget(self) -> None:
        """Take everything for new again: another may have led, or failed half-way."""
        self._seen = {}
