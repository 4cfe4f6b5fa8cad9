"""The first statements of a ledger run: from ticks to pieces, the energy between two edges.

A span lies between two readings of a device; it is cut at minutes, at edges of allocations and
where its counter began. BESIDE collects what is few: the nearest readings outside of the hours, and
the gaps. PIECES then reads the ticks of the hours once. Columns are named and subqueries written
where they are used, because what a statement costs before it reads a row is what the engine spends
on its columns and on every mention of a common expression.

What is used more than once is named in a subquery of its own: a name within one SELECT is written
out at each of its uses, and so are the names in it.

Parameters: those of ``within``, ``version``, ``idle_below_e4``, and ``first_device``,
``last_device``: a statement that has them computes these devices alone.
"""

from __future__ import annotations

from datetime import UTC, datetime

LO, HI = "{since:DateTime('UTC')}", "{until:DateTime('UTC')}"
DAY_LO = f"toStartOfDay({LO})"
DAY_HI = f"toStartOfDay({HI} + INTERVAL 86399 SECOND)"

MINE = "device_id >= {first_device:UInt64} AND device_id <= {last_device:UInt64}"
"""The devices of one slice of the fleet."""


def within(lo: int, hi: int) -> dict[str, int | datetime]:
    """Return the parameters that say which hours are computed, [lo, hi) in Unix seconds.

    ``lo`` and ``hi`` are Unix milliseconds, ``since`` and ``until`` the same as the engine's time:
    a function that makes one would be planned at each mention.
    """
    since, until = datetime.fromtimestamp(lo, UTC), datetime.fromtimestamp(hi, UTC)
    return {"lo": lo * 1000, "hi": hi * 1000, "since": since, "until": until}


_NEVER = "toDateTime64('2105-01-01 00:00:00', 3, 'UTC')"
_IN_HOURS = f"toStartOfHour(ts) >= {LO} AND toStartOfHour(ts) < {HI}"
_IS_GAP = "isNull(power_uw) AND isNull(energy_uj)"
_COLUMNS = """device_id, t, has_power, has_energy, power_uw, energy_uj, start, interval_ms, util_e4,
           method"""
_READING = """k.device_id AS device_id, toUnixTimestamp64Milli(k.ts) AS t,
           isNotNull(k.power_uw) AS has_power,
           isNotNull(k.energy_uj) AND (isNull(k.withdrawn) OR NOT has_power) AS has_energy,
           ifNull(k.power_uw, 0) AS power_uw, ifNull(k.energy_uj, 0) AS energy_uj,
           ifNull(toUnixTimestamp64Milli(k.start_ts), 0) AS start, k.interval_ms AS interval_ms,
           k.util_e4 AS util_e4, k.method AS method"""

BESIDE = f"""
INSERT INTO tick_beside (version, {_COLUMNS}, gap)
WITH edge AS (
    SELECT device_id,
           maxIf(last, at < {LO}) AS before,
           minIf(first, at >= {HI} AND first < {_NEVER}) AS beyond,
           countIf(last > 0 AND at >= {LO} AND at < {HI}) > 0 AS has_inside
    FROM (
        SELECT device_id, hour AS at, first_valid AS first, last_valid AS last
        FROM tick_hour WHERE hour >= {DAY_LO} AND hour < {DAY_HI} AND {MINE}
        UNION ALL
        SELECT device_id, day AS at, first_valid AS first, last_valid AS last
        FROM tick_day WHERE (day < {DAY_LO} OR day >= {DAY_HI}) AND {MINE}
    )
    GROUP BY device_id
    HAVING (before > 0) + (beyond > 0) + has_inside > 1
)
SELECT {{version:UInt64}}, {_READING},
       if(has_power OR has_energy, '', ifNull(nullIf(k.gap, ''), 'no_data'))
FROM tick AS k FINAL
WHERE (toStartOfHour(ts), device_id) IN (
          SELECT toDateTime(arrayJoin(arrayConcat(
                     if(before > 0, range(toUInt32(toUnixTimestamp(toStartOfHour(before))),
                                          toUInt32({{lo:Int64}} / 1000), 3600), []),
                     if(beyond > 0, range(toUInt32({{hi:Int64}} / 1000),
                                          toUInt32(toUnixTimestamp(beyond)) + 1, 3600), []))),
                     'UTC') AS hour, device_id
          FROM edge
          UNION ALL
          SELECT toStartOfHour(ts), device_id FROM tick
          WHERE {_IN_HOURS} AND {MINE} AND {_IS_GAP}) AND {MINE}
  AND (isNull(k.power_uw) AND isNull(k.energy_uj)
       OR NOT ({_IN_HOURS})
          AND (device_id, ts) IN (SELECT device_id, arrayJoin([before, beyond]) FROM edge))
"""
"""Of each device its nearest reading on either side of the hours, and the gaps up to there. Only
the ticks of hours in which there are such are read."""

_READINGS = f"""
    SELECT {_READING}
    FROM tick AS k FINAL
    WHERE {_IN_HOURS} AND {MINE} AND (isNotNull(k.power_uw) OR isNotNull(k.energy_uj))
    UNION ALL
    SELECT {_COLUMNS} FROM tick_beside WHERE version = {{version:UInt64}} AND {MINE} AND gap = ''
"""

_PAIRS = f"""
    SELECT {_COLUMNS},
           lagInFrame(t) OVER previous AS t_a,
           lagInFrame(has_power) OVER previous AS has_power_a,
           lagInFrame(has_energy) OVER previous AS has_energy_a,
           lagInFrame(power_uw) OVER previous AS power_a,
           lagInFrame(energy_uj) OVER previous AS energy_a,
           lagInFrame(start) OVER previous AS start_a
    FROM ({_READINGS})
    WINDOW previous AS (PARTITION BY device_id ORDER BY t
                        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
"""

_SPANS = f"""
    SELECT p.device_id AS device_id, p.util_e4 AS util_e4, p.method AS method,
           if(g.t < p.t, g.gap, '') AS gap_reason, least(p.start, p.t) AS start,
           multiIf(
               NOT (p.has_energy AND p.has_energy_a),
               if(p.has_power AND p.has_power_a AND gap_reason = ''
                  AND p.t - p.t_a <= 3 * p.interval_ms, 'power', 'no_data'),
               p.start >= p.t_a, 'since_start',
               p.start_a != 0 AND p.start != 0 AND abs(p.start - p.start_a) > 60000,
               'counter_changed',
               p.energy_uj >= p.energy_a, 'counter',
               p.start = 0, 'reset',
               'counter_fell') AS span_rule,
           if(span_rule = 'since_start', p.start, p.t_a) AS s0, p.t AS s1,
           if(span_rule = 'counter', toUInt64(p.energy_uj - p.energy_a), p.energy_uj) / 1e6
               AS gained,
           p.power_a / 1e6 AS power0, p.power_uw / 1e6 AS power1,
           greatest(p.t_a, {{lo:Int64}}) AS c0, least(p.t, {{hi:Int64}}) AS c1
    FROM ({_PAIRS}) AS p
    ASOF LEFT JOIN (
        SELECT device_id, t, gap FROM tick_beside
        WHERE version = {{version:UInt64}} AND {MINE} AND gap != ''
    ) AS g ON g.device_id = p.device_id AND g.t > p.t_a
    WHERE p.t_a != 0 AND c1 > c0
"""
"""What lies between two readings of a device, and by which rule its energy is known or is not; the
reason of the first gap in between is why it is not."""

STANDING = f"""
    FROM allocation FINAL
    WHERE toStartOfHour(start_ts) IN (
              SELECT start_hour FROM allocation_hour WHERE hour >= {LO} AND hour < {HI})
      AND start_ts < {HI} AND end_ts > {LO} AND end_ts > start_ts AND {MINE}
      AND (share > 0 OR isNotNull(activity))
"""
"""The allocations that reach into the hours, found in the hours in which such allocations begin."""

_BETWEEN = f"""
    SELECT device_id, minute,
           arrayJoin(arrayZip(arrayPushFront(marks, 0), arrayPushBack(marks, 60000))) AS bounds,
           bounds.1 AS from_ms, bounds.2 AS to_ms
    FROM (
        SELECT device_id, intDiv(at, 60000) AS minute,
               arraySort(groupUniqArray(toUInt16(at % 60000))) AS marks
        FROM (
            SELECT device_id, arrayJoin([toUnixTimestamp64Milli(start_ts),
                                         toUnixTimestamp64Milli(end_ts)]) AS at {STANDING}
        )
        WHERE at > {{lo:Int64}} AND at < {{hi:Int64}} AND at % 60000 != 0
        GROUP BY device_id, minute
    )
"""
"""The parts of each minute within which an allocation begins or ends."""

_BASELINES = f"""
    SELECT device_id, toInt64(toUnixTimestamp(hour)) AS hour_s, min(watts) AS idle_watts,
           true AS has
    FROM idle_hour WHERE hour >= {LO} AND hour < {HI} AND {MINE} GROUP BY device_id, hour
"""

_HALVES = f"""
    SELECT device_id, util_e4, method, gap_reason, s0, s1, gained, power0, power1, start, c0, c1,
           span_rule,
           arrayJoin(range(toUInt64(intDiv(c0, 60000) * 2), toUInt64(intDiv(c1 - 1, 60000) * 2 + 2),
                           if(span_rule = 'since_start', 1, 2))) AS half
    FROM ({_SPANS})
"""

_MINUTES = f"""
    SELECT device_id, util_e4, method, gap_reason, s0, s1, gained, power0, power1,
           toInt64(intDiv(half, 2)) AS minute, intDiv(minute, 60) * 3600 AS hour_s,
           if(half % 2 = 1, 'before_start', span_rule) AS rule,
           greatest(c0, if(rule = 'since_start', start, 0)) AS x0,
           least(c1, if(rule = 'before_start', start, c1)) AS x1
    FROM ({_HALVES})
"""
"""Each minute of a span, and twice where its counter began within the span: before and since."""


def _parts(is_held: bool = True, has_baseline: bool = True) -> str:
    """Return the parts of minutes within which nothing changes; joins cost most of the planning."""
    cuts = f"LEFT JOIN ({_BETWEEN}) AS m USING (device_id, minute)" if is_held else ""
    edges = "from_ms, if(to_ms = 0, 60000, to_ms)" if is_held else "toUInt16(0) AS from_ms, 60000"
    floors = f"LEFT JOIN ({_BASELINES}) AS b USING (device_id, hour_s)" if has_baseline else ""
    return f"""
    SELECT device_id, method, gap_reason, rule, minute, s0, s1, gained, power0, power1,
           {edges} AS until_ms,
           greatest(x0, minute * 60000 + from_ms) AS y0,
           least(x1, minute * 60000 + until_ms) AS y1,
           ifNull(util_e4 < {{idle_below_e4:UInt16}}, false) AS idles,
           {"has AND NOT idles" if has_baseline else "false"} AS is_floored,
           {"idle_watts * (y1 - y0) / 1e3" if has_baseline else "0."} AS idle_joules
    FROM ({_MINUTES}) AS c
    {cuts}
    {floors}
    WHERE y1 > y0
"""


_JOULES = """multiIf(
               rule = 'power',
               (2 * power0 + (power1 - power0) * (y0 - s0 + y1 - s0) / (s1 - s0)) / 2
                   * (y1 - y0) / 1e3,
               rule IN ('counter', 'since_start', 'reset'), gained * (y1 - y0) / (s1 - s0),
               0)"""

_PIECES = """
INSERT INTO piece (version, t, device_id, from_ms, to_ms, is_idle, rule, method, gap, joules,
                   seconds, floor_joules, floor_seconds)
SELECT {version:UInt64}, toDateTime(minute * 60, 'UTC'), device_id, from_ms, until_ms, idles,
       rule, method, gap_reason, sum(known_joules), sum(y1 - y0) / 1e3,
       sum(if(is_floored, least(idle_joules, known_joules), 0)),
       sum(if(is_floored,
              (y1 - y0) / 1e3
              * if(idle_joules >= known_joules, 1, idle_joules / known_joules), 0))
FROM (
    SELECT minute, device_id, from_ms, until_ms, idles, rule, method, gap_reason, y0, y1,
           is_floored, idle_joules, JOULES AS known_joules
    FROM (PARTS)
)
GROUP BY minute, device_id, from_ms, until_ms, idles, rule, method, gap_reason
""".replace("JOULES", _JOULES)
PIECES = _PIECES.replace("PARTS", _parts())
UNCUT = _PIECES.replace("PARTS", _parts(is_held=False))
"""The same where nobody holds a device, and no minute is cut."""
UNFLOORED = _PIECES.replace("PARTS", _parts(has_baseline=False))
PLAIN = _PIECES.replace("PARTS", _parts(is_held=False, has_baseline=False))
"""The same where no device's idle power is known; and where both is so."""
