"""Pushing to a real HTTP server: delivery, outage, refusal, and never too much in memory."""

from __future__ import annotations

import gzip
import logging
import random
import threading
import time
from pathlib import Path

import pytest
from tests.exporter.outputs.conftest import (
    DEVICE,
    GONE,
    PARTIAL,
    SILENT,
    Answer,
    Collector,
    Push,
    apart,
    counted,
    ticks,
    times_of,
    until,
    waiting,
)

from wattshed_exporter import config
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.model import Allocation, Batch, Outcome, Workload
from wattshed_exporter.outputs.otlp import BATCH_TICKS, TICK_BYTES, Otlp, pieces
from wattshed_exporter.outputs.otlp_client import Client
from wattshed_exporter.outputs.otlp_sender import Sender
from wattshed_exporter.spool import Memory
from wattshed_exporter.telemetry import Telemetry


def test_ticks_arrive_with_their_device_and_exporter(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    output = push(token="t0ken")
    output.put(Batch(devices=(DEVICE,), ticks=ticks(1000, 2000)))
    assert output.flush(5)
    assert collector.times() == [1000, 2000]
    ((path, headers, _),) = collector.seen
    assert path == "/v1/metrics"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Authorization"] == "Bearer t0ken"
    (resource,) = collector.accepted[0].resource_metrics
    told = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert told["service.name"] == "wattshed-exporter"
    assert (told["host.name"], told["wattshed.site"]) == ("n", "s")
    assert "wattshed.tier" not in told
    names = {a.key for a in collector.points("hw.power")[0].attributes}
    assert {"hw.id", "hw.type", "hw.name"} <= names
    assert counted(telemetry, "sent") == 2


def test_the_connection_is_kept(collector: Collector, push: Push) -> None:
    output = push("/otlp/")
    for ts in (1, 2, 3):
        output.put(Batch(ticks=ticks(ts)))
        assert output.flush(5)
    assert len({peer for _, _, peer in collector.seen}) == 1
    assert {path for path, _, _ in collector.seen} == {"/otlp/v1/metrics"}


def test_everything_but_ticks_is_sent_too(collector: Collector, push: Push) -> None:
    output = push()
    output.put(Batch(workloads=(Workload("w", "train"),)))
    output.put(Batch(allocations=(Allocation("d", "w", 0, 1000),)))
    output.put(Batch(outcomes=(Outcome("w", "step", 5, 1.0),)))
    assert output.flush(5)
    for name in ("wattshed.allocation.share", "wattshed.outcomes"):
        (point,) = collector.points(name)
        told = {a.key: a.value.string_value for a in point.attributes}
        assert told["wattshed.workload.name"] == "train"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 408, 429, 431, 500, 502, 503, 504])
def test_what_the_collector_may_take_later_is_sent_again(
    collector: Collector, push: Push, telemetry: Telemetry, status: int
) -> None:
    collector.answers = [(status, {}, b""), (status, {"Retry-After": "0"}, b"")]
    output = push()
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert (len(collector.seen), collector.times()) == (3, [1])
    assert (counted(telemetry, "sent"), counted(telemetry, "rejected")) == (1, 0)


def test_retry_after_is_honoured(collector: Collector, push: Push) -> None:
    collector.answers = [(429, {"Retry-After": "1"}, b"")]
    output = push()
    began = time.monotonic()
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_the_collector_never_takes_is_counted_and_the_next_is_sent(
    collector: Collector,
    push: Push,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    collector.answers = [(status, {}, b"bad unit\nof energy"), (status, {}, b"again")]
    output = push()
    for ts in (1, 2, 3):
        output.put(Batch(ticks=ticks(ts)))
        assert output.flush(5)
    assert collector.times() == [3]
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (2, 1)
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said == [f"the collector refused a batch for good: {status} bad unit of energy"]


def test_points_left_out_by_a_partial_success_are_counted(
    collector: Collector, push: Push, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answers = [(200, {}, PARTIAL.SerializeToString())]
    output = push()
    output.put(Batch(ticks=ticks(1, 2, 3)))
    assert output.flush(5)
    assert telemetry.value("wattshed_output_points_rejected_total", output="otlp") == 1
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (0, 3)
    assert "rejected 1 data points: no unit" in caplog.text


def test_nothing_is_lost_in_an_outage(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    output = push()
    output.put(Batch(devices=(DEVICE,), ticks=ticks(1)))
    assert output.flush(5)
    collector.stop()
    for ts in (2, 3, 4):
        output.put(Batch(ticks=ticks(ts)))
    assert not output.flush(0.1)
    collector.start()
    assert output.flush(5)
    assert sorted(set(collector.times())) == [1, 2, 3, 4]
    assert counted(telemetry, "sent") == 4


def test_batches_are_gathered_up_to_a_size(collector: Collector, push: Push) -> None:
    output = push(batch_seconds=30.0)
    for ts in range(3):
        output.put(Batch(ticks=ticks(ts)))
    assert collector.seen == []
    output.put(Batch(ticks=ticks(*range(10, 10 + 2 * BATCH_TICKS))))
    assert output.flush(10)
    sizes = [len(r.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points)
             for r in collector.accepted]  # fmt: skip
    assert sizes == [3, BATCH_TICKS, BATCH_TICKS]


def test_close_sends_what_waits(collector: Collector, push: Push, telemetry: Telemetry) -> None:
    output = push(batch_seconds=60.0)
    output.put(Batch(ticks=ticks(1, 2)))
    output.close()
    assert collector.times() == [1, 2]
    assert counted(telemetry, "sent") == 2


def test_close_gives_up_in_time_and_counts_what_it_could_not_send(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    collector.answers = [(503, {"Retry-After": "60"}, b"")] * 50
    output = push(batch_seconds=0.0)
    output.put(Batch(ticks=ticks(1)))
    while not collector.seen:
        time.sleep(0.001)
    output.put(Batch(ticks=ticks(2, 3)))
    began = time.monotonic()
    output.close()
    assert time.monotonic() - began < 2.5
    assert len(collector.seen) <= 3  # not hammered on the way out
    assert counted(telemetry, "dropped") == 3


def test_a_batch_that_cannot_be_encoded_does_not_stop_the_others(
    collector: Collector, push: Push, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    output = push()
    output.put(Batch(ticks=ticks(-1)))  # before 1970: not a time that OTLP can carry
    assert output.flush(5)
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert collector.times() == [1]
    assert counted(telemetry, "rejected") == 1
    assert "could not be sent" in caplog.text


def test_a_big_batch_is_cut_and_nothing_is_lost() -> None:
    many = ticks(*range(2 * BATCH_TICKS + 1))
    held = tuple(Allocation("d", "w", i, i + 1) for i in range(BATCH_TICKS + 1))
    parts = list(pieces(Batch(ticks=many, allocations=held, outcomes=(Outcome("w", "k", 1, 1.0),))))
    assert tuple(t for p in parts for t in p.ticks) == many
    assert tuple(a for p in parts for a in p.allocations) == held
    assert sum(len(p.outcomes) for p in parts) == 1
    assert max(len(p.ticks) + len(p.allocations) for p in parts) <= BATCH_TICKS
    assert list(pieces(Batch(devices=(DEVICE,)))) == []


def test_a_backlog_does_not_hold_up_what_is_live(
    collector: Collector, push: Push, telemetry: Telemetry, state_dir: Path | None
) -> None:
    collector.stop()
    output = push(drain_per_second=0.5, state_dir=state_dir)
    for ts in range(1, 6):
        output.put(Batch(devices=(DEVICE,), ticks=ticks(ts * 1000)))
        until(lambda: waiting(telemetry) == ts)  # noqa: B023
    assert not output.ready()
    assert telemetry.value("wattshed_spool_oldest_timestamp_seconds", output="otlp") == 1.0
    assert telemetry.value("wattshed_spool_bytes", output="otlp") > 500
    assert telemetry.value("wattshed_spool_on_disk", output="otlp") == (state_dir is not None)
    collector.start()
    until(lambda: len(collector.accepted) == 2)
    output.put(Batch(ticks=ticks(6000)))
    until(lambda: len(collector.accepted) == 3)
    assert collector.times() == [5000, 1000, 6000]
    assert output.flush(5)
    assert collector.times() == [5000, 1000, 6000, 2000, 3000, 4000]
    assert output.ready()
    assert counted(telemetry, "sent") == 6
    until(lambda: waiting(telemetry) == 0)
    name = "wattshed_spool_oldest_timestamp_seconds"
    assert telemetry.registry.get_sample_value(name, {"output": "otlp"}) is None


def test_the_oldest_requests_are_dropped_and_counted(
    collector: Collector, push: Push, telemetry: Telemetry, state_dir: Path | None
) -> None:
    collector.stop()
    output = push(spool_bytes=60_000, memory_bytes=60_000, state_dir=state_dir)
    output.put(Batch(devices=(DEVICE,)))
    labels = {"output": "otlp", "reason": "full" if state_dir else "memory_full"}

    def bodies() -> float:
        return waiting(telemetry) + telemetry.value("wattshed_spool_dropped_total", **labels)

    for ts in range(300):
        output.put(Batch(ticks=ticks(ts)))
        until(lambda: bodies() == ts + 1)  # noqa: B023
    dropped = counted(telemetry, "dropped")
    assert 50 < dropped < 280
    assert telemetry.value("wattshed_spool_dropped_total", **labels) == dropped
    collector.start()
    assert output.flush(10)
    came = sorted(set(collector.times()))
    assert came == list(range(int(dropped), 300))
    last = {a.key for a in collector.points("hw.power")[-1].attributes}
    assert "hw.name" in last


def test_the_same_bytes_are_sent_after_a_restart(
    collector: Collector, push: Push, telemetry: Telemetry, tmp_path: Path
) -> None:
    collector.answers = [(503, {"Retry-After": "60"}, b"")]
    output = push(state_dir=tmp_path)
    output.put(Batch(devices=(DEVICE,), ticks=ticks(1, 2)))
    until(lambda: collector.seen)
    output.put(Batch(ticks=ticks(3)))
    output.close()
    assert counted(telemetry, "dropped") == 0
    again = push(state_dir=tmp_path)
    assert again.flush(5)
    assert sorted(collector.times()) == [1, 2, 3]
    assert counted(telemetry, "sent") == 3
    names = {a.key for p in collector.points("hw.power") for a in p.attributes}
    assert "hw.name" in names


def test_a_second_exporter_on_the_same_folder_is_refused(push: Push, tmp_path: Path) -> None:
    push(state_dir=tmp_path)
    with pytest.raises(ConfigError, match="is used by another exporter"):
        push(state_dir=tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_a_collector_that_flaps_gets_everything_once(
    collector: Collector,
    push: Push,
    telemetry: Telemetry,
    state_dir: Path | None,
    seed: int,
) -> None:
    dice = random.Random(seed)
    moods: list[Answer] = [
        (503, {}, b""), (503, {"Retry-After": "0"}, b""), (429, {}, b""), (SILENT, {}, b""),
        (GONE, {}, b""), (502, {}, b"<html>"), (200, {"Slow": "0.25"}, b""), (200, {}, b""),
    ]  # fmt: skip
    output = push(state_dir=state_dir, drain_per_second=1000.0, timeout_seconds=0.2)
    output.put(Batch(devices=(DEVICE,)))
    for ts in range(60):
        if dice.random() < 0.4:
            collector.answers.append(dice.choice(moods))
        if dice.random() < 0.1:
            collector.stop()
        output.put(Batch(ticks=ticks(ts)))
        time.sleep(0.005)
        if not collector.is_up and dice.random() < 0.4:
            collector.start()
    if not collector.is_up:
        collector.start()
    assert output.flush(30)
    assert sorted(set(collector.times())) == list(range(60))
    # What came twice is the same, byte for byte, so it is the same rows.
    assert sum(len(times_of(body)) for body in apart(collector.accepted)) == 60
    assert counted(telemetry, "sent") == 60
    assert counted(telemetry, "dropped") == counted(telemetry, "rejected") == 0


def test_a_poisonous_request_is_rejected_once_and_the_rest_goes_on(
    collector: Collector, push: Push, telemetry: Telemetry, state_dir: Path | None
) -> None:
    collector.stop()
    output = push(state_dir=state_dir, drain_per_second=1000.0)
    for ts in range(1, 4):
        output.put(Batch(ticks=ticks(ts)))
        until(lambda: waiting(telemetry) == ts)  # noqa: B023
    collector.answers = [(200, {}, b""), (400, {}, b"no")]
    collector.start()
    assert output.flush(5)
    assert collector.times() == [3, 2]
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (1, 2)


def test_the_token_is_never_logged(
    collector: Collector, push: Push, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    collector.answers = [(401, {}, b"who?"), (403, {}, b""), (400, {}, b"bad")]
    output = push(token="s3cret")
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert "answered 401 who?" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_part_that_cannot_be_encoded_costs_only_itself(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    output = push(batch_seconds=30.0)
    for ts in (1, -1, 2):
        output.put(Batch(ticks=ticks(ts)))
    assert output.flush(5)
    assert sorted(collector.times()) == [1, 2]
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (1, 2)


@pytest.mark.parametrize(
    ("memory_bytes", "ticks_kept"),
    [(1 << 20, 2 * BATCH_TICKS), (1 << 24, 6 * BATCH_TICKS), (20_000 * TICK_BYTES, 20_000)],
)
def test_ticks_do_not_pile_up_behind_a_disk_that_hangs(
    telemetry: Telemetry, memory_bytes: int, ticks_kept: int
) -> None:
    hangs = threading.Event()

    class Hanging(Memory):
        def put(self, body: bytes, ticks: int, newest_ms: int) -> None:
            hangs.wait()
            super().put(body, ticks, newest_ms)

    told = config.Otlp(endpoint="http://127.0.0.1:9", batch_seconds=0.0, memory_bytes=memory_bytes)
    store = Hanging(1 << 24, lambda *_: None)
    output = Otlp(config.Config(node="n", otlp=told), telemetry, store=store)
    output.put(Batch(ticks=ticks(0)))
    until(lambda: output._packing and not output._pending)
    for _ in range(25):
        output.put(Batch(ticks=ticks(*range(BATCH_TICKS))))
    assert counted(telemetry, "dropped") == 25 * BATCH_TICKS - ticks_kept
    hangs.set()
    output.close()


def test_the_back_off_doubles_with_full_jitter_and_starts_anew(
    collector: Collector, telemetry: Telemetry
) -> None:
    asked: list[tuple[float, float]] = []

    def jitter(least: float, most: float) -> float:
        asked.append((least, most))
        return 0.0

    store, changed = Memory(1 << 20, lambda *_: None), threading.Condition()
    client = Client(config.Otlp(endpoint=f"http://127.0.0.1:{collector.port}"))
    sender = Sender(client, store, telemetry, changed, 1000.0, jitter=jitter)
    for _ in range(2):
        collector.answers = [(503, {}, b"")] * 8
        store.put(gzip.compress(b""), 1, 1)
        sender.wake(live=True)
        until(lambda: not store.level().bodies)
    sender.close(1.0)
    assert asked == [(0.0, most) for most in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)] * 2


def test_what_somebody_waits_for_is_kept_before_its_time(
    collector: Collector, push: Push, tmp_path: Path
) -> None:
    collector.stop()
    output = push(state_dir=tmp_path, batch_seconds=60.0)
    output.put(Batch(ticks=ticks(1)))
    assert output.keep(Batch(outcomes=(Outcome("w", "step", 5, 1.0),)), 5.0)
    (file,) = (tmp_path / "spool").iterdir()
    assert file.stat().st_size > 100
    assert output.keep(Batch(), 0.0)
    assert not output.keep(Batch(outcomes=(Outcome("w", "step", 6, 1.0),)), 0.0)
