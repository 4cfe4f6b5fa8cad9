"""Migrations: every statement applies, once, and a store that does not fit is refused."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.errors import Permanent
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import ledger_state
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import (
    VERSIONS,
    Layout,
    Migration,
    migrate,
    migrations,
    passing_views,
)
from wattshed_exporter.model import stable_id


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    store = Store(tmp_path)
    client = store.client()
    yield client
    client.close()
    store.close()


Migrated = Callable[[Layout], Client]
LAST = migrations()[-1]
MADE = """
SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name
"""


@pytest.fixture
def migrated(stores: Stores, tmp_path: Path) -> Iterator[Migrated]:
    """Open a store that has every migration already."""
    opened: list[tuple[Client, Store]] = []

    def migrated(layout: Layout) -> Client:
        stores.prepare(tmp_path / "data", layout)
        store = Store(tmp_path / "data")
        opened.append((store.client(), store))
        return opened[0][0]

    yield migrated
    for client, store in opened:
        client.close()
        store.close()


def tables(client: Client) -> set[str]:
    rows = client.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return {str(name) for (name,) in rows}


def declared() -> set[str]:
    """The tables and views that there are when each file has created and dropped its own."""
    made = r"CREATE (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW) (?:IF NOT EXISTS )?(\w+)"
    gone = r"DROP VIEW IF EXISTS (\w+)"
    found: set[str] = set()
    for migration in migrations():
        for created, dropped in re.findall(f"{made}|{gone}", migration.template):
            found = found | {created} if created else found - {dropped}
    return found


def test_numbers_count_up_from_one() -> None:
    found = migrations()
    assert [m.number for m in found] == list(range(1, len(found) + 1))
    assert [m.name for m in found[:3]] == ["facts", "ledger", "views"]
    assert [m.name for m in found[3:]] == [
        "versions",
        "samples",
        "merging_ticks",
        "attribution",
        "rollups",
        "containment",
        "finished_hours",
        "tick_beside",
        "finished_hours_only",
        "wide_details",
        "latest",
        "other_metrics",
        "cheaper_inserts",
        "workload_minutes",
        "outcome_dimensions",
        "outcome_rollup",
        "slo",
        "quality",
        "signals",
        "boards",
        "boards_more",
        "grid",
        "decisions",
        "advice",
        "lifecycle",
        "showback",
        "grid_more",
        "advice_more",
        "lifecycle_more",
        "what_was_left",
        "power_hours",
    ]


def test_each_table_is_made_in_one_file() -> None:
    """But those that a later file builds again from what they hold."""
    made = [
        name
        for m in migrations()
        for name in sorted(set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", m.template)))
    ]
    assert sorted(made) == sorted(set(made))


def test_everything_declared_is_there_and_a_second_run_applies_nothing(client: Client) -> None:
    assert list(migrate(client, Layout())) == migrations()
    assert tables(client) == declared() | {"migration"}
    assert list(migrate(client, Layout())) == []
    applied = client.rows("SELECT number, name, checksum FROM migration FINAL ORDER BY number")
    assert applied == [(m.number, m.name, m.checksum) for m in migrations()]


def test_every_statement_may_be_repeated_and_what_a_new_store_skips_changes_nothing(
    migrated: Migrated,
) -> None:
    # As after a crash between the statements and the note that they were applied.
    client = migrated(Layout())
    made = client.rows(MADE)
    passing = passing_views(migrations(), Layout())
    assert len(passing) > 20
    assert {text for m in migrations() for text in m.statements(Layout())} > passing
    client.command("DELETE FROM migration WHERE number < {last:UInt32}", {"last": LAST.number})
    assert list(migrate(client, Layout())) == migrations()[:-1]
    for statement in LAST.statements(Layout()):
        client.command(statement)
    assert client.rows(MADE) == made
    assert tables(client) == declared() | {"migration"}


def test_a_view_that_another_reads_meanwhile_is_no_passing_one() -> None:
    texts = (
        "CREATE OR REPLACE VIEW v_a AS SELECT 1 AS x",
        "CREATE OR REPLACE VIEW v_b AS SELECT 1 AS y",
        "CREATE OR REPLACE VIEW v_c AS SELECT x FROM v_a",
        "CREATE OR REPLACE VIEW v_a AS SELECT 2 AS x",
        "CREATE OR REPLACE VIEW v_b AS SELECT 2 AS y",
    )
    made = [Migration(at, "one", text) for at, text in enumerate(texts, 1)]
    assert passing_views(made, Layout()) == {texts[1]}
    assert passing_views(made, Layout("c", whole_cluster="w")) == frozenset()


def test_a_dry_run_of_a_new_store_writes_nothing(client: Client) -> None:
    assert list(migrate(client, Layout(), dry_run=True)) == migrations()
    assert tables(client) == set()


def test_a_dry_run_says_what_is_missing(migrated: Migrated) -> None:
    client = migrated(Layout())
    client.command("DELETE FROM migration WHERE number = 3")
    assert list(migrate(client, Layout(), dry_run=True)) == [migrations()[2]]


def test_an_edited_migration_is_refused(migrated: Migrated) -> None:
    client = migrated(Layout())
    client.insert("migration", {"number": [2], "name": ["ledger"], "checksum": ["0" * 16]})
    with pytest.raises(Permanent, match="0002_ledger was edited after it was applied"):
        migrate(client, Layout())


def test_a_newer_store_is_refused(migrated: Migrated) -> None:
    client = migrated(Layout())
    client.insert("migration", {"number": [99], "name": ["later"], "checksum": ["x"]})
    with pytest.raises(
        Permanent, match=r"the store is at migration 99, this version knows only \d"
    ):
        migrate(client, Layout())


def test_ticks_that_were_there_before_the_table_was_built_again_are_kept(client: Client) -> None:
    first = migrations()[0]
    for statement in first.statements(Layout(raw_days=0)):
        client.command(statement)
    client.insert("tick", {"ts": [1, 2, 1], "device_id": [7, 7, 7], "energy_uj": [5, None, 6]})
    migrate(client, Layout(raw_days=0))
    assert client.rows("SELECT energy_uj FROM tick ORDER BY ts") == [(6,), (None,)]
    client.insert("tick", {"ts": [1], "device_id": [7], "power_uw": [9]})
    assert client.rows("SELECT power_uw, energy_uj FROM tick FINAL ORDER BY ts LIMIT 1") == [(9, 6)]


@pytest.mark.parametrize(("days", "found"), [(30, True), (0, False)])
def test_retention_is_in_the_tables(migrated: Migrated, days: int, found: bool) -> None:
    client = migrated(Layout(raw_days=days, minute_days=6 * days))
    rows = client.rows("SELECT name, create_table_query FROM system.tables")
    told = {str(name): str(query) for name, query in rows}
    for table in (
        "tick",
        "sample",
        "outcome",
        "tick_hour",
        "power_hour",
        "activity_hour",
        "measured_1m",
        "charge_1m",
    ):
        assert ("TTL" in told[table]) is found, table
    assert "TTL" not in told["charge_1h"]


def test_prices_told_of_hours_that_nothing_reads_any_more_are_due_after_an_upgrade(
    migrated: Migrated,
) -> None:
    client = migrated(Layout())
    now = time.time()
    ages = [at + day * 24 for day in (0, 26, 27, 28, 29, 30, 44) for at in (0, 1)]
    hours = [int(now) // 3600 * 3600 - age * 3600 for age in ages]
    client.insert("ledger_hour", {"t": hours, "version": [1] * len(hours)})
    # A month's part of it goes as a whole, long after the last of its readings.
    client.insert("tick_hour", {"hour": [hours[-1]], "device_id": [1]})
    (mark,) = (
        text
        for migration in migrations() if migration.name == "what_was_left"
        for text in migration.statements(Layout()) if text.startswith("INSERT INTO dirty")
    )  # fmt: skip
    client.command(mark)
    assert ledger_state.read(client)["dirty_hours"] == [], "no price was told"
    client.insert("factor", {"kind": ["price"], "site": ["a"], "start_ts": [1], "value": [1.0]})
    for since in (0, int(now) - 27 * 86_400):
        ledger_state.keep_raw_since(client, since)
        client.command(mark)
        oldest = Ledger(client, Policy(raw_days=30, raw_since=since), lambda: now).oldest
        old = [hour for hour in sorted(hours) if hour < oldest]
        assert len(old) >= 4
        assert ledger_state.read(client)["dirty_hours"] == old


class TestCluster:
    def test_every_table_is_replicated_and_every_statement_on_the_cluster(self) -> None:
        layout = Layout(cluster="fleet")
        for migration in migrations():
            for statement in migration.statements(layout):
                assert "{{" not in statement
                # What is inserted is replicated by the table.
                assert "ON CLUSTER 'fleet'" in statement or statement.startswith("INSERT INTO")
                if re.match(r"CREATE (OR REPLACE )?TABLE", statement):
                    assert re.search(
                        r"ENGINE = Replicated(Replacing|Aggregating|Coalescing)?MergeTree",
                        statement,
                    )
                    assert "('/clickhouse/tables/{uuid}/whole', '{replica}'" in statement

    def test_embedded_has_none_of_it(self) -> None:
        text = "".join(s for m in migrations() for s in m.statements(Layout()))
        assert not re.search(r"\{\{|ON CLUSTER|Replicated", text)

    def test_an_unknown_placeholder_is_an_error(self) -> None:
        with pytest.raises(KeyError, match="NONSENSE"):
            Migration(9, "x", "SELECT {{NONSENSE}}").statements(Layout())


def test_the_checksum_is_of_the_template() -> None:
    first = migrations()[0]
    assert re.fullmatch(r"[0-9a-f]{16}", first.checksum)
    assert replace(first, template=first.template + " ").checksum != first.checksum


KEEP_ALL = Layout(raw_days=0, minute_days=0)
BASE = 1_768_471_200_000


def before(client: Client, number: int) -> None:
    """Make a store that has no migration from ``number`` on."""
    client.command(Layout().render(VERSIONS)[0])
    for migration in migrations()[: number - 1]:
        for statement in migration.statements(KEEP_ALL):
            client.command(statement)
        applied: dict[str, list[object]] = {
            "number": [migration.number],
            "name": [migration.name],
        }
        client.insert("migration", {**applied, "checksum": [migration.checksum]})


def power(client: Client, device: int, watts: int, minutes: range) -> None:
    client.insert(
        "tick",
        {
            "ts": [BASE + m * 60_000 for m in minutes],
            "device_id": [device] * len(minutes),
            "power_uw": [watts * 10**6] * len(minutes),
            "interval_ms": [60_000] * len(minutes),
            "method": ["integral"] * len(minutes),
        },
    )


def test_an_outer_meter_of_an_older_store_is_in_no_sum_twice(client: Client) -> None:
    """It was charged with all that it measured, and left out of sums; marks were done with."""
    # Before allocations could be shared and meters reconciled.
    before(client, 7)
    client.insert(
        "device",
        {
            "device_id": [stable_id("gpu"), stable_id("bmc")],
            "key": ["gpu", "bmc"],
            "kind": ["gpu", "host"],
            "node": ["n", "n"],
            "source": ["nvml", "ipmi"],
            "overlap": ["", "outer"],
        },
    )
    for key, watts in (("gpu", 300), ("bmc", 500)):
        power(client, stable_id(key), watts, range(61))
        charged: dict[str, list[object]] = {
            "t": [BASE // 1000],
            "device_id": [stable_id(key)],
            "workload_id": [0],
            "class": ["unattributed"],
            "joules": [watts * 3600.0],
            "seconds": [3600.0],
            "version": [1],
        }
        for table in ("charge_1m", "charge_1h"):
            client.insert(table, charged)
    client.command("TRUNCATE TABLE dirty")
    migrate(client, KEEP_ALL)
    assert client.rows("SELECT sum(joules) FROM v_workload_1h") == [(300 * 3600.0,)]
    Ledger(client, Policy(raw_days=0)).run()
    for view in (
        "v_workload_1m",
        "v_workload_1h",
        "v_workload_1d",
        "v_energy_1h",
        "v_energy_1m",
    ):
        total = client.rows(f"SELECT sum(joules) FROM {view}")[0][0]
        assert total == pytest.approx(500 * 3600.0), view


def test_allocations_of_an_older_store_are_charged_as_before(client: Client) -> None:
    """An hour that is computed again after the upgrade comes out as it did before it."""
    # Before allocations could be shared and meters reconciled.
    before(client, 7)
    power(client, 7, 60, range(181))
    held = [(5, 0, 90, 1.0, 0), (5, 0, 150, 1.0, 0), (6, 60, 120, 0.5, 0), (6, 60, 60, 0.5, 1)]
    client.insert(
        "allocation",
        {
            "device_id": [7] * len(held),
            "workload_id": [workload for workload, *_ in held],
            "start_ts": [BASE + start * 60_000 for _, start, *_ in held],
            "end_ts": [BASE + end * 60_000 for _, _, end, *_ in held],
            "share": [share for *_, share, _ in held],
            "revision": [revision for *_, revision in held],
        },
    )
    assert list(migrate(client, KEEP_ALL)) == migrations()[6:]
    for run in range(2):
        Ledger(client, Policy(raw_days=0)).run()
        rows = client.rows(
            "SELECT workload_id, class, sum(joules) FROM charge_1h FINAL "
            "WHERE seconds != 0 GROUP BY 1, 2 ORDER BY 1"
        )
        assert rows == [
            (0, "unattributed", pytest.approx(30 * 3600.0)),
            (5, "active", pytest.approx(150 * 3600.0)),
        ], run


def test_zones_and_prices_of_an_older_store_hold_since_ever(client: Client) -> None:
    """What lay in a zone lies there still, and what its prices say is charged now."""
    before(client, 30)
    keys: dict[str, list[object]] = {"device_id": [7], "key": ["d"], "node": ["n"]}
    client.insert("device", {**keys, "kind": ["gpu"], "source": ["nvml"], "site": ["a"]})
    power(client, 7, 1000, range(121))
    for zone, version in (("FR", 1), ("DE", 2)):
        client.insert(
            "site_zone",
            {"site": ["a"], "zone": [zone], "yearly_g_per_kwh": [50.0], "version": [version]},
        )
    step: dict[str, list[object]] = {"start_ts": [BASE // 1000], "end_ts": [BASE // 1000 + 7200]}
    price: dict[str, list[object]] = {"kind": ["price"], "unit": ["EUR/kWh"], "version": [1]}
    client.insert("grid", {**price, **step, "zone": ["DE"], "value": [0.25]})
    client.insert("factor", {**price, "site": ["a"], "start_ts": [BASE // 1000 + 60]})
    for site in ("a", ""):
        told: dict[str, list[object]] = {"job": ["j" + site], "at_ts": [BASE // 1000]}
        client.insert("decision", {**told, "site": [site], "version": [1]})
    # As a run of the ledger leaves it.
    hours = [BASE // 1000, BASE // 1000 + 3600]
    client.insert("tick_hour", {"hour": hours, "device_id": [7, 7]})
    client.command("TRUNCATE TABLE dirty")
    assert list(migrate(client, KEEP_ALL)) == migrations()[29:]
    lies = "SELECT zone, toUnixTimestamp(since), yearly_g_per_kwh, yearly_said_ts FROM v_site_zone"
    assert client.rows(lies) == [("DE", 0, 50.0, None)]
    assert client.rows("SELECT job, by_zone FROM decision ORDER BY job") == [("j", 1), ("ja", 0)]
    Ledger(client, Policy(raw_days=0)).run()
    costs = "SELECT sum(cost), any(currency) FROM v_workload_1h GROUP BY t ORDER BY t"
    assert client.rows(costs)[0] == (pytest.approx(0.25), "EUR")
