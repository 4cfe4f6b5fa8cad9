"""The ledger's SQL after the pieces: what was measured, and with holders what is charged.

Both are sums of the same pieces (``pieces_sql``), which come from one reading of the meters; the
rules are those of ``wattshed_exporter.split``, against which they are tested on random input. A
statement covers whole hours [lo, hi).

Parameters: those of ``pieces_sql.within``, ``version``, ``idle_below_e4``, ``idle_policy``, and the
devices of a slice as in ``pieces_sql``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from . import rate_sql
from .pieces_sql import (
    BESIDE,
    DAY_HI,
    DAY_LO,
    HI,
    LO,
    MINE,
    PIECES,
    PLAIN,
    STANDING,
    UNCUT,
    UNFLOORED,
)
from .rate_sql import EVEN_RATES, RATES
from .tree_sql import RECONCILE, REMAINDER

_UNKNOWN = "('before_start', 'counter_changed', 'counter_fell', 'no_data')"
"""The rules by which energy is not known."""
_IN_HOURS = f"version = {{version:UInt64}} AND t >= {LO} AND t < {HI}"
IN_MINUTES = f"toStartOfHour(t) >= {LO} AND toStartOfHour(t) < {HI}"
"""The hours, in tables by the minute: their key begins with the hour and is of no use to ``t``."""

MEASURE = f"""
INSERT INTO measured_1m (t, device_id, method, reason, joules, seconds, version)
SELECT t, device_id,
       multiIf(rule IN {_UNKNOWN}, 'unknown',
               rule = 'power' AND said NOT IN ('estimated', 'simulated'), 'integral', said)
           AS named,
       multiIf(rule IN ('counter', 'since_start', 'power'), '',
               rule = 'before_start', if(gap = '', 'reset', gap),
               rule = 'no_data' AND gap != '', gap,
               rule) AS why,
       if(named = 'unknown', NULL, sum(known_joules)), sum(lasted), {{version:UInt64}}
FROM (
    SELECT t, device_id, rule, method AS said, gap, sum(joules) AS known_joules,
           sum(seconds) AS lasted
    FROM piece FINAL WHERE {_IN_HOURS} AND {MINE}
    GROUP BY t, device_id, rule, method, gap
)
GROUP BY t, device_id, named, why
"""

ACTIVE, IDLE_HELD, IDLE_UNALLOCATED, OVERHEAD, UNATTRIBUTED = range(1, 6)
_CLASSES = {
    ACTIVE: "active",
    IDLE_HELD: "idle_held",
    IDLE_UNALLOCATED: "idle_unallocated",
    OVERHEAD: "overhead",
    UNATTRIBUTED: "unattributed",
}

_CELLS = f"""
    SELECT device_id, toDateTime(minute * 60, 'UTC') AS t,
           groupArray((a0, a1, workload_id, share, activity)) AS allocations
    FROM (
        SELECT device_id, workload_id, share, activity, toUnixTimestamp64Milli(start_ts) AS a0,
               toUnixTimestamp64Milli(end_ts) AS a1,
               arrayJoin(range(toUInt64(intDiv(greatest(a0, {{lo:Int64}}), 60000)),
                               toUInt64(intDiv(least(a1, {{hi:Int64}}) - 1, 60000) + 1)))
                   AS minute
        {STANDING}
    )
    GROUP BY device_id, t
"""

_ENERGY = f"""
    SELECT p.t AS t, p.device_id AS device_id, p.from_ms AS from_ms, p.to_ms AS to_ms,
           p.is_idle AS is_idle, sum(p.joules) AS joules, sum(p.seconds) AS seconds,
           sum(p.floor_joules) AS floor_joules, sum(p.floor_seconds) AS floor_seconds
    FROM piece AS p FINAL
    WHERE {_IN_HOURS} AND {MINE} AND rule NOT IN {_UNKNOWN}
      AND (device_id, toStartOfHour(t)) NOT IN (
          SELECT device_id, t FROM reconcile_1h
          WHERE {_IN_HOURS} AND version = {{version:UInt64}})
    GROUP BY t, device_id, from_ms, to_ms, is_idle
"""

_SUMS = "t, device_id, is_idle, joules, seconds, floor_joules, floor_seconds"

_SHARED = f"""
    SELECT {_SUMS}, workloads,
           arrayMap(w -> arraySum(arrayMap(a -> if(a.3 = w, a.4, 0), present)), workloads)
               AS shares,
           arrayMap(w -> arrayExists(a -> a.3 = w AND isNotNull(a.5), present),
                    workloads) AS are_told,
           arrayMap(w -> arraySum(arrayMap(a -> if(a.3 = w, ifNull(a.5, 0), 0), present)),
                    workloads) AS activities
    FROM (
        SELECT {_SUMS},
               arrayFilter(a -> a.1 <= toUnixTimestamp(t) * 1000 + from_ms
                                AND a.2 >= toUnixTimestamp(t) * 1000 + to_ms, allocations)
                   AS present,
               arraySort(arrayDistinct(present.3)) AS workloads
        FROM ({_ENERGY}) AS e LEFT JOIN ({_CELLS}) AS c USING (device_id, t)
    )
"""

_WEIGHED = f"""
    SELECT {_SUMS}, workloads, shares,
           arrayExists(k -> k, are_told) AS is_told, arraySum(shares) AS held_share,
           arrayMap((s, k, a) -> if(k, a, s), shares, are_told, activities) AS weights,
           arraySum(weights) AS weight,
           arrayMap((s, k, a) -> is_idle OR k AND a < {{idle_below_e4:UInt16}} / 1e4 * s,
                    shares, are_told, activities) AS idlers
    FROM ({_SHARED})
"""

_IS_PLATFORM = "{idle_policy:String} = 'platform'"

_DIVIDED = f"""
    SELECT t, device_id, workloads, idlers, idle_joules, idle_seconds,
           greatest(joules - idle_joules, 0) AS active_joules,
           greatest(seconds - idle_seconds, 0) AS active_seconds,
           arrayMap((s, w) -> multiIf(NOT is_told, s * norm, weight > 0, w / weight, 0),
                    shares, weights) AS active_parts,
           arrayMap((s, w) -> if(by_weight, w / weight, s * norm), shares, weights) AS idle_parts,
           multiIf(NOT is_told, free, weight > 0, 0, 1) AS unattributed,
           if(by_weight, 0, free) AS unallocated
    FROM (
        SELECT t, device_id, joules, seconds, workloads, shares, is_told, weights, weight, idlers,
               1 / greatest(held_share, 1) AS norm, greatest(0, 1 - held_share) AS free,
               is_told OR {_IS_PLATFORM} AND notEmpty(workloads) AS is_set_apart,
               multiIf(is_idle, joules, is_set_apart, floor_joules, 0) AS idle_joules,
               multiIf(is_idle, seconds, is_set_apart, floor_seconds, 0) AS idle_seconds,
               {{idle_policy:String}} = 'proportional' AND weight > 0 AS by_weight
        FROM ({_WEIGHED})
    )
"""

CHARGE = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
SELECT t, device_id, payer,
       transform(charged_class, {list(_CLASSES)}, {list(_CLASSES.values())}, ''),
       sum(active_joules * active_part + idle_joules * idle_part),
       sum(part_seconds), {{version:UInt64}}
FROM (
    SELECT t, device_id, payer, charged_class, active_joules, idle_joules, active_part, idle_part,
           active_seconds * active_part + idle_seconds * idle_part AS part_seconds
    FROM ({_DIVIDED})
    ARRAY JOIN
        arrayConcat(workloads, if({_IS_PLATFORM}, arrayMap(w -> 0, workloads), workloads),
                    [0, 0]) AS payer,
        arrayConcat(arrayMap(w -> {ACTIVE}, workloads),
                    arrayMap(i -> multiIf(i, {IDLE_HELD}, {_IS_PLATFORM}, {OVERHEAD}, {ACTIVE}),
                             idlers),
                    [{UNATTRIBUTED}, {IDLE_UNALLOCATED}]) AS charged_class,
        arrayConcat(active_parts, arrayMap(w -> 0., workloads), [unattributed, 0.])
            AS active_part,
        arrayConcat(arrayMap(w -> 0., workloads), idle_parts, [0., unallocated]) AS idle_part
)
WHERE part_seconds > 0
GROUP BY t, device_id, payer, charged_class
"""
"""The rule of ``split.charges``, for all of the energy between two edges of allocations at once: of
what holds a device nothing changes there, and what a device draws while it idles was taken from
each piece before. Meters that were reconciled are left out: only their remainder is charged."""

CHARGE_NOBODY = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
SELECT t, device_id, 0, if(is_idle, '{_CLASSES[IDLE_UNALLOCATED]}', '{_CLASSES[UNATTRIBUTED]}'),
       sum(e.joules), sum(e.seconds), {{version:UInt64}}
FROM ({_ENERGY}) AS e
GROUP BY t, device_id, is_idle
"""
"""The same where nobody holds anything, for a fifth of the planning."""

CANCEL_MEASURED = f"""
INSERT INTO measured_1m (t, device_id, method, reason, joules, seconds, version)
SELECT t, device_id, method, reason, NULL, 0, {{version:UInt64}} FROM measured_1m FINAL
WHERE {IN_MINUTES} AND {MINE} AND version < {{version:UInt64}} AND seconds != 0
"""

CANCEL_CHARGES = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
SELECT t, device_id, workload_id, class, 0, 0, {{version:UInt64}} FROM charge_1m FINAL
WHERE {IN_MINUTES} AND {MINE} AND version < {{version:UInt64}} AND seconds != 0
"""

WORKLOAD_MINUTES = f"""
INSERT INTO workload_1m (t, workload_id, class, site, joules, seconds, version)
SELECT c.t, c.workload_id, c.class, d.site, sum(c.joules), sum(c.seconds), {{version:UInt64}}
FROM (
    SELECT * FROM charge_1m WHERE {IN_MINUTES} AND version = {{version:UInt64}} AND seconds != 0
) AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
GROUP BY c.t, c.workload_id, c.class, d.site
"""
"""What a run no longer says of a minute needs no cancelling: these rows are read by version alone,
of which a run has written each row once."""

ROLLED_UP = """
SELECT h.hour, h.device_id, h.workload_id, h.class, h.joules, h.seconds,
       h.joules * r.pue, h.joules * r.per_joule, r.currency, {version:UInt64}
FROM hourly AS h
LEFT JOIN (SELECT device_id, toString(site) AS site FROM device FINAL) AS d
    ON d.device_id = h.device_id
LEFT JOIN rate AS r ON r.site = d.site AND r.hour = h.hour
"""
"""Joules of ``hourly`` with the rates of their site and hour beside them."""

ROLL_UP = f"""
INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, facility_joules, cost,
                       currency, version)
WITH
{RATES}
hourly AS (
    SELECT toStartOfHour(t) AS hour, device_id, workload_id, class,
           sum(c.joules) AS joules, sum(c.seconds) AS seconds
    FROM charge_1m AS c FINAL WHERE {IN_MINUTES} AND {MINE}
    GROUP BY hour, device_id, workload_id, class
)
{ROLLED_UP}"""

ROLL_UP_EVEN = ROLL_UP.replace(RATES, EVEN_RATES)
"""The same where no PUE or price changes within an hour."""

ROLL_UP_PLAIN = f"""
INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, version)
SELECT toStartOfHour(t) AS hour, device_id, workload_id, class, sum(c.joules), sum(c.seconds),
       {{version:UInt64}}
FROM charge_1m AS c FINAL WHERE {IN_MINUTES} AND {MINE}
GROUP BY hour, device_id, workload_id, class
"""
"""The same where there is neither, and thus nothing of a site stands beside its joules."""

_WHOLE = "if(countIf(isNull({0}) AND joules > 0) > 0, NULL, sumOrNull({0}))"
"""A sum of what is known for all of it, else NULL."""

WORKLOAD_HOURS = f"""
INSERT INTO workload_1h (t, workload_id, class, site, currency, joules, seconds, facility_joules,
                         cost, version)
SELECT c.t, c.workload_id, c.class, d.site, c.currency, sum(c.joules), sum(c.seconds),
       {_WHOLE.format("c.facility_joules").replace("joules > 0", "c.joules > 0")},
       sumOrNull(c.cost), {{version:UInt64}}
FROM (SELECT * FROM charge_1h FINAL WHERE t >= {LO} AND t < {HI} AND seconds != 0) AS c
INNER JOIN (SELECT * FROM device FINAL WHERE overlap != 'inner') AS d ON d.device_id = c.device_id
GROUP BY c.t, c.workload_id, c.class, d.site, c.currency
"""

_DAYS = f"t >= {DAY_LO} AND t < {DAY_HI}"

WORKLOAD_DAYS = f"""
INSERT INTO workload_1d (t, workload_id, class, site, currency, joules, seconds, facility_joules,
                         cost, version)
SELECT toStartOfDay(t) AS day, workload_id, class, site, currency, sum(h.joules), sum(h.seconds),
       {_WHOLE.format("h.facility_joules").replace("joules > 0", "h.joules > 0")},
       sumOrNull(h.cost), {{version:UInt64}}
FROM workload_1h AS h FINAL WHERE {_DAYS} AND seconds != 0
GROUP BY day, workload_id, class, site, currency
"""


CANCEL_HOURS = f"""
INSERT INTO workload_1h (t, workload_id, class, site, currency, joules, seconds, version)
SELECT t, workload_id, class, site, currency, 0, 0, {{version:UInt64}} FROM workload_1h FINAL
WHERE t >= {LO} AND t < {HI} AND version < {{version:UInt64}} AND seconds != 0
"""

CANCEL_DAYS = f"""
INSERT INTO workload_1d (t, workload_id, class, site, currency, joules, seconds, version)
SELECT t, workload_id, class, site, currency, 0, 0, {{version:UInt64}} FROM workload_1d FINAL
WHERE {_DAYS} AND seconds != 0 AND (t, workload_id, class, site, currency) NOT IN (
    SELECT toStartOfDay(t), workload_id, class, site, currency
    FROM workload_1h FINAL WHERE {_DAYS} AND seconds != 0)
"""
"""A day is written once for each few hours of it, all with one version: what counts is whether its
hours still say it."""

RECOMPUTE: tuple[str, ...] = (
    BESIDE,
    PIECES,
    MEASURE,
    CANCEL_MEASURED,
    RECONCILE,
    CHARGE,
    REMAINDER,
    CANCEL_CHARGES,
    WORKLOAD_MINUTES,
    ROLL_UP,
    WORKLOAD_HOURS,
    CANCEL_HOURS,
    WORKLOAD_DAYS,
    CANCEL_DAYS,
)
"""Run in this order with one version, which is used for nothing else; a repeat changes nothing."""
CANCEL = frozenset((CANCEL_MEASURED, CANCEL_CHARGES, CANCEL_HOURS, CANCEL_DAYS))

WITHOUT = f"""
WITH {rate_sql.WITHOUT}
SELECT (SELECT count() FROM tree WHERE role IN ('outer', 'aside')) = 0
           AND (SELECT count() FROM reconcile_1h WHERE t >= {LO} AND t < {HI}) = 0,
       has_no_factor, is_even,
       (SELECT count() FROM allocation_hour WHERE hour >= {LO} AND hour < {HI}) = 0,
       (SELECT count() FROM idle_hour WHERE hour >= {LO} AND hour < {HI}) = 0,
       (SELECT count() FROM ledger_open WHERE t >= {LO} AND t < {HI}) = 0
           AND (SELECT count() FROM charge_1h WHERE t >= {LO} AND t < {HI}) = 0
           AND (SELECT count() FROM ledger_hour WHERE t >= {LO} AND t < {HI}) = 0
"""
"""What ``Without`` says of these hours, before their next version is begun."""


class Without(NamedTuple):
    """What there is nothing of in some hours: meters that contain others, now or when they were
    last computed; factors and prices, as in ``rate_sql``; holders; known idle power; versions."""

    outer: bool = False
    factor: bool = False
    uneven: bool = False
    holder: bool = False
    baseline: bool = False
    earlier: bool = False


def needed(without: Without) -> tuple[str, ...]:
    """Return what must run of RECOMPUTE: the rest would write nothing, or nothing more."""
    left_out = {RECONCILE, REMAINDER} if without.outer else set()
    if without.earlier:
        left_out |= CANCEL
    instead = {PIECES: _pieces(without.holder, without.baseline)}
    if without.uneven:
        instead[ROLL_UP] = ROLL_UP_PLAIN if without.factor else ROLL_UP_EVEN
    if without.holder:
        instead[CHARGE] = CHARGE_NOBODY
    return tuple(instead.get(s, s) for s in RECOMPUTE if s not in left_out)


def _pieces(is_unheld: bool, has_no_baseline: bool) -> str:
    if has_no_baseline:
        return PLAIN if is_unheld else UNFLOORED
    return UNCUT if is_unheld else PIECES


TICKS = f"""
SELECT count() FROM tick WHERE toStartOfHour(ts) >= {LO} AND toStartOfHour(ts) < {HI}
"""
"""How many readings a statement has before it; repeated ones may count twice."""

ROWS = f"""
SELECT greatest(
    toInt64(({TICKS})), (SELECT toInt64(count()) FROM device) * dateDiff('minute', {LO}, {HI}))
    + (SELECT count() FROM outcome WHERE toStartOfHour(ts) >= {LO} AND toStartOfHour(ts) < {HI})
"""
"""How many pieces and outcomes it has at least: a span is cut at every minute, however long it is.
"""

Slice = tuple[int, int]
"""The first and the last device of a part of the fleet, by identity."""
WHOLE: Slice = (0, 2**64 - 1)


def slices(ticks: int, most: int) -> list[Slice]:
    """Return parts of the fleet of about ``most`` readings: identities are spread evenly."""
    parts = max(1, -(-ticks // most))
    edges = [2**64 * part // parts for part in range(parts + 1)]
    return [(first, beyond - 1) for first, beyond in pairwise(edges)]


def steps(statements: Iterable[str], parts: Sequence[Slice]) -> Iterator[tuple[str, Slice]]:
    """Give each statement with each part of the fleet, or once where it is about all of it."""
    for statement in statements:
        for part in parts if MINE in statement else (WHOLE,):
            yield statement.replace(f" AND {MINE}", "") if part == WHOLE else statement, part


USED = """
       ifNull(sum(util_e4 * interval_ms), 0) / 1e7, sumIf(interval_ms, isNotNull(util_e4)) / 1e3,
       ifNull(sum(toFloat64(power_uw) * interval_ms), 0) / 1e9,
       sumIf(interval_ms, isNotNull(power_uw)) / 1e3
"""
"""What means over time are made of: utilisation times seconds and the seconds of which it was said,
watts times seconds and the seconds of which they were. A reading stands for its interval."""

WARM = """
       ifNull(sum(temp_e1 * interval_ms), 0) / 1e4, sumIf(interval_ms, isNotNull(temp_e1)) / 1e3,
       ifNull(max(temp_e1), 0) / 10
"""
"""Degrees Celsius times seconds, the seconds of which they were said, and the highest."""

TICK_HOURS = """
INSERT INTO tick_hour (hour, device_id, first_valid, last_valid, used, warm)
SELECT toStartOfHour(ts) AS hour, device_id,
       min(if(isNotNull(power_uw) OR isNotNull(energy_uj), ts,
              toDateTime64('2105-01-01 00:00:00', 3, 'UTC'))),
       max(if(isNotNull(power_uw) OR isNotNull(energy_uj), ts, toDateTime64(0, 3, 'UTC'))),
       ({version:UInt64}, USED), ({version:UInt64}, WARM)
FROM tick FINAL WHERE toUnixTimestamp(toStartOfHour(ts)) IN {hours:Array(UInt32)}
GROUP BY hour, device_id
""".replace("USED", USED).replace("WARM", WARM)
"""Finds the first and the last reading of some hours, which are only ever widened, and how much
the devices were used and how warm they were, of which the newest version stands. Every reading
counts once."""

READ_HOURS = """
SELECT DISTINCT toUnixTimestamp(hour) FROM tick_hour
WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)}
"""
"""Which hours (Unix seconds) have readings, or had some until lately."""

TOUCHED = """
WITH edge AS (
    SELECT hour, device_id,
           toUnixTimestamp64Milli(min(first_valid)) AS first,
           toUnixTimestamp64Milli(max(last_valid)) AS last,
           maxIf(hour, last > 0) OVER (PARTITION BY device_id ORDER BY hour
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS hour_before,
           minIf(hour, last > 0) OVER (PARTITION BY device_id ORDER BY hour
               ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS hour_beyond
    FROM (
        SELECT hour, device_id, first_valid, last_valid FROM tick_hour
        WHERE toUnixTimestamp(toStartOfDay(hour)) IN {days:Array(UInt32)}
        UNION ALL
        SELECT toStartOfHour(valid) AS hour, device_id, valid AS first_valid, valid AS last_valid
        FROM (
            SELECT device_id,
                   arrayCount(d -> d < toUnixTimestamp(day), {days:Array(UInt32)}) AS days_before,
                   arrayJoin([min(first_valid), max(last_valid)]) AS valid
            FROM tick_day WHERE toUnixTimestamp(day) NOT IN {days:Array(UInt32)}
            GROUP BY device_id, days_before
            HAVING max(last_valid) > 0
        )
    )
    GROUP BY hour, device_id
),
seen AS (
    SELECT toStartOfHour(ts) AS hour, device_id, toUnixTimestamp64Milli(ts) AS t,
           isNull(power_uw) AND isNull(energy_uj) AS is_gap,
           toUnixTimestamp64Micro(ingested_at) AS came
    FROM tick
    WHERE toUnixTimestamp(toStartOfHour(ts)) IN {hours:Array(UInt32)}
      AND (is_gap OR (device_id, ts) IN (
          SELECT device_id, arrayJoin([first_valid, last_valid]) FROM tick_hour
          WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)}))
)
SELECT toUnixTimestamp(hour), device_id, any(first), any(last),
       any(toUnixTimestamp(hour_before)), any(toUnixTimestamp(hour_beyond)),
       uniqExactIf(t, is_gap AND t > 0 AND t < first), uniqExactIf(t, is_gap AND t > last),
       maxIf(came, t = first), maxIf(came, t = last)
FROM edge LEFT JOIN seen USING (hour, device_id)
WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)}
GROUP BY hour, device_id
"""
"""What ``wattshed_collector.ledger_edges.EDGE`` names, per touched hour and device. Of the days in
which no hour is touched only the outermost readings matter."""
