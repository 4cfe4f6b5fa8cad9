"""Two ledgers on one store: one computes, the other follows when it is gone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from tests.fixtures.clients import Through

from wattshed_collector.errors import Permanent, Retryable
from wattshed_collector.ledger import Ledger, NotLeader, Policy
from wattshed_collector.ledger_job import LedgerJob
from wattshed_collector.store import ledger_state
from wattshed_collector.store.client import Client
from wattshed_collector.store.lease import Lease, Timing, newest
from wattshed_collector.store.shards import Shards
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed, Reference

BASE = 1_768_471_200_000  # 2026-01-15T10:00:00Z
KEEP = Policy(raw_days=0)


def energy(second: int, joules: int, device: str = "d") -> Tick:
    ts = BASE + second * 1000
    return Tick(device, ts, 1000, Method.COUNTER, energy_uj=joules * 10**6)


class Watched(Through):
    """A client that tells when a statement of the ledger runs on it."""

    def __init__(self, client: Client, tell: Callable[[str], None]) -> None:
        super().__init__(client)
        self._tell = tell

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._tell("begin")
        self._client.command(sql, parameters)
        self._tell("end")


def test_two_ledgers_on_threads_never_compute_at_once(
    bed: Bed, reference: type[Reference], differ: Callable[..., list[str]]
) -> None:
    timing = Timing(length_seconds=120, settle_seconds=1.0, drift_seconds=0)
    busy: set[str] = set()
    both: list[str] = []
    done: dict[str, int] = {"a": 0, "b": 0}
    gate = threading.Lock()
    enough = threading.Event()

    def compute(name: str) -> None:
        def tell(what: str) -> None:
            with gate:
                (busy.add if what == "begin" else busy.discard)(name)
                if len(busy) > 1:
                    both.append(name)

        client = bed.store.client()
        lease = Lease(client, "ledger", name, timing)
        ledger = Ledger(Watched(client, tell), KEEP, lease=lease)
        while not enough.is_set():
            try:
                done[name] += bool(ledger.run())
            except NotLeader:
                continue
            lease.release()
            time.sleep(0.05)
        client.close()

    threads = [threading.Thread(target=compute, args=(name,), daemon=True) for name in done]
    for thread in threads:
        thread.start()
    ticks: list[Tick] = []
    give_up = time.monotonic() + 240
    while sum(done.values()) < 4 and time.monotonic() < give_up:
        ticks.append(energy(len(ticks), 100 * len(ticks) + random.randrange(100)))
        bed.write(Batch(ticks=(ticks[-1],)))
        time.sleep(0.1)
    enough.set()
    for thread in threads:
        thread.join(120)
    assert both == []
    assert sum(done.values()) >= 4
    bed.ledger().run()
    assert differ(bed.charged(), reference(ticks).minutes) == []


def leases(bed: Bed, clock: Callable[[], float]) -> tuple[Lease, Lease]:
    timing = Timing(length_seconds=30, settle_seconds=0.1, drift_seconds=1)
    first, second = (
        Lease(bed.client, "ledger", name, timing, monotonic=clock, sleep=lambda _: None)
        for name in ("first", "second")
    )
    return first, second


class Minutes:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_who_follows_does_what_the_dead_one_left(
    bed: Bed, reference: type[Reference], differ: Callable[..., list[str]]
) -> None:
    clock = Minutes()
    ours, theirs = leases(bed, clock)
    leader = Ledger(bed.client, KEEP, lease=ours)
    follower = Ledger(bed.client, KEEP, lease=theirs)
    ticks = [energy(s, s) for s in (0, 10, 20)]
    bed.write(Batch(ticks=tuple(ticks)))
    assert leader.run() == [BASE // 1000]
    assert follower.run() == ()
    more = [energy(s, 2 * s) for s in (30, 40)]
    bed.write(Batch(ticks=tuple(more)))
    assert follower.run() == ()
    clock.at += 40  # the leader says nothing any more
    assert follower.run() == [BASE // 1000]
    assert leader.run() == ()
    assert differ(bed.charged(), reference([*ticks, *more]).minutes) == []


def test_rows_of_a_leader_with_a_fast_clock_that_died_midway_do_not_stay(
    bed: Bed, reference: type[Reference], differ: Callable[..., list[str]]
) -> None:
    clock = Minutes()
    ours, theirs = leases(bed, clock)
    bed.write(Batch(ticks=(energy(0, 0), energy(10, 10))))
    fast = Ledger(bed.client, KEEP, now=lambda: time.time() + 3600, lease=ours)
    bed.client.command("RENAME TABLE charge_1h TO away")
    try:
        with pytest.raises(Permanent, match="charge_1h"):
            fast.run()
    finally:
        bed.client.command("RENAME TABLE away TO charge_1h")
    late = energy(5, 9)
    bed.write(Batch(ticks=(late,)))
    follower = Ledger(bed.client, KEEP, lease=theirs)
    assert follower.run() == ()
    clock.at += 40
    assert follower.run() == [BASE // 1000]
    assert differ(bed.charged(), reference([energy(0, 0), late, energy(10, 10)]).minutes) == []


def test_who_loses_the_lead_on_the_way_stops(bed: Bed) -> None:
    clock = Minutes()
    ours, theirs = leases(bed, clock)
    ticks = tuple(energy(hour * 3600, hour) for hour in range(14))
    bed.write(Batch(ticks=ticks))
    begun: list[str] = []

    def usurp(what: str) -> None:
        begun.append(what)
        if len(begun) == 1:
            assert not theirs.hold()
            clock.at += 40
            assert theirs.hold()

    ledger = Ledger(Watched(bed.client, usurp), Policy(raw_days=0, light_rows=0), lease=ours)
    with pytest.raises(NotLeader):
        ledger.run()
    state = ledger_state.read(bed.client)
    assert (state["leader"], state["watermark"], state["settled"]) == ("second", None, None)
    assert len(state["dirty_hours"]) == 14


def alone(client: Client, holder: str) -> Lease:
    """A candidate that knows of no rival at this moment and so need not wait."""
    return Lease(client, "ledger", holder, Timing(settle_seconds=60), sleep=lambda _: None)


def test_the_job_gives_its_lease_back_and_says_that_it_led(bed: Bed) -> None:
    telemetry = Telemetry()

    job = LedgerJob(
        lambda: Shards(bed.store.client()),
        KEEP,
        telemetry,
        60.0,
        lambda client: alone(client, "job"),
    )
    assert job.ask(lambda ledger: ledger.leads()).result(120)
    held = newest(bed.client, "ledger")
    assert held is not None
    assert (held.holder, held.until_us > 0) == ("job", True)
    assert telemetry.registry.get_sample_value("wattshed_collector_ledger_leader") == 1
    policy = {"idle_policy": "holder", "idle_below_e4": "500", "host_remainder": "platform"}
    name = "wattshed_collector_ledger_policy"
    assert telemetry.registry.get_sample_value(name, policy) == 1
    job.close()
    assert job.last_run is not None
    assert job.last_run["result"] == "ok"
    left = newest(bed.client, "ledger")
    assert left is not None
    assert left.until_us == 0


def test_a_job_follows_while_another_leads(bed: Bed) -> None:
    assert alone(bed.client, "other").hold()
    telemetry = Telemetry()
    job = LedgerJob(
        lambda: Shards(bed.store.client()),
        KEEP,
        telemetry,
        60.0,
        lambda client: Lease(client, "ledger", "job"),
    )
    with pytest.raises(Retryable, match="another collector computes"):
        job.ask(lambda ledger: ledger.recompute([BASE // 1000])).result(120)
    job.close()
    assert job.last_run is not None
    assert (job.last_run["result"], job.leads) == ("follows", False)
    assert bed.client.rows("SELECT count() FROM policy") == [(0,)]
    value = telemetry.registry.get_sample_value(
        "wattshed_collector_ledger_runs_total", {"result": "follows"}
    )
    assert value == 1


def test_one_that_is_not_enabled_answers_and_never_runs(bed: Bed) -> None:
    bed.write(Batch(ticks=(energy(0, 0), energy(60, 600))))
    job = LedgerJob(lambda: Shards(bed.store.client()), KEEP, Telemetry(), 0.01, enabled=False)
    try:
        assert job.ask(lambda ledger: len(ledger.policies().rows)).result(120) == 0
        assert job.ask(lambda ledger: len(ledger.run())).result(120) == 1
        assert (job.last_run, job.leads) == (None, False)
    finally:
        job.close()
