"""Group commit: durable answers, full queues, bad neighbours, a thread that outlives everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.errors import Permanent, Retryable, StoreError
from wattshed_collector.store.client import Client
from wattshed_collector.store.frames import frame
from wattshed_collector.store.held import Held, Key
from wattshed_collector.store.insert import Insert
from wattshed_collector.store.limits import Changes
from wattshed_collector.store.pace import SAVED_SECONDS
from wattshed_collector.store.queue import BULKY_ROWS, Busy
from wattshed_collector.store.rows import Ids, tick_columns
from wattshed_collector.store.write import Writer
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

BASE = 1_768_471_200_000
HOUR = 3_600_000
DAY = 24 * HOUR


def batch(*times: int, device: str = "d") -> Batch:
    return Batch(ticks=tuple(Tick(device, BASE + t, 1000, Method.COUNTER, 1.0) for t in times))


POISON = Batch(ticks=(Tick("poison", BASE, 1000, Method.COUNTER, 1.0, temperature_celsius=1e6),))
"""Ten million tenths of a degree: no Int16, so the driver refuses the whole insert."""


class Refusing:
    """A sink that keeps nothing and refuses rows of some devices."""

    def __init__(self, refused: Set[str], error: StoreError | None = None) -> None:
        self.tried = 0
        self._refused = {stable_id(key).to_bytes(8, "little") for key in refused}
        self._error = error or Permanent("refused")

    def write(self, inserts: Sequence[Insert]) -> None:
        self.tried += 1
        if any(known in insert.body for insert in inserts for known in self._refused):
            raise self._error

    def stored(self, keys: Sequence[Key]) -> dict[Key, Held]:
        return {}

    def limits(self) -> Changes:
        return {}


def no_client() -> Client:
    raise AssertionError("nothing is to be asked of the store")


def count(bed: Bed, table: str = "tick") -> int:
    ((found,),) = bed.client.rows(f"SELECT count() FROM {table} FINAL")
    return int(found)


class TestGroupCommit:
    def test_an_answer_means_that_it_is_there(self, bed: Bed) -> None:
        writer = bed.writer()
        for n in range(5):
            writer.submit(batch(n)).result(120)
            assert count(bed) == n + 1
        writer.close()

    def test_many_requests_share_one_insert(self, bed: Bed) -> None:
        writer = bed.writer(window_seconds=0.2)
        futures = [writer.submit(batch(n)) for n in range(50)]
        for future in futures:
            future.result(120)
        writer.close()
        assert (writer.counters.batches, writer.counters.ticks) == (50, 50)
        assert writer.counters.commits <= 2
        assert count(bed) == 50

    def test_a_group_ends_where_it_is_large_enough(self, bed: Bed) -> None:
        writer = bed.writer(window_seconds=0.2, group_rows=4)
        for future in [writer.submit(batch(n)) for n in range(6)]:
            future.result(120)
        writer.close()
        assert writer.counters.commits == 3

    def test_rows_that_come_as_arrays_are_rows_like_others(self, bed: Bed) -> None:
        now = int(time.time() * 1000)
        said = [Tick("a", now + n, 1000, Method.COUNTER, 7.0) for n in range(3)]
        rows = frame("tick", tick_columns(said, Ids()))
        devices = (Device("a", Kind.GPU, "n", "s"),)
        writer = bed.writer(window_seconds=0.2)
        both = writer.submit(Batch(devices=devices), (rows,)), writer.submit(batch(1), (rows,))
        for future in both:
            future.result(120)
        writer.close()
        assert count(bed) == 4
        assert (writer.counters.ticks, writer.pulse.power_watts()) == (7, 7.0)

    def test_repeating_changes_nothing(self, bed: Bed) -> None:
        bed.write(batch(1, 2), batch(2, 3), batch(1, 2))
        assert count(bed) == 3

    def test_every_fact_finds_its_table(self, bed: Bed) -> None:
        bed.write(
            Batch(
                devices=(Device("d", Kind.GPU, "n", "nvml", uncertainty_ratio=0.05),),
                ticks=(
                    Tick("d", BASE, 10_000, Method.ESTIMATED, 1.25, 7, BASE - 5, 0.12345, 9, -1.26),
                    Tick("d", BASE + 1, 10_000, Method.UNKNOWN, gap="deadline"),
                ),
                workloads=(Workload("w", "name", "training", team="a"),),
                allocations=(Allocation("d", "w", BASE, BASE + 9, 0.5, "static"),),
                outcomes=(Outcome("w", "token", BASE, 12.5, None, "vllm"),),
            )
        )
        d, w = stable_id("d"), stable_id("w")
        ticks = bed.client.rows(
            "SELECT device_id, toUnixTimestamp64Milli(ts), power_uw, energy_uj, "
            "toUnixTimestamp64Milli(start_ts), interval_ms, util_e4, mem_used_bytes, temp_e1, "
            "method, gap FROM tick FINAL ORDER BY ts"
        )
        assert ticks == [
            (d, BASE, 1_250_000, 7, BASE - 5, 10_000, 1234, 9, -13, "estimated", None),
            (d, BASE + 1, None, None, None, 10_000, None, None, None, "unknown", "deadline"),
        ]
        rows = bed.client.rows("SELECT device_id, key, kind, node, uncertainty_ratio FROM device")
        assert rows == [(d, "d", "gpu", "n", 0.05)]
        rows = bed.client.rows("SELECT workload_id, key, name, kind, team FROM workload")
        assert rows == [(w, "w", "name", "training", "a")]
        rows = bed.client.rows(
            "SELECT device_id, workload_id, toUnixTimestamp64Milli(end_ts), share, method "
            "FROM allocation"
        )
        assert rows == [(d, w, BASE + 9, 0.5, "static")]
        rows = bed.client.rows("SELECT workload_id, kind, source, start_ts, total FROM outcome")
        assert rows == [(w, "token", "vllm", None, 12.5)]

    def test_what_comes_apart_is_one_row_in_any_order(self, bed: Bed) -> None:
        def tick(at: int, **said: float | None) -> Batch:
            return Batch(ticks=(Tick("d", at, 1000, Method.COUNTER, **said),))  # type: ignore[arg-type]

        now = int(time.time() * 1000)
        parts: list[dict[str, float | None]] = [
            {"energy_uj": 7},
            {"power_watts": 1.5},
            {"utilization_ratio": 0.5},
        ]
        for at, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 2, 0))):
            bed.write(*(tick(now + at, **parts[part]) for part in order))
        gone = Batch(ticks=(Tick("d", now + 2, 1000, Method.UNKNOWN, gap="deadline"),))
        bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "s"),)), gone)
        for _ in range(2):
            rows = bed.client.rows(
                "SELECT power_uw, energy_uj, util_e4, temp_e1 FROM tick FINAL ORDER BY ts"
            )
            assert rows == [(1_500_000, 7, 5000, None)] * 3
            bed.client.command("OPTIMIZE TABLE tick FINAL")
        live = bed.client.rows("SELECT power_watts, utilization_ratio, gap FROM v_live")
        assert live == [(1.5, 0.5, "")]

    def test_a_batch_may_span_more_days_than_the_engine_likes(self, bed: Bed) -> None:
        bed.write(batch(*(-n * DAY for n in range(120))))
        assert count(bed) == 120


class TestQueue:
    def test_a_full_queue_takes_nothing_more(self, bed: Bed) -> None:
        writer = bed.writer(window_seconds=0.5, queue_rows=10)
        first = writer.submit(batch(*range(8)))
        with pytest.raises(Busy, match="9 rows wait"):
            writer.submit(batch(100, 101))
        first.result(120)
        writer.submit(batch(100, 101)).result(120)
        writer.close()
        assert count(bed) == 10
        assert writer.queued_rows == 0

    def test_a_batch_above_the_limit_is_taken_when_nothing_else_waits(self, bed: Bed) -> None:
        writer = bed.writer(queue_rows=10)
        writer.submit(batch(*range(50))).result(120)
        writer.close()
        assert count(bed) == 50

    def test_closing_writes_what_is_queued_and_takes_no_more(self, bed: Bed) -> None:
        writer = bed.writer(window_seconds=0.3)
        futures = [writer.submit(batch(n)) for n in range(20)]
        writer.close()
        assert all(future.done() for future in futures)
        assert count(bed) == 20
        with pytest.raises(Busy, match="stopping"):
            writer.submit(batch(99))


class TestFailure:
    def test_a_bad_batch_leaves_its_neighbours_alone(self, bed: Bed) -> None:
        writer = bed.writer(window_seconds=0.2)
        good, bad, also_good = (writer.submit(b) for b in (batch(1), POISON, batch(2)))
        assert good.result(120) is None
        assert also_good.result(120) is None
        with pytest.raises(Permanent, match="temp_e1"):
            bad.result(120)
        writer.close()
        assert count(bed) == 2
        assert (writer.counters.batches, writer.counters.failed_batches) == (2, 1)

    def test_one_bad_batch_of_many_costs_few_inserts(self) -> None:
        sink = Refusing({"d77"})
        writer = Writer(no_client, sink=sink, window_seconds=0.3)
        futures = [writer.submit(batch(n, device=f"d{n}")) for n in range(200)]
        failed = [n for n, future in enumerate(futures) if future.exception(10)]
        writer.close()
        assert failed == [77]
        assert sink.tried <= 2 + 2 * 8
        assert writer.counters.batches == 199

    def test_a_store_that_is_away_is_not_asked_for_every_batch(self) -> None:
        sink = Refusing({f"d{n}" for n in range(200)}, Retryable("away"))
        writer = Writer(no_client, sink=sink, window_seconds=0.3)
        futures = [writer.submit(batch(n, device=f"d{n}")) for n in range(200)]
        errors = [future.exception(10) for future in futures]
        writer.close()
        assert all(isinstance(error, Retryable) for error in errors)
        assert sink.tried <= 2 + 2 * 8
        assert (writer.counters.batches, writer.counters.failed_batches) == (0, 200)

    def test_a_batch_that_may_work_later_leaves_its_neighbours_alone(self) -> None:
        sink = Refusing({"d3"}, Retryable("too large for now"))
        writer = Writer(no_client, sink=sink, window_seconds=0.3)
        futures = [writer.submit(batch(n, device=f"d{n}")) for n in range(20)]
        failed = [n for n, future in enumerate(futures) if future.exception(10)]
        writer.close()
        assert failed == [3]

    def test_what_the_driver_chokes_on_is_permanent_and_the_thread_lives(self, bed: Bed) -> None:
        writer = bed.writer()
        nan = Batch(ticks=(Tick("d", BASE, 1000, Method.COUNTER, float("nan")),))
        with pytest.raises(Permanent, match="NaN"):
            writer.submit(nan).result(120)
        writer.submit(batch(1)).result(120)
        writer.close()

    def test_what_the_engine_refuses_may_be_sent_again(self, bed: Bed) -> None:
        writer = bed.writer()
        bed.client.command("RENAME TABLE dirty TO away")
        try:
            with pytest.raises(Permanent, match="dirty"):
                writer.submit(batch(1)).result(120)
        finally:
            bed.client.command("RENAME TABLE away TO dirty")
        writer.submit(batch(1)).result(120)
        writer.close()
        assert count(bed) == 1

    def test_a_sender_that_goes_away_does_no_harm(self, bed: Bed) -> None:
        writer = bed.writer(window_seconds=0.1)
        left, stays = writer.submit(batch(1)), writer.submit(batch(2))
        assert left.cancel()
        stays.result(120)
        writer.submit(batch(3)).result(120)
        writer.close()
        assert count(bed) == 3

    def test_what_is_being_written_cannot_be_cancelled(self, bed: Bed) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def slow() -> Client:
            begun.set()
            assert go_on.wait(120)
            return bed.store.client()

        writer = Writer(slow, window_seconds=0.0)
        future = writer.submit(batch(1))
        assert begun.wait(120)
        assert not future.cancel()
        go_on.set()
        assert future.result(120) is None
        writer.close()

    def test_a_store_that_is_away_at_first_is_used_when_it_comes(self, bed: Bed) -> None:
        tries = iter([Retryable("away"), None])

        def open_client() -> Client:
            if error := next(tries):
                raise error
            return bed.store.client()

        writer = Writer(open_client, window_seconds=0.0)
        with pytest.raises(Retryable, match="away"):
            writer.submit(batch(1)).result(120)
        writer.submit(batch(1)).result(120)
        writer.close()
        assert count(bed) == 1


class TestDirtyHours:
    def marks(self, bed: Bed) -> list[int]:
        rows = bed.client.rows("SELECT DISTINCT toUnixTimestamp(hour) AS h FROM dirty ORDER BY h")
        return [(h - BASE // 1000) // 3600 for (h,) in rows]

    def test_ticks_and_allocations_mark_their_hours(self, bed: Bed) -> None:
        bed.write(batch(0, 3 * HOUR - 1))
        assert self.marks(bed) == [0, 2]
        held = Allocation("d", "w", BASE + 5 * HOUR, BASE + 7 * HOUR)
        bed.write(Batch(allocations=(held,)))
        assert self.marks(bed) == [0, 2, 5, 6]

    def test_a_running_allocation_marks_only_what_it_grew_by(self, bed: Bed) -> None:
        writer = bed.writer()
        for hours, marked in ((2, [0, 1]), (3, [2]), (3, []), (4, [3])):
            bed.client.command("TRUNCATE TABLE dirty")
            held = Allocation("d", "w", BASE, BASE + hours * HOUR)
            writer.submit(Batch(allocations=(held,))).result(120)
            assert self.marks(bed) == marked
        writer.close()

    def test_after_a_restart_it_still_marks_only_what_it_grew_by(self, bed: Bed) -> None:
        now = int(time.time() * 1000)
        start = now // HOUR * HOUR - 100 * HOUR
        for hours in (100, 101):
            bed.client.command("TRUNCATE TABLE dirty")
            bed.write(Batch(allocations=(Allocation("d", "w", start, start + hours * HOUR),)))
        rows = bed.client.rows("SELECT toUnixTimestamp(hour) FROM dirty")
        assert rows == [(start // 1000 + 100 * 3600,)]

    def test_another_share_marks_all_of_it(self, bed: Bed) -> None:
        writer = bed.writer()
        for share in (1.0, 0.5):
            bed.client.command("TRUNCATE TABLE dirty")
            held = Allocation("d", "w", BASE, BASE + 3 * HOUR, share)
            writer.submit(Batch(allocations=(held,))).result(120)
            assert self.marks(bed) == [0, 1, 2]
        writer.close()
        assert bed.client.rows("SELECT share FROM allocation FINAL") == [(0.5,)]


def test_what_does_not_change_is_written_once(bed: Bed) -> None:
    writer = bed.writer()
    device, workload = Device("d", Kind.GPU, "n", "s"), Workload("w", "w")
    for _ in range(3):
        writer.submit(Batch(devices=(device,), workloads=(workload,))).result(120)
    assert bed.client.rows("SELECT count() FROM device") == [(1,)]
    assert bed.client.rows("SELECT count() FROM workload") == [(1,)]
    moved = Device("d", Kind.GPU, "n", "s", site="there")
    writer.submit(Batch(devices=(moved,))).result(120)
    writer.close()
    assert bed.client.rows("SELECT site FROM device FINAL") == [("there",)]


def test_the_pulse_knows_what_was_written(bed: Bed) -> None:
    writer = bed.writer()
    now = int(time.time() * 1000)
    tick = Tick("d", now, 1000, Method.COUNTER, 42.0)
    writer.submit(Batch(devices=(Device("d", Kind.GPU, "n", "s"),), ticks=(tick,))).result(120)
    writer.close()
    assert (writer.pulse.devices(), writer.pulse.power_watts()) == (1, 42.0)
    assert writer.pulse.newest_ms() == now


def test_the_latest_values_do_not_go_back(bed: Bed) -> None:
    now = int(time.time() * 1000)
    device = Device("d", Kind.GPU, "n", "s")

    def tick(at: int, watts: float | None, celsius: float | None, gap: str = "") -> Batch:
        said = Tick("d", at, 1000, Method.ESTIMATED, watts, temperature_celsius=celsius, gap=gap)
        return Batch(devices=(device,), ticks=(said,))

    def live() -> list[tuple[object, ...]]:
        return bed.client.rows(
            "SELECT toUnixTimestamp64Milli(ts), power_watts, temperature_celsius, method, gap "
            "FROM v_live"
        )

    newest = tick(now, 5.0, None), tick(now, None, -3.5)
    for order in ((*newest, tick(now - 2000, 900.0, 80.0)), newest):
        bed.write(*order)
        assert live() == [(now, 5.0, -3.5, "estimated", "")]
    bed.write(tick(now + 1, None, None, "deadline"), *newest)
    assert live() == [(now + 1, None, None, "estimated", "deadline")]


def test_who_sends_one_after_the_other_does_not_wait_for_a_rest(bed: Bed) -> None:
    """A rest of an hour is due after each group, and would make none larger."""
    writer = bed.writer(share=1e-9, longest_seconds=3600.0)
    for n in range(3):
        writer.submit(batch(n)).result(60)
    assert writer.counters.commits == 3
    writer.close()


class Slow(Refusing):
    """Keeps nothing, and takes more time over the first than a writer has saved up."""

    def write(self, inserts: Sequence[Insert]) -> None:
        if not self.tried:
            time.sleep(1.2 * SAVED_SECONDS)
        super().write(inserts)


def test_who_sends_much_at_once_ends_a_rest() -> None:
    """A rest of an hour is due, and others come all the while, so that it is not cut short."""
    writer = Writer(no_client, sink=Slow(frozenset()), share=1e-9, longest_seconds=3600.0)
    writer.submit(batch(0)).result(60)
    stop = threading.Event()

    def others() -> None:
        at = 1
        while not stop.wait(0.02):
            writer.submit(batch(at), sender="other")
            at += 1

    thread = threading.Thread(target=others)
    thread.start()
    try:
        writer.submit(batch(*range(BULKY_ROWS))).result(60)
    finally:
        stop.set()
        thread.join()
        writer.close()
