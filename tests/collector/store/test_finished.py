"""What a reader sees while the ledger writes: of each hour what a finished run said, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.collector.conftest import KEEP_ALL, Bed
from tests.fixtures.clients import Through
from tests.fixtures.stores import Stores

from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import queries
from wattshed_collector.store.client import Client
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

HOUR_S, HOUR = 3600, 3_600_000
BASE = 1_768_435_200_000  # 2026-01-15T00:00:00Z
SINCE, HOURS = BASE // 1000, 26
UNTIL = SINCE + HOURS * HOUR_S
VIEWS = ("v_energy_1m", "v_energy_1h", "v_workload_1m", "v_workload_1h")
KWH = 3.6e6
MERGED = ("charge_1m", "charge_1h", "workload_1m", "workload_1h", "workload_1d", "measured_1m")


class Told(Through):
    """A client that tells before each statement of the ledger."""

    def __init__(self, client: Client, before: Callable[[], None]) -> None:
        super().__init__(client)
        self._before = before

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._before()
        self._client.command(sql, parameters)

    def insert(self, table: str, columns: Mapping[str, Any]) -> None:
        self._before()
        self._client.insert(table, columns)


@pytest.fixture(scope="module")
def charged(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``held``, which is computed once and copied."""
    folder = tmp_path_factory.mktemp("held")
    stores.prepare(folder, KEEP_ALL)
    bed = Bed(folder)
    ticks = tuple(
        Tick("d", BASE + h * HOUR, HOUR, Method.COUNTER, energy_uj=h * 3_600_000 * 10**6)
        for h in range(HOURS + 1)
    )
    who = (Workload("a", "a", team="red"), Workload("b", "b", team="blue"))
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "s"),), ticks=ticks, workloads=who))
    bed.say(Allocation("d", "a", BASE, BASE + HOURS * HOUR))
    bed.ledger().run()
    bed.say(Allocation("d", "a", BASE, BASE, revision=1))
    bed.say(Allocation("d", "b", BASE, BASE + HOURS * HOUR))
    bed.close()
    return folder


@pytest.fixture
def held(charged: Path, tmp_path: Path) -> Iterator[Bed]:
    """A day and two hours at 1 kW, all of it charged to a; then it turns out to be b's."""
    shutil.copytree(charged, tmp_path / "data", symlinks=True)
    bed = Bed(tmp_path / "data")
    yield bed
    bed.close()


def by_hour(reader: Client) -> list[dict[int, tuple[float, int]]]:
    """Joules and number of holders of each hour, as each view says it."""
    parts = (
        f"SELECT '{view}' AS view, toUnixTimestamp(toStartOfHour(t)) AS h, sum(joules), "
        f"uniqExact({'workload_id' if view.startswith('v_workload') else 'workload'}) "
        f"FROM {view} GROUP BY h"
        for view in VIEWS
    )
    found: dict[str, dict[int, tuple[float, int]]] = {view: {} for view in VIEWS}
    for view, hour, joules, holders in reader.rows(" UNION ALL ".join(parts)):
        found[view][int(hour)] = joules, holders
    return list(found.values())


def asked(reader: Client) -> list[float]:
    """The total of the window by two ways of asking: days and hours, and with minutes."""
    ways = (("team", UNTIL), ("workload", UNTIL - 60))
    return [
        sum(r["joules"] for r in queries.energy(reader, by, SINCE, until)) + (UNTIL - until) * 1e3
        for by, until in ways
    ]


def test_between_two_statements_each_hour_is_what_a_run_said(held: Bed) -> None:
    """The tables themselves hold both holders at once, which is why the test can fail."""
    reader = held.store.client()
    seen: list[dict[int, tuple[float, int]]] = []
    totals: list[float] = []
    raw: list[float] = []

    def look() -> None:
        seen.extend(by_hour(reader))
        totals.extend(asked(reader))
        raw.append(reader.rows("SELECT sum(joules) FROM charge_1m FINAL")[0][0])

    for table in MERGED:
        held.client.command(f"SYSTEM STOP MERGES {table}")
    try:
        ledger = Ledger(Told(held.client, look), Policy(raw_days=0))
        ledger.recompute([SINCE, SINCE + HOUR_S])
        look()
    finally:
        for table in MERGED:
            held.client.command(f"SYSTEM START MERGES {table}")
        reader.close()
    assert max(raw) > (HOURS + 1) * KWH
    assert len(seen) > 30
    for hours in seen:
        assert len(hours) == HOURS
        assert [joules for joules, _ in hours.values()] == pytest.approx([KWH] * HOURS)
        assert {holders for _, holders in hours.values()} == {1}
    assert totals == pytest.approx([HOURS * KWH] * len(totals))


def test_an_hour_whose_rows_were_merged_away_is_left_out_until_it_is_whole(held: Bed) -> None:
    reader = held.store.client()
    seen: list[dict[int, tuple[float, int]]] = []
    totals: list[list[float]] = []

    def look() -> None:
        for table in MERGED:
            reader.command(f"SYSTEM START MERGES {table}")  # as where it may not be stopped
            reader.command(f"OPTIMIZE TABLE {table} FINAL")
        seen.extend(by_hour(reader))
        totals.append(asked(reader))

    # As it was, so that keys are written over.
    held.say(Allocation("d", "a", BASE, BASE + HOUR, 0.5, revision=2))
    Ledger(Told(held.client, look), Policy(raw_days=0)).recompute([SINCE])
    look()
    reader.close()
    assert any(SINCE not in hours for hours in seen)
    for hours in seen:
        assert all(joules == pytest.approx(KWH) for joules, _ in hours.values())
        assert len(hours) >= HOURS - 1
    assert seen[-1][SINCE][0] == pytest.approx(KWH)
    assert seen[-1][SINCE][1] == 2
    for sums in totals:
        for joules in sums:
            assert min(abs(joules - n * KWH) for n in (HOURS - 1, HOURS)) < 1
    assert totals[-1] == pytest.approx([HOURS * KWH] * 2)


def test_what_a_broken_run_left_behind_is_not_seen(held: Bed) -> None:
    """A run that ends in the middle: the hour stays as it was, however much was written of it."""

    class Broken(Exception):
        pass

    count = 0

    def fail() -> None:
        nonlocal count
        count += 1
        if count == 9:
            raise Broken

    with pytest.raises(Broken):
        Ledger(Told(held.client, fail), Policy(raw_days=0)).recompute([SINCE])
    assert asked(held.client) == pytest.approx([HOURS * KWH] * 2)
    joules, holders = by_hour(held.client)[0][SINCE]
    assert (joules, holders) == pytest.approx((KWH, 1))
    held.ledger().recompute([SINCE])
    teams = {r["team"]: r["joules"] for r in queries.energy(held.client, "team", SINCE, UNTIL)}
    assert teams == {"red": pytest.approx((HOURS - 1) * KWH), "blue": pytest.approx(KWH)}
