"""From a folder to a server: what is there is the same, however often the move is begun."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.conftest import KEEP_ALL, Bed
from tests.fixtures.clickhouse import Fault, Front, Request, served

from wattshed_collector.cli.move import _moved
from wattshed_collector.errors import Permanent, Retryable
from wattshed_collector.store import move, server
from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.layout import SHARDED, WHOLE
from wattshed_collector.store.migrate import migrate
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

BASE = 1_767_225_600
VIEW = "SELECT t, device, workload, class, joules FROM v_energy_1h ORDER BY ALL"


@pytest.fixture
def front(bed: Bed) -> Iterator[Front]:
    bed.client.command("CREATE DATABASE moved")
    with served(Path(bed.store.target) / "chdb", password="hush") as front:
        yield front


@pytest.fixture
def target(front: Front) -> Iterator[Client]:
    client = Store(front.url, told=server.parse(f"{front.url}/moved")).client()
    migrate(client, KEEP_ALL)
    yield client
    client.close()


@pytest.fixture
def source(bed: Bed) -> Client:
    """Two days of a GPU that a job holds, sent twice, charged."""
    ticks = tuple(
        Tick("g", (BASE + m * 600) * 1000, 600_000, Method.INTEGRAL, 100.0, temperature_celsius=t)
        for m, t in zip(range(200), [None, 31.5] * 100, strict=True)
    )
    batch = Batch(
        (Device("g", Kind.GPU, "n", "nvml"),),
        ticks,
        workloads=(Workload("job/1", name="job 1", kind="job"),),
        allocations=(Allocation("g", "job/1", BASE * 1000, (BASE + 9000) * 1000, 1.0),),
    )
    bed.write(batch, batch)
    bed.ledger().run()
    return bed.client


def moved(source: Client, target: Client, at_once: int = 50) -> int:
    """Move what is missing; return how many rows were sent."""
    sent = 0
    for part, is_missing in move.unsent(source, target, move.parts(source)):
        if is_missing:
            sent += sum(move.send(source, target, part, at_once))
    return sent


def test_what_is_moved_is_the_same_and_is_sent_once(
    source: Client, target: Client, front: Front
) -> None:
    found = move.parts(source)
    assert {part.partition for part in found if part.table == "tick"} == {20260101, 20260102}
    assert {part.table for part in found[-2:]} <= {*move.LAST}
    # The server fails when the ticks come, and what was cut off is begun again.
    front.faults.append(Fault(is_of_ticks, status=500, code=241, times=9))
    with pytest.raises(Retryable):
        moved(source, target)
    front.faults.clear()
    assert moved(source, target) > 200
    assert target.rows(VIEW) == source.rows(VIEW) != []
    last = "SELECT * FROM latest FINAL"
    assert target.rows(last) == source.rows(last) != []
    assert moved(source, target) == 0
    told = {
        "rows": sum(part.rows for part in found),
        "partitions": len(found),
        "tables": len({part.table for part in found}),
    }
    for dry_run, sent in ((True, None), (False, 0)):
        assert _moved(source, target, dry_run) == {**told, "dry_run": dry_run, "sent_rows": sent}
    temperatures = "SELECT count(), count(temp_e1) FROM tick FINAL"
    assert target.rows(temperatures) == source.rows(temperatures) == [(200, 100)]
    # What somebody else has written there is not taken for what was sent.
    (part,) = [part for part in found if part.table == "device"]
    target.insert("device", {"device_id": [1], "key": ["another"]})
    with pytest.raises(Permanent, match=r"device, partition 0: 1 rows were sent and 2 are there"):
        list(move.send(source, target, part))


def is_of_ticks(request: Request) -> bool:
    return re.match(r"INSERT INTO `?tick`? ", request.text) is not None


def test_every_table_is_moved_or_said_to_stay() -> None:
    assert SHARDED.keys() | WHOLE > move.LEFT_BEHIND
