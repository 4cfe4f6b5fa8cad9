"""What jobs were told, and what those that were held drew since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wattshed_collector.grid.policies import Decision, Policy

from .client import Client
from .versions import following

MOST_JOBS = 500
_FIRST = """
SELECT min(toUnixTimestamp(at_ts)), count() FROM decision
WHERE job = {job:String} AND at_ts > (
    SELECT max(at_ts) FROM decision WHERE job = {job:String} AND action != 'hold')
"""
_HELD = """
SELECT job, any(toUnixTimestamp(asked)) AS first, any(zone), any(policy), any(signal),
       groupArray((toUnixTimestamp(t), joules, facility_joules))
FROM v_held_job_1m
WHERE asked >= fromUnixTimestamp({since:UInt32}) AND asked < fromUnixTimestamp({until:UInt32})
GROUP BY job ORDER BY first DESC, job LIMIT {most:UInt32}
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that was held. ``joules`` are by full minute (Unix seconds); those of the facility
    where the site's PUE is known for all of them, else those of the devices."""

    job: str
    asked_s: int
    zone: str
    policy: str
    signal: str
    joules: dict[int, float]
    are_facility: bool


def put(
    client: Client,
    job: str,
    place: tuple[str, str],
    told: Decision,
    policy: Policy | None,
    value: float | None,
    now_s: int,
) -> None:
    """Keep what ``job`` was told at ``now_s`` about ``place`` (site and zone)."""
    row = {
        "job": job,
        "at_ts": now_s,
        "site": place[0],
        "zone": place[1],
        "policy": told.policy,
        "signal": policy.signal if policy else "",
        "action": str(told.action),
        "value": value,
        "until_ts": told.until_s,
        "cap_ratio": told.cap_ratio,
        "reasons": list(told.reasons),
        "version": following(client, "decision", now_s),
    }
    client.insert("decision", {name: [said] for name, said in row.items()})


def first_asked(client: Client, job: str) -> int | None:
    """Return when ``job`` asked first since it was last told to run, Unix seconds; None: never."""
    ((first, asked),) = client.rows(_FIRST, {"job": job})
    return int(first) if asked else None


def held(client: Client, since_s: int, until_s: int) -> Iterator[Held]:
    """Give the jobs that asked first in [since_s, until_s) and were held, the newest 500."""
    asked = {"since": since_s, "until": until_s, "most": MOST_JOBS}
    for job, first, zone, policy, signal, minutes in client.rows(_HELD, asked):
        are_facility = all(facility is not None for _, _, facility in minutes)
        joules: dict[int, float] = {}
        for minute, own, facility in minutes:  # one has a row of each shard
            joules[minute] = joules.get(minute, 0.0) + (facility if are_facility else own)
        yield Held(job, first, zone, policy, signal, joules, are_facility)
