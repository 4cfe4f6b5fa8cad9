"""What a wall meter measures beside its devices: a sum is its outermost meter that fits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store.policies import HostRemainder
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Overlap,
    Tick,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200_000
HOUR, MINUTE = 3_600_000, 60_000
SOURCES = {"plug": "smartplug", "plug2": "smartplug", "bmc": "ipmi", "psys": "rapl"}


def device(key: str, node: str = "n", uncertainty: float | None = None, **said: Any) -> Device:
    name = key.rpartition("/")[2]
    outer = name in SOURCES
    plain = Device(
        key,
        Kind.HOST if outer else Kind.GPU,
        node,
        SOURCES.get(name, "rapl" if name == "cpu" else "nvml"),
        overlap=Overlap.OUTER if outer else Overlap.NONE,
        uncertainty_ratio=uncertainty,
    )
    return replace(plain, **said)


def powers(key: str, watts: Sequence[float | None]) -> tuple[Tick, ...]:
    """Constant power within each minute, known from two readings at its ends."""
    found = []
    for minute, power in enumerate(watts):
        at = BASE + minute * MINUTE
        if power is None:
            found.append(Tick(key, at + 30_000, MINUTE, Method.INTEGRAL, gap="deadline"))
            continue
        found += [
            Tick(key, at + shift, MINUTE, Method.INTEGRAL, power)
            for shift in ((0, MINUTE - 1) if minute + 1 < len(watts) else (0, MINUTE))
        ]
    return tuple(found)


def run(bed: Bed, batch: Batch, host_remainder: str = "platform", **topology: str) -> Ledger:
    bed.write(batch)
    remainder = HostRemainder(host_remainder)
    policy = Policy(raw_days=0, host_remainder=remainder, topology=topology)
    ledger = Ledger(bed.client, policy)
    ledger.run()
    return ledger


def total(bed: Bed) -> float:
    """Everything that is charged, as v_energy sums it: every meter but the inner ones."""
    rows = bed.client.rows(
        "SELECT sum(joules) FROM charge_1h FINAL WHERE device_id IN "
        "(SELECT device_id FROM device FINAL WHERE overlap != 'inner')"
    )
    return float(rows[0][0])


def charged(bed: Bed, *, overhead: bool = True) -> dict[tuple[str, str], float]:
    """Joules by device and class, or by device and workload of the overhead."""
    rows = bed.client.rows(
        "SELECT d.key, w.key, class, sum(joules) FROM charge_1h AS c FINAL "
        "JOIN device AS d FINAL ON d.device_id = c.device_id "
        "LEFT JOIN workload AS w FINAL ON w.workload_id = c.workload_id "
        "WHERE seconds != 0 GROUP BY 1, 2, 3"
    )
    return {
        (str(key), str(workload)): joules
        for key, workload, name, joules in rows
        if (name == "overhead") is overhead
    }


def reconciled(bed: Bed) -> dict[str, dict[str, Any]]:
    rows = bed.client.records("SELECT * FROM v_reconciliation_1h")
    for row in rows:
        assert row["residual_joules"] == pytest.approx(0.0, abs=1e-9 * max(1, row["outer_joules"]))
    assert len({row["device"] for row in rows}) == len(rows)
    return {row["device"]: row for row in rows}


def balances(bed: Bed) -> None:
    rows = bed.client.rows("SELECT residual_joules, measured_joules FROM v_conservation_1h")
    assert rows
    for residual, measured in rows:
        assert residual == pytest.approx(0.0, abs=1e-9 * max(1.0, measured))


def world(**watts: float | Sequence[float | None]) -> Batch:
    said = {k: [w] * 60 if isinstance(w, int | float) else w for k, w in watts.items()}
    return Batch(
        devices=tuple(device(key) for key in said),
        ticks=tuple(tick for key, series in said.items() for tick in powers(key, series)),
    )


SCENARIOS: dict[str, dict[str, float | list[float | None]]] = {
    "fits": {"plug": 1000, "bmc": 900, "gpu": 500, "cpu": 200},
    "blind-bmc": {"plug": 1000, "bmc": 300, "gpu": 500, "cpu": 200},
    "blind-bmc-alone": {"bmc": 300, "gpu": 500, "cpu": 200},
    "below-zero": {"bmc": 690, "gpu": 500, "cpu": 200},
    "gap": {"bmc": 1000, "gpu": [None if 20 <= m < 30 else 500.0 for m in range(60)], "cpu": 200},
    "nothing-inside": {"plug": 1000, "bmc": [None] * 60, "gpu": [None] * 60},
    "silent-bmc": {"plug": 1000, "bmc": [None] * 60, "gpu": 500},
    "two-plugs": {"plug": 600, "plug2": 400, "gpu": 500},
    "psys": {"psys": 150, "cpu": 100, "gpu": 500},
}
UNCERTAIN = {"sure": (0.01, 0.01), "rough-bmc": (0.2, 0.0), "rough-gpu": (0.0, 0.3)}
"""Machines whose controller says 85 W where the card says 100 W, and how sure each is."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one run of the ledger made of all machines. Joules."""

    rows: dict[str, dict[str, Any]]
    overhead: dict[tuple[str, str], float]
    totals: dict[str, float]


@pytest.fixture(scope="module")
def found(shared_bed: Bed) -> Found:
    shared_bed.clean()
    batches = [on(node, world(**watts)) for node, watts in SCENARIOS.items()]
    for node, (outer, inner) in UNCERTAIN.items():
        batch = world(bmc=85, gpu=100)
        said = {"bmc": outer, "gpu": inner}
        devices = tuple(replace(d, uncertainty_ratio=said[d.key]) for d in batch.devices)
        batches.append(on(node, replace(batch, devices=devices)))
    run(shared_bed, joined(batches))
    balances(shared_bed)
    totals = shared_bed.client.rows(
        "SELECT d.node, sum(joules) FROM charge_1h AS c FINAL JOIN device AS d FINAL "
        "ON d.device_id = c.device_id WHERE d.overlap != 'inner' GROUP BY 1"
    )
    return Found(reconciled(shared_bed), charged(shared_bed), {str(n): j for n, j in totals})


def on(node: str, batch: Batch) -> Batch:
    return replace(
        batch,
        devices=tuple(replace(d, key=f"{node}/{d.key}", node=node) for d in batch.devices),
        ticks=tuple(replace(t, device=f"{node}/{t.device}") for t in batch.ticks),
    )


def joined(batches: Sequence[Batch]) -> Batch:
    return Batch(
        devices=tuple(d for b in batches for d in b.devices),
        ticks=tuple(t for b in batches for t in b.ticks),
    )


@pytest.mark.parametrize(
    ("node", "watts"),
    [
        ("fits", 1000),
        ("blind-bmc", 1000),
        ("blind-bmc-alone", 700),
        ("below-zero", 690),
        ("nothing-inside", 1000),
        ("silent-bmc", 1000),
        ("two-plugs", 1000),
        ("psys", 650),
        ("sure", 100),
        ("rough-bmc", 85),
        ("rough-gpu", 85),
    ],
)
def test_the_sum_is_the_outermost_meter_that_fits(found: Found, node: str, watts: int) -> None:
    assert found.totals[node] == pytest.approx(watts * 3600.0, rel=1e-6)


class TestReconciled:
    def test_each_meter_has_what_the_next_ones_inside_leave(self, found: Found) -> None:
        plug, bmc = found.rows["fits/plug"], found.rows["fits/bmc"]
        assert (plug["status"], bmc["status"]) == ("ok", "ok")
        assert plug["remainder_joules"] == pytest.approx(360_000.0, rel=1e-5)
        assert bmc["inner_joules"] == pytest.approx(2_520_000.0, rel=1e-5)
        paid = {key: joules for key, joules in found.overhead.items() if key[0][:5] == "fits/"}
        assert paid == {
            ("fits/plug", ""): pytest.approx(360_000.0, rel=1e-5),
            ("fits/bmc", ""): pytest.approx(720_000.0, rel=1e-5),
        }

    def test_a_controller_that_does_not_see_the_gpus_is_passed_over(self, found: Found) -> None:
        for node in ("blind-bmc", "blind-bmc-alone"):
            row = found.rows[f"{node}/bmc"]
            assert row["status"] == "mismatch"
            assert row["remainder_joules"] == pytest.approx(-1_440_000.0, rel=1e-5)
            assert (f"{node}/bmc", "") not in found.overhead
        assert found.overhead["blind-bmc/plug", ""] == pytest.approx(1_080_000.0, rel=1e-5)

    def test_a_remainder_below_zero_within_the_uncertainty_keeps_its_sign(
        self, found: Found
    ) -> None:
        assert found.rows["below-zero/bmc"]["status"] == "ok"
        assert found.overhead["below-zero/bmc", ""] == pytest.approx(-36_000.0, rel=1e-3)

    def test_stated_uncertainties_decide(self, found: Found) -> None:
        status = {node: found.rows[f"{node}/bmc"]["status"] for node in UNCERTAIN}
        assert status == {"sure": "mismatch", "rough-bmc": "ok", "rough-gpu": "ok"}

    def test_only_minutes_in_which_everything_is_known_count(self, found: Found) -> None:
        row = found.rows["gap/bmc"]
        covered = row["covered_seconds"]
        assert 47 * 60 <= covered <= 49 * 60
        assert row["uncovered_joules"] == pytest.approx(1000 * (3600 - covered), rel=1e-3)
        assert row["remainder_joules"] == pytest.approx(300 * covered, rel=1e-3)

    def test_where_nothing_inside_is_measured_nothing_is_reconciled(self, found: Found) -> None:
        assert not [key for key in found.rows if key.startswith("nothing-inside/")]
        assert "silent-bmc/bmc" not in found.rows
        assert found.overhead["silent-bmc/plug", ""] == pytest.approx(1_800_000.0, rel=1e-6)

    def test_two_plugs_are_one_sum(self, found: Found) -> None:
        remainders = [found.rows[f"two-plugs/{p}"]["remainder_joules"] for p in ("plug", "plug2")]
        assert remainders == pytest.approx([1_080_000.0, 720_000.0], rel=1e-5)

    def test_the_processors_platform_contains_no_gpu(self, found: Found) -> None:
        inner = found.rows["psys/psys"]["inner_joules"]
        assert inner == pytest.approx(360_000.0, rel=1e-5)


class TestPolicy:
    HELD = (
        Allocation("gpu", "train", BASE, BASE + HOUR, 0.75),
        Allocation("cpu", "web", BASE, BASE + HOUR // 2),
    )

    def test_proportional_follows_the_joules_inside(self, bed: Bed) -> None:
        batch = replace(world(bmc=1000, gpu=400, cpu=200), allocations=self.HELD)
        run(bed, batch, "proportional")
        found = charged(bed)
        assert found["bmc", "train"] == pytest.approx(1_440_000 * 300 / 600, rel=1e-4)
        assert found["bmc", "web"] == pytest.approx(1_440_000 * 100 / 600, rel=1e-4)
        assert found["bmc", ""] == pytest.approx(1_440_000 * 200 / 600, rel=1e-4)
        assert total(bed) == pytest.approx(3_600_000.0, rel=1e-6)

    def test_another_policy_leaves_nothing_of_the_one_before(self, bed: Bed) -> None:
        batch = replace(world(bmc=1000, gpu=400, cpu=200), allocations=self.HELD)
        run(bed, batch, "proportional")
        Ledger(bed.client, Policy(raw_days=0)).recompute([BASE // 1000])
        assert charged(bed) == {("bmc", ""): pytest.approx(1_440_000.0, rel=1e-5)}
        balances(bed)


def test_the_operator_says_what_the_strip_feeds(bed: Bed) -> None:
    one, two = world(plug=500, gpu=300), world(plug=400, gpu=100)
    machines = joined([on("a", one), on("b", two)])
    strip = Device("strip", Kind.HOST, "rack", "snmp", overlap=Overlap.OUTER)
    fed = Batch(devices=(strip,), ticks=powers("strip", [950.0] * 60))
    run(bed, joined([machines, fed]), **{"*/plug": "strip"})
    assert reconciled(bed)["strip"]["remainder_joules"] == pytest.approx(180_000.0, rel=1e-4)
    assert total(bed) == pytest.approx(950 * 3600.0, rel=1e-6)


def test_what_is_no_longer_reconciled_is_charged_again(bed: Bed) -> None:
    ledger = run(bed, world(bmc=1000, gpu=500))
    assert set(reconciled(bed)) == {"bmc"}
    apart = Ledger(bed.client, Policy(raw_days=0, topology={"gpu": None}))
    apart.recompute([BASE // 1000])
    assert reconciled(bed) == {}
    assert total(bed) == pytest.approx(1500 * 3600.0, rel=1e-6)
    balances(bed)
    ledger.recompute([BASE // 1000])


Minutes = dict[int, tuple[float, float]]
"""Joules and their uncertainty of each minute that is wholly known."""


@dataclass(slots=True)
class Solved:
    """The definition once more, one machine at a time and by recursion."""

    measured: dict[str, dict[int, tuple[float, float]]]
    ratios: dict[str, float | None]
    status: dict[str, str] = field(default_factory=dict)
    overhead: dict[str, float] = field(default_factory=dict)

    def known(self, key: str, unstated: float) -> Minutes | None:
        """Return None of a meter that measured nothing at all."""
        ratio = self.ratios[key]
        rows = self.measured.get(key)
        if not rows:
            return None
        return {
            minute: (joules, joules * (unstated if ratio is None else ratio))
            for minute, (joules, seconds) in rows.items()
            if seconds > 59.9995
        }

    def outer(self, members: Sequence[str], inside: Iterable[Minutes | None]) -> Minutes | None:
        """Return what the meter around this group counts instead of all that is inside."""
        own = added(self.known(key, 0.0) for key in members)
        within = added(inside)
        if own is None or within is None:
            return within if own is None else added(self.known(key, 0.02) for key in members)
        covered = own.keys() & within.keys()
        margin = math.fsum(own[m][0] - within[m][0] + own[m][1] + within[m][1] for m in covered)
        status = "uncovered" if not covered else "mismatch" if margin < 0 else "ok"
        for key in members:
            if self.measured.get(key):
                self.status[key] = status
        if status == "ok":
            self.overhead[members[0]] = math.fsum(own[m][0] - within[m][0] for m in covered)
        return within if status == "mismatch" else added(self.known(k, 0.02) for k in members)


def added(parts: Iterable[Minutes | None]) -> Minutes | None:
    told = [part for part in parts if part is not None]
    if not told:
        return None
    minutes = set.intersection(*(set(part) for part in told))
    return {
        m: (math.fsum(p[m][0] for p in told), math.fsum(p[m][1] for p in told)) for m in minutes
    }


@dataclass(frozen=True, slots=True)
class Series:
    """An hour of watts that grow by ``more`` a minute, with a gap of some minutes."""

    watts: float
    more: float
    at: int
    gap: int

    def minutes(self) -> list[float | None]:
        hidden = range(self.at, self.at + self.gap)
        return [None if m in hidden else self.watts + self.more * m for m in range(60)]


SERIES = st.builds(
    Series,
    st.sampled_from([0.0, 100.0, 500.0, 1000.0]),
    st.sampled_from([0.0, 1.5]),
    st.integers(0, 59),
    st.sampled_from([0, 0, 0, 3, 60]),
)
MACHINES = st.dictionaries(
    st.sampled_from(["plug", "plug2", "bmc", "psys", "cpu", "gpu0", "gpu1"]),
    st.tuples(SERIES, st.sampled_from([None, 0.0, 0.05, 0.5])),
    min_size=1,
)


@settings(
    max_examples=3,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each try runs the ledger
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(MACHINES, min_size=6, max_size=16))
def test_the_statements_equal_the_definition(
    shared_bed: Bed, machines: list[dict[str, tuple[Series, float | None]]]
) -> None:
    shared_bed.clean()
    said = {f"n{i}/{k}": told for i, machine in enumerate(machines) for k, told in machine.items()}
    batch = Batch(
        devices=tuple(
            device(key, key.partition("/")[0], ratio) for key, (_, ratio) in said.items()
        ),
        ticks=tuple(
            tick for key, (series, _) in said.items() for tick in powers(key, series.minutes())
        ),
    )
    run(shared_bed, batch)
    measured: dict[str, dict[int, tuple[float, float]]] = {}
    for key, minute, joules, seconds in shared_bed.client.rows(
        "SELECT d.key, toMinute(t), sum(joules), sum(seconds) FROM measured_1m AS m FINAL "
        "JOIN device AS d FINAL USING (device_id) WHERE isNotNull(joules) AND seconds != 0 "
        f"AND t < toDateTime({(BASE + HOUR) // 1000}, 'UTC') GROUP BY 1, 2"
    ):
        measured.setdefault(key, {})[minute] = joules, seconds
    solved = Solved(measured, {key: ratio for key, (_, ratio) in said.items()})
    for number, machine in enumerate(machines):
        name = {key: f"n{number}/{key}" for key in machine}
        chips = [solved.known(name[key], 0.02) for key in machine if key.startswith("gpu")]
        cpu = [solved.known(name["cpu"], 0.02)] if "cpu" in machine else []
        inside = added(
            [*chips, solved.outer([name["psys"]], cpu) if "psys" in machine else added(cpu)]
        )
        if "bmc" in machine:
            inside = solved.outer([name["bmc"]], [inside])
        plugs = [name[key] for key in ("plug", "plug2") if key in machine]
        if plugs:
            solved.outer(plugs, [inside])
    found = reconciled(shared_bed)
    assert {key: row["status"] for key, row in found.items()} == solved.status
    overhead: dict[str, float] = {}
    for (key, _), joules in charged(shared_bed).items():
        group = key if key.replace("plug2", "plug") not in said else key.replace("plug2", "plug")
        overhead[group] = overhead.get(group, 0.0) + joules
    assert overhead == pytest.approx(solved.overhead, rel=1e-9, abs=1e-6)
    balances(shared_bed)
