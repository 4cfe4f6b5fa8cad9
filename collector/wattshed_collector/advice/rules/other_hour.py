"""Training and batch jobs that could have waited for cleaner hours of their own site.

Grams are claimed and no joules: the same work is done by the same devices, only later, and only in
hours in which these were free. When a run would have begun is chosen by what was known then, the
same hours of the days before; what that would have saved is counted by what came (``shifts``). Once
it is done, jobs of the workload that a policy held are measured against having run at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from wattshed_collector.advice.evidence import stated
from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Baseline, Effort, Kind, Measure
from wattshed_collector.advice.outlook import HOUR_S, Outlook
from wattshed_collector.advice.runs import Run
from wattshed_collector.advice.shifts import Shift, shifts

LEAST_G_PER_MONTH = 1000.0
LEAST_RATIO = 0.05
"""Of what the runs emitted."""
SURE = 0.6
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
    by_site: dict[str, list[Run]] = defaultdict(list)
    for run in look.runs:
        by_site[run.site].append(run)
    for site, runs in sorted(by_site.items()):
        outlook = look.outlooks.get(site)
        if outlook is None:
            continue
        for workload, found in _by_workload(runs, outlook).items():
            emitted = _grams(runs, workload, outlook)
            saved = sum(shift.saved_grams for shift in found)
            if saved >= LEAST_RATIO * emitted and look.span.per_month(saved) >= LEAST_G_PER_MONTH:
                yield _advice(look, found)


def _by_workload(runs: Sequence[Run], outlook: Outlook) -> dict[str, list[Shift]]:
    found: dict[str, list[Shift]] = defaultdict(list)
    for shift in shifts(runs, outlook):
        found[shift.run.workload].append(shift)
    return dict(sorted(found.items()))


def _grams(runs: Sequence[Run], workload: str, outlook: Outlook) -> float:
    return sum(
        joules / 3.6e6 * outlook.known.get(hour, 0.0)
        for run in runs
        if run.workload == workload
        for hour, joules in run.facility_joules.items()
    )


def _advice(look: Look, found: Sequence[Shift]) -> Advice:
    run = found[-1].run
    workload, site = run.workload, run.site
    saved = sum(shift.saved_grams for shift in found)
    grams = sum(shift.grams for shift in found)
    waits = sorted(shift.wait_s / HOUR_S for shift in found)
    return Advice(
        kind=Kind.OTHER_HOUR,
        subject=f"{workload}@{site}",
        title=f"Let {workload} wait for cleaner hours",
        reason=(
            f"{len(found)} run(s) emitted {grams / 1000:.3g} kg; begun {waits[0]:.0f} to "
            f"{waits[-1]:.0f} h later, as the same hours of the days before would have said and "
            f"while their devices were free, they would have emitted {(grams - saved) / 1000:.3g} "
            "kg for the same joules"
        ),
        joules_per_month=0.0,
        are_facility_joules=True,
        g_per_month=look.span.per_month(saved),
        carbon=look.rates[site].carbon,
        confidence=round(SURE * look.span.confidence, 2),
        effort=Effort.MEDIUM,
        evidence=stated(
            EVIDENCE,
            workload=workload,
            site=site,
            since=look.span.since_s,
            until=look.span.until_s,
        ),
        baseline=Baseline(
            measure=Measure.GRAMS_HELD, joules_per_unit=0.0, workload=workload, site=site
        ),
        site=site,
        team=run.team,
        owner=run.owner,
        numbers={"runs": float(len(found)), "grams": grams, "grams_then": grams - saved},
    )
