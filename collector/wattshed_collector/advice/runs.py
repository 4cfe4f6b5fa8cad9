"""Runs of training and batch that began and ended within a time, and who else held their devices.

Only what ran at one site, without a break, is a run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wattshed_collector.store.client import Client

from .outlook import DAY_S, HOUR_S
from .rates import Span

MOST_WAIT_S = DAY_S
_IN = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_CAN_WAIT = "SELECT workload_id FROM v_workload WHERE workload_kind IN ('training', 'batch')"
_HELD = f"""
    SELECT device_id, workload_id, toUnixTimestamp(min(t)) AS first, toUnixTimestamp(max(t)) AS last
    FROM v_charge_1h WHERE {_IN} AND workload_id != 0 GROUP BY device_id, workload_id
"""
"""Who held which device, from the first to the last full hour; pauses between are held too."""
_CARDS = "SELECT device_id FROM v_device WHERE kind IN ('gpu', 'module')"
_HELD_BY_RUNS = f"""
    SELECT *, device_id IN ({_CARDS}) AS is_card,
           max(is_card) OVER (PARTITION BY workload_id) AS has_cards
    FROM ({_HELD}) WHERE workload_id IN ({_CAN_WAIT})
"""
"""Of what a run held with cards these alone count: processors and memory are shared by all."""
_RUNS = f"""
SELECT w.workload, w.team, w.owner, h.site, c.devices, h.hours, c.others
FROM (
    SELECT workload_id, any(b.place) AS site, groupArray((b.at, b.joules, b.facility)) AS hours
    FROM (
        SELECT workload_id, max(toString(v.site)) AS place, toUnixTimestamp(t) AS at,
               sum(v.joules) AS joules, sum(v.facility_joules) AS facility
        FROM v_workload_1h AS v
        WHERE {_IN} AND class IN ('active', 'idle_held') AND workload_id IN ({_CAN_WAIT})
        GROUP BY workload_id, t
        HAVING uniqExact(v.site) = 1 AND countIf(isNull(v.facility_joules) AND v.joules > 0) = 0
    ) AS b
    GROUP BY workload_id
    HAVING uniqExact(b.place) = 1
       AND min(b.at) > {{since:UInt32}} AND max(b.at) < {{until:UInt32}} - 3600
       AND max(b.at) - min(b.at) = 3600 * (count() - 1)
) AS h
INNER JOIN (
    SELECT r.workload_id AS workload_id, groupUniqArray(r.device_id) AS devices,
           groupUniqArrayIf((d.first, d.last, d.workload_id),
                            d.workload_id != r.workload_id AND d.last >= r.first
                            AND d.first <= r.last + {{wait:UInt32}}) AS others
    FROM (
        SELECT *, arrayJoin(range(intDiv(first, 86400),
                                  intDiv(last + {{wait:UInt32}}, 86400) + 1)) AS day
        FROM ({_HELD_BY_RUNS}) WHERE is_card = has_cards
    ) AS r
    INNER JOIN (
        SELECT *, arrayJoin(range(intDiv(first, 86400), intDiv(last, 86400) + 1)) AS day
        FROM ({_HELD})
    ) AS d ON d.device_id = r.device_id AND d.day = r.day
    GROUP BY workload_id
) AS c ON c.workload_id = h.workload_id
INNER JOIN v_workload AS w ON w.workload_id = h.workload_id
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run in full hours, without a break: ``joules`` of all that it was charged and those of the
    facility, by hour (Unix seconds). ``devices`` are its cards, or what it held where it had none;
    ``others`` are hours in which somebody else held one of them."""

    workload: str
    team: str
    owner: str
    site: str
    devices: tuple[int, ...]
    joules: Mapping[int, float]
    facility_joules: Mapping[int, float]
    others: frozenset[int]

    @property
    def start_s(self) -> int:
        return min(self.facility_joules)

    @property
    def hours(self) -> int:
        return len(self.facility_joules)


def runs(client: Client, span: Span) -> Iterator[Run]:
    """Give the runs of one site each whose facility joules are known, with who held their devices
    until ``MOST_WAIT_S`` after them."""
    asked = {"since": span.since_s, "until": span.until_s, "wait": MOST_WAIT_S}
    for workload, team, owner, site, devices, hours, others in client.rows(_RUNS, asked):
        joules = {at: own for at, own, _ in hours}
        facility = {at: whole for at, _, whole in hours}
        of = workload, team, owner, site
        yield Run(*of, tuple(devices), joules, facility, _shut(joules, others))


def _shut(joules: Mapping[int, float], others: Sequence[tuple[int, int, int]]) -> frozenset[int]:
    """Return the hours within reach in which others held a device of the run."""
    start, end = min(joules), max(joules) + MOST_WAIT_S
    return frozenset(
        hour
        for first, last, _ in others
        for hour in range(max(first, start), min(last, end) + 1, HOUR_S)
    )
