"""What became of objectives for joules per outcome: what a run computes after outcomes.

A slot is a minute of all that an objective matches together: joules of the workloads that have
energy in it, over what the same ones produced. Its outcomes are bad where it took more than the
target for each (by more than a rounding error). What workloads without energy produced is
``unmeasured``, and counts neither way; joules of a slot without outcomes are ``idle`` as well.

Whom an objective matches is kept (``slo_member``), since a workload may be described anew, and may
turn out to produce what it did not before: what that changes is news of hours that no meter and no
counter touched.

The statements run once, over all shards. Parameters: those of ``pieces_sql.within``, ``version``,
and ``slos``, the names of those to compute, none for all.
"""

from __future__ import annotations

from wattshed_collector.slo import OF_HOUR, OF_WORKLOAD

from .pieces_sql import HI, LO

ROUNDING = 1e-9
_IN_HOURS = f"t >= {LO} AND t < {HI}"
_ASKED = "(empty({slos:Array(String)}) OR has({slos:Array(String)}, slo))"
_IS_SAID = "(outcomes != 0 OR unmeasured_outcomes != 0 OR joules != 0)"
_COLUMNS = {"workload": "w.name", "ai_model": "ai_model"}

_MATCHES = " AND ".join(
    f"(s.match['{column}'] = '' OR s.match['{column}'] = {_COLUMNS.get(column, f'w.{column}')})"
    for column in OF_WORKLOAD
)

_CHANGED = f"""
SELECT slo, workload_id, max(is_now) = 1 AS is_member
FROM (
    SELECT s.name AS slo, k.workload_id AS workload_id, 1 AS is_now, 0 AS was,
           multiIf(w.model != '', toString(w.model), length(m.models) > 1, 'several',
                   m.models[1]) AS ai_model
    FROM (SELECT name, outcome, match FROM slo FINAL WHERE is_active) AS s
    INNER JOIN (
        SELECT DISTINCT workload_id, toString(kind) AS outcome FROM outcome_kind FINAL WHERE is_made
    ) AS k ON k.outcome = s.outcome
    LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = k.workload_id
    LEFT JOIN (
        SELECT workload_id, groupUniqArrayIf(toString(model), model != '') AS models
        FROM outcome_kind FINAL WHERE is_made GROUP BY workload_id
    ) AS m ON m.workload_id = k.workload_id
    WHERE {_MATCHES}
    UNION ALL
    SELECT slo, workload_id, 0, 1, '' FROM slo_member FINAL
    WHERE is_member AND slo IN (SELECT name FROM slo FINAL WHERE is_active)
)
GROUP BY slo, workload_id
HAVING max(is_now) != max(was)
"""

IS_NEWS = f"""
SELECT (SELECT count() FROM slo_member FINAL WHERE NOT is_done) + (SELECT count() FROM ({_CHANGED}))
"""
"""How many are a member, or are not any more, whose hours are not computed so."""

MEMBERS = f"""
INSERT INTO slo_member (slo, workload_id, is_member, is_done, version)
SELECT slo, workload_id, is_member, false, {{version:UInt64}} FROM ({_CHANGED})
"""

NEWS = f"""
SELECT DISTINCT toUnixTimestamp(t) FROM outcome_1h
WHERE t >= {LO} AND workload_id IN (SELECT workload_id FROM slo_member FINAL WHERE NOT is_done)
ORDER BY t
"""
"""The hours from ``lo`` on (Unix seconds) in which somebody was charged or produced of whom it is
news whether they are a member."""

DONE = """
INSERT INTO slo_member (slo, workload_id, is_member, is_done, version)
SELECT slo, workload_id, is_member, true, {version:UInt64} FROM slo_member FINAL WHERE NOT is_done
"""
"""Says that the hours of all members are computed."""

RESTART = """
INSERT INTO slo_reach (slo, revision, since, is_done, version)
SELECT name, revision, {until:DateTime('UTC')}, false, {version:UInt64}
FROM slo FINAL
WHERE is_active AND name IN (SELECT slo FROM slo_member FINAL WHERE NOT is_done)
"""
"""Has everything computed again, from the hour before ``hi`` back, of which members are news."""

REACHED = """
SELECT s.name, s.revision, s.window_days, if(h.revision = s.revision, toUnixTimestamp(h.since), 0),
       h.revision = s.revision AND h.is_done
FROM (SELECT name, revision, window_days FROM slo FINAL WHERE is_active) AS s
LEFT JOIN (SELECT slo, revision, since, is_done FROM slo_reach FINAL) AS h ON h.slo = s.name
"""
"""Per objective its revision, window (days), since when it is computed (Unix seconds, 0: it is not)
and whether that is as far back as anything can be."""

_MEMBERS = f"""
    SELECT m.slo AS slo, m.workload_id AS workload_id, s.outcome AS outcome, s.basis AS basis,
           {", ".join(f"s.match['{column}'] AS of_{column}" for column in OF_HOUR)}
    FROM (SELECT slo, workload_id FROM slo_member FINAL WHERE is_member AND {_ASKED}) AS m
    INNER JOIN (
        SELECT name, toString(outcome) AS outcome, toString(basis) AS basis, match
        FROM slo FINAL WHERE is_active
    ) AS s ON s.name = m.slo
"""

_PRODUCED = f"""
    SELECT t, workload_id, sumIf(o.active_joules, kind = '') AS active,
           sumIf(o.loaded_joules, kind = '') AS loaded, max(toString(o.hardware)) AS hardware,
           max(toString(o.site)) AS site,
           groupArrayIf((toString(kind), count), kind != '' AND count != 0) AS parts
    FROM (
        SELECT t, workload_id, kind, count, active_joules, loaded_joules, hardware, site
        FROM outcome_1m FINAL WHERE {_IN_HOURS} AND (count != 0 OR isNotNull(loaded_joules))
    ) AS o
    GROUP BY t, workload_id
"""

MINUTES = f"""
INSERT INTO slo_1m (t, slo, revision, outcomes, bad_outcomes, unmeasured_outcomes, joules,
                    idle_joules, version)
SELECT r.t, r.slo, d.revision, r.made,
       if(r.taken > d.target_joules * r.made * {1 + ROUNDING!r}, r.made, 0), r.unmeasured, r.taken,
       if(r.made = 0, r.taken, 0), {{version:UInt64}}
FROM (
    SELECT t, slo, sum(n) AS made, sum(apart) AS unmeasured, sum(j) AS taken
    FROM (
        SELECT e.t AS t, m.slo AS slo,
               arraySum(p -> if(p.1 = m.outcome, p.2, 0), e.parts) AS produced,
               if(isNull(e.loaded), 0, produced) AS n, if(isNull(e.loaded), produced, 0) AS apart,
               ifNull(if(m.basis = 'active', e.active, e.loaded), 0) AS j
        FROM ({_PRODUCED}) AS e
        INNER JOIN ({_MEMBERS}) AS m ON m.workload_id = e.workload_id
        WHERE {" AND ".join(f"(m.of_{c} = '' OR m.of_{c} = e.{c})" for c in OF_HOUR)}
        UNION ALL
        SELECT t, toString(slo) AS slo, 0, 0, 0, 0 FROM slo_1m FINAL
        WHERE {_IN_HOURS} AND version < {{version:UInt64}} AND {_IS_SAID} AND {_ASKED}
    )
    GROUP BY t, slo
) AS r
INNER JOIN (SELECT name, revision, target_joules FROM slo FINAL WHERE is_active) AS d
    ON d.name = r.slo
"""

HOURS = f"""
INSERT INTO slo_1h (t, slo, revision, outcomes, bad_outcomes, unmeasured_outcomes, joules,
                    idle_joules, version)
SELECT r.hour, r.slo, d.revision, r.made, r.bad, r.unmeasured, r.taken, r.idle, {{version:UInt64}}
FROM (
    SELECT toStartOfHour(t) AS hour, slo, sum(v.outcomes) AS made, sum(v.bad_outcomes) AS bad,
           sum(v.unmeasured_outcomes) AS unmeasured, sum(v.joules) AS taken,
           sum(v.idle_joules) AS idle
    FROM (
        SELECT t, toString(slo) AS slo, outcomes, bad_outcomes, unmeasured_outcomes, joules,
               idle_joules
        FROM slo_1m FINAL WHERE {_IN_HOURS} AND {_IS_SAID} AND {_ASKED}
        UNION ALL
        SELECT t, toString(slo) AS slo, 0, 0, 0, 0, 0 FROM slo_1h FINAL
        WHERE {_IN_HOURS} AND version < {{version:UInt64}} AND {_IS_SAID} AND {_ASKED}
    ) AS v
    GROUP BY hour, slo
) AS r
INNER JOIN (SELECT name, revision FROM slo FINAL WHERE is_active) AS d ON d.name = r.slo
"""

SLOS = (MINUTES, HOURS)
"""Run in this order with one version, after the outcomes of the same hours."""
