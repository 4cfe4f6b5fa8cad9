"""What teams drew, paid, emitted and left idle in a window of whole hours, from ``v_showback_1h``.

Windows are [since, until), Unix seconds of full hours. Joules are those of devices; what a site
adds, money and grams are sums of what is known, NULL where nothing is, and ``*_unknown_joules`` are
the joules of which it is not. Sums over all teams, with that of nobody (''), are those of
``v_site_1h``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .client import Client

Record = dict[str, Any]

MOST_WORKLOADS = 1000
"""Of each team, the largest."""
_WINDOW = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_SUMS = """
sum(v.joules) AS joules, sum(v.seconds) AS device_seconds,
sumOrNull(v.facility_joules) AS facility_joules,
sumIf(v.joules, isNull(v.facility_joules)) AS facility_unknown_joules,
sumOrNull(v.cost) AS cost, sumIf(v.joules, isNull(v.cost)) AS cost_unknown_joules,
sumOrNull(v.carbon_g) AS carbon_g, sumIf(v.joules, isNull(v.carbon_g)) AS carbon_unknown_joules,
sumOrNull(v.carbon_market_g) AS market_g,
sumIf(v.joules, isNull(v.carbon_market_g)) AS market_unknown_joules,
sumOrNull(v.carbon_marginal_g) AS marginal_g,
sumIf(v.joules, isNull(v.carbon_marginal_g)) AS marginal_unknown_joules
"""
_DAYS = f"""
SELECT team, class,
       toUnixTimestamp(if({{daily:UInt8}}, toStartOfDay(t), fromUnixTimestamp({{since:UInt32}})))
           AS day,
       if(isNull(any(v.cost)), '', v.currency) AS currency, {_SUMS},
       sumIf(v.carbon_g, v.carbon_method = 'factor') AS factor_g,
       sumIf(v.carbon_g, v.carbon_method = 'hourly') AS hourly_g,
       sumIf(v.carbon_g, v.carbon_method = 'yearly') AS yearly_g,
       sum(v.carbon_g * v.carbon_estimated_ratio) AS estimated_g,
       groupUniqArrayIf(v.carbon_source, isNotNull(v.carbon_g)) AS sources,
       maxIf(toUnixTimestamp(v.carbon_said), isNotNull(v.carbon_g)) AS said
FROM v_showback_1h AS v WHERE {_WINDOW}
GROUP BY team, day, class, v.currency ORDER BY day, team, class, currency
"""
_WORKLOADS = f"""
SELECT team, workload, any(v.workload_kind) AS workload_kind, any(v.ai_model) AS ai_model,
       if(isNull(any(v.cost)), '', v.currency) AS currency, {_SUMS},
       sumIf(v.joules, class = 'active') AS active_joules,
       sumIf(v.joules, class = 'idle_held') AS idle_held_joules,
       sumIf(v.seconds, class = 'idle_held') AS idle_held_seconds,
       sumOrNullIf(v.cost, class = 'idle_held') AS idle_held_cost,
       sumOrNullIf(v.carbon_g, class = 'idle_held') AS idle_held_g
FROM v_showback_1h AS v WHERE {_WINDOW} AND workload != ''
GROUP BY team, workload, v.currency
ORDER BY team, joules DESC, workload, currency LIMIT {MOST_WORKLOADS} BY team
"""
_KNOWN = f"""
SELECT w.team AS team, sum(c.own) AS known_seconds,
       sum(c.own / nullIf(c.whole, 0) * greatest(0, 3600 - c.whole)) AS unknown_seconds
FROM (
    SELECT workload_id, sum(h.seconds) AS own, sum(own) OVER (PARTITION BY t, device_id) AS whole
    FROM v_charge_1h AS h
    WHERE {_WINDOW}
      AND device_id IN (SELECT device_id FROM v_device WHERE overlap = '')
    GROUP BY t, device_id, workload_id
) AS c
LEFT JOIN (SELECT workload_id, team FROM v_workload) AS w ON w.workload_id = c.workload_id
GROUP BY team
"""
_RATES = f"""
WITH hours AS (SELECT DISTINCT t, toString(site) AS site FROM v_workload_1h WHERE {_WINDOW}),
told AS (
    SELECT site, t, toString(kind) AS of, source, said_ts FROM v_factor_1h
    WHERE kind IN ('price', 'pue') AND {_WINDOW}
),
series AS (
    SELECT h.site AS site, h.t AS t, z.zone AS zone
    FROM hours AS h INNER JOIN v_site_zone AS z ON z.site = h.site
    WHERE z.since <= h.t AND z.until > h.t
      AND (h.site, h.t) NOT IN (SELECT site, t FROM told WHERE of = 'price')
)
SELECT told.of AS kind, told.site AS site, 'factor' AS method, told.source AS source,
       max(toUnixTimestamp(told.said_ts)) AS said
FROM told INNER JOIN hours ON hours.site = told.site AND hours.t = told.t
GROUP BY kind, site, source
UNION ALL
SELECT 'price', series.site AS at, 'hourly', g.source AS whose, max(toUnixTimestamp(g.said_ts))
FROM series
INNER JOIN (SELECT zone, t, source, said_ts FROM v_grid_1h WHERE kind = 'price' AND {_WINDOW}) AS g
    ON g.zone = series.zone AND g.t = series.t
GROUP BY at, whose
"""
_TEAMS = "SELECT workload_key, team FROM v_workload WHERE workload_key IN {keys:Array(String)}"


def by_day(client: Client, since: int, until: int) -> list[Record]:
    """Return a row per team, UTC day (``day``, Unix seconds), class and currency."""
    return client.records(_DAYS, {"since": since, "until": until, "daily": 1})


def in_all(client: Client, since: int, until: int) -> list[Record]:
    """Return the same of the whole window at once."""
    return client.records(_DAYS, {"since": since, "until": until, "daily": 0})


def workloads(client: Client, since: int, until: int) -> list[Record]:
    """Return a row per team, workload (by name) and currency, the largest of each team first."""
    return client.records(_WORKLOADS, {"since": since, "until": until})


def coverage(client: Client, since: int, until: int) -> dict[str, tuple[float, float]]:
    """Return device-seconds by team: of known energy, and of the rest of the same hours.

    The rest of a device's hour is shared like what is known of it. Hours of which nothing is known
    have nobody, and are in neither.
    """
    rows = client.rows(_KNOWN, {"since": since, "until": until})
    return {str(team): (known, unknown) for team, known, unknown in rows}


def rates(client: Client, since: int, until: int) -> list[Record]:
    """Return who told the prices and PUEs of each site with charged hours, and when last (``said``,
    Unix seconds; None: not known), sorted."""
    rows = client.records(_RATES, {"since": since, "until": until})
    return sorted(rows, key=lambda row: (row["kind"], row["site"], row["source"]))


def teams_of(client: Client, workload_keys: Sequence[str]) -> dict[str, str]:
    """Return the team of each workload that is known."""
    return {str(k): str(t) for k, t in client.rows(_TEAMS, {"keys": list(workload_keys)})}
