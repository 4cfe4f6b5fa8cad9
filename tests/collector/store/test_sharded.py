"""The sharded layout, really run: one shard, whose node is this engine, behind Distributed tables.

What needs a Keeper (Replicated engines, ON CLUSTER) is looked at as text; a cluster of two nodes
cannot be had without a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import clickhouse_connect
import pytest

from wattshed_collector import report
from wattshed_collector.factor import Factor
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store import (
    factors,
    ledger_state,
    lifecycle,
    live_power,
    procurement,
    quarantine,
    queries,
    sci,
    tree_queries,
)
from wattshed_collector.store.client import SESSION, Client, Row
from wattshed_collector.store.device_power import device_power
from wattshed_collector.store.holders import recent_holders
from wattshed_collector.store.layout import (
    SHARDED,
    UNITED_VIEWS,
    WHOLE,
    WHOLE_VIEWS,
    Layout,
    is_mutation,
)
from wattshed_collector.store.ledger_state import is_divided, raw_days
from wattshed_collector.store.marks import Marks
from wattshed_collector.store.migrate import Migration, migrate, migrations, missing
from wattshed_collector.store.outcome_queries import Asked, per_outcome
from wattshed_collector.store.policies import HostRemainder
from wattshed_collector.store.shards import SAID, Shards
from wattshed_collector.store.tenures import recent_tenures
from wattshed_collector.store.tree_sql import RECONCILE, REMAINDER
from wattshed_collector.store.write import Writer
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Device,
    Kind,
    Method,
    Outcome,
    Overlap,
    Tick,
    Workload,
)

BASE = 1_767_225_600
BY = ("workload", "team", "node", "device", "class")
WINDOWED = (
    queries.quality,
    queries.residual,
    queries.first_charge,
    tree_queries.reconciliation,
    quarantine.counted,
    quarantine.listed,
)
WHENEVER = (queries.live, queries.newest, tree_queries.tree, tree_queries.places)
FLEET = Layout(cluster="fleet", whole_cluster="all", database="wattshed")
NODE = """
<clickhouse>
  <tcp_port>9000</tcp_port>
  <remote_servers><fleet><shard><internal_replication>true</internal_replication>
    <replica><host>localhost</host><port>9000</port></replica></shard></fleet></remote_servers>
</clickhouse>
"""


class Unreplicated(Layout):
    """The sharded layout on nodes without a Keeper."""

    @property
    def on_cluster(self) -> str:
        return ""

    def placeholders(self) -> dict[str, str]:
        return {**super().placeholders(), "REPLICATED": ""}


ONE = Unreplicated(
    cluster="fleet", whole_cluster="fleet", database="wattshed", raw_days=9000, minute_days=9000
)


class Told(Shards):
    """Says which tables it would have waited for."""

    def __init__(self, client: Client, parts: tuple[Client, ...]) -> None:
        super().__init__(client, parts, ONE)
        self.synced: list[tuple[str, ...]] = []

    def sync(self, tables: Any = SAID) -> None:
        self.synced.append(tuple(tables))


@dataclass
class Node:
    """Two views of one engine: as everybody sees it, and as the shard itself."""

    outside: Client
    shard: Client
    open: Callable[[], Client]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    (folder / "node.xml").write_text(NODE)

    def client(database: str) -> Client:
        connection = clickhouse_connect.get_client(
            interface="chdb",
            path=str(folder / "chdb"),
            chdb_options={"config-file": str(folder / "node.xml"), "max_threads": "2"},
            database=database,
        )
        for name, value in SESSION.items():
            connection.command(f"SET {name} = '{value}'")
        return Client(connection)

    first = client("default")
    for statement in ONE.databases():
        first.command(statement)
    shard = client(ONE.shard_database)
    assert list(migrate(shard, ONE)) == migrations()
    node = Node(client("wattshed"), shard, lambda: client("wattshed"))
    yield node
    for each in (first, shard, node.outside):
        each.close()


def names(client: Client, like: str = "%") -> dict[str, str]:
    rows = client.rows(
        "SELECT name, engine FROM system.tables WHERE database = currentDatabase() "
        "AND name LIKE {like:String}",
        {"like": like},
    )
    return {str(name): str(engine) for name, engine in rows}


def test_everything_has_a_twin_but_the_materialized_views(node: Node) -> None:
    inside, outside = names(node.shard), names(node.outside)
    assert {n for n, engine in outside.items() if engine == "View"} == UNITED_VIEWS
    assert {engine for n, engine in outside.items() if n not in UNITED_VIEWS} == {"Distributed"}
    assert set(outside) == {n for n, engine in inside.items() if engine != "MaterializedView"}
    assert missing(node.shard) == []
    assert is_divided(node.outside)
    assert not is_divided(node.shard)
    assert raw_days(node.outside) == raw_days(node.shard) == 9000


def meters() -> Batch:
    """A wall plug over two GPUs, one of them held by a job."""
    devices = (
        Device("wall", Kind.HOST, "n", "smartplug", overlap=Overlap.OUTER),
        Device("g0", Kind.GPU, "n", "nvml", site="s"),
        Device("g1", Kind.GPU, "n", "nvml", site="s"),
    )
    watts = {"wall": 700.0, "g0": 300.0, "g1": 200.0}
    ticks = tuple(
        Tick(key, (BASE + m * 60) * 1000, 60_000, Method.INTEGRAL, watts[key])
        for key in watts
        for m in range(121)
    )
    job = Workload("job/1", name="job 1", kind="job", team="t")
    held = Allocation("g0", "job/1", BASE * 1000, (BASE + 7200) * 1000, 1.0)
    made = tuple(
        Outcome("job/1", "step", (BASE + at) * 1000, total, BASE * 1000)
        for at, total in ((600, 0.0), (1800, 60.0), (5400, 240.0))
    )
    return Batch(devices=devices, ticks=ticks, workloads=(job,), allocations=(held,), outcomes=made)


def test_the_ledger_of_a_shard_is_the_ledger(node: Node) -> None:
    writer = Writer(node.open, window_seconds=0.0)
    for _ in range(2):
        writer.submit(meters()).result(120)
    writer.close()
    shards = Told(node.outside, (node.shard,))
    policy = Policy(raw_days=0, host_remainder=HostRemainder.PROPORTIONAL)
    ledger = Ledger(node.outside, policy, shards=shards, late_seconds=3600)
    hours = [BASE, BASE + 3600]
    assert set(hours) <= set(ledger.run())
    assert ledger.sum_up() == 1
    sums: dict[str, float] = dict(
        node.outside.rows("SELECT team, sum(joules) FROM v_energy_1h GROUP BY team ORDER BY team")
    )
    assert sum(sums.values()) == pytest.approx(700 * 7200)
    # The plug's 200 W beside its GPUs go to the job by its part of what they were charged.
    assert sums["t"] == pytest.approx((300 + 200 * 300 / 500) * 7200)
    for view in ("v_energy_1m", "v_workload_1m", "v_workload_1h", "v_workload_1d"):
        ((total,),) = node.outside.rows(f"SELECT sum(joules) FROM {view}")
        assert total == pytest.approx(700 * 7200), view
    residuals = node.outside.rows(
        "SELECT max(abs(residual_joules)), count() FROM v_conservation_1h"
    )
    assert residuals[0][0] < 1e-6
    assert residuals[0][1] >= 6
    assert node.outside.rows("SELECT DISTINCT status FROM v_reconciliation_1h") == [("ok",)]
    # Outcomes lie by workload, charges by device: the plug's part is in the job's joules as well.
    ((made, loaded, before),) = node.outside.rows(
        "SELECT sum(count), sum(loaded_joules), sum(before_joules) FROM v_outcome_1h"
    )
    assert (made, loaded + before) == (pytest.approx(240), pytest.approx(sums["t"]))
    assert before == pytest.approx(sums["t"] * 600 / 7200)
    for tables in (
        ("measured_1m", "reconcile_1h"),
        ("charge_1m", "reconcile_1h"),
        ("charge_1m", "charge_1h", "outcome_1m"),
    ):
        assert shards.synced.count(tables) >= 2, tables
    exact = "round(sum(joules), 6), round(sum(seconds), 6)"
    by = "t, device, workload, class"
    view = f"SELECT {by}, {exact} FROM v_energy_1h GROUP BY {by} ORDER BY ALL"
    before = node.outside.rows(view)
    ledger.recompute(hours)
    assert node.outside.rows(view) == before


def test_prices_of_hours_without_readings_are_charged_on_every_shard(node: Node) -> None:
    def joules() -> list[Row]:
        return [
            row
            for view in ("v_charge_1m", "v_charge_1h", "v_workload_1m", "v_measured_1m")
            for row in node.outside.rows(f"SELECT sum(v.joules), count() FROM {view} AS v")
        ]

    before = joules()
    told = [Factor("price", "", BASE, 0.5, "EUR/kWh"), Factor("pue", "s", BASE, 1.2)]
    assert factors.put(node.outside, told, BASE + 86_400) == 3
    shards = Told(node.outside, (node.shard,))
    ledger = Ledger(node.outside, Policy(raw_days=1), shards=shards, late_seconds=3600)
    assert ledger.run() == [BASE, BASE + 3600]
    assert joules() == before
    assert ("workload_1h", "outcome_1h") in shards.synced
    assert {"factor", "grid", "site_zone"}.issubset(*(t for t in shards.synced if "tick" in t))
    cost = 700 * 7200 / 3.6e6 * 0.5
    for view in ("v_energy_1h", "v_workload_1h", "v_workload_1d", "v_device_1d"):
        ((paid, unpaid),) = node.outside.rows(
            f"SELECT sum(v.cost), countIf(isNull(v.cost)) FROM {view} AS v WHERE joules != 0"
        )
        # The plug is a device of no site that contains the others.
        assert (paid, unpaid) == (pytest.approx(cost), 0), view
    assert node.outside.rows(
        "SELECT DISTINCT facility_joules / joules FROM v_energy_1h WHERE site = 's' AND joules != 0"
    ) == [(pytest.approx(1.2),)]
    ((made,),) = node.outside.rows("SELECT sum(cost) FROM v_outcome_1h WHERE currency = 'EUR'")
    ((loaded,),) = node.outside.rows("SELECT sum(loaded_joules) FROM v_outcome_1h")
    assert made == pytest.approx(loaded / 3.6e6 * 0.5)
    assert node.outside.rows("SELECT count() FROM v_open_hour") == [(0,)]
    assert not ledger.run()


def test_every_question_is_answered_as_on_the_shard_itself(node: Node) -> None:
    """Through the twins, whose joins and subqueries are over the whole cluster."""
    since, until = BASE, BASE + 7200
    asked: list[Callable[[Client], Any]] = [
        *(partial(queries.energy, by=by, since=since, until=until) for by in BY),
        *(partial(ask, since=since, until=until) for ask in WINDOWED),
        lambda client: per_outcome(client, Asked(("team", "hardware"), since, until + 60)),
        lambda client: client.rows("SELECT * FROM v_outcome_1h ORDER BY t, workload_id, outcome"),
        lambda client: client.rows("SELECT * FROM v_outcome_1d ORDER BY t, workload_id, outcome"),
        lambda client: client.rows("SELECT * FROM v_device_1d ORDER BY t, device_id"),
        lambda client: client.rows("SELECT * FROM v_site_1h ORDER BY t, site, class"),
        lambda client: client.rows("SELECT * FROM v_embodied_1h ORDER BY t, device, workload"),
        lambda client: sci.parts(client, "step", "team", since, until, 10),
        lambda client: procurement.cards(client, since, until),
        lambda client: procurement.produced(client, since, until),
        lambda client: procurement.supplies(client, since, until),
        lambda client: [{**row, "age_years": None} for row in lifecycle.register(client)],
        lifecycle.drift,
        *WHENEVER,
        lambda client: {**report.build(client, since, until), "generated": None},
        lambda client: recent_tenures(client, ["podresources"]),
        recent_holders,
        lambda client: ledger_state.measured(client),
        lambda client: ledger_state.extent(client),
    ]
    asked += [
        partial(live_power.power_now, by="team", now=until),
        *(partial(device_power, device="g0", since=since, until=until, step=n) for n in (60, 420)),
    ]
    for ask in asked:
        assert ask(node.outside) == ask(node.shard), ask
    assert node.outside.rows("SELECT count() FROM power_hour FINAL") == [(9,)]
    assert {row["watts"] for row in asked[-1](node.outside)} == {300.0}
    assert queries.energy(node.outside, "team", since, until)[0]["joules"] > 0
    ((total,),) = node.outside.rows("SELECT sum(joules) FROM v_device_1d")
    assert total == pytest.approx(700 * 7200)


def test_a_mark_that_is_seen_late_is_not_missed(node: Node) -> None:
    """Stamped a quarter of an hour ago, by a node whose clock is off, or after a slow insert."""
    marks = Marks(late_seconds=3600)
    now_us = int(node.outside.rows("SELECT toUnixTimestamp64Micro(now64(6))")[0][0])
    marks.done(marks.read(node.outside, now_us).seen)
    assert marks.read(node.outside, now_us).touched == set()
    late = now_us - 900_000_000
    node.outside.insert("dirty", {"hour": [BASE + 7200], "ingested_at": [late]})
    assert marks.read(node.outside, now_us).touched == {BASE + 7200}
    assert marks.read(node.outside, now_us).touched == {BASE + 7200}, (
        "a run that failed is done again"
    )
    marks.done(marks.read(node.outside, now_us).seen)
    assert marks.read(node.outside, now_us).touched == set()
    assert Marks().read(node.outside, now_us).touched == set()
    marks.forget()
    assert BASE + 7200 in marks.read(node.outside, now_us).touched


def rendered() -> list[str]:
    return [s for m in migrations() for s in m.statements(FLEET)]


class TestText:
    """What of the layout needs a Keeper."""

    def test_each_table_is_said_to_be_whole_or_in_parts(self) -> None:
        pattern = r"CREATE (?:OR REPLACE )?TABLE (?:IF NOT EXISTS )?(\w+)"
        made = {name for m in migrations() for name in re.findall(pattern, m.template)}
        assert made | {"migration"} == SHARDED.keys() | WHOLE
        assert not SHARDED.keys() & WHOLE

    def test_a_table_of_which_nobody_says_it_is_an_error(self) -> None:
        file = (
            "CREATE TABLE novel {{ON_CLUSTER}} (a Int8) ENGINE = {{REPLICATED}}MergeTree ORDER BY a"
        )
        with pytest.raises(KeyError, match="novel"):
            Migration(9, "x", file).statements(FLEET)

    def test_a_part_has_the_path_of_its_shard_and_a_whole_one_that_of_all(self) -> None:
        for statement in rendered():
            found = re.match(r"CREATE (?:OR REPLACE )?TABLE (?:IF NOT EXISTS )?(\w+)", statement)
            if found is None:
                continue
            engine = re.search(
                r"ENGINE = Replicated(\w*)MergeTree\('([^']*)', '([^']*)'", statement
            )
            assert engine, statement[:60]
            part = "/clickhouse/tables/{uuid}/{shard}", "{replica}"
            whole = "/clickhouse/tables/{uuid}/whole", "{shard}-{replica}"
            assert engine.groups()[1:] == (whole if found[1] in WHOLE else part), found[1]

    def test_arguments_of_engines_are_kept(self) -> None:
        text = "\n".join(rendered())
        assert "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/whole', " in text
        assert "'{shard}-{replica}', version)" in text
        assert not re.search(r"ENGINE = (Replacing|Aggregating|Coalescing)?MergeTree", text)

    def test_rows_of_a_device_meet_on_its_shard(self) -> None:
        wanted = "Distributed('fleet', 'wattshed_shard', '{0}', cityHash64(device_id))"
        for table in ("tick", "allocation", "charge_1m", "reconcile_1h", "sample"):
            assert wanted.format(table) in FLEET.twin(table)
        assert "Distributed('all', 'wattshed_shard', 'device')" in FLEET.twin("device")
        assert "Distributed('fleet', 'wattshed_shard', 'v_energy_1h')" in FLEET.twin("v_energy_1h")

    def test_views_that_are_whole_read_nothing_of_a_shard(self) -> None:
        last: dict[str, str] = {}
        for migration in migrations():
            for statement in migration.statements(FLEET):
                if view := re.match(r"CREATE OR REPLACE VIEW (\w+)", statement):
                    last[view[1]] = statement
        for name, text in last.items():
            read = set(re.findall(r"\b(?:FROM|JOIN) (\w+)", text))
            parts = {n for n in read if n in SHARDED or (n in last and n not in WHOLE_VIEWS)}
            assert bool(parts) is (name not in WHOLE_VIEWS), name

    def test_views_that_compare_devices_of_all_shards_read_the_twins(self) -> None:
        statements = [s for m in migrations() for s in FLEET.twins(m.statements(FLEET))]
        for name in UNITED_VIEWS:
            text = [s for s in statements if f"`wattshed`.{name} " in s][-1]
            assert text.startswith(f"CREATE OR REPLACE VIEW `wattshed`.{name} ON CLUSTER 'fleet'")
            assert "FROM `wattshed`.latest" in text
            assert not re.findall(r"\b(?:FROM|JOIN) [a-z]", text)

    @pytest.mark.parametrize(
        ("statement", "is_one"),
        [
            ("ALTER TABLE tick UPDATE gap = NULL WHERE gap = ''", True),
            ("ALTER TABLE tick ON CLUSTER 'f' DELETE WHERE 1", True),
            ("ALTER TABLE tick MATERIALIZE COLUMN x", True),
            ("ALTER TABLE tick ADD COLUMN IF NOT EXISTS x Int8", False),
            ("INSERT INTO dirty SELECT 1", False),
        ],
    )
    def test_what_rewrites_rows_goes_on_in_the_background(
        self, statement: str, is_one: bool
    ) -> None:
        assert is_mutation(statement) is is_one


class Said(Client):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.said.append(sql)


def test_what_lies_on_several_shards_is_reconciled_once() -> None:
    outside, first, second = Said(), Said(), Said()
    shards = Shards(outside, (first, second), FLEET)
    for statement in ("INSERT INTO piece ...", RECONCILE, "INSERT INTO charge_1m ...", REMAINDER):
        shards.command(statement, {})
    assert first.said == second.said
    assert [text.split("(")[0].strip() for text in first.said] == [
        "INSERT INTO piece ...",
        "INSERT INTO reconcile_1h",
        "INSERT INTO charge_1m ...",
    ]
    assert "FROM measured_1m" not in first.said[1]
    waited = [text for text in outside.said if text.startswith("SYSTEM SYNC REPLICA ON CLUSTER")]
    assert len(waited) == 8
    assert "`wattshed_shard`.measured_1m LIGHTWEIGHT" in waited[0]
    assert [text for text in outside.said if text not in waited] == [RECONCILE, REMAINDER]


def test_on_one_server_every_statement_runs_where_the_tables_are() -> None:
    alone = Said()
    shards = Shards(alone)
    shards.sync()
    shards.command(RECONCILE, {})
    assert alone.said == [RECONCILE]
