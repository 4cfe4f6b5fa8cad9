"""Who holds devices and does not use them: notebooks, parked models, training that stands still.

What is claimed is what idleness draws above the bare device, because that is saved at once where
the device is let go of; what it draws bare is saved only where it is switched off or given to
others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wattshed_collector.advice.evidence import stated
from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import (
    LEAST_JOULES_PER_MONTH,
    MONTH_S,
    Advice,
    Baseline,
    Effort,
    Kind,
    Measure,
)
from wattshed_collector.advice.rates import Span, size

LEAST_IDLE_RATIO = 0.2
"""Of the time that devices are held; below, pauses are part of the work."""
_WHERE = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_IDLE = f"""
SELECT i.workload AS workload, i.site AS site, i.team AS team, i.owner AS owner,
       i.workload_kind AS workload_kind, i.ai_model AS ai_model, i.joules AS idle_joules,
       i.seconds AS idle_seconds, i.above AS above_joules, i.devices AS devices,
       ifNull(a.seconds, 0) AS active_seconds
FROM (
    SELECT workload, site, if(uniqExact(v.team) = 1, any(v.team), '') AS team,
           if(uniqExact(v.owner) = 1, any(v.owner), '') AS owner,
           any(workload_kind) AS workload_kind, any(ai_model) AS ai_model,
           sum(v.joules) AS joules, sum(v.seconds) AS seconds,
           sum(v.above_bare_joules) AS above, uniqExact(device) AS devices
    FROM v_idle_1h AS v
    WHERE {_WHERE} AND class = 'idle_held' AND kind IN ('gpu', 'module') AND workload != ''
      AND reason != 'expected' AND isNotNull(v.above_bare_joules)
    GROUP BY workload, site HAVING seconds > 0
) AS i
LEFT JOIN (
    SELECT w.workload AS workload, c.site AS site, sum(c.seconds) AS seconds
    FROM (
        SELECT workload_id, d.site AS site, sum(h.seconds) AS seconds
        FROM (SELECT device_id, workload_id, sum(v.seconds) AS seconds FROM v_charge_1h AS v
              WHERE {_WHERE} AND class = 'active' GROUP BY device_id, workload_id) AS h
        INNER JOIN (SELECT device_id, site FROM v_device WHERE kind IN ('gpu', 'module')) AS d
            ON d.device_id = h.device_id
        GROUP BY workload_id, site
    ) AS c
    INNER JOIN (SELECT workload_id, workload FROM v_workload) AS w ON w.workload_id = c.workload_id
    GROUP BY workload, site
) AS a ON a.workload = i.workload AND a.site = i.site
ORDER BY above_joules DESC, workload
"""
EVIDENCE = """SELECT t, device, joules, seconds, bare_watts, above_bare_joules
FROM v_idle_1h
WHERE workload = {workload} AND site = {site} AND class = 'idle_held' AND reason != 'expected'
  AND kind IN ('gpu', 'module') AND isNotNull(above_bare_joules)
  AND t >= toDateTime({since}, 'UTC') AND t < toDateTime({until}, 'UTC')
ORDER BY t, device LIMIT 1000"""


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload and site that holds and does not use."""
    span = look.span
    asked = {"since": span.since_s, "until": span.until_s}
    for row in look.client.records(_IDLE, asked):
        held = row["idle_seconds"] + row["active_seconds"]
        idle_ratio = row["idle_seconds"] / held
        if (
            idle_ratio >= LEAST_IDLE_RATIO
            and span.per_month(row["above_joules"]) >= LEAST_JOULES_PER_MONTH
        ):
            yield _advice(row, idle_ratio, look)


def _advice(row: dict[str, Any], idle_ratio: float, look: Look) -> Advice:
    span = look.span
    big = size(row["above_joules"], row["site"], span, look.rates)
    workload, never_worked = row["workload"], row["active_seconds"] == 0
    is_parked = never_worked and row["ai_model"] != "" and row["workload_kind"] != "training"
    kind = Kind.UNLOAD_MODEL if is_parked else Kind.RELEASE_IDLE
    return Advice(
        kind=kind,
        subject=f"{workload}@{row['site']}",
        title=_title(workload, row, is_parked),
        reason=_reason(row, idle_ratio, span),
        joules_per_month=big.joules,
        are_facility_joules=big.are_facility,
        cost_per_month=big.cost,
        currency=big.currency,
        price=big.price,
        g_per_month=big.grams,
        carbon=big.carbon,
        confidence=round(span.confidence, 2),
        effort=Effort.LOW,
        evidence=stated(
            EVIDENCE, workload=workload, site=row["site"], since=span.since_s, until=span.until_s
        ),
        baseline=Baseline(
            measure=Measure.IDLE_ABOVE_BARE,
            joules_per_unit=big.joules * 3600 / MONTH_S,
            workload=workload,
            site=row["site"],
        ),
        site=row["site"],
        team=row["team"],
        owner=row["owner"],
        numbers={
            "idle_joules": row["idle_joules"],
            "above_bare_joules": row["above_joules"],
            "idle_seconds": row["idle_seconds"],
            "active_seconds": row["active_seconds"],
            "devices": float(row["devices"]),
            "idle_device_hours_per_month": span.per_month(row["idle_seconds"]) / 3600,
        },
    )


def _title(workload: str, row: dict[str, Any], is_parked: bool) -> str:
    if is_parked:
        return f"Unload {row['ai_model']} of {workload}: no request came"
    if row["workload_kind"] == "training":
        return f"Find out why {workload} stands still"
    return f"Let {workload} release its devices while it does not use them"


def _reason(row: dict[str, Any], idle_ratio: float, span: Span) -> str:
    hours = row["idle_seconds"] / 3600
    return (
        f"{row['workload']} held {row['devices']} device(s) idle for {hours:.1f} device hours of "
        f"{span.hours:.0f} h looked at, {idle_ratio:.0%} of the time that it held them"
    )
