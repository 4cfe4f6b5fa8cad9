"""Conservation: what is charged is what was measured, whatever comes, in whatever order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattshed_collector.store import queries
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Overlap,
    Tick,
    stable_id,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed, Charged

T = TypeVar("T")

BASE = 1_768_471_200_000
HOUR, MINUTE = 3_600_000, 60_000
FEW = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""Every example runs the ledger of the real engine, which costs the same for several devices."""
AT_ONCE = 4
"""Devices of one example; they have nothing in common."""

TIMES = st.lists(
    st.one_of(st.integers(1, 3 * HOUR), st.sampled_from([HOUR, HOUR - 1, HOUR + 1, 2 * HOUR])),
    min_size=2,
    max_size=15,
    unique=True,
)


@st.composite
def meters(draw: st.DrawFn) -> list[Tick]:
    """Ticks of one device that is named later; counters fall, power is absent now and then."""
    micro = st.integers(0, 10**9).map(lambda uw: uw / 1e6)
    return [
        Tick(
            "",
            BASE + at,
            draw(st.sampled_from([1000, 600_000])),
            Method.COUNTER,
            draw(st.none() | micro),
            draw(st.none() | st.integers(0, 10**15)),
            utilization_ratio=draw(st.sampled_from([None, 0.0, 0.5])),
        )
        for at in draw(TIMES)
    ]


@st.composite
def holders(draw: st.DrawFn) -> list[Allocation]:
    found = {}
    for workload in draw(st.lists(st.sampled_from("abc"), max_size=5)):
        start, length = draw(st.integers(0, 3 * HOUR)), draw(st.integers(1, 3 * HOUR))
        share = draw(st.floats(0.01, 1.0))
        found[workload, start] = Allocation(
            "", workload, BASE + start, BASE + start + length, share
        )
    return list(found.values())


def of(device: str, ticks: Sequence[Tick], held: Sequence[Allocation] = ()) -> Batch:
    return Batch(
        devices=(Device(device, Kind.GPU, "n", "s"),),
        ticks=tuple(replace(t, device=device) for t in ticks),
        allocations=tuple(replace(a, device=device) for a in held),
    )


def ledger_of(bed: Bed, *batches: Batch, between: bool = False) -> None:
    writer, ledger = bed.writer(), bed.ledger()
    for batch in batches:
        writer.submit(batch).result(120)
        if between:
            ledger.run()
    writer.close()
    ledger.run()


def charges_of(bed: Bed, device: str, table: str = "charge_1h") -> Charged:
    found = {k: v for k, v in bed.charged(table).items() if k[1] == stable_id(device)}
    return {(t, 0, w, c): paid for (t, _, w, c), paid in found.items()}


def several(one: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    return st.lists(one, min_size=AT_ONCE, max_size=AT_ONCE)


@FEW
@given(several(st.tuples(meters(), holders())))
def test_charges_add_up_to_what_was_measured(
    shared_bed: Bed, devices: list[tuple[list[Tick], list[Allocation]]]
) -> None:
    shared_bed.clean()
    ledger_of(shared_bed, *(of(f"d{n}", *told) for n, told in enumerate(devices)))
    measured: dict[tuple[int, int], float] = {}
    for (t, device, _, _), (joules, _) in shared_bed.measured().items():
        measured[t, device] = measured.get((t, device), 0.0) + (joules or 0.0)
    charged: dict[tuple[int, int], float] = {}
    for (t, device, _, _), (joules, _) in shared_bed.charged().items():
        charged[t, device] = charged.get((t, device), 0.0) + joules
        assert joules >= 0
    assert charged == pytest.approx(
        {t: j for t, j in measured.items() if t in charged}, rel=1e-9, abs=1e-12
    )
    residual = queries.residual(shared_bed.client, BASE // 1000 - 3600, BASE // 1000 + 86400)
    assert (residual["worst_ratio"] or 0.0) <= 1e-9
    hours = math.fsum(joules for joules, _ in shared_bed.charged("charge_1h").values())
    assert hours == pytest.approx(math.fsum(charged.values()), rel=1e-9)
    assert residual["charged_joules"] == pytest.approx(hours, rel=1e-9)


@FEW
@given(several(st.tuples(meters(), holders())), st.data())
def test_any_delivery_gives_the_same_ledger(
    shared_bed: Bed, devices: list[tuple[list[Tick], list[Allocation]]], data: st.DataObject
) -> None:
    shared_bed.clean()
    first, then = [], []
    for n, (ticks, held) in enumerate(devices):
        shuffled = data.draw(st.permutations([*ticks, *ticks[:3]]))
        cut, b = data.draw(st.integers(0, len(shuffled))), f"b{n}"
        first += [of(f"a{n}", ticks, held), of(b, shuffled[:cut])]
        then += [of(b, shuffled[cut:]), of(b, [], held), of(b, shuffled[:2], held)]
    ledger_of(shared_bed, *first)
    ledger_of(shared_bed, *then)
    for table in ("charge_1h", "charge_1m"):
        for n in range(len(devices)):
            same(charges_of(shared_bed, f"a{n}", table), charges_of(shared_bed, f"b{n}", table))


@FEW
@given(several(st.tuples(holders(), st.integers(1, 3 * HOUR - 1))))
def test_a_reading_more_or_less_conserves_energy(
    shared_bed: Bed, devices: list[tuple[list[Allocation], int]]
) -> None:
    """A counter read more often says no more and no less."""
    shared_bed.clean()
    coarse = [counter(0, 0), counter(3 * HOUR, 10**12)]
    batches = []
    for n, (held, at) in enumerate(devices):
        fine = [*coarse, counter(at, 10**12 * at // (3 * HOUR))]
        batches += [of(f"a{n}", coarse, held), of(f"b{n}", fine, held)]
    ledger_of(shared_bed, *batches)
    for batch in batches:
        (device,) = batch.devices
        assert total(charges_of(shared_bed, device.key)) == pytest.approx(10**6, rel=1e-9)


def counter(at: int, energy_uj: int) -> Tick:
    return Tick("", BASE + at, 1000, Method.COUNTER, energy_uj=energy_uj)


def total(charged: Charged) -> float:
    return math.fsum(joules for joules, _ in charged.values())


def same(ours: Charged, theirs: Charged) -> None:
    assert ours.keys() == theirs.keys()
    for key, paid in ours.items():
        assert paid == pytest.approx(theirs[key], rel=1e-9, abs=1e-12), key


class TestCorrections:
    """Who is charged changes afterwards; how much is charged never does."""

    TICKS = tuple(Tick("d", BASE + m * MINUTE, MINUTE, Method.INTEGRAL, 60.0) for m in range(241))

    def paid(self, bed: Bed, table: str) -> dict[tuple[int, str], float]:
        """Joules by workload and class."""
        found: dict[tuple[int, str], float] = {}
        for (_, _, workload, name), (joules, _) in bed.charged(table).items():
            found[workload, name] = found.get((workload, name), 0.0) + joules
        return found

    def check(self, bed: Bed, **watt_hours: float) -> None:
        """Watt-hours by workload; "nobody" is what no workload held."""
        expected = {
            (0, "unattributed") if who == "nobody" else (stable_id(who), "active"): wh * 3600.0
            for who, wh in watt_hours.items()
        }
        for table in ("charge_1m", "charge_1h"):
            assert self.paid(bed, table) == pytest.approx(expected, rel=1e-9)
        assert math.fsum(self.paid(bed, "charge_1h").values()) == pytest.approx(240 * 3600.0)

    @pytest.fixture
    def deliver(self, bed: Bed) -> Callable[[Batch], None]:
        writer_of, ledger = bed.writer, bed.ledger()

        def deliver(batch: Batch) -> None:
            writer = writer_of()
            writer.submit(batch).result(120)
            writer.close()
            ledger.run()

        deliver(Batch(ticks=self.TICKS))
        return deliver

    def test_a_late_allocation_moves_energy(
        self, bed: Bed, deliver: Callable[[Batch], None]
    ) -> None:
        self.check(bed, nobody=240)
        deliver(Batch(allocations=(Allocation("d", "w", BASE + HOUR, BASE + 3 * HOUR),)))
        self.check(bed, nobody=120, w=120)

    def test_a_longer_one_takes_over_and_an_earlier_report_of_it_does_not(
        self, bed: Bed, deliver: Callable[[Batch], None]
    ) -> None:
        for hours in (1, 3, 2):
            deliver(Batch(allocations=(Allocation("d", "w", BASE, BASE + hours * HOUR),)))
            self.check(
                bed, **{1: {"nobody": 180.0, "w": 60.0}}.get(hours, {"nobody": 60, "w": 180})
            )

    def test_a_second_holder_shares(self, bed: Bed, deliver: Callable[[Batch], None]) -> None:
        deliver(Batch(allocations=(Allocation("d", "a", BASE, BASE + 4 * HOUR),)))
        self.check(bed, a=240)
        deliver(Batch(allocations=(Allocation("d", "b", BASE, BASE + 2 * HOUR),)))
        self.check(bed, a=180, b=60)

    def test_a_corrected_share_changes_all_of_it(
        self, bed: Bed, deliver: Callable[[Batch], None]
    ) -> None:
        for share in (1.0, 0.25):
            deliver(Batch(allocations=(Allocation("d", "a", BASE, BASE + 4 * HOUR, share),)))
        self.check(bed, a=60, nobody=180)

    def test_a_revision_shortens_and_cancels_what_no_longer_applies(
        self, bed: Bed, deliver: Callable[[Batch], None]
    ) -> None:
        deliver(Batch(allocations=(Allocation("d", "a", BASE, BASE + 4 * HOUR),)))
        bed.client.insert(
            "allocation",
            {
                "device_id": [stable_id("d")],
                "workload_id": [stable_id("a")],
                "start_ts": [BASE],
                "end_ts": [BASE + HOUR],
                "share": [1.0],
                "method": ["corrected"],
                "revision": [1],
            },
        )
        bed.ledger().recompute(BASE // 1000 + h * 3600 for h in range(4))
        self.check(bed, a=60, nobody=180)
        rows = bed.client.rows("SELECT count() FROM v_energy_1h WHERE joules = 0")
        assert rows == [(0,)]
        # The same allocation said again, with its old end, must not bring it back.
        deliver(Batch(allocations=(Allocation("d", "a", BASE, BASE + 4 * HOUR),)))
        self.check(bed, a=60, nobody=180)


def test_meters_that_overlap_are_counted_once_in_totals(bed: Bed) -> None:
    ticks = [counter(0, 0), counter(HOUR, 3_600_000_000)]
    batches = [of(key, ticks) for key in ("card", "memory")]
    memory = Device("memory", Kind.MEMORY, "n", "s", overlap=Overlap.INNER)
    ledger_of(bed, batches[0], Batch(devices=(memory,), ticks=batches[1].ticks))
    since, until = BASE // 1000, BASE // 1000 + 7200
    (row,) = queries.energy(bed.client, "node", since, until)
    assert row["joules"] == pytest.approx(3600.0)
    # Each meter is charged by itself; what is inside of another is left out of sums alone.
    assert total(bed.charged("charge_1h")) == pytest.approx(7200.0)
    assert math.fsum(joules or 0.0 for joules, _ in bed.measured().values()) == 7200.0


def test_an_outer_meter_is_charged_with_what_is_not_inside_of_it(bed: Bed) -> None:
    """A card on a board: the board's charges are its remainder, and the sum is the board's."""
    minutes = range(0, 61, 5)
    board = Device("board", Kind.BOARD, "n", "s", overlap=Overlap.OUTER)
    card = of("card", [counter(m * MINUTE, m * 60 * 10**6) for m in minutes])
    around = of("board", [counter(m * MINUTE, m * 150 * 10**6) for m in minutes])
    ledger_of(bed, card, replace(around, devices=(board,)))
    (row,) = queries.energy(bed.client, "node", BASE // 1000, BASE // 1000 + 7200)
    assert row["joules"] == pytest.approx(9000.0)
    classes = {name: 0.0 for _, _, _, name in bed.charged("charge_1h")}
    for (_, _, _, name), (joules, _) in bed.charged("charge_1h").items():
        classes[name] += joules
    assert classes == pytest.approx({"unattributed": 3600.0, "overhead": 5400.0})
    assert math.fsum(joules or 0.0 for joules, _ in bed.measured().values()) == 12_600.0


class TestRetention:
    def test_an_hour_whose_ticks_may_be_gone_is_never_computed_again(self, bed: Bed) -> None:
        def now() -> float:
            return BASE / 1000 + 4 * 86400

        ledger = bed.ledger(now=now, raw_days=2)
        last = 95 * HOUR
        bed.write(of("d", [counter(0, 0), counter(last, last * 1000)]))
        hours = ledger.run()
        assert min(hours) >= now() - 86400
        assert max(hours) == (BASE + last) // 1000
        assert total(bed.charged("charge_1h")) == pytest.approx(len(hours) * 3600 - 3600, rel=1e-9)

    def test_zero_days_keep_everything(self, bed: Bed) -> None:
        bed.write(of("d", [counter(0, 0), counter(9 * HOUR, 9 * 3600 * 10**6)]))
        assert len(bed.ledger(raw_days=0).run()) == 10


class TestWatermark:
    def test_a_new_ledger_goes_on_where_the_old_one_stopped(self, bed: Bed) -> None:
        bed.write(of("d", [counter(0, 0), counter(MINUTE, 10**6)]))

        def later() -> float:
            return time.time() + 30

        assert len(bed.ledger(now=later).run()) == 1
        assert bed.ledger(now=later).run() == ()
        rows = bed.client.rows("SELECT count() FROM ledger_state FINAL WHERE name = 'charges'")
        assert rows == [(1,)]

    def test_a_mark_of_the_last_half_minute_is_read_again(self, bed: Bed) -> None:
        writer, began = bed.writer(mark_seconds=3600.0), time.time()
        ledger = bed.ledger(now=lambda: began)  # the half minute lasts, however slow this is
        for n in range(3):
            writer.submit(of("d", [counter(n * MINUTE, n * 10**6)])).result(120)
            assert ledger.run() == [BASE // 1000]
        writer.close()
        assert bed.client.rows("SELECT count() FROM dirty WHERE NOT only_outcomes") == [(1,)]
        assert total(bed.charged()) == pytest.approx(2.0)
        assert bed.ledger().run() == [BASE // 1000]

    def test_what_was_computed_is_left_alone_until_anything_is_written(self, bed: Bed) -> None:
        bed.write(of("d", [counter(0, 0), counter(MINUTE, 10**6)]))
        began = time.time()
        ledger = bed.ledger(now=lambda: began)
        assert ledger.run() == [BASE // 1000]
        charged = bed.client.rows("SELECT max(version) FROM charge_1m")
        assert ledger.run() == ()
        assert bed.client.rows("SELECT max(version) FROM charge_1m") == charged
        bed.client.command("OPTIMIZE TABLE tick FINAL")
        assert ledger.run() == ()
        bed.say(Allocation("d", "a", BASE, BASE + MINUTE))  # marks nothing, but may matter
        assert ledger.run() == [BASE // 1000]
        bed.client.insert("dirty", {"hour": [BASE // 1000]})
        assert ledger.run() == [BASE // 1000]
        assert ledger.run() == ()

    def test_a_clock_that_is_set_back_stops_nothing(self, bed: Bed) -> None:
        bed.write(of("d", [counter(0, 0), counter(MINUTE, 10**6)]))
        for years_ahead in (2e9, 1e9):
            assert bed.ledger(now=lambda at=years_ahead: at).run() == [BASE // 1000]  # type: ignore[misc]
        rows = bed.client.rows("SELECT DISTINCT version FROM charge_1m ORDER BY version")
        (first,), (second,) = rows
        assert 2 * 10**15 <= first < second
        assert total(bed.charged()) == pytest.approx(1.0)

    def test_nothing_new_costs_nothing(self, bed: Bed) -> None:
        assert bed.ledger().run() == ()
        assert bed.client.rows("SELECT count() FROM ledger_state") == [(0,)]
