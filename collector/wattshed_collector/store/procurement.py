"""How models of hardware did: use, failures and outcomes, and imported results beside them."""

from __future__ import annotations

from typing import Any

from .client import Client

MLPERF = "mlperf"
"""Source of the devices of imported results."""
RESULT = f"{MLPERF}-"
"""How the keys of workloads of imported results begin."""
_DAYS = """
t >= toStartOfDay(fromUnixTimestamp({since:UInt32}))
  AND t < fromUnixTimestamp({until:UInt32}) AND ({site:String} = '' OR site = {site:String})
"""
_HOURS = """
t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
  AND ({site:String} = '' OR site = {site:String})
"""
_OWN = "device_id NOT IN (SELECT device_id FROM v_device WHERE source = {mlperf:String})"
_COMPUTES = "kind IN ('gpu', 'module', 'board', 'battery') AND model != ''"
_CARDS = f"""
SELECT model, any(vendor) AS vendor, uniqExact(device_id) AS devices,
       sum(d.seconds) / 3600 AS device_hours, sum(d.joules) AS joules,
       sum(busy_seconds) / nullIf(sum(used_seconds), 0) AS utilization_ratio,
       sum(idle_joules) / nullIf(sum(idle_seconds), 0) AS watts_while_idle,
       avg(idle_watts) AS idle_watts_learned, sumOrNull(d.failures) AS failures,
       sumOrNull(d.program_errors) AS program_errors,
       sumIf(d.seconds, isNotNull(d.failures)) / 3600 AS failure_hours,
       sum(throttled_seconds) / nullIf(sumIf(d.seconds, isNotNull(throttled_seconds)), 0)
           AS throttled_ratio
FROM (SELECT * FROM v_device_1d WHERE {_DAYS} AND {_COMPUTES} AND {_OWN}) AS d
GROUP BY model ORDER BY joules DESC, model LIMIT 1000
"""
_PRODUCED = f"""
SELECT hardware, ai_model, outcome, sum(o.count) AS outcomes, sum(o.loaded_joules) AS joules,
       sum(o.count) / sum(o.loaded_joules) AS outcomes_per_joule
FROM (
    SELECT * FROM v_outcome_1h
    WHERE {_HOURS} AND state = 'ok' AND hardware NOT IN ('', 'several')
      AND NOT startsWith(workload_key, {{result:String}})
) AS o
GROUP BY hardware, ai_model, outcome HAVING outcomes > 0 AND joules > 0
ORDER BY hardware, outcome, ai_model LIMIT 10000
"""
_IMPORTED = """
SELECT workload AS result, ai_model, outcome, sum(o.count) AS outcomes,
       sum(o.loaded_joules) AS joules, sum(o.count) / sum(o.loaded_joules) AS outcomes_per_joule,
       toUnixTimestamp(min(o.t)) AS measured
FROM (
    SELECT * FROM v_outcome_1h
    WHERE state = 'ok' AND startsWith(workload_key, {result:String})
) AS o
GROUP BY result, ai_model, outcome HAVING outcomes > 0 AND joules > 0
ORDER BY ai_model, outcome, outcomes_per_joule DESC LIMIT 10000
"""
_SUPPLIES = f"""
SELECT device, node, site, sum(r.outer_joules - r.uncovered_joules) AS outer_joules,
       sum(r.inner_joules) AS inner_joules, inner_joules / outer_joules AS inner_ratio,
       sum(r.covered_seconds) / 3600 AS hours
FROM (SELECT * FROM v_reconciliation_1h WHERE {_HOURS} AND status = 'ok') AS r
GROUP BY device, node, site HAVING outer_joules > 0 ORDER BY device LIMIT 1000
"""
_USE = f"""
SELECT uniqExact(device_id) AS devices, sum(d.seconds) AS seconds, sum(d.joules) AS joules,
       if(countIf(isNull(d.facility_joules) AND d.joules > 0) > 0, NULL,
          sumOrNull(d.facility_joules)) AS facility_joules,
       arraySort(groupUniqArrayIf(toString(d.currency), isNotNull(d.cost))) AS currencies,
       if(countIf(isNull(d.cost) AND d.joules > 0) > 0 OR length(currencies) != 1, NULL,
          sumOrNull(d.cost)) AS cost,
       if(isNull(cost), '', currencies[1]) AS currency
FROM (SELECT * FROM v_device_1d WHERE {_DAYS} AND model = {{model:String}} AND {_OWN}) AS d
"""
_INTENSITY = f"""
SELECT sum(carbon_g) / nullIf(sumIf(facility_joules, isNotNull(carbon_g)), 0) * 3.6e6 AS g_per_kwh
FROM (
    SELECT * FROM v_site_1h
    WHERE {_HOURS} AND site IN (SELECT site FROM v_device WHERE model = {{model:String}})
)
"""
_SERVED = f"""
{_HOURS} AND state = 'ok' AND outcome = {{outcome:String}} AND ai_model NOT IN ('', 'several')
  AND NOT startsWith(workload_key, {{result:String}})
"""
_BOTH = f"""
SELECT sum(a.made * b.each) / sum(a.made * a.each) AS ratio, groupArray(a.ai_model) AS ai_models
FROM (SELECT ai_model, sum(count) AS made, sum(loaded_joules) / made AS each FROM v_outcome_1h
      WHERE {_SERVED} AND hardware = {{model:String}}
      GROUP BY ai_model HAVING made > 0) AS a
INNER JOIN (
    SELECT ai_model, sum(count) AS made, sum(loaded_joules) / made AS each FROM v_outcome_1h
    WHERE {_SERVED} AND hardware = {{other:String}}
    GROUP BY ai_model HAVING made > 0
) AS b ON b.ai_model = a.ai_model
WHERE {{ai_model:String}} IN ('', a.ai_model)
"""
_TOLD = """
SELECT avgOrNullIf(lifetime_years - age_years,
                   r.last_seen >= fromUnixTimestamp({since:UInt32})) AS remaining_years,
       max(r.embodied_kg) AS embodied_kg,
       argMax(r.embodied_source, r.embodied_kg) AS embodied_source,
       arraySort(groupUniqArrayIf(r.currency, isNotNull(r.purchase_price))) AS currencies,
       if(length(currencies) = 1, avg(r.purchase_price), NULL) AS purchase_price,
       if(length(currencies) = 1, currencies[1], '') AS currency
FROM v_register AS r WHERE model = {model:String} AND ({site:String} = '' OR site = {site:String})
  AND r.source != {mlperf:String}
"""
_TOLD_OF_MODEL = """
SELECT embodied_kg, embodied_source, purchase_price, currency FROM device_told FINAL
WHERE device = '' AND model = {model:String}
"""


def cards(client: Client, since: int, until: int, site: str = "") -> list[dict[str, Any]]:
    """Return use and failures of each model of hardware of the own fleet, in whole days."""
    return client.records(_CARDS, _asked(since, until, site))


def produced(client: Client, since: int, until: int, site: str = "") -> list[dict[str, Any]]:
    """Return outcomes per joule by hardware, model of AI and kind, of the own fleet."""
    return client.records(_PRODUCED, _asked(since, until, site))


def imported(client: Client) -> list[dict[str, Any]]:
    """Return the same of every imported MLPerf result, measured at the wall, of any time."""
    return client.records(_IMPORTED, {"result": RESULT})


def supplies(client: Client, since: int, until: int, site: str = "") -> list[dict[str, Any]]:
    """Return which part of what outer meters measured the meters inside of them did as well."""
    return client.records(_SUPPLIES, _asked(since, until, site))


def use(client: Client, model: str, since: int, until: int, site: str = "") -> dict[str, Any]:
    """Return what devices of a model drew, and what that cost. Joules and seconds.

    Without one currency for all of it ``cost`` is None and ``currency`` ""; ``currencies`` are
    those that there are.
    """
    return client.records(_USE, {**_asked(since, until, site), "model": model})[0]


def intensity(client: Client, model: str, since: int, until: int, site: str = "") -> float | None:
    """Return the mean intensity where a model stands, weighted by energy: grams a kWh."""
    asked = {**_asked(since, until, site), "model": model}
    return _number(client.rows(_INTENSITY, asked)[0][0])


def joules_ratio(
    client: Client,
    model: str,
    other: str,
    work: tuple[str, str],
    span: tuple[int, int],
    site: str = "",
) -> tuple[float | None, list[str]]:
    """Return joules per outcome on ``other`` over those on ``model``, and of which models of AI.

    ``work`` is the kind of outcome and the model of AI, "": all that both serve, weighted by what
    ``model`` made of each.
    """
    asked = {"model": model, "other": other, "outcome": work[0], "ai_model": work[1]}
    ((ratio, models),) = client.rows(_BOTH, {**_asked(*span, site), **asked})
    return _number(ratio), sorted(models)


def told(client: Client, model: str, since: int, site: str = "") -> dict[str, Any]:
    """Return what is known of a model: remaining years of its devices that were there since then
    (Unix seconds), embodied carbon, price.

    What is told of the model holds also where there is no device of it yet. Prices of several
    ``currencies`` have no mean: then the price is None.
    """
    asked = {"model": model, "since": since, "site": site, "mlperf": MLPERF}
    found = client.records(_TOLD, asked)[0]
    for row in client.records(_TOLD_OF_MODEL, {"model": model}):
        found |= {name: value for name, value in row.items() if value not in (None, "")}
        if row["purchase_price"] is not None:
            found["currencies"] = [row["currency"]]
    return found


def _asked(since: int, until: int, site: str) -> dict[str, Any]:
    return {"since": since, "until": until, "site": site, "mlperf": MLPERF, "result": RESULT}


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
