"""What was measured since advice was done: of any number of them at once, in a window of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattshed_collector.advice.model import Measure
from wattshed_collector.advice.verify import After

from . import ledger_state
from .client import Client

HOUR_S = 3600
LATEST_S = 2**32 - HOUR_S
HELD_S = 7 * 86400
"""Before it was done: devices that the workload held then are the ones that are measured."""
_ASKED = """
asked AS (
    SELECT a.1 AS id, a.2 AS workload, a.3 AS outcome, a.4 AS site, a.5 AS is_facility,
           a.6 AS done, a.7 AS since, a.8 AS until, a.9 AS most, a.10 AS others
    FROM (SELECT arrayJoin(arrayZip(
              {ids:Array(String)}, {workloads:Array(String)}, {outcomes:Array(String)},
              {sites:Array(String)}, {facility:Array(UInt8)}, {done:Array(UInt32)},
              {since:Array(UInt32)}, {until:Array(UInt32)}, {most:Array(Float64)},
              {others:Array(Float64)})) AS a)
)"""
_WITHIN = "t >= fromUnixTimestamp({first:UInt32}) AND t < fromUnixTimestamp({last:UInt32})"
_HERE = "(a.site = '' OR a.site = v.site)"
_SPENT = "v.above * if(a.is_facility = 1, v.facility_joules / v.joules, 1)"
_IDLE = f"""
WITH {_ASKED},
held AS (
    SELECT DISTINCT a.id AS id, v.device_id AS device_id
    FROM (
        SELECT DISTINCT c.device_id AS device_id, w.workload AS workload, d.site AS site,
               toUnixTimestamp(c.t) AS at
        FROM v_charge_1h AS c
        INNER JOIN (
            SELECT workload_id, workload FROM v_workload
            WHERE workload IN {{workloads:Array(String)}}
        ) AS w ON w.workload_id = c.workload_id
        INNER JOIN (
            SELECT device_id, site FROM v_device WHERE kind IN ('gpu', 'module')
        ) AS d ON d.device_id = c.device_id
        WHERE t >= fromUnixTimestamp({{held:UInt32}}) AND t < fromUnixTimestamp({{last:UInt32}})
          AND c.workload_id IN (
              SELECT workload_id FROM v_workload WHERE workload IN {{workloads:Array(String)}})
    ) AS v
    INNER JOIN asked AS a ON a.workload = v.workload
    WHERE {_HERE} AND v.at < a.done AND v.at >= a.done - {HELD_S}
)
SELECT h.id, sum(h.hours) AS units, sum(ifNull(s.spent, 0)) AS joules, 0. AS other_units
FROM (
    SELECT a.id AS id, v.at AS at, sum(v.seconds) / 3600 / any(k.devices) AS hours
    FROM (
        SELECT device_id, toUnixTimestamp(t) AS at, sum(c.seconds) AS seconds
        FROM v_charge_1h AS c
        WHERE {_WITHIN} AND device_id IN (SELECT device_id FROM held) GROUP BY device_id, at
    ) AS v
    INNER JOIN (
        SELECT id, device_id, count() OVER (PARTITION BY id) AS devices FROM held
    ) AS k ON k.device_id = v.device_id
    INNER JOIN asked AS a ON a.id = k.id
    WHERE v.at >= a.since AND v.at < a.until
    GROUP BY id, at
) AS h
LEFT JOIN (
    SELECT a.id AS id, v.at AS at, sum({_SPENT}) AS spent,
           countIf(isNull({_SPENT}) OR v.reason = 'expected') AS unknown
    FROM (
        SELECT workload, site, toUnixTimestamp(t) AS at, above_bare_joules AS above,
               facility_joules, joules, reason
        FROM v_idle_1h
        WHERE {_WITHIN} AND workload IN {{workloads:Array(String)}} AND class = 'idle_held'
          AND kind IN ('gpu', 'module') AND joules > 0
    ) AS v
    INNER JOIN asked AS a ON a.workload = v.workload
    WHERE {_HERE} AND v.at >= a.since AND v.at < a.until
    GROUP BY id, at
) AS s ON s.id = h.id AND s.at = h.at
WHERE ifNull(s.unknown, 0) = 0
GROUP BY h.id
"""
"""Hours in which the devices that the workload held in the week before were measured, and what its
idleness drew in them: an hour of which something is not known is none in which anything was saved,
and neither is one in which it was idle as somebody expected it, for that is said and not mended."""
_OUTCOMES = f"""
WITH {_ASKED}
SELECT d.id, sum(d.made) AS units, sumOrNull(d.spent) AS joules,
       sum(if(d.most < 0, 0., d.made - least(
           greatest(d.made - d.others * d.hours, 0.), d.most * d.hours))) AS other_units
FROM (
    SELECT a.id AS id, intDiv(v.at, 86400) AS day, any(a.most) AS most, any(a.others) AS others,
           (least(any(a.until), (day + 1) * 86400) - greatest(any(a.since), day * 86400)) / 3600
               AS hours,
           sum(v.count) AS made,
           sumOrNull(if(a.is_facility = 1, v.facility_joules, v.loaded_joules)) AS spent
    FROM (
        SELECT workload, outcome, site, toUnixTimestamp(t) AS at, count, loaded_joules,
               facility_joules
        FROM v_outcome_1h
        WHERE {_WITHIN} AND workload IN {{workloads:Array(String)}}
          AND outcome IN {{outcomes:Array(String)}} AND isNotNull(loaded_joules)
    ) AS v
    INNER JOIN asked AS a ON a.workload = v.workload AND a.outcome = v.outcome
    WHERE {_HERE} AND v.at >= a.since AND v.at < a.until
      AND (a.is_facility = 0 OR isNotNull(v.facility_joules))
    GROUP BY id, day
) AS d
GROUP BY d.id
"""
"""What was made of the outcomes, and what it took. Of what was made on a day as many count as made
in other ways as were before; of what is more, at most as many as were to be left count as left.
Where ``most`` is negative all count as left."""
_AT = "SELECT toUnixTimestamp(t) AS at, site"
_ELSEWHERE = f"""
WITH {_ASKED}
SELECT a.id, sumOrNull((v.joules * p.value * here.g - v.facility * there.g) / 3.6e6) AS grams
FROM (
    SELECT toUnixTimestamp(c.t) AS at, toString(c.site) AS site, n.workload AS workload,
           sum(c.joules) AS joules, sum(c.facility_joules) AS facility
    FROM v_workload_1h AS c
    INNER JOIN (
        SELECT workload_id, workload FROM v_workload WHERE workload IN {{workloads:Array(String)}}
    ) AS n ON n.workload_id = c.workload_id
    WHERE {_WITHIN} AND c.class IN ('active', 'idle_held')
    GROUP BY at, site, workload
    HAVING countIf(isNull(c.facility_joules) AND c.joules > 0) = 0
) AS v
INNER JOIN asked AS a ON a.workload = v.workload
INNER JOIN (
    {_AT}, g_per_kwh AS g FROM v_carbon_1h WHERE {_WITHIN} AND isNotNull(g_per_kwh)
) AS here ON here.at = v.at AND here.site = a.site
INNER JOIN (
    {_AT}, g_per_kwh AS g FROM v_carbon_1h WHERE {_WITHIN} AND isNotNull(g_per_kwh)
) AS there ON there.at = v.at AND there.site = v.site
INNER JOIN (
    {_AT}, value FROM v_factor_1h WHERE {_WITHIN} AND kind = 'pue'
) AS p ON p.at = v.at AND p.site = a.site
WHERE v.at >= a.since AND v.at < a.until
GROUP BY a.id
"""
"""Grams that joules drawn at whatever site would have emitted more at the site of the advice."""
_NAMES = """
SELECT workload_key, any(workload) FROM v_workload
WHERE workload_key IN {keys:Array(String)} GROUP BY workload_key
"""
BY_MEASURE: Mapping[str, str] = {
    Measure.IDLE_ABOVE_BARE: _IDLE,
    Measure.JOULES_PER_OUTCOME: _OUTCOMES,
}
"""Id, units, joules and other units of what is asked, by measure."""


@dataclass(frozen=True, slots=True)
class Window:
    """Full, charged hours [since_s, until_s) of one advice that is done, a row of ``v_advice``."""

    advice: Mapping[str, Any]
    since_s: int
    until_s: int

    @property
    def id(self) -> str:
        return str(self.advice["id"])

    @property
    def done_s(self) -> int:
        return _full(self.advice["state_at"])

    @property
    def seconds(self) -> float:
        return float(max(0, self.until_s - self.since_s))


def windows(
    client: Client, rows: Iterable[Mapping[str, Any]], since_s: int = 0, until_s: int = LATEST_S
) -> list[Window]:
    """Return of each row that is done the charged hours of [since_s, until_s) since then."""
    settled = int(ledger_state.read(client)["settled"] or 0) // HOUR_S * HOUR_S
    return [
        Window(row, max(_full(row["state_at"]), _full(since_s)), min(settled, until_s))
        for row in rows
    ]


def after(client: Client, asked: Sequence[Window]) -> dict[str, After]:
    """Return what was measured in each window, by the id of its advice."""
    found = {window.id: After(window.seconds) for window in asked}
    for measure, statement in BY_MEASURE.items():
        members = [w for w in asked if w.advice["measure"] == measure and w.seconds > 0]
        if not members:
            continue
        by_id = {window.id: window for window in members}
        for id, units, joules, others in client.rows(statement, _parameters(members)):
            is_hours = measure == Measure.IDLE_ABOVE_BARE
            seconds = units * HOUR_S if is_hours else by_id[id].seconds
            found[id] = After(seconds, units, joules, others)
    elsewhere = [w for w in asked if w.advice["measure"] == Measure.GRAMS_ELSEWHERE and w.seconds]
    return found | _elsewhere(client, elsewhere)


def _elsewhere(client: Client, asked: Sequence[Window]) -> dict[str, After]:
    """Return the grams that were saved elsewhere, less those that were already in the week before
    it was done, hour by hour."""
    extent = ledger_state.extent(client)
    if not asked or extent is None:
        return {}
    now = _grams(client, asked)
    before = [Window(w.advice, max(w.done_s - HELD_S, _full(extent[0])), w.done_s) for w in asked]
    known = [w for w in before if w.seconds]
    was = _grams(client, known)
    usual = {w.id: (was.get(w.id) or 0.0) / w.seconds for w in known}
    return {
        w.id: After(w.seconds, saved_g=grams - usual.get(w.id, 0.0) * w.seconds)
        for w in asked
        if (grams := now.get(w.id)) is not None
    }


def _grams(client: Client, asked: Sequence[Window]) -> dict[str, float | None]:
    return dict(client.rows(_ELSEWHERE, _parameters(asked))) if asked else {}


def workloads_of(client: Client, keys: Sequence[str]) -> dict[str, str]:
    """Return the name of the workload of each key."""
    if not keys:
        return {}
    return dict(client.rows(_NAMES, {"keys": list(keys)}))


def _parameters(members: Sequence[Window]) -> dict[str, Any]:
    each = [(w, name) for w in members for name in w.advice["workload"].splitlines()]
    return {
        "ids": [w.id for w, _ in each],
        "workloads": [name for _, name in each],
        "outcomes": [w.advice["outcome"] for w, _ in each],
        "sites": [w.advice["site"] for w, _ in each],
        "facility": [int(w.advice["are_facility_joules"]) for w, _ in each],
        "done": [w.done_s for w, _ in each],
        "since": [w.since_s for w, _ in each],
        "until": [w.until_s for w, _ in each],
        "most": [_or(w.advice["units_per_hour"], -1.0) for w, _ in each],
        "others": [_or(w.advice["other_units_per_hour"], 0.0) for w, _ in each],
        "held": min(w.done_s for w in members) - HELD_S,
        "first": min(w.since_s for w in members),
        "last": max(w.until_s for w in members),
    }


def _or(known: float | None, nobody: float) -> float:
    return nobody if known is None else known


def _full(second: int) -> int:
    """Return the first full hour from a second on."""
    return -(-second // HOUR_S) * HOUR_S
