"""Training and batch jobs that could have run where the grid is cleaner, on the same model of card.

Grams are claimed and no joules. A run is moved only where as many cards of its model as it held did
nothing in each of its hours, each of them given away once. Where it goes is chosen by what was
known when it began, the same hours of the days before, and counted by what came. Whether data,
network and law let the job go there is not known here, and is what makes the advice unsure. Once it
is done, what the workload draws at other sites is set against the same joules at its old one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wattshed_collector.advice.evidence import stated
from wattshed_collector.advice.look import Look
from wattshed_collector.advice.model import Advice, Baseline, Effort, Kind, Measure
from wattshed_collector.advice.outlook import HOUR_S
from wattshed_collector.advice.rates import together
from wattshed_collector.advice.runs import Run

LEAST_G_PER_MONTH = 1000.0
LEAST_RATIO = 0.05
"""Of what a run was expected to emit; for less nobody moves it."""
SURE = 0.4
WHOLE_S = 3590
"""Seconds of an hour in which a card that was free did nothing."""
_IN = "t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})"
_MODELS = "SELECT device_id, toString(model) FROM v_device WHERE model != ''"
_FREE = f"""
SELECT d.site, d.model, c.at, count() FROM (
    SELECT device_id, toUnixTimestamp(t) AS at FROM v_charge_1h AS v
    WHERE {_IN} AND class = 'idle_unallocated' GROUP BY device_id, at
    HAVING sum(v.seconds) >= {WHOLE_S}
) AS c
INNER JOIN (
    SELECT device_id, toString(site) AS site, toString(model) AS model FROM v_device
    WHERE kind IN ('gpu', 'module') AND model IN {{models:Array(String)}}
) AS d ON d.device_id = c.device_id
GROUP BY d.site, d.model, c.at
"""
_PUE = f"SELECT site, toUnixTimestamp(t), value FROM v_factor_1h WHERE {_IN} AND kind = 'pue'"
EVIDENCE = """SELECT w.workload_key AS run, c.t AS t, sum(c.joules) AS joules,
       any(here.g_per_kwh) AS g_per_kwh, any(there.g_per_kwh) AS other_g_per_kwh
FROM v_workload_1h AS c
INNER JOIN v_workload AS w ON w.workload_id = c.workload_id
INNER JOIN v_carbon_1h AS here ON here.t = c.t AND here.site = c.site
INNER JOIN (SELECT * FROM v_carbon_1h WHERE site = {other}) AS there ON there.t = c.t
WHERE w.workload = {workload} AND c.site = {site}
  AND c.t >= toDateTime({since}, 'UTC') AND c.t < toDateTime({until}, 'UTC')
GROUP BY run, t ORDER BY run, t"""

Place = tuple[str, str]
"""A site and a model of device."""


@dataclass(frozen=True, slots=True)
class Move:
    """``run`` at ``site``: grams as it ran and as it would have run there."""

    run: Run
    site: str
    grams: float
    grams_then: float

    @property
    def saved_grams(self) -> float:
        return self.grams - self.grams_then


class Room:
    """What there is elsewhere: cards that do nothing by hour, and what a joule of a card emits."""

    def __init__(self, look: Look, models: Mapping[int, str]) -> None:
        asked = {"since": look.span.since_s, "until": look.span.until_s}
        self.models = models
        self._outlooks = look.outlooks
        self._free: dict[Place, dict[int, int]] = defaultdict(dict)
        told = {
            **asked,
            "models": sorted({models.get(d, "") for r in look.runs for d in r.devices}),
        }
        for site, model, at, count in look.client.rows(_FREE, told):
            self._free[site, model][at] = count
        self._pue: dict[str, dict[int, float]] = defaultdict(dict)
        for site, at, value in look.client.rows(_PUE, asked):
            self._pue[site][at] = value

    def best(self, run: Run) -> Move | None:
        """Return the move that was expected to be the cleanest and is worth it, and take its room;
        None where there is none."""
        model = {self.models.get(device, "") for device in run.devices}
        now = self._expected(run, run.site)
        if len(model) != 1 or now is None:
            return None
        places = [
            p for p in self._free if p[1] in model and p[0] != run.site and self._fits(run, p)
        ]
        hoped = [(grams, p) for p in places if (grams := self._expected(run, p[0])) is not None]
        then, place = min(hoped, default=(now, ("", "")))
        if then > now * (1 - LEAST_RATIO):
            return None
        for at in run.joules:
            self._free[place][at] -= len(run.devices)
        return Move(run, place[0], self._grams(run, run.site), self._grams(run, place[0]))

    def _fits(self, run: Run, place: Place) -> bool:
        known, pue = self._outlooks.get(place[0]), self._pue[place[0]]
        return known is not None and all(
            self._free[place].get(at, 0) >= len(run.devices) and at in known.known and at in pue
            for at in run.joules
        )

    def _expected(self, run: Run, site: str) -> float | None:
        """Return the grams by device joule that a run was expected to emit at a site, up to a
        factor that is the same for all sites; None: nobody could tell."""
        outlook, pue = self._outlooks.get(site), self._pue[site]
        if outlook is None or any(at not in outlook.known or at not in pue for at in run.joules):
            return None
        profile = outlook.expected(run.start_s)
        each = [profile[at // HOUR_S % 24] for at in run.joules]
        known = [g for g in each if g is not None]
        if len(known) < len(each):
            return None
        return sum(g * pue[at] for g, at in zip(known, run.joules, strict=True))

    def _grams(self, run: Run, site: str) -> float:
        known, pue = self._outlooks[site].known, self._pue[site]
        return sum(joules / 3.6e6 * pue[at] * known[at] for at, joules in run.joules.items())


def find(look: Look) -> Iterator[Advice]:
    """Give advice for each workload and site whose runs would have emitted less at another."""
    if not look.runs or len(look.outlooks) < 2:
        return
    room = Room(look, {int(device): model for device, model in look.client.rows(_MODELS)})
    moves: dict[tuple[str, str], dict[str, list[Move]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(look.runs, key=lambda run: (run.start_s, run.workload, run.devices)):
        if (move := room.best(run)) is not None:
            moves[run.workload, run.site][move.site].append(move)
    for _, by_site in sorted(moves.items()):
        found = max(by_site.values(), key=_saved)
        if look.span.per_month(_saved(found)) >= LEAST_G_PER_MONTH:
            yield _advice(look, found)


def _saved(moves: Sequence[Move]) -> float:
    return sum(move.saved_grams for move in moves)


def _advice(look: Look, found: Sequence[Move]) -> Advice:
    run, other = found[-1].run, found[-1].site
    grams, saved = sum(move.grams for move in found), _saved(found)
    known = [look.rates[site].carbon for site in (run.site, other) if site in look.rates]
    return Advice(
        kind=Kind.OTHER_ZONE,
        subject=f"{run.workload}@{run.site}",
        title=f"Run {run.workload} at {other}, where the grid is cleaner",
        reason=(
            f"{len(found)} run(s) emitted {grams / 1000:.3g} kg; at {other}, where as many cards "
            f"of the same model did nothing meanwhile, they would have emitted "
            f"{(grams - saved) / 1000:.3g} kg for the same joules of their cards. Whether data, "
            "network and law let them go there is not known"
        ),
        joules_per_month=0.0,
        are_facility_joules=True,
        g_per_month=look.span.per_month(saved),
        carbon=together(known),
        confidence=round(SURE * look.span.confidence, 2),
        effort=Effort.HIGH,
        evidence=stated(
            EVIDENCE,
            workload=run.workload,
            site=run.site,
            other=other,
            since=look.span.since_s,
            until=look.span.until_s,
        ),
        baseline=Baseline(
            measure=Measure.GRAMS_ELSEWHERE,
            joules_per_unit=0.0,
            workload=run.workload,
            site=run.site,
        ),
        site=run.site,
        team=run.team,
        owner=run.owner,
        numbers={"runs": float(len(found)), "grams": grams, "grams_then": grams - saved},
    )
