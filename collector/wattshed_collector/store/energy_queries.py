"""Where the joules of a window went: whole days and hours from roll-ups, its edges from minutes.

What is read is summed by workload or device first, and names are joined to those sums only. Of
each hour only the newest finished run counts, as in ``v_energy_*`` (migration 0011).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .client import Client

Record = dict[str, Any]

GROUPS: dict[str, tuple[str, ...]] = {
    "workload": ("workload", "workload_kind", "team"),
    "team": ("team",),
    "node": ("node", "site"),
    "device": ("device", "kind", "node"),
    "class": ("class",),
    "site": ("site",),
    "kind": ("kind",),
    "project": ("project", "team"),
    "cost_center": ("cost_center",),
    "namespace": ("namespace",),
    "queue": ("queue",),
    "owner": ("owner", "team"),
    "model": ("ai_model", "precision"),
}
"""What ``energy`` can be grouped by, and the columns that each group shows."""
_OF_DEVICES = frozenset({"node", "device", "kind", "site"})

MINUTES_UP_TO_S = 49 * 3600
"""Longest window of which the edges are answered from minutes; a longer one is of whole hours."""

HOUR_S, DAY_S = 3600, 86400
SMALL = 100_000
"""Fewer workloads than this are summed by one thread."""

_NAMES = {
    "workload": "name AS workload",
    "workload_kind": "kind AS workload_kind",
    "workload_key": "key AS workload_key",
    "ai_model": "model AS ai_model",
    "device": "key AS device",
}
_CLASSES = ("active", "idle_held", "idle_unallocated", "overhead", "unattributed")
_PARTS = "sum(e.joules) AS j, sum(e.seconds) AS s, " + ", ".join(
    f"sumIf(e.joules, class = '{name}') AS {name}" for name in _CLASSES
)
_SUMS = "sum(j) AS joules, sum(s) AS device_seconds, " + ", ".join(
    f"sum({name}) AS {name}_joules" for name in _CLASSES
)
_MONEY = ", facility_joules, cost, currency"
_MONEY_PARTS = """,
sum(facility_joules) AS facility, sum(isNull(facility_joules) AND joules != 0) AS unstated,
sum(cost) AS paid, sum(isNull(cost) AND joules != 0) AS unpriced,
minIf(currency, isNotNull(cost)) AS low, maxIf(currency, isNotNull(cost)) AS high
"""
_MONEY_SUMS = """,
if(sum(unstated) = 0, sum(facility), NULL) AS facility_joules,
if(sum(unpriced) = 0 AND min(low) = max(high), sum(paid), NULL) AS cost,
if(isNull(cost), '', min(low)) AS currency
"""
_NO_MONEY: Record = {"facility_joules": None, "cost": None, "currency": ""}


def resolution(since: int, until: int) -> int:
    """Return how many seconds a row of energy stands for in the window: a minute or an hour."""
    return 60 if until - since <= MINUTES_UP_TO_S else HOUR_S


@dataclass(frozen=True, slots=True)
class Span:
    """A window [since, until), Unix seconds, cut where minutes, hours and days begin and end."""

    since: int
    until: int

    @property
    def minutes(self) -> list[tuple[int, int]]:
        """Stretches at the edges that are no whole hours; none where hours answer for them."""
        return [] if resolution(self.since, self.until) > 60 else self.edges

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Stretches before and after the whole hours."""
        first, end = self._inner(HOUR_S)
        if first > end:
            return [(self.since, self.until)]
        return [(a, b) for a, b in ((self.since, first), (end, self.until)) if a < b]

    @property
    def hours(self) -> tuple[int, int]:
        """Hours that lie in the window, or, of a long one, that begin in it."""
        first, end = self.whole_hours
        if resolution(self.since, self.until) > 60:
            return first, -(-self.until // HOUR_S) * HOUR_S
        return first, end

    @property
    def whole_hours(self) -> tuple[int, int]:
        """Hours that lie in the window."""
        first, end = self._inner(HOUR_S)
        return first, max(first, end)

    @property
    def days(self) -> tuple[int, int]:
        first, end = self._inner(DAY_S)
        return first, max(first, end)

    def _inner(self, length: int) -> tuple[int, int]:
        return -(-self.since // length) * length, self.until // length * length


@dataclass(frozen=True, slots=True)
class Told:
    """What to read a window from: the version of each finished hour, and hours being written.

    Hours are Unix seconds. An hour that is being written is read through a view, which takes the
    rows of the run before only where every one of them is still there.
    """

    finished: dict[int, int]
    being_written: frozenset[int]
    is_priced: bool
    is_small: bool

    @property
    def settings(self) -> str:
        """One thread for a small fleet: to merge what two have summed costs more than it saves."""
        return "SETTINGS max_threads = 1" if self.is_small else ""

    def rows(
        self, table: str, hour: str, wanted: Iterable[int], what: str, join: str = ""
    ) -> Iterator[str]:
        """Give queries for ``what`` of the wanted hours; ``hour`` is a row's hour in the table."""
        hours = [h for h in wanted if h in self.finished]
        done = [h for h in hours if h not in self.being_written]
        times = (datetime.fromtimestamp(h, UTC) for h in done)
        pairs = ", ".join(
            f"('{t:%F %T}', {self.finished[h]})" for t, h in zip(times, done, strict=True)
        )
        if pairs:
            yield f"{what} FROM {table} AS m {join} WHERE ({hour}, version) IN ({pairs})"
        if late := ", ".join(_time(h) for h in hours if h in self.being_written):
            view = table.replace("charge_", "v_charge_").replace("workload_", "v_workload_")
            yield f"{what} FROM {view} AS m {join} WHERE {hour} IN ({late})"


def read_told(client: Client, span: Span) -> Told:
    """Return what the hours of ``span``, and those at its edges, are to be read from."""
    first, end = span.since // HOUR_S * HOUR_S, span.hours[1] + HOUR_S
    begun: dict[int, int] = {}
    finished: dict[int, int] = {}
    marks = client.rows(
        f"SELECT toUnixTimestamp(t), version, 0 FROM ledger_open WHERE {_within(first, end)} "
        "UNION ALL "
        f"SELECT toUnixTimestamp(t), version, 1 FROM ledger_hour WHERE {_within(first, end)}"
    )
    for hour, version, is_finished in marks:
        of = finished if is_finished else begun
        of[hour] = max(version, of.get(hour, 0))
    ((rates, workloads),) = client.rows(
        "SELECT (SELECT count() FROM factor WHERE kind IN ('pue', 'price')), "
        "(SELECT count() FROM workload)"
    )
    late = frozenset(hour for hour, version in begun.items() if version > finished.get(hour, 0))
    return Told(finished, late, rates > 0, workloads < SMALL)


def energy(client: Client, by: str, since: int, until: int) -> list[Record]:
    """Joules per group and class, largest first. ``by`` is a key of ``GROUPS``.

    ``facility_joules`` (joules with the site's PUE) and ``cost`` are None where they are not known
    for all of the group, ``currency`` is then "". They change nothing of the joules.
    """
    columns = ", ".join(GROUPS[by])
    span = Span(since, until)
    told = read_told(client, span)
    source = _summed(span, told, by)
    if not source:
        return []
    sums = _SUMS + (_MONEY_SUMS if told.is_priced else "")
    records = client.records(
        f"SELECT {columns}, {sums} FROM ({source}) GROUP BY {columns} "
        f"HAVING device_seconds > 0 ORDER BY joules DESC, {columns} {told.settings}"
    )
    return records if told.is_priced else [{**record, **_NO_MONEY} for record in records]


def workload_energy(client: Client, since: int, until: int, most: int = 0) -> list[Record]:
    """Joules per workload with what identifies it, largest first; nobody's energy is left out.

    At most ``most`` of them; 0 is all.
    """
    columns = ("workload_key", "workload", "workload_kind", "team", "ai_model", "precision")
    span = Span(since, until)
    told = read_told(client, span)
    parts = _by_id(span, told, "workload_id", "", "sumIf(e.seconds, class = 'idle_held') AS held_s")
    if not parts:
        return []
    sums = f"""
        SELECT id, j AS joules, active AS active_joules, idle_held AS idle_held_joules,
               s AS device_seconds, held_s AS idle_held_seconds
        FROM ({parts}) WHERE id != 0 AND s > 0
        """
    if most:
        sums += f"ORDER BY joules DESC, id LIMIT {most:d}"
    return client.records(
        f"SELECT {', '.join(columns)}, joules, active_joules, idle_held_joules, device_seconds, "
        f"idle_held_seconds FROM ({_named(sums, 'workload', columns)}) "
        f"WHERE workload_key != '' ORDER BY joules DESC, workload_key {told.settings}"
    )


def _summed(span: Span, told: Told, by: str) -> str:
    columns = GROUPS[by]
    money = _MONEY if told.is_priced else ""
    if by == "class" or (by == "site" and not span.minutes):
        parts = _by_id(span, told, by, money)
        return parts and f"SELECT *, id AS {by} FROM ({parts})"
    key, table = "workload_id", "workload"
    if by in _OF_DEVICES:
        key, table = "device_id", "device"
    parts = _by_id(span, told, key, money)
    return parts and _named(parts, table, columns)


def _named(sums: str, table: str, columns: tuple[str, ...]) -> str:
    names = "".join(f", {_NAMES.get(column, column)}" for column in columns)
    return (
        f"SELECT * FROM ({sums}) AS sums LEFT JOIN "
        f"(SELECT {table}_id AS id{names} FROM {table} FINAL) AS named USING (id)"
    )


def _by_id(span: Span, told: Told, key: str, money: str, more: str = "") -> str:
    """Return a query for sums by ``id``, which is what ``key`` names; "" where nothing is known."""
    parts = list(_edges(span, told, key, money))
    if key == "device_id":
        parts += _of_devices(span, told, money)
    else:
        parts += _rolled_up(span, told, key, money)
    sums = ", ".join([_PARTS, *([more] if more else [])]) + (_MONEY_PARTS if money else "")
    rows = " UNION ALL ".join(parts)
    columns = f"{key} AS id, {sums}"
    return f"SELECT {columns} FROM ({rows}) AS e GROUP BY id" if parts else ""


def _what(key: str, money: str) -> str:
    return f"SELECT {', '.join(dict.fromkeys([key, 'class', 'joules', 'seconds']))}{money}"


def _edges(span: Span, told: Told, key: str, money: str) -> Iterator[str]:
    for since, until in span.minutes:
        hours = range(since // HOUR_S * HOUR_S, until, HOUR_S)
        join = _rates(since, until) if money else ""
        what = _what(key, _RATED if money else "")
        for query in told.rows("charge_1m", "toStartOfHour(t)", hours, what, join):
            yield f"{query} AND {_within(since, until)} AND {COUNTED}"


COUNTED = "m.device_id IN (SELECT device_id FROM device FINAL WHERE overlap != 'inner')"
_RATED = """,
m.joules * rate.pue AS facility_joules, m.joules * rate.per_joule AS cost,
if(isNull(cost), '', rate.currency) AS currency
"""


def _rates(since: int, until: int) -> str:
    """A site's PUE and price are of whole hours: what they were, as the hour was charged."""
    return f"""
        LEFT JOIN (
            SELECT t AS hour, device_id AS of, any(h.facility_joules / h.joules) AS pue,
                   any(h.cost / h.joules) AS per_joule, max(currency) AS currency
            FROM v_charge_1h AS h
            WHERE {_within(since // HOUR_S * HOUR_S, until)} AND h.joules != 0 GROUP BY hour, of
        ) AS rate ON rate.hour = toStartOfHour(m.t) AND rate.of = m.device_id
        """


def _of_devices(span: Span, told: Told, money: str) -> Iterator[str]:
    what = _what("device_id", money)
    for query in told.rows("charge_1h", "t", range(*span.hours, HOUR_S), what):
        yield f"{query} AND {COUNTED}"


def _rolled_up(span: Span, told: Told, key: str, money: str) -> Iterator[str]:
    """Whole days, and the hours before and after them and of days that are being written."""
    what = _what(key, money)
    written = {hour // DAY_S * DAY_S for hour in told.being_written}
    days = [day for day in range(*span.days, DAY_S) if day not in written]
    if days:
        but = "".join(f" AND t != {_time(day)}" for day in sorted(written))
        yield f"{what} FROM workload_1d FINAL WHERE {_within(days[0], days[-1] + DAY_S)}{but}"
    whole = set(days)
    hours = [hour for hour in range(*span.hours, HOUR_S) if hour // DAY_S * DAY_S not in whole]
    yield from told.rows("workload_1h", "t", hours, what)


def _within(since: int, until: int) -> str:
    return f"t >= {_time(since)} AND t < {_time(until)}"


def _time(second: int) -> str:
    return f"toDateTime({second:d}, 'UTC')"
