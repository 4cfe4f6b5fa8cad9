"""Training and batch jobs that could have waited for cleaner hours of their own site.

Grams are claimed and no joules: the same work is done by the same devices, only later, and only in
hours in which these were free. Another site is not advised: whether it has room, data and the
hardware for a job is not known here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from wattshed_collector.advice.evidence import stated
from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Baseline, Effort, Kind, Measure
from wattshed_collector.advice.shifts import HOUR_S, MOST_WAIT_S, Run, Shift, shifts

LEAST_G_PER_MONTH = 1000.0
LEAST_RATIO = 0.05
"""Of what the runs emitted."""
SURE = 0.6
_IN = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_CAN_WAIT = "SELECT workload_id FROM v_workload WHERE workload_kind IN ('training', 'batch')"
_HELD = f"""
    SELECT device_id, workload_id, toUnixTimestamp(min(t)) AS first, toUnixTimestamp(max(t)) AS last
    FROM v_charge_1h WHERE {_IN} AND workload_id != 0 GROUP BY device_id, workload_id
"""
"""Who held which device, from the first to the last full hour; pauses between are held too."""
_RUNS = f"""
SELECT w.workload, w.team, w.owner, h.site, c.devices, h.hours, c.others
FROM (
    SELECT workload_id, any(b.place) AS site, groupArray((b.at, b.facility)) AS hours
    FROM (
        SELECT workload_id, max(toString(v.site)) AS place, toUnixTimestamp(t) AS at,
               sum(v.facility_joules) AS facility
        FROM v_workload_1h AS v
        WHERE {_IN} AND class IN ('active', 'idle_held') AND workload_id IN ({_CAN_WAIT})
        GROUP BY workload_id, t
        HAVING uniqExact(v.site) = 1 AND countIf(isNull(v.facility_joules) AND v.joules > 0) = 0
    ) AS b
    GROUP BY workload_id
    HAVING uniqExact(b.place) = 1
       AND min(b.at) > {{since:UInt32}} AND max(b.at) < {{until:UInt32}} - 3600
       AND max(b.at) - min(b.at) = 3600 * (count() - 1)
) AS h
INNER JOIN (
    SELECT r.workload_id AS workload_id, groupUniqArray(r.device_id) AS devices,
           groupUniqArrayArray(arrayFilter(
               e -> e.3 != r.workload_id AND e.2 >= r.first AND e.1 <= r.last + {{wait:UInt32}},
               d.held)) AS others
    FROM (SELECT * FROM ({_HELD}) WHERE workload_id IN ({_CAN_WAIT})) AS r
    INNER JOIN (
        SELECT device_id, groupArray((first, last, workload_id)) AS held
        FROM ({_HELD}) GROUP BY device_id
    ) AS d ON d.device_id = r.device_id
    GROUP BY workload_id
) AS c ON c.workload_id = h.workload_id
INNER JOIN v_workload AS w ON w.workload_id = h.workload_id
"""
EVIDENCE = """SELECT w.workload_key AS run, c.t AS t, sum(c.facility_joules) AS joules,
       any(s.g) AS g_per_kwh
FROM v_workload_1h AS c
INNER JOIN v_workload AS w ON w.workload_id = c.workload_id
INNER JOIN (
    SELECT t, site, any(carbon_g_per_kwh) AS g FROM v_site_1h GROUP BY t, site
) AS s ON s.t = c.t AND s.site = c.site
WHERE w.workload = {workload} AND c.site = {site}
  AND c.t >= toDateTime({since}, 'UTC') AND c.t < toDateTime({until}, 'UTC')
GROUP BY run, t ORDER BY run, t"""


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload whose runs would have emitted less within a day's wait."""
    asked = {"since": look.span.since_s, "until": look.span.until_s, "wait": MOST_WAIT_S}
    whose: dict[tuple[str, str], tuple[str, str]] = {}
    runs: dict[str, list[Run]] = defaultdict(list)
    for workload, team, owner, site, devices, hours, others in look.client.rows(_RUNS, asked):
        whose[workload, site] = team, owner
        joules = dict(hours)
        runs[site].append(Run(workload, tuple(devices), joules, _shut(joules, others)))
    if not runs:
        return
    g_per_kwh: dict[str, dict[int, float]] = defaultdict(dict)
    for hour in look.hours:
        if hour.g_per_kwh is not None:
            g_per_kwh[hour.site][hour.hour_s] = hour.g_per_kwh
    for site, of_site in sorted(runs.items()):
        for workload, found in _by_workload(of_site, g_per_kwh[site]).items():
            emitted = _grams(of_site, workload, g_per_kwh[site])
            saved = sum(shift.saved_grams for shift in found)
            if saved >= LEAST_RATIO * emitted and look.span.per_month(saved) >= LEAST_G_PER_MONTH:
                yield _advice(look, (workload, site), whose[workload, site], found)


def _shut(joules: Mapping[int, float], others: Sequence[tuple[int, int, int]]) -> frozenset[int]:
    """Return the hours within reach in which others held a device of the run."""
    start, end = min(joules), max(joules) + MOST_WAIT_S
    return frozenset(
        hour
        for first, last, _ in others
        for hour in range(max(first, start), min(last, end) + 1, HOUR_S)
    )


def _by_workload(runs: Sequence[Run], g_per_kwh: Mapping[int, float]) -> dict[str, list[Shift]]:
    found: dict[str, list[Shift]] = defaultdict(list)
    for shift in shifts(runs, g_per_kwh):
        found[shift.run.workload].append(shift)
    return dict(sorted(found.items()))


def _grams(runs: Sequence[Run], workload: str, g_per_kwh: Mapping[int, float]) -> float:
    return sum(
        joules / 3.6e6 * g_per_kwh.get(hour, 0.0)
        for run in runs
        if run.workload == workload
        for hour, joules in run.joules.items()
    )


def _advice(
    look: Look, what: tuple[str, str], whose: tuple[str, str], found: Sequence[Shift]
) -> Advice:
    workload, site = what
    saved = sum(shift.saved_grams for shift in found)
    grams = sum(shift.grams for shift in found)
    waits = sorted(shift.wait_s / HOUR_S for shift in found)
    return Advice(
        kind=Kind.OTHER_HOUR,
        subject=f"{workload}@{site}",
        title=f"Let {workload} wait for cleaner hours",
        reason=(
            f"{len(found)} run(s) emitted {grams / 1000:.3g} kg; begun {waits[0]:.0f} to "
            f"{waits[-1]:.0f} h later, while their devices were free, they would have emitted "
            f"{(grams - saved) / 1000:.3g} kg for the same joules"
        ),
        joules_per_month=0.0,
        are_facility_joules=True,
        g_per_month=look.span.per_month(saved),
        confidence=round(SURE * look.span.confidence, 2),
        effort=Effort.MEDIUM,
        evidence=stated(
            EVIDENCE,
            workload=workload,
            site=site,
            since=look.span.since_s,
            until=look.span.until_s,
        ),
        baseline=Baseline(measure=Measure.NONE, joules_per_unit=0.0, workload=workload, site=site),
        site=site,
        team=whose[0],
        owner=whose[1],
        numbers={"runs": float(len(found)), "grams": grams, "grams_then": grams - saved},
    )
