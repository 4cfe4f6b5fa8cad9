"""Advice as it was found last, and what people said of it.

Rows come the largest first, in pages: a page goes on behind the joules and id of the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattshed_collector.advice.model import Advice, State

from .client import Client
from .versions import following

COLUMNS = """
id, kind, subject, title, reason, site, team, owner, teams, joules_per_month, are_facility_joules,
cost_per_month, currency, cost_source, toUnixTimestamp(cost_said) AS cost_said, g_per_month,
carbon_scope, carbon_method, carbon_source, toUnixTimestamp(carbon_said) AS carbon_said, confidence,
effort, evidence, measure, joules_per_unit, units_per_hour, other_units_per_hour,
other_joules_per_unit, workload, outcome, numbers,
toUnixTimestamp(found) AS found, toUnixTimestamp(expires) AS expires,
state, toUnixTimestamp(state_at) AS state_at, said_by, claimed_by, note
"""
_WHERE = """
({states:Array(String)} = [] OR state IN {states:Array(String)})
  AND ({team:String} = '' OR team = {team:String} OR mapContains(teams, {team:String}))
  AND ({kind:String} = '' OR kind = {kind:String})
  AND ({id:String} = '' OR id = {id:String})
"""
_FOLLOWS = """
  AND (joules_per_month < {joules:Float64}
       OR (joules_per_month = {joules:Float64} AND id > {last:String}))
"""
_DONE = "SELECT id, toUnixTimestamp(state_at) FROM v_advice WHERE state = 'done'"
_TOTAL = f"""
SELECT sum(joules_per_month * if({{team:String}} IN ('', team), 1, teams[{{team:String}}]))
FROM v_advice
WHERE state IN ('open', 'accepted') AND {_WHERE}
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which advice: of these ``states`` (all, where there are none), of a team (also what it shares
    with others), kind or id.

    At most ``limit`` rows (0: all), of those behind ``after``: joules a month and id of a row.
    """

    states: tuple[str, ...] = ()
    team: str = ""
    kind: str = ""
    id: str = ""
    limit: int = 0
    after: tuple[float, str] | None = None

    @property
    def where(self) -> dict[str, Any]:
        """Return the parameters of what is asked, whatever the page."""
        return {
            "states": list(self.states),
            "team": self.team,
            "kind": self.kind,
            "id": self.id,
        }


def put(client: Client, found: Sequence[Advice], now_s: int, expires_s: int) -> None:
    """Write what was found at ``now_s``; it is open until ``expires_s`` or found again."""
    if not found:
        return
    columns: dict[str, list[Any]] = {
        name: [getattr(one, name) for one in found]
        for name in (
            *("id", "subject", "title", "reason", "site", "team", "owner", "joules_per_month"),
            *("are_facility_joules", "cost_per_month", "currency", "g_per_month", "confidence"),
            "evidence",
        )
    }
    columns |= {
        "kind": [str(one.kind) for one in found],
        "effort": [str(one.effort) for one in found],
        "measure": [str(one.baseline.measure) for one in found],
        "joules_per_unit": [one.baseline.joules_per_unit for one in found],
        **{
            name: [one.baseline.others and getattr(one.baseline.others, name) for one in found]
            for name in ("units_per_hour", "other_units_per_hour", "other_joules_per_unit")
        },
        "workload": [one.baseline.workload for one in found],
        "outcome": [one.baseline.outcome for one in found],
        "numbers": [dict(one.numbers) for one in found],
        "teams": [dict(one.teams) for one in found],
        "cost_source": [one.price.source for one in found],
        "cost_said_ts": [one.price.said_s for one in found],
        "carbon_method": [one.carbon.method for one in found],
        "carbon_source": [one.carbon.source for one in found],
        "carbon_said_ts": [one.carbon.said_s for one in found],
        "found_ts": [now_s] * len(found),
        "expires_ts": [expires_s] * len(found),
        "version": [following(client, "advice", now_s)] * len(found),
    }
    client.insert("advice", columns)


@dataclass(frozen=True, slots=True)
class Saying:
    """That an advice is in ``state``. ``said_by`` is who was authenticated, "" nobody;
    ``claimed_by`` what the caller wrote of himself."""

    state: State
    said_by: str = ""
    claimed_by: str = ""
    note: str = ""


def say(client: Client, advice: Mapping[str, Any], said: Saying, now_s: int) -> None:
    """Keep what somebody said of ``advice``, a row of ``one``; its promise is kept with it."""
    row = {
        "id": advice["id"],
        "at_ts": now_s,
        "state": str(said.state),
        "said_by": said.said_by,
        "claimed_by": said.claimed_by,
        "note": said.note,
        **{name: advice[name] for name in ("joules_per_month", "joules_per_unit", "g_per_month")},
        "version": following(client, "advice_state", now_s),
    }
    client.insert("advice_state", {name: [value] for name, value in row.items()})


def listed(client: Client, wanted: Wanted) -> list[dict[str, Any]]:
    """Return a page of advice, the largest first; times are Unix seconds."""
    asked = wanted.where
    follows = ""
    if wanted.after is not None:
        asked["joules"], asked["last"] = wanted.after
        follows = _FOLLOWS
    limit = f"LIMIT {wanted.limit:d}" if wanted.limit else ""
    return client.records(
        f"SELECT {COLUMNS} FROM v_advice WHERE {_WHERE}{follows} "
        f"ORDER BY joules_per_month DESC, id {limit}",
        asked,
    )


def total(client: Client, wanted: Wanted) -> float:
    """Return the joules a month of all that is open or accepted, whatever the page; of a team its
    part."""
    ((joules,),) = client.rows(_TOTAL, wanted.where)
    return float(joules)


def done(client: Client) -> dict[str, int]:
    """Return the ids of what is done, and when that was said, Unix seconds."""
    return dict(client.rows(_DONE))


def dismissed(client: Client) -> set[str]:
    """Return the ids of what is dismissed."""
    return {str(id) for (id,) in client.rows("SELECT id FROM v_advice WHERE state = 'dismissed'")}


def one(client: Client, id: str) -> dict[str, Any] | None:
    """Return the advice of that id, None where there is none."""
    return next(iter(listed(client, Wanted(id=id))), None) if id else None
