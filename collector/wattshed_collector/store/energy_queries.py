"""Where the joules of a window went: whole days and hours from roll-ups, its edges from minutes.

What is read is summed by workload or device first, and names are joined to those sums only. Of
each hour only the newest finished run counts, as in ``v_energy_*`` (migration 0011).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from .client import Client, Row

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
OF_DEVICES = frozenset({"node", "device", "kind", "site"})
"""Groups that are devices' own, and not of whom they were charged to."""

MINUTES_UP_TO_S = 49 * 3600
"""Longest window of which the edges are answered from minutes; a longer one is of whole hours."""

HOUR_S, DAY_S = 3600, 86400
SMALL = 400_000
"""Fewer rows by the hour and workload than this are summed by one thread."""

NAMES = {
    "workload": "name AS workload",
    "workload_kind": "kind AS workload_kind",
    "workload_key": "key AS workload_key",
    "ai_model": "model AS ai_model",
    "device": "key AS device",
}
"""What columns of groups are called in the tables of devices and workloads."""
_CLASSES = ("active", "idle_held", "idle_unallocated", "overhead", "unattributed")
_PARTS = "sum(e.joules) AS j, sum(e.seconds) AS s, " + ", ".join(
    f"sumIf(e.joules, class = '{name}') AS {name}" for name in ("active", "idle_held")
)
_MONEY = ", facility_joules, cost, currency"
_MONEY_PARTS = """,
sum(e.facility_joules) AS facility,
sum(isNull(e.facility_joules) AND e.joules != 0) AS unstated,
sum(e.cost) AS paid, sum(isNull(e.cost) AND e.joules != 0) AS unpriced,
minIf(e.currency, isNotNull(e.cost)) AS low, maxIf(e.currency, isNotNull(e.cost)) AS high
"""
_MONEY_SUMS = ", sum(facility), sum(unstated), sum(paid), sum(unpriced), min(low), max(high)"
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


_BEGUN, _FINISHED, _PRICED = range(3)
_TOLD = """
SELECT toUnixTimestamp(t) AS hour, version, toUInt64(0) AS count, toUInt8(0) AS what
FROM ledger_open WHERE WINDOW
UNION ALL
SELECT toUnixTimestamp(t), version, rolled_up_rows, toUInt8(1) FROM ledger_hour WHERE WINDOW
UNION ALL
SELECT toUInt32(0), toUInt64(0), count(), toUInt8(2) FROM factor WHERE kind IN ('pue', 'price')
UNION ALL
SELECT toUInt32(0), toUInt64(0), count(), toUInt8(2) FROM grid WHERE kind = 'price'
SETTINGS max_threads = 1
""".replace(
    "WINDOW", "t >= toDateTime({first:UInt32}, 'UTC') AND t < toDateTime({end:UInt32}, 'UTC')"
)
"""One question, because what each costs is its planning."""
_MARKS = np.dtype([("hour", "<u4"), ("version", "<u8"), ("count", "<u8"), ("what", "u1")])


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
    rows = is_priced = 0
    told = client.array(_TOLD, _MARKS, {"first": first, "end": end})
    for hour, version, count, what in told.tolist():
        if what == _PRICED:
            is_priced += count
            continue
        of = finished if what == _FINISHED else begun
        of[hour] = max(version, of.get(hour, 0))
        rows += count
    late = frozenset(hour for hour, version in begun.items() if version > finished.get(hour, 0))
    return Told(finished, late, is_priced > 0, rows < SMALL)


def energy(client: Client, by: str, since: int, until: int) -> list[Record]:
    """Joules per group and class, largest first. ``by`` is a key of ``GROUPS``.

    ``facility_joules`` (joules with the site's PUE) and ``cost`` are None where they are not known
    for all of the group, ``currency`` is then "". They change nothing of the joules.
    """
    columns = GROUPS[by]
    span = Span(since, until)
    told = read_told(client, span)
    query = _query(span, told, by)
    if not query:
        return []
    found: dict[Row, _Sum] = {}
    for row in client.rows(query):
        names = row[: len(columns)]
        found.setdefault(names, _Sum()).add(*row[len(columns) :])
    records = [
        {**dict(zip(columns, names, strict=True)), **of.record}
        for names, of in found.items()
        if of.seconds > 0
    ]
    return sorted(records, key=lambda r: (-r["joules"], [str(r[column]) for column in columns]))


@dataclass(slots=True)
class _Sum:
    """What a group has of each class, and what is known of its money."""

    seconds: float = 0.0
    joules: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_CLASSES, 0.0))
    unstated: int = 0
    unpriced: int = 0
    facility: float | None = None
    paid: float | None = None
    currencies: set[str] = field(default_factory=set)

    def add(self, charge_class: str, joules: float, seconds: float, *money: Any) -> None:
        self.joules[charge_class] = self.joules.get(charge_class, 0.0) + joules
        self.seconds += seconds
        if money:
            facility, unstated, paid, unpriced, low, high = money
            self.unstated, self.unpriced = self.unstated + unstated, self.unpriced + unpriced
            self.facility = _added(self.facility, facility)
            self.paid = _added(self.paid, paid)
            self.currencies |= {low, high} - {""}

    @property
    def record(self) -> Record:
        facility = None if self.unstated else self.facility
        cost = None if self.unpriced or len(self.currencies) != 1 else self.paid
        return {
            "joules": sum(self.joules.values()),
            "device_seconds": self.seconds,
            **{f"{name}_joules": self.joules[name] for name in _CLASSES},
            "facility_joules": facility,
            "cost": cost,
            "currency": "" if cost is None else min(self.currencies),
        }


def _added(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other


def workload_energy(client: Client, since: int, until: int, most: int = 0) -> list[Record]:
    """Joules per workload with what identifies it, largest first; nobody's energy is left out.

    At most ``most`` of them; 0 is all.
    """
    columns = ("workload_key", "workload", "workload_kind", "team", "ai_model", "precision")
    span = Span(since, until)
    told = read_told(client, span)
    rows = _rows(span, told, "workload_id", "")
    parts = rows and (
        f"SELECT workload_id AS id, {_PARTS}, sumIf(e.seconds, class = 'idle_held') AS held_s "
        f"FROM ({rows}) AS e GROUP BY id"
    )
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


def _query(span: Span, told: Told, by: str) -> str:
    """Return the query for sums by the columns of a group and by class; "" for nothing known.

    It is as flat as can be: for a fleet of a thousand devices planning costs more than reading.
    Many rows are summed by identity before names are joined to them.
    """
    money = _MONEY if told.is_priced else ""
    key, table = _key(by, span, money)
    rows = _rows(span, told, key, money)
    if rows and not (told.is_small and not money):
        parts = f"sum(e.joules) AS joules, sum(e.seconds) AS seconds{money and _MONEY_PARTS}"
        own = ", ".join(dict.fromkeys([key, "class"]))
        rows = f"SELECT {own}, {parts} FROM ({rows}) AS e GROUP BY {own}"
    columns = ", ".join(GROUPS[by])
    names = "".join(f", {NAMES.get(column, column)}" for column in GROUPS[by])
    join = (
        f"ANY LEFT JOIN (SELECT {table}_id AS id{names} FROM {table} FINAL) AS named "
        f"ON named.id = e.{key}"
    )
    return rows and (
        f"SELECT {columns}, e.class AS of, sum(e.joules), sum(e.seconds){money and _MONEY_SUMS} "
        f"FROM ({rows}) AS e {join if table else ''} GROUP BY {columns}, of {told.settings}"
    )


def _key(by: str, span: Span, money: str) -> tuple[str, str]:
    """Return what rows are summed by, and the table that names it, "" where it is its own name."""
    if by == "class" or (by == "site" and not (span.minutes and money)):
        return by, ""
    return ("device_id", "device") if by in OF_DEVICES else ("workload_id", "workload")


def _named(sums: str, table: str, columns: tuple[str, ...]) -> str:
    names = "".join(f", {NAMES.get(column, column)}" for column in columns)
    return (
        f"SELECT * FROM ({sums}) AS sums LEFT JOIN "
        f"(SELECT {table}_id AS id{names} FROM {table} FINAL) AS named USING (id)"
    )


def _rows(span: Span, told: Told, key: str, money: str) -> str:
    """Return a query for every charge of the window by ``key`` and class; "" for none."""
    parts = list(_edges(span, told, key, money))
    if key == "device_id":
        parts += _of_devices(span, told, money)
    else:
        parts += _rolled_up(span, told, key, money)
    return " UNION ALL ".join(parts)


def _what(key: str, money: str) -> str:
    return f"SELECT {', '.join(dict.fromkeys([key, 'class', 'joules', 'seconds']))}{money}"


def _edges(span: Span, told: Told, key: str, money: str) -> Iterator[str]:
    for since, until in span.minutes:
        hours = range(since // HOUR_S * HOUR_S, until, HOUR_S)
        if not money and key != "device_id":
            for query in told.rows("workload_1m", "toStartOfHour(t)", hours, _what(key, "")):
                yield f"{query} AND {within(since, until)}"
            continue
        join = rates(since, until) if money else ""
        what = _what(key, _RATED if money else "")
        for query in told.rows("charge_1m", "toStartOfHour(t)", hours, what, join):
            yield f"{query} AND {within(since, until)} AND {COUNTED}"


COUNTED = "m.device_id IN (SELECT device_id FROM device FINAL WHERE overlap != 'inner')"
_RATED = """,
m.joules * rate.pue AS facility_joules, m.joules * rate.per_joule AS cost,
if(isNull(cost), '', rate.currency) AS currency
"""


def rates(since: int, until: int) -> str:
    """A site's PUE and price are of whole hours: what they were, as the hour was charged."""
    return f"""
        LEFT JOIN (
            SELECT t AS hour, device_id AS of, any(h.facility_joules / h.joules) AS pue,
                   any(h.cost / h.joules) AS per_joule, max(currency) AS currency
            FROM v_charge_1h AS h
            WHERE {within(since // HOUR_S * HOUR_S, until)} AND h.joules != 0 GROUP BY hour, of
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
        yield f"{what} FROM workload_1d FINAL WHERE {within(days[0], days[-1] + DAY_S)}{but}"
    whole = set(days)
    hours = [hour for hour in range(*span.hours, HOUR_S) if hour // DAY_S * DAY_S not in whole]
    yield from told.rows("workload_1h", "t", hours, what)


def within(since: int, until: int) -> str:
    """Return the condition that ``t`` lies in the window, Unix seconds."""
    return f"t >= {_time(since)} AND t < {_time(until)}"


def _time(second: int) -> str:
    return f"toDateTime({second:d}, 'UTC')"
