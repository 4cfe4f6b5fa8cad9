"""What outcomes took, of operation and of making the hardware: what their SCI is computed from."""

from __future__ import annotations

from typing import Any

from .client import Client

BY = ("ai_model", "workload", "team", "site", "hardware", "precision")
"""What the outcomes may be summed by."""
_IN = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_ROWS = f"""
SELECT o.name AS name, sum(o.count) AS outcomes,
       sumIf(o.count, isNull(o.loaded)) AS unmeasured_outcomes,
       sum(o.loaded) AS joules, sum(o.facility) AS facility_joules,
       sumOrNull(o.facility / 3.6e6 * i.intensity) AS operational_g,
       ifNull(sumIf(o.loaded, isNull(o.facility)), 0) AS joules_without_pue,
       ifNull(sumIf(o.facility, isNull(i.intensity)), 0) AS joules_without_intensity,
       sum(o.facility * i.intensity) / nullIf(sumIf(o.facility, isNotNull(i.intensity)), 0)
           AS g_per_kwh,
       sum(o.facility * i.estimated) / nullIf(sumIf(o.facility, isNotNull(i.estimated)), 0)
           AS estimated_ratio,
       arraySort(groupUniqArrayIf(i.how, i.how != '')) AS intensity_methods,
       arraySort(groupUniqArrayIf(i.whose, i.whose != '')) AS intensity_sources,
       arraySort(groupUniqArrayIf(i.zone, i.zone != '')) AS zones,
       arraySort(groupUniqArray(o.site)) AS sites,
       sumOrNull(e.grams * o.part) AS embodied_g,
       if(countIf(isNotNull(e.grams) AND isNull(e.low)) > 0, NULL, sumOrNull(e.low * o.part))
           AS embodied_low_g,
       if(countIf(isNotNull(e.grams) AND isNull(e.high)) > 0, NULL, sumOrNull(e.high * o.part))
           AS embodied_high_g,
       ifNull(sum(e.seconds * o.part), 0) AS device_seconds,
       ifNull(sum(e.unknown * o.part), 0) AS unknown_seconds,
       arraySort(arrayDistinct(arrayFlatten(groupArray(e.why)))) AS embodied_reasons,
       arraySort(arrayDistinct(arrayFlatten(groupArray(e.methods)))) AS embodied_methods,
       arraySort(arrayDistinct(arrayFlatten(groupArray(e.sources)))) AS embodied_sources
FROM (
    SELECT t, workload_id, toString({{by:Identifier}}) AS name, toString(site) AS site, count,
           loaded_joules AS loaded, if(loaded_joules = 0, 0, facility_joules) AS facility,
           loaded_joules / nullIf(loaded_joules + ifNull(before_joules, 0), 0) AS part
    FROM v_outcome_1h WHERE outcome = {{outcome:String}} AND {_IN}
) AS o
LEFT JOIN (
    SELECT t, site, any(carbon_g_per_kwh) AS intensity, any(carbon_method) AS how,
           any(carbon_source) AS whose, any(carbon_estimated_ratio) AS estimated, any(zone) AS zone
    FROM v_site_1h WHERE {_IN} GROUP BY t, site
) AS i ON i.t = o.t AND i.site = o.site
LEFT JOIN (
    SELECT t, workload_id, sumOrNull(embodied_g) AS grams,
           if(countIf(isNotNull(embodied_g) AND isNull(embodied_low_g)) > 0, NULL,
              sumOrNull(embodied_low_g)) AS low,
           if(countIf(isNotNull(embodied_g) AND isNull(embodied_high_g)) > 0, NULL,
              sumOrNull(embodied_high_g)) AS high,
           sum(v.seconds) AS seconds, sumIf(v.seconds, isNull(embodied_g)) AS unknown,
           groupUniqArrayIf(embodied_reason, isNull(embodied_g)) AS why,
           groupUniqArrayIf(embodied_method, embodied_method != '') AS methods,
           groupUniqArrayIf(embodied_source, embodied_source != '') AS sources
    FROM v_embodied_1h AS v WHERE workload_id != 0 AND {_IN} GROUP BY t, workload_id
) AS e ON e.t = o.t AND e.workload_id = o.workload_id
GROUP BY name ORDER BY outcomes DESC, name LIMIT {{most:UInt32}}
"""
_SAID = f"""
SELECT toUnixTimestamp(max(said_ts)) FROM v_grid_1h
WHERE kind = 'carbon' AND zone IN {{zones:Array(String)}} AND {_IN}
"""


def parts(
    client: Client, outcome: str, by: str, since: int, until: int, most: int
) -> list[dict[str, Any]]:
    """Return per value of ``by`` what ``outcome`` took in the full hours of the window.

    Joules are those of the facility with ``facility_joules``; grams are CO2 equivalent, None where
    nothing is known. What is not known of a part is summed beside it.
    """
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(BY)}")
    asked = {"outcome": outcome, "by": by, "since": since, "until": until, "most": most}
    return client.records(_ROWS, asked)


def said_at(client: Client, zones: list[str], since: int, until: int) -> int | None:
    """Return when a service last said what these zones emitted in the window, Unix seconds."""
    asked = {"zones": zones, "since": since, "until": until}
    ((at,),) = client.rows(_SAID, asked)
    return int(at) or None
