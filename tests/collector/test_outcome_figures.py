"""Uncertainty, money and hardware of outcomes: any window and grouping is one of sums, exactly.

One fleet is charged once. What each minute and hour must say is written down once more in Python,
from what the ledger charged to devices; questions of any window and grouping are held against sums
of that.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.collector.outcome_reference import reference

from wattshed_collector.factor import Factor
from wattshed_collector.store import factors
from wattshed_collector.store.outcome_queries import Asked, per_outcome
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
    stable_id,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
HOUR, HOURS = 3600, 3
END = BASE + HOURS * HOUR
J_PER_KWH = 3.6e6
ESTIMATED = 0.5
DEVICES = (
    Device("d0", Kind.GPU, "n", "s", model="H100", site="a", uncertainty_ratio=0.02),
    Device("d1", Kind.GPU, "n", "s", model="H100", site="a", uncertainty_ratio=0.05),
    Device("d2", Kind.GPU, "n", "s", model="A100", site="b", uncertainty_ratio=0.03),
    Device("d3", Kind.CPU, "n", "s", model="EPYC", site="a"),
    Device("d4", Kind.CPU, "n", "s", model="Xeon", site="b", method=Method.ESTIMATED),
    Device("d5", Kind.GPU, "n", "s", model="A100", site="c", uncertainty_ratio=0.02),
)
BY_ID = {device.id: device for device in DEVICES}
PRICES = {"a": (0.2, "EUR"), "b": (0.3, "USD")}
PUE = {"a": 1.5, "b": 1.2}
"""Nobody says either of site c."""
NAMES = [f"w{n}" for n in range(14)]
KINDS = ("token_in", "token_out", "step")
OF_WORKLOAD = ("workload_key", "team", "precision")
COLUMNS = (*OF_WORKLOAD, "hardware", "site")


def named(name: str) -> Workload:
    at = NAMES.index(name)
    return Workload(name, name, team="rgb"[at % 3], precision=("fp8", "fp16")[at % 2])


def fleet() -> Batch:
    """Three hours: some hold one device and some several, on one site or two, some produce."""
    rng = random.Random(4)
    ticks = [
        Tick(d.key, (BASE + at) * 1000, 60_000, d.method, rng.uniform(50, 500),
             utilization_ratio=rng.choice([0.0, 1.0]))
        for d in DEVICES
        for at in range(0, HOURS * HOUR + 1, 60)
    ]  # fmt: skip
    held, made = [], []
    for at, name in enumerate(NAMES):
        first = BASE + rng.randrange(0, HOUR * 2, 7)
        for device in rng.sample(DEVICES, 1 + at % 3):
            last = first + rng.randrange(HOUR // 2, 2 * HOUR)
            held.append(Allocation(device.key, name, first * 1000, last * 1000, 0.2))
        for kind in rng.sample(KINDS, at % 3):
            total, start = 0.0, first * 1000 + rng.choice([0, 0, 90_000])
            for ts in range(start, start + HOUR * 1000, rng.choice([61_000, 600_000])):
                made.append(Outcome(name, kind, ts, total, start))
                total += rng.choice([0.0, 7.0, 1000.0])
    made.append(Outcome("w0", "step", (BASE + 5) * 1000, 0.0, (BASE + 5) * 1000))
    made.append(Outcome("stranger", "step", (BASE + 5) * 1000, 0.0, BASE * 1000))
    made.append(Outcome("stranger", "step", (BASE + HOUR + 5) * 1000, 9.0, BASE * 1000))
    return Batch(
        devices=DEVICES,
        ticks=tuple(ticks),
        workloads=tuple(map(named, NAMES)),
        allocations=tuple(held),
        outcomes=tuple(made),
    )


@dataclass
class Share:
    """What a workload was charged in a minute; ``doubt_ratio`` None: a meter states none."""

    active: float
    loaded: float
    before: float
    doubt_ratio: float | None


@dataclass
class Place:
    """Of a workload's hour: joules by device."""

    joules: dict[int, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def devices(self) -> list[Device]:
        return [BY_ID[device] for device in self.joules]

    @property
    def hardware(self) -> str:
        gpus = {d.model for d in self.devices if d.kind is Kind.GPU}
        return _one(gpus or {d.model for d in self.devices})

    @property
    def site(self) -> str:
        return _one({d.site for d in self.devices})

    @property
    def doubt_ratio(self) -> float | None:
        """Joules times what each meter states, added and not in squares, of all joules."""
        doubt = 0.0
        for key, joules in self.joules.items():
            ratio = _ratio(BY_ID[key])
            if ratio is None:
                return None
            doubt += joules * ratio
        total = sum(self.joules.values())
        return doubt / total if total else 0.0

    def money(self) -> tuple[float, str] | None:
        """What it paid, None where a price is not known of all or they are in two currencies."""
        spent = {d.site for d in self.devices if self.joules[d.id]}
        if not all(site in PRICES for site in spent):
            return None
        if len({PRICES[site][1] for site in spent}) != 1:
            return None
        paid = sum(self.joules[d.id] * PRICES[d.site][0] for d in self.devices if d.site in spent)
        return paid / J_PER_KWH, PRICES[spent.pop()][1]

    def facility(self) -> float | None:
        spent = [d for d in self.devices if self.joules[d.id]]
        if not all(d.site in PUE for d in spent):
            return None
        return sum(self.joules[d.id] * PUE[d.site] for d in spent)


def _one(found: set[str]) -> str:
    return "several" if len(found) > 1 else found.pop()


def _ratio(device: Device) -> float | None:
    if device.uncertainty_ratio is None and device.method is Method.ESTIMATED:
        return ESTIMATED
    return device.uncertainty_ratio


class World:
    """The charged store, and what it must say by minute and by workload's hour.

    No dataclass: hypothesis would write all of it where an example fails.
    """

    def __init__(
        self,
        bed: Bed,
        counts: dict[tuple[int, str, str], float],
        shares: dict[tuple[int, str], Share],
        places: dict[tuple[int, str], Place],
    ) -> None:
        self.bed, self.counts, self.shares, self.places = bed, counts, shares, places
        self.kinds: dict[str, set[str]] = defaultdict(set)
        for _, name, kind in counts:
            self.kinds[name].add(kind)

    def group(self, minute: int, name: str, by: Iterable[str]) -> tuple[str, ...]:
        place = self.places.get((minute // HOUR * HOUR, name))
        known = named(name) if name in NAMES else Workload("", "")
        told = {
            "workload_key": name,
            "team": known.team,
            "precision": known.precision,
            "hardware": place.hardware if place else "",
            "site": place.site if place else "",
        }
        return tuple(told[column] for column in by)


@pytest.fixture(scope="module")
def world(shared_bed: Bed) -> World:
    shared_bed.clean()
    said = [Factor("price", site, BASE, p, f"{of}/kWh") for site, (p, of) in PRICES.items()]
    said += [Factor("pue", site, BASE, pue) for site, pue in PUE.items()]
    factors.put(shared_bed.client, said, BASE)
    batch = fleet()
    shared_bed.write(batch)
    ledger = shared_bed.ledger()
    ledger.run()
    ledger.sum_up()
    since: dict[str, int] = {}
    for a in batch.allocations:
        since[a.workload] = min(a.start_ms, since.get(a.workload, a.start_ms))
    counts, parts = reference(batch.outcomes, since, END * 1000)
    ids = {stable_id(name): name for name in NAMES}
    places: dict[tuple[int, str], Place] = defaultdict(Place)
    loaded: dict[tuple[int, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (t, device, payer, name), (joules, _) in shared_bed.charged().items():
        if payer:
            places[t // HOUR * HOUR, ids[payer]].joules[device] += joules
            both = loaded[t, ids[payer]]
            both[0] += joules
            both[1] += joules if name == "active" else 0.0
    shares = {}
    for (t, name), (charged, active) in loaded.items():
        rest, ratio = 1 - parts.get((t, name), 0.0), places[t // HOUR * HOUR, name].doubt_ratio
        shares[t, name] = Share(active * rest, charged * rest, charged * (1 - rest), ratio)
    return World(shared_bed, counts, shares, dict(places))


Key = tuple[Any, ...]
Figures = dict[Key, dict[str, float | None]]
NUMBERS = (
    *("count", "active_joules", "loaded_joules", "before_joules", "uncertainty_joules"),
    *("active_uncertainty_joules", "joules_per_outcome_active", "joules_per_outcome_loaded"),
    *("low", "high", "active_low", "active_high"),
)


def expected(world: World, asked: Asked) -> Figures:
    """Sums of the minutes in the window, first of each workload and then of each group."""
    energies: dict[Key, list[Share]] = defaultdict(list)
    counts: dict[Key, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def where(minute: int, name: str) -> Key | None:
        if not asked.since <= minute < asked.until:
            return None
        for column, value in asked.where.items():
            if world.group(minute, name, (column,)) != (value,):
                return None
        step = (minute // asked.step * asked.step,) if asked.step else ()
        of_hour = world.group(minute, name, ("hardware", "site"))
        told = {*asked.by, *asked.where} & {"hardware", "site"}
        apart = tuple(v for c, v in zip(("hardware", "site"), of_hour, strict=True) if c in told)
        return (*step, *world.group(minute, name, asked.by)), name, apart

    for (minute, name), share in world.shares.items():
        if key := where(minute, name):
            energies[key].append(share)
    for (minute, name, kind), count in world.counts.items():
        if key := where(minute, name):
            counts[key][kind] += count
    sums: dict[Key, list[Any]] = defaultdict(list)
    for key in {*energies, *counts}:
        group, name, _ = key
        for kind in world.kinds.get(name) or {""}:
            state = "no_outcome" if not kind else "ok" if energies.get(key) else "no_energy"
            made = counts[key].get(kind, 0.0) if key in counts else 0.0
            sums[*group, kind, state].append((made, energies.get(key, [])))
    return {key: _figures(parts) for key, parts in sums.items()}


def _figures(parts: list[tuple[float, list[Share]]]) -> dict[str, float | None]:
    shares = [share for _, mine in parts for share in mine]
    made = sum(count for count, _ in parts)

    def total(of: Callable[[Share], float]) -> float | None:
        return sum(map(of, shares)) if shares else None

    sure = all(share.doubt_ratio is not None for share in shares)
    active, loaded = total(lambda s: s.active), total(lambda s: s.loaded)
    doubt = total(lambda s: s.loaded * (s.doubt_ratio or 0)) if sure else None
    active_doubt = total(lambda s: s.active * (s.doubt_ratio or 0)) if sure else None

    def each(joules: float | None, off: float | None = 0.0) -> float | None:
        return None if joules is None or off is None or made <= 1e-9 else (joules + off) / made

    less, active_less = (None if off is None else -off for off in (doubt, active_doubt))
    figures = (
        *(made, active, loaded, total(lambda s: s.before), doubt, active_doubt),
        *(each(active), each(loaded), each(loaded, less), each(loaded, doubt)),
        *(each(active, active_less), each(active, active_doubt)),
    )
    return dict(zip(NUMBERS, figures, strict=True))


def found(world: World, asked: Asked) -> Figures:
    rows = per_outcome(world.bed.client, asked)
    return {tuple(row[c] for c in asked.key): {n: row[n] for n in NUMBERS} for row in rows}


def differences(ours: Figures, theirs: Figures) -> Iterator[str]:
    for key in sorted({*ours, *theirs}, key=str):
        if key not in ours or key not in theirs:
            yield f"{key}: {ours.get(key)} should be {theirs.get(key)}"
        elif not all(same(ours[key][name], theirs[key][name]) for name in NUMBERS):
            yield f"{key}: {ours[key]} should be {theirs[key]}"


def same(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)


TRIES = (Phase.explicit, Phase.generate)
WINDOWS = st.tuples(st.integers(-5, 60 * HOURS + 5), st.integers(-5, 60 * HOURS + 5)).filter(
    lambda window: window[0] < window[1]
)


@settings(max_examples=20, deadline=None, database=None, phases=TRIES)
@given(
    window=WINDOWS,
    by=st.lists(st.sampled_from(COLUMNS), unique=True, max_size=3),
    step=st.sampled_from([0, 0, 0, 60, HOUR]),
    only=st.sampled_from([{}, {}, {"hardware": "H100"}, {"site": "several", "team": "g"}]),
)
def test_any_window_and_grouping_is_a_ratio_of_sums(
    world: World, window: tuple[int, int], by: list[str], step: int, only: dict[str, str]
) -> None:
    since, until = (BASE + minute * 60 for minute in window)
    asked = Asked(tuple(by), since, until, (), only, step)
    assert list(differences(found(world, asked), expected(world, asked))) == []


@settings(max_examples=6, deadline=None, database=None, phases=TRIES)
@given(
    by=st.lists(st.sampled_from(COLUMNS), unique=True, max_size=2),
    cuts=st.lists(st.integers(1, 60 * HOURS - 1), unique=True, max_size=3).map(sorted),
)
def test_windows_side_by_side_add_up(world: World, by: list[str], cuts: list[int]) -> None:
    """What is known of all parts is the sum of theirs; uncertainty adds, and is not in squares."""
    edges = [BASE, *(BASE + minute * 60 for minute in cuts), END]
    whole = found(world, Asked(tuple(by), BASE, END))
    added: Figures = defaultdict(lambda: dict.fromkeys(NUMBERS[:5], 0.0))
    for a, b in pairwise(edges):
        for (*group, kind, state), figures in found(world, Asked(tuple(by), a, b)).items():
            # In one part of its time a workload may have no energy, and some in all of it.
            where = (*group, kind, "ok" if state == "no_energy" else state)
            for name in NUMBERS[:4]:
                added[where][name] = (added[where][name] or 0.0) + (figures[name] or 0.0)
    for name in NUMBERS[:4]:
        sums: dict[Key, float] = defaultdict(float)
        for (*group, kind, state), figures in whole.items():
            where = (*group, kind, "ok" if state == "no_energy" else state)
            sums[where] += figures[name] or 0.0
        assert {k: v[name] for k, v in added.items()} == pytest.approx(sums, rel=1e-9, abs=1e-9)


def paid(world: World) -> dict[tuple[int, str], tuple[float | None, str, float | None]]:
    """Cost, currency and facility joules of each workload's hour, without what was before."""
    told = {}
    for (hour, name), place in world.places.items():
        mine = [s for (m, w), s in world.shares.items() if w == name and m // HOUR * HOUR == hour]
        loaded, before = sum(s.loaded for s in mine), sum(s.before for s in mine)
        part = loaded / (loaded + before) if loaded + before else 1.0
        money, facility = place.money(), place.facility()
        cost = (money[0] * part, money[1]) if money else (None, "")
        told[hour, name] = (*cost, None if facility is None else facility * part)
    return told


def test_money_of_an_hour_is_of_one_currency_or_not_known(world: World) -> None:
    rows = world.bed.client.rows(
        "SELECT toUnixTimestamp(t), workload_key, outcome, cost, currency, facility_joules "
        "FROM v_outcome_1h WHERE isNotNull(loaded_joules)"
    )
    wanted = paid(world)
    assert {(t, w) for t, w, *_ in rows} == set(wanted)
    for t, name, _, cost, currency, facility in rows:
        paid_wanted, currency_wanted, facility_wanted = wanted[t, name]
        assert currency == currency_wanted
        assert same(cost, paid_wanted)
        assert same(facility, facility_wanted)
    currencies = [world.places[key].site == "several" for key in wanted]
    assert any(currencies)
    assert {currency for _, currency, _ in wanted.values()} == {"EUR", "USD", ""}


@settings(max_examples=12, deadline=None, database=None, phases=TRIES)
@given(
    by=st.lists(st.sampled_from(COLUMNS), unique=True, max_size=2),
    hours=st.tuples(st.integers(0, HOURS), st.integers(0, HOURS)).filter(lambda h: h[0] < h[1]),
)
def test_currencies_are_never_added(world: World, by: list[str], hours: tuple[int, int]) -> None:
    since, until = (BASE + n * HOUR for n in hours)
    groups = "".join(f"{column}, " for column in by)
    rows = world.bed.client.rows(
        f"SELECT {groups}currency, outcome, sum(cost) FROM v_outcome_1h "
        f"WHERE t >= toDateTime({since:d}, 'UTC') AND t < toDateTime({until:d}, 'UTC') "
        f"AND isNotNull(loaded_joules) GROUP BY {groups}currency, outcome"
    )
    wanted: dict[Key, float | None] = {}
    for (hour, name), (cost, currency, _) in paid(world).items():
        if since <= hour < until:
            for kind in world.kinds.get(name) or {""}:
                key = (*world.group(hour, name, by), currency, kind)
                known = wanted.setdefault(key, None)
                wanted[key] = known if cost is None else (known or 0.0) + cost
    told = {tuple(key): cost for *key, cost in rows}
    assert told.keys() == wanted.keys()
    assert all(same(told[key], cost) for key, cost in wanted.items())
