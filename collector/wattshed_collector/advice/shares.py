"""Whose advice is that is about a name of several teams: each one's, by the joules that it claims.

A workload is who has its name, so that one advice may be about what several teams run. Each team
has the part of it that its workloads of that name were charged of the joules in question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from wattshed_collector.store.client import Client

from .model import Advice, Measure
from .rates import Span

_CHARGED = """
SELECT w.workload, c.place, w.team, sum(c.idle), sum(c.every)
FROM (
    SELECT workload_id, toString(v.site) AS place, sumIf(v.joules, class = 'idle_held') AS idle,
           sum(v.joules) AS every
    FROM v_workload_1h AS v
    WHERE t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
      AND workload_id IN (
          SELECT workload_id FROM v_workload WHERE workload IN {names:Array(String)})
    GROUP BY workload_id, place
) AS c
INNER JOIN v_workload AS w ON w.workload_id = c.workload_id
GROUP BY w.workload, c.place, w.team
"""
Charged = tuple[str, str, str, float, float]
"""Workload, site, team; joules that were held idle, and all."""


def shared(client: Client, span: Span, found: Iterable[Advice]) -> list[Advice]:
    """Return ``found``; what is no one team's says which teams have what part of it."""
    every = list(found)
    names = sorted({_name(advice) for advice in every if not advice.team})
    if not names:
        return every
    asked = {"since": span.since_s, "until": span.until_s, "names": names}
    rows: list[Charged] = [tuple(row) for row in client.rows(_CHARGED, asked)]
    return [one if one.team else replace(one, teams=_parts(one, rows)) for one in every]


def _name(advice: Advice) -> str:
    """The workload whose joules are claimed stands before those among which work may move."""
    return advice.baseline.workload.partition("\n")[0]


def _parts(advice: Advice, rows: Iterable[Charged]) -> Mapping[str, float]:
    """Return each team's part; nothing where no team is known, and so nobody's."""
    is_idle = advice.baseline.measure is Measure.IDLE_ABOVE_BARE
    joules: dict[str, float] = {}
    for name, site, team, idle, every in rows:
        if name == _name(advice) and advice.site in ("", site):
            joules[team] = joules.get(team, 0.0) + (idle if is_idle else every)
    owned = {team: own for team, own in sorted(joules.items()) if own > 0}
    whole = sum(owned.values())
    return {team: own / whole for team, own in owned.items()} if any(owned) else {}
