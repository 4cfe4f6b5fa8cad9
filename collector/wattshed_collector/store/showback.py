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
_OF_DAYS = """
sumIf(v.carbon_g, v.carbon_method = 'factor') AS factor_g,
sumIf(v.carbon_g, v.carbon_method = 'hourly') AS hourly_g,
sumIf(v.carbon_g, v.carbon_method = 'yearly') AS yearly_g,
sum(v.carbon_g * v.carbon_estimated_ratio) AS estimated_g,
arraySort(groupUniqArrayIf(v.carbon_source, isNotNull(v.carbon_g))) AS sources,
maxIf(toUnixTimestamp(v.carbon_said), isNotNull(v.carbon_g)) AS said
"""
_OF_WORKLOADS = """
any(v.workload_kind) AS workload_kind, any(v.ai_model) AS ai_model,
sumIf(v.joules, v.class = 'active') AS active_joules,
sumIf(v.joules, v.class = 'idle_held') AS idle_held_joules,
sumIf(v.seconds, v.class = 'idle_held') AS idle_held_seconds,
sumOrNullIf(v.cost, v.class = 'idle_held') AS idle_held_cost,
sumOrNullIf(v.carbon_g, v.class = 'idle_held') AS idle_held_g
"""
_IN_ALL = f"""
SELECT team, class, {{since:UInt32}} AS day, if(isNull(any(v.cost)), '', v.currency) AS currency,
       {_SUMS}, {_OF_DAYS}
FROM v_showback_1h AS v WHERE {_WINDOW}
GROUP BY team, class, v.currency ORDER BY team, class, currency
"""
_BOTH = f"""
SELECT team, class, workload, toUnixTimestamp(day) AS day,
       if(isNull(any(v.cost)), '', v.currency) AS currency, grouping(workload) AS is_day,
       {_SUMS}, {_OF_DAYS}, {_OF_WORKLOADS}
FROM (SELECT *, toStartOfDay(t) AS day FROM v_showback_1h WHERE {_WINDOW}) AS v
GROUP BY GROUPING SETS ((team, day, class, v.currency), (team, workload, v.currency))
HAVING is_day OR workload != ''
ORDER BY day, team, if(is_day, 0, joules) DESC, class, workload, currency
LIMIT {MOST_WORKLOADS} BY is_day, day, team
"""
_DAYS_OWN = frozenset(
    {
        *("is_day", "day", "class", "factor_g", "hourly_g", "yearly_g", "estimated_g"),
        *("sources", "said"),
    }
)
_WORKLOADS_OWN = frozenset(
    {
        *("is_day", "workload", "workload_kind", "ai_model", "active_joules"),
        *(f"idle_held_{name}" for name in ("joules", "seconds", "cost", "g")),
    }
)
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
_TEAMS = "SELECT workload_key, team FROM v_workload WHERE workload_key IN {keys:Array(String)}"


def by_day_and_workload(
    client: Client, since: int, until: int
) -> tuple[list[Record], list[Record]]:
    """Return a row per team, UTC day (``day``, Unix seconds), class and currency, and one per team,
    workload (by name) and currency, the largest of each team first; what is read is read once.
    """
    rows = client.records(_BOTH, {"since": since, "until": until})
    days = [_without(row, _WORKLOADS_OWN) for row in rows if row["is_day"]]
    return days, [_without(row, _DAYS_OWN) for row in rows if not row["is_day"]]


def in_all(client: Client, since: int, until: int) -> list[Record]:
    """Return a row per team, class and currency of the whole window; ``day`` is its begin."""
    return client.records(_IN_ALL, {"since": since, "until": until})


def coverage(client: Client, since: int, until: int) -> dict[str, tuple[float, float]]:
    """Return device-seconds by team: of known energy, and of the rest of the same hours.

    The rest of a device's hour is shared like what is known of it. Hours of which nothing is known
    have nobody, and are in neither.
    """
    rows = client.rows(_KNOWN, {"since": since, "until": until})
    return {str(team): (known, unknown) for team, known, unknown in rows}


def _without(row: Record, names: frozenset[str]) -> Record:
    return {name: value for name, value in row.items() if name not in names}


def teams_of(client: Client, workload_keys: Sequence[str]) -> dict[str, str]:
    """Return the team of each workload that is known."""
    return {str(k): str(t) for k, t in client.rows(_TEAMS, {"keys": list(workload_keys)})}
