"""What jobs were told, and what those that were held drew since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from wattshed_collector.grid.policies import Decision, Policy

from .client import Client
from .versions import following
from .worth import Place

MONEY = "price"
MOST_JOBS = 500
FORGOTTEN_S = 6 * 3600
"""Who does not come back for so long after it was to ask again does not wait any more: it ran
without asking, or not at all. As in ``v_held_job_1m``."""
_HOLDS = """
SELECT toUnixTimestamp(at_ts), toUnixTimestamp(ifNull(until_ts, at_ts)) FROM decision FINAL
WHERE job = {job:String} AND at_ts > (
    SELECT max(at_ts) FROM decision WHERE job = {job:String} AND action != 'hold')
ORDER BY at_ts DESC
"""
_HELD = """
SELECT job, toUnixTimestamp(asked) AS first, any(site), any(zone), any(by_zone), any(policy),
       any(signal), groupArray((toUnixTimestamp(t), joules, facility_joules))
FROM v_held_job_1m
WHERE asked >= fromUnixTimestamp({since:UInt32}) AND asked < fromUnixTimestamp({until:UInt32})
  AND t >= toStartOfMinute(fromUnixTimestamp({since:UInt32}))
GROUP BY job, first ORDER BY first DESC, job LIMIT {most:UInt32}
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that was held once. ``joules`` are those of the run that followed, by full minute (Unix
    seconds). Where the signal is a price they are those of the devices, which is what the ledger
    charges a price on; else of the facility, where the site's PUE is known for all of them."""

    job: str
    asked_s: int
    place: Place
    policy: str
    signal: str
    joules: dict[int, float]
    are_facility: bool


def put(
    client: Client,
    job: str,
    place: Place,
    told: Decision,
    policy: Policy | None,
    value: float | None,
    now_s: int,
) -> None:
    """Keep what ``job`` was told at ``now_s`` about ``place``."""
    row = {
        "job": job,
        "at_ts": now_s,
        "site": place.site,
        "zone": place.zone,
        "by_zone": place.by_zone,
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


def first_asked(client: Client, job: str, now_s: int) -> int | None:
    """Return since when ``job`` waits that asks at ``now_s``, Unix seconds; None: it did not."""
    return waiting_since(client.rows(_HOLDS, {"job": job}), now_s)


def waiting_since(holds: Iterable[Sequence[int]], now_s: int) -> int | None:
    """Return when the first of ``holds`` was told of those that led to now without a break.

    Each is when it was told and when to ask again (Unix seconds), the newest first.
    """
    since = None
    next_s = now_s
    for told_s, again_s in holds:
        if next_s > again_s + FORGOTTEN_S:
            break
        since = next_s = told_s
    return since


def held(client: Client, since_s: int, until_s: int) -> Iterator[Held]:
    """Give what ran after a hold whose job asked first in [since_s, until_s), the newest 500."""
    asked = {"since": since_s, "until": until_s, "most": MOST_JOBS}
    for job, first, *where, policy, signal, minutes in client.rows(_HELD, asked):
        is_known = all(facility is not None for _, _, facility in minutes)
        are_facility = is_known and signal != MONEY
        joules: dict[int, float] = {}
        for minute, own, facility in minutes:  # one has a row of each shard
            joules[minute] = joules.get(minute, 0.0) + (facility if are_facility else own)
        yield Held(job, first, Place(*where), policy, signal, joules, are_facility)
