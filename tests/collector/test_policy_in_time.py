"""Each hour is charged by the policy that was in force when it began; old hours are left alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from tests.fixtures.clients import Through

from wattshed_collector.errors import InvalidInput
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import queries
from wattshed_collector.store.client import Client
from wattshed_collector.store.ledger_sql import Without, needed
from wattshed_collector.store.policies import HostRemainder, Override
from wattshed_exporter.model import Allocation, Batch, IdlePolicy, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

DAY = 86_400
BASE = 1_768_471_200  # 2026-01-15T10:00:00Z
HOUR = 3600
KEEP = Policy(raw_days=0)
"""How many a run of one portion has where no meter contains others; the last says it is done."""
LOW = Policy(0.2, 0, IdlePolicy.PLATFORM, HostRemainder.PROPORTIONAL)


class Heard(Through):
    """A client that notes what every statement about hours was given."""

    def __init__(self, client: Client, before: Callable[[str], None] = lambda sql: None) -> None:
        super().__init__(client)
        self._before = before
        self.given: list[dict[str, Any]] = []

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._before(sql)
        if parameters and "lo" in parameters:
            self.given.append(dict(parameters))
        self._client.command(sql, parameters)

    def insert(self, table: str, columns: Mapping[str, Any]) -> None:
        self._before(table)
        self._client.insert(table, columns)

    def hours(self) -> list[tuple[int, int, str, int, str]]:
        """The first statement of each portion: hours from BASE, and the policy."""
        firsts = list({(g["version"], g["lo"]): g for g in reversed(self.given)}.values())[::-1]
        return [
            (
                (g["lo"] // 1000 - BASE) // HOUR,
                (g["hi"] // 1000 - BASE) // HOUR,
                g["idle_policy"],
                g["idle_below_e4"],
                g["host_remainder"],
            )
            for g in firsts
        ]


def tick(second: int, joules: int, utilization: float | None = 0.1) -> Tick:
    ts = (BASE + second) * 1000
    return Tick(
        "d",
        ts,
        1000,
        Method.COUNTER,
        energy_uj=joules * 10**6,
        utilization_ratio=utilization,
    )


def hourly(count: int) -> Batch:
    """A tick every half hour, utilised by a tenth, held by one workload."""
    ticks = tuple(tick(n * HOUR // 2, n * 100) for n in range(2 * count))
    end = (BASE + count * HOUR) * 1000
    return Batch(ticks=ticks, allocations=(Allocation("d", "w", BASE * 1000, end),))


def at(hours: float) -> Callable[[], float]:
    return lambda: BASE + hours * HOUR


def classes(bed: Bed) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for t, _, _, name in bed.charged("charge_1h"):
        found.setdefault((t - BASE) // HOUR, set()).add(name)
    return found


def test_hours_of_one_policy_share_a_statement_and_late_ticks_get_that_of_their_hour(
    bed: Bed,
) -> None:
    client = Heard(bed.client)
    Ledger(client, KEEP, at(0)).adopt()
    Ledger(client, LOW, at(2.5)).adopt()
    bed.write(hourly(4))
    ledger = Ledger(client, LOW, at(4))
    ledger.run()
    old, new = ("holder", 500, "platform"), ("platform", 2000, "proportional")
    assert client.hours() == [(0, 2, *old), (2, 4, *new)]
    client.given.clear()
    bed.write(Batch(ticks=(tick(HOUR + 60, 201),)))
    ledger.run()
    assert client.hours()[0][2:] == old
    assert client.hours()[-1][2:] == new


def test_a_new_policy_has_the_current_hour_computed_again(bed: Bed) -> None:
    Ledger(bed.client, KEEP, at(0)).adopt()
    bed.write(hourly(3))
    Ledger(bed.client, KEEP, at(2.5)).run()
    assert classes(bed) == {hour: {"active"} for hour in range(3)}
    changed = Ledger(bed.client, Policy(0.2, 0), at(2.5))
    changed.adopt()
    changed.run()
    assert classes(bed) == {0: {"active"}, 1: {"active"}, 2: {"idle_held"}}
    again = Ledger(bed.client, Policy(0.2, 0), at(9))
    again.adopt()
    assert [start for start, _ in again.policies().rows] == [0, BASE + 2 * HOUR]


def test_an_override_holds_for_its_window_and_for_what_comes_late(bed: Bed) -> None:
    bed.write(hourly(4))
    ledger = Ledger(bed.client, KEEP, at(4))
    ledger.run()
    lo, hi = BASE + HOUR, BASE + 2 * HOUR
    ledger.override(Override(idle_below_e4=2000), lo, hi, [lo])
    assert ledger.run() == list(range(BASE, BASE + 4 * HOUR, HOUR))
    held = {0: {"active"}, 1: {"idle_held"}, 2: {"active"}, 3: {"active"}}
    assert classes(bed) == held
    bed.write(Batch(ticks=(tick(HOUR + 60, 201),)))
    ledger.run()
    assert classes(bed) == held


class TestOldHours:
    def test_what_comes_for_them_is_left_alone_and_counted_once(self, bed: Bed) -> None:
        bed.write(hourly(1))
        bed.ledger().run()
        before = bed.charged()
        ledger = Ledger(bed.client, Policy(raw_days=30), at(30 * 24))
        workload = Allocation("d", "other", BASE * 1000, (BASE + HOUR) * 1000)
        bed.write(Batch(allocations=(workload,)))
        assert ledger.run() == []
        assert ledger.run() == ()
        assert ledger.skipped_hours == 1
        assert bed.charged() == before

    @pytest.mark.parametrize(("raw_days", "oldest"), [(30, BASE + DAY), (2, BASE + 29 * DAY)])
    def test_asking_for_them_is_refused_with_the_oldest_that_can_be(
        self, bed: Bed, raw_days: int, oldest: int
    ) -> None:
        ledger = Ledger(bed.client, Policy(raw_days=raw_days), at(30 * 24))
        named = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(oldest))
        with pytest.raises(InvalidInput, match=f"the oldest hour .* is {named}"):
            ledger.recompute([oldest - HOUR, oldest])
        ledger.recompute([oldest])

    def test_where_raw_rows_are_kept_for_ever_nothing_is_too_old(self, bed: Bed) -> None:
        ledger = Ledger(bed.client, KEEP, at(10_000))
        ledger.recompute([BASE])
        assert ledger.oldest == 0


RAW = """
SELECT abs((SELECT sum(joules) FROM measured_1m FINAL) - (SELECT sum(joules) FROM charge_1m FINAL))
"""


def test_an_hour_is_compared_only_when_it_is_complete(bed: Bed) -> None:
    """Read between any two statements: what is measured and what is charged always agree.

    The tables themselves do not, which is why the test can fail.
    """
    reader = bed.store.client()
    ratios: list[float] = []
    compared: list[float] = []
    raw: list[float] = []

    def look(sql: str) -> None:
        found = queries.residual(reader, BASE, BASE + 3 * HOUR)
        ratios.append(float(found["worst_ratio"] or 0))
        compared.append(float(found["measured_joules"] or 0))
        raw.append(float(reader.rows(RAW)[0][0] or 0))

    bed.write(hourly(2))
    ledger = Ledger(Heard(bed.client, look), KEEP, at(2))
    ledger.run()
    bed.write(Batch(ticks=(tick(2 * HOUR - 10, 400_000),)))
    ledger.run()
    look("afterwards")
    reader.close()
    assert compared[1] == 0  # nothing is complete while the first run is under way
    assert max(ratios) < 1e-9
    assert max(raw) > 100_000
    assert len(ratios) > 2 * len(needed(Without(*[True] * 6)))
    assert compared[-1] == pytest.approx(400_000)
