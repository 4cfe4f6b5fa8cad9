"""Advice as it was found last, what people said of it, and what was measured since it was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wattshed_collector.advice.model import Advice, Measure, State
from wattshed_collector.advice.verify import After

from . import ledger_state
from .client import Client
from .versions import following

HOUR_S = 3600
COLUMNS = """
id, kind, subject, title, reason, site, team, owner, joules_per_month, are_facility_joules,
cost_per_month, currency, g_per_month, confidence, effort, evidence, measure, joules_per_unit,
workload, outcome, numbers, toUnixTimestamp(found) AS found, toUnixTimestamp(expires) AS expires,
state, toUnixTimestamp(state_at) AS state_at, said_by, note
"""
_LISTED = f"""
SELECT {COLUMNS} FROM v_advice
WHERE ({{states:Array(String)}} = [] OR state IN {{states:Array(String)}})
  AND ({{team:String}} = '' OR team = {{team:String}})
  AND ({{kind:String}} = '' OR kind = {{kind:String}})
ORDER BY joules_per_month DESC, id LIMIT {{most:UInt32}}
"""
_ONE = f"SELECT {COLUMNS} FROM v_advice WHERE id = {{id:String}}"
_IN = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_HERE = "({site:String} = '' OR site = {site:String})"
_FACILITY = "if({is_facility:UInt8}, facility_joules / nullIf(joules, 0), 1)"
_MEASURED_HOURS = f"""
    SELECT round(sum(seconds) / 3600 / (SELECT uniqExact(device_id) FROM held), 6) FROM v_charge_1h
    WHERE device_id IN held AND {_IN}"""
"""Hours in which the devices that the workload held in the week before were measured: an hour of
which nothing is known is none in which anything was saved."""
AFTER: Mapping[str, str] = {
    Measure.IDLE_ABOVE_BARE: f"""
WITH held AS (
    SELECT DISTINCT device_id FROM v_charge_1h
    WHERE workload_id IN (SELECT workload_id FROM v_workload WHERE workload = {{workload:String}})
      AND device_id IN (SELECT device_id FROM v_device WHERE kind IN ('gpu', 'module') AND {_HERE})
      AND t >= fromUnixTimestamp({{since:UInt32}}) - INTERVAL 7 DAY
      AND t < fromUnixTimestamp({{since:UInt32}})
)
SELECT ({_MEASURED_HOURS}), if(countIf(isNull(spent)) > 0, NULL, ifNull(sum(spent), 0)) FROM (
    SELECT above_bare_joules * {_FACILITY} AS spent FROM v_idle_1h
    WHERE workload = {{workload:String}} AND class = 'idle_held' AND kind IN ('gpu', 'module')
      AND reason != 'expected' AND joules > 0 AND {_HERE} AND {_IN}
)""",
    Measure.JOULES_PER_OUTCOME: f"""
SELECT sum(count), sumOrNull(if({{is_facility:UInt8}}, facility_joules, loaded_joules))
FROM v_outcome_1h
WHERE workload IN splitByChar(char(10), {{workload:String}}) AND outcome = {{outcome:String}}
  AND {_HERE} AND {_IN} AND isNotNull(loaded_joules)
  AND (NOT {{is_facility:UInt8}} OR isNotNull(facility_joules))""",
}
"""Units and joules of a baseline's workload in full hours, by measure."""


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
        "workload": [one.baseline.workload for one in found],
        "outcome": [one.baseline.outcome for one in found],
        "numbers": [dict(one.numbers) for one in found],
        "found_ts": [now_s] * len(found),
        "expires_ts": [expires_s] * len(found),
        "version": [following(client, "advice", now_s)] * len(found),
    }
    client.insert("advice", columns)


def say(
    client: Client, advice: Mapping[str, Any], state: State, said_by: str, note: str, now_s: int
) -> None:
    """Keep what somebody said of ``advice``, a row of ``one``; its promise is kept with it."""
    client.insert(
        "advice_state",
        {
            "id": [advice["id"]],
            "at_ts": [now_s],
            "state": [str(state)],
            "said_by": [said_by],
            "note": [note],
            "joules_per_month": [advice["joules_per_month"]],
            "joules_per_unit": [advice["joules_per_unit"]],
            "version": [following(client, "advice_state", now_s)],
        },
    )


def listed(
    client: Client, states: Sequence[str] = (), team: str = "", kind: str = "", most: int = 1000
) -> list[dict[str, Any]]:
    """Return advice, the largest first; times are Unix seconds."""
    asked = {"states": list(states), "team": team, "kind": kind, "most": most}
    return client.records(_LISTED, asked)


def done(client: Client) -> set[str]:
    """Return the ids of what is done."""
    return {str(id) for (id,) in client.rows("SELECT id FROM v_advice WHERE state = 'done'")}


def one(client: Client, id: str) -> dict[str, Any] | None:
    """Return the advice of that id, None where there is none."""
    return next(iter(client.records(_ONE, {"id": id})), None)


def after(client: Client, advice: Mapping[str, Any], since_s: int) -> After:
    """Return what was measured in the full hours since ``since_s`` that are charged."""
    since = -(-since_s // HOUR_S) * HOUR_S
    until = int(ledger_state.read(client)["settled"] or 0) // HOUR_S * HOUR_S
    if until <= since or advice["measure"] == Measure.NONE:
        return After(float(max(0, until - since)), 0.0, None)
    asked = {
        "since": since,
        "until": until,
        "workload": advice["workload"],
        "outcome": advice["outcome"],
        "site": advice["site"],
        "is_facility": int(advice["are_facility_joules"]),
    }
    ((units, joules),) = client.rows(AFTER[advice["measure"]], asked)
    if advice["measure"] == Measure.JOULES_PER_OUTCOME:
        return After(float(until - since), float(units), joules)
    hours = float(units or 0.0)
    return After(hours * HOUR_S, hours, joules if hours else None)
