"""Questions about objectives: the burn table, who spent most, and sums for counters."""

from __future__ import annotations

from typing import Any

from wattshed_collector.slo import OF_HOUR

from .client import Client

Record = dict[str, Any]

BURN = """
SELECT slo, owner, outcome, sli, severity, factor, long_seconds, short_seconds, burn_long,
       burn_short, is_burning, state, budget_unit, budget_total, budget_spent, budget_left_ratio,
       budget_state, toUnixTimestamp(budget_since) AS budget_since,
       toUnixTimestamp(budget_until) AS budget_until, outcomes, bad_outcomes, unmeasured_outcomes,
       joules, idle_joules, allowed_joules, joules_per_outcome
FROM v_slo_burn WHERE {name:String} = '' OR slo = {name:String}
ORDER BY slo, long_seconds, short_seconds, severity
"""
_DEFINED = """
SELECT slo, owner, description, outcome, match, target_joules_per_outcome, basis, sli,
       objective_ratio, window_days, least_outcomes
FROM v_slo WHERE {name:String} = '' OR slo = {name:String} ORDER BY slo
"""
_SPENDERS = f"""
SELECT w.name AS workload, w.key AS workload_key, w.team AS team, w.namespace AS namespace,
       sum(o.made) AS outcomes, sum(o.taken) AS joules, any(o.target) * outcomes AS allowed_joules,
       joules - allowed_joules AS above_joules,
       if(outcomes > 0, joules / outcomes, NULL) AS joules_per_outcome
FROM (
    SELECT h.workload_id AS workload_id, any(d.target_joules) AS target,
           maxIf(if(d.basis = 'active', h.active_joules, h.loaded_joules), h.kind = '') AS energy,
           if(isNull(energy), 0, sumIf(h.count, h.kind = d.outcome)) AS made,
           ifNull(energy, 0) AS taken
    FROM (
        SELECT t, workload_id, toString(kind) AS kind, count, active_joules, loaded_joules,
               toString(hardware) AS hardware, toString(site) AS site
        FROM outcome_1h FINAL
        WHERE t >= (SELECT any(starts[-1]) FROM v_slo_window WHERE name = {{name:String}})
          AND (count != 0 OR isNotNull(loaded_joules))
    ) AS h
    INNER JOIN (
        SELECT m.workload_id AS workload_id, s.outcome AS outcome, s.basis AS basis,
               s.target_joules AS target_joules, s.match AS match
        FROM (SELECT * FROM slo_member FINAL WHERE is_member AND slo = {{name:String}}) AS m
        INNER JOIN (
            SELECT name, toString(outcome) AS outcome, toString(basis) AS basis, target_joules,
                   match
            FROM slo FINAL WHERE is_active
        ) AS s ON s.name = m.slo
    ) AS d ON d.workload_id = h.workload_id
    WHERE {" AND ".join(f"(d.match['{c}'] = '' OR d.match['{c}'] = h.{c})" for c in OF_HOUR)}
    GROUP BY h.t, h.workload_id
) AS o
LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = o.workload_id
GROUP BY w.name, w.key, w.team, w.namespace
ORDER BY above_joules DESC, workload_key LIMIT {{limit:UInt32}}
"""
_SUMS = """
SELECT r.slo, d.owner, r.revision, sum(r.outcomes), sum(r.bad_outcomes),
       sum(r.unmeasured_outcomes), sum(r.joules), sum(r.idle_joules)
FROM (
    SELECT toString(slo) AS slo, revision, outcomes, bad_outcomes, unmeasured_outcomes, joules,
           idle_joules
    FROM slo_1h FINAL
    WHERE t >= toDateTime({since:UInt32}, 'UTC') AND t < toDateTime({until:UInt32}, 'UTC')
) AS r
INNER JOIN (SELECT name, owner, revision FROM slo FINAL WHERE is_active) AS d
    ON d.name = r.slo AND d.revision = r.revision
GROUP BY r.slo, d.owner, r.revision
"""


def burn(client: Client, name: str = "") -> list[Record]:
    """Return a record per objective and pair of windows, of ``name`` or of all.

    Times are Unix seconds; a burn rate is None where its window says nothing.
    """
    records = client.records(BURN, {"name": name})
    for record in records:
        record["is_burning"] = bool(record["is_burning"])
    return records


def defined(client: Client, name: str = "") -> list[Record]:
    """Return the definitions in force, by name."""
    return client.records(_DEFINED, {"name": name})


def spenders(client: Client, name: str, limit: int = 10) -> list[Record]:
    """Return what each workload took and produced in the hours of the window, by joules above the
    target, the most first."""
    return client.records(_SPENDERS, {"name": name, "limit": limit})


def sums(client: Client, since: int, until: int) -> dict[tuple[str, str, int], tuple[float, ...]]:
    """Return by name, owner and revision outcomes, bad and unmeasured ones, joules and idle ones
    of the hours of [since, until), Unix seconds."""
    rows = client.rows(_SUMS, {"since": since, "until": until})
    return {(str(row[0]), str(row[1]), int(row[2])): tuple(map(float, row[3:])) for row in rows}


def settled(client: Client) -> int:
    """Return up to when (Unix seconds) objectives are told, 0 where there are none."""
    rows = client.rows("SELECT toUnixTimestamp(max(at)) FROM v_slo_window")
    return int(rows[0][0])
