"""What the joules of a window emitted, beside ``energy_queries``: location-based, average.

Of each hour and site: facility joules (with the PUE of that hour) times what a kilowatt hour of
the grid emitted there then (``v_carbon_1h``). It reads every hour of the window, where energy reads
days of a long one, and is therefore asked only by who wants it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .client import Client
from .energy_queries import (
    COUNTED,
    GROUPS,
    HOUR_S,
    NAMES,
    OF_DEVICES,
    Record,
    Span,
    Told,
    rates,
    read_told,
    within,
)

SCOPE = "location-based, average"
NO_PUE = "the site's PUE is not known"
NO_INTENSITY = "what a kilowatt hour of the site's grid emitted is not known"
AND = "; "
"""Stands between reasons."""
_SLACK = 1e-9
_AT = """
INNER JOIN (SELECT device_id AS id, toString(site) AS at FROM device FINAL) AS d
    ON d.id = m.device_id
"""
_SUMS = """
sum(h.f / 3.6e6 * c.g_per_kwh) AS grams, sumIf(h.j, isNull(h.f)) AS no_pue,
sumIf(h.j, isNotNull(h.f) AND isNull(c.g_per_kwh)) AS no_intensity,
arraySort(groupUniqArrayIf(c.method, c.method != '' AND isNotNull(h.f))) AS methods,
arraySort(groupUniqArrayIf(c.source, c.source != '' AND isNotNull(h.f))) AS sources,
maxIf(toUnixTimestamp(c.carbon_said), isNotNull(h.f)) AS said
"""


def with_carbon(
    client: Client, by: str, since: int, until: int, records: list[Record]
) -> list[Record]:
    """Return ``records`` of ``energy_queries.energy`` with what they emitted.

    ``carbon_g`` is of what is known, None where nothing is; ``carbon_unknown_joules`` are those of
    which it is not, and ``carbon_reason`` says why. ``carbon_said`` is when a source last said what
    counts here (Unix seconds), None: not known.
    """
    columns = GROUPS[by]
    found = dict(_carbon(client, by, since, until))

    def of(record: Record) -> Record:
        key = tuple(record[column] for column in columns)
        return found.get(key) or _record(None, record["joules"], 0.0, [], [], None)

    return [{**record, **of(record)} for record in records]


def in_all(records: Sequence[Record]) -> Record:
    """Return the same of all ``records`` together."""
    known = [record["carbon_g"] for record in records if record["carbon_g"] is not None]
    every = (reason for r in records for reason in r["carbon_reason"].split(AND))
    reasons = dict.fromkeys(filter(None, every))
    said = [r["carbon_said"] for r in records if r["carbon_said"] is not None]
    return {
        "carbon_g": sum(known) if known else None,
        "carbon_unknown_joules": sum(record["carbon_unknown_joules"] for record in records),
        "carbon_methods": sorted({name for r in records for name in r["carbon_methods"]}),
        "carbon_sources": sorted({name for r in records for name in r["carbon_sources"]}),
        "carbon_said": max(said, default=None),
        "carbon_reason": AND.join(reasons) if records else "nothing was charged",
    }


def _carbon(
    client: Client, by: str, since: int, until: int
) -> Iterator[tuple[tuple[Any, ...], Record]]:
    span = Span(since, until)
    told = read_told(client, span)
    rows = " UNION ALL ".join(_rows(span, told, _key(by)))
    if not rows:
        return
    columns = GROUPS[by]
    for row in client.rows(_query(by, rows, span, told)):
        yield row[: len(columns)], _record(*row[len(columns) :])


def _record(
    grams: float | None,
    no_pue: float,
    no_intensity: float,
    methods: list[str],
    sources: list[str],
    said: int | None,
) -> Record:
    left = {NO_PUE: no_pue, NO_INTENSITY: no_intensity}
    reasons = [reason for reason, joules in left.items() if joules > _SLACK]
    return {
        "carbon_g": grams if reasons else grams or 0.0,
        "carbon_unknown_joules": sum(left.values()),
        "carbon_methods": methods,
        "carbon_sources": sources,
        "carbon_said": said or None,
        "carbon_reason": AND.join(reasons),
    }


def _key(by: str) -> str:
    if by in ("class", "site"):
        return by
    return "device_id" if by in OF_DEVICES else "workload_id"


def _query(by: str, rows: str, span: Span, told: Told) -> str:
    """Rows are summed by hour, site and key before an intensity and a name are joined to them."""
    key, columns = _key(by), ", ".join(GROUPS[by])
    own = "" if key == "site" else f", {key}"
    table = key.removesuffix("_id")
    is_named = table != key
    if not is_named:
        columns = "h.place" if key == "site" else f"h.{key}"
    names = "".join(f", {NAMES.get(column, column)}" for column in GROUPS[by])
    join = (
        f"ANY LEFT JOIN (SELECT {table}_id AS id{names} FROM {table} FINAL) AS named "
        f"ON named.id = h.{key}"
    )
    first, end = span.since // HOUR_S * HOUR_S, span.hours[1] + HOUR_S
    return (
        f"SELECT {columns}, {_SUMS} FROM ("
        f"SELECT hour, site AS place{own}, sum(e.joules) AS j, "
        f"sum(e.facility_joules) AS f FROM ({rows}) AS e "
        f"GROUP BY hour, place{own}, isNull(e.facility_joules)) AS h "
        f"LEFT JOIN (SELECT t AS since, site AS lies, g_per_kwh, method, source, carbon_said "
        f"FROM v_carbon_1h WHERE {within(first, end)}) AS c "
        f"ON c.since = h.hour AND c.lies = h.place {join if is_named else ''} "
        f"GROUP BY {columns} {told.settings}"
    )


def _rows(span: Span, told: Told, key: str) -> Iterator[str]:
    own = "" if key == "site" else f", m.{key} AS {key}"
    placed = f"SELECT toStartOfHour(m.t) AS hour, d.at AS site{own}, m.joules AS joules"
    for since, until in span.minutes:
        hours = range(since // HOUR_S * HOUR_S, until, HOUR_S)
        what = f"{placed}, m.joules * rate.pue AS facility_joules"
        join = f"{rates(since, until)} {_AT}"
        for query in told.rows("charge_1m", "toStartOfHour(t)", hours, what, join):
            yield f"{query} AND {within(since, until)} AND {COUNTED}"
    hours = range(*span.hours, HOUR_S)
    if key == "device_id":
        what = f"{placed}, m.facility_joules AS facility_joules"
        for query in told.rows("charge_1h", "t", hours, what, _AT):
            yield f"{query} AND {COUNTED}"
        return
    what = f"SELECT t AS hour, toString(m.site) AS site{own}, joules, facility_joules"
    yield from told.rows("workload_1h", "t", hours, what)
