"""Energy per outcome in a window: whole hours from the roll-up by the hour, its edges from minutes.

A ratio is always one of sums, so any window and any grouping is exact. Joules are summed by
workload before they are set against each of the kinds of outcome that the workload ever produced;
a split of a server's joules among kinds, or among its phases, is nowhere guessed: a workload that
only fills or only decodes says so (``phase``).

A workload that has no joules in the window stands in a row of its own, state ``no_energy``, so that
what it produced makes no other's outcomes look cheap; one that never produced has outcome "", state
``no_outcome``. ``low`` and ``high`` are ``joules_per_outcome_loaded`` less and more its uncertainty
(``outcome_sql`` has the rule), ``active_low`` and ``active_high`` those of the active ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wattshed_collector.errors import InvalidInput

from .client import Client
from .energy_queries import HOUR_S, Span

Record = dict[str, Any]

OF_WORKLOAD = {
    "workload_key": "w.key",
    "workload": "w.name",
    "workload_kind": "w.kind",
    "instance": "w.instance",
    "namespace": "w.namespace",
    "team": "w.team",
    "owner": "w.owner",
    "project": "w.project",
    "cost_center": "w.cost_center",
    "queue": "w.queue",
    "precision": "w.precision",
    "batch_class": "w.batch_class",
    "phase": "w.phase",
    "cluster": "w.cluster",
    "ai_model": """multiIf(w.model != '', toString(w.model), length(k.models) > 1, 'several',
                           k.models[1])""",
}
"""Columns that are a workload's for good, and what they are in the store."""
OF_HOUR = ("hardware", "site")
"""Columns that are of a workload's hour."""
COLUMNS = (*OF_WORKLOAD, *OF_HOUR)
"""What can be grouped by and filtered on."""
KEY = ("outcome", "state")
"""What tells the records of one group apart."""
LEAST_OUTCOMES = 1e-9
"""What is less is rounding of what a counter grew by, spread over minutes; no ratio is of it."""

_ENERGIES = ("active_joules", "loaded_joules", "before_joules", "uncertainty_joules")


@dataclass(frozen=True, slots=True)
class Asked:
    """Group by the columns ``by`` what minutes that begin in [since, until) say, Unix seconds.

    ``outcomes``: the kinds that are asked for, () for all of them and for those without any.
    ``where``: what columns must be equal to. Raises InvalidInput where a column is none of
    ``COLUMNS``.
    """

    by: tuple[str, ...]
    since: int
    until: int
    outcomes: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    step: int = 0
    """Seconds, a minute or whole hours: a series in time, ``t_s`` is when each step begins."""

    def __post_init__(self) -> None:
        for column in (*self.by, *self.where):
            if column not in COLUMNS:
                raise InvalidInput(f"{column!r} is none of {', '.join(COLUMNS)}", "column")

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which records are ordered and told apart."""
        return *(("t_s",) if self.step else ()), *dict.fromkeys(self.by), *KEY


def per_outcome(
    client: Client, asked: Asked, limit: int = 0, after: Sequence[str | int] = ()
) -> list[Record]:
    """Return a record per group, kind of outcome and state, in the order of ``asked.key``.

    At most ``limit`` of them (0: all), of those that follow ``after``: the last record's values of
    ``asked.key``. Energies are joules, None where they are not known; a ratio is None where nothing
    was produced.
    """
    given: dict[str, Any] = {"outcomes": list(asked.outcomes)}
    given.update((f"is_{column}", value) for column, value in asked.where.items())
    given.update((f"after_{at}", value) for at, value in enumerate(after))
    rows = " UNION ALL ".join(_rows(asked))
    return client.records(_query(asked, rows, limit, after), given) if rows else []


def _query(asked: Asked, rows: str, limit: int, after: Sequence[str | int]) -> str:
    key = ", ".join(asked.key)
    groups = "".join(f"{column}, " for column in asked.key if column not in KEY)
    wanted = [f"{column} = {{is_{column}:String}}" for column in asked.where]
    if asked.outcomes:
        wanted.append("outcome IN {outcomes:Array(String)}")
    kinds = ("UInt32" if column == "t_s" else "String" for column in asked.key)
    follow = ", ".join(f"{{after_{at}:{kind}}}" for at, kind in enumerate(kinds))
    return f"""
        SELECT {groups}outcome, sum(made) AS count, sum(active) AS active_joules,
               sum(loaded) AS loaded_joules, sum(before) AS before_joules,
               active_joules / (if(count > {LEAST_OUTCOMES}, count, NULL) AS made_of)
                   AS joules_per_outcome_active,
               loaded_joules / made_of AS joules_per_outcome_loaded,
               if(sum(unsure) = 0, sum(doubt), NULL) AS uncertainty_joules,
               if(sum(unsure) = 0, sum(active_doubt), NULL) AS active_uncertainty_joules,
               (loaded_joules - uncertainty_joules) / made_of AS low,
               (loaded_joules + uncertainty_joules) / made_of AS high,
               (active_joules - active_uncertainty_joules) / made_of AS active_low,
               (active_joules + active_uncertainty_joules) / made_of AS active_high, state
        FROM ({_by_workload(asked, rows)})
        WHERE {" AND ".join(wanted) or "1"}
        GROUP BY {key}
        {f"HAVING ({key}) > ({follow})" if after else ""}
        ORDER BY {key} {f"LIMIT {limit:d}" if limit else ""}
        """


def _by_workload(asked: Asked, rows: str) -> str:
    """Return a query for a row per workload (and its hour's columns) and kind of outcome."""
    columns = dict.fromkeys((*asked.by, *asked.where))
    named = "".join(f"toString({_expression(c)}) AS {c}, " for c in columns)
    named += "e.t_s AS t_s, " if asked.step else ""
    of_hour = "".join(f", {c}" for c in (*OF_HOUR, "t_s") if c in columns or c in asked.key)
    return f"""
        SELECT {named}arrayJoin(if(empty(every), [''], every)) AS outcome,
               arraySum(m -> if(m.1 = outcome, m.2, 0), e.parts) AS made,
               e.active AS active, e.loaded AS loaded, e.before AS before, e.doubt AS doubt,
               e.active_doubt AS active_doubt, e.unsure AS unsure,
               multiIf(outcome = '', 'no_outcome', isNull(loaded), 'no_energy', 'ok') AS state,
               arrayDistinct(arrayConcat(k.kinds, e.parts.1)) AS every
        FROM (
            SELECT workload_id{of_hour}, sumIf(active, kind = '') AS active,
                   sumIf(loaded, kind = '') AS loaded, sumIf(before, kind = '') AS before,
                   sumIf(doubt, kind = '') AS doubt, sumIf(unsure, kind = '') AS unsure,
                   sumIf(active_doubt, kind = '') AS active_doubt,
                   groupArrayIf((kind, made), kind != '') AS parts
            FROM (
                SELECT workload_id{of_hour}, toString(kind) AS kind, sum(count) AS made,
                       sum(active_joules) AS active, sum(loaded_joules) AS loaded,
                       sum(before_joules) AS before, sum(uncertainty_joules) AS doubt,
                       sum(if(loaded_joules > 0,
                              uncertainty_joules * active_joules / loaded_joules, 0))
                           AS active_doubt,
                       countIf(isNull(uncertainty_joules) AND isNotNull(loaded_joules)) AS unsure
                FROM ({rows})
                GROUP BY workload_id{of_hour}, kind
            )
            GROUP BY workload_id{of_hour}
        ) AS e
        LEFT JOIN (
            SELECT workload_id, groupUniqArray(toString(kind)) AS kinds,
                   groupUniqArrayIf(toString(model), model != '') AS models
            FROM outcome_kind FINAL WHERE is_made GROUP BY workload_id
        ) AS k ON k.workload_id = e.workload_id
        LEFT JOIN (SELECT * FROM workload FINAL) AS w ON w.workload_id = e.workload_id
        """


def _expression(column: str) -> str:
    return OF_WORKLOAD.get(column, f"e.{column}")


def _rows(asked: Asked) -> Iterator[str]:
    what = f"workload_id, kind, count, {', '.join((*_ENERGIES, *OF_HOUR))}"
    if asked.step:
        second = "toUnixTimestamp(t)"
        what += f", toUInt32(intDiv({second}, {asked.step:d}) * {asked.step:d}) AS t_s"
    span = Span(asked.since, asked.until)
    pieces = [("outcome_1h", *span.whole_hours), *(("outcome_1m", a, b) for a, b in span.edges)]
    if asked.step % HOUR_S:
        pieces = [("outcome_1m", asked.since, asked.until)]
    for table, since, until in pieces:
        if since < until:
            yield (
                f"SELECT {what} FROM {table} FINAL "
                f"WHERE t >= toDateTime({since:d}, 'UTC') AND t < toDateTime({until:d}, 'UTC') "
                "AND (count != 0 OR isNotNull(loaded_joules))"
            )
