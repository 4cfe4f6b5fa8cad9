"""Pushing past what nobody foresaw: odd answers, bodies that break a collector, broken stores."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable

import pytest
from tests.exporter.outputs.conftest import Collector, Push, counted, ticks, until, waiting

from wattshed_exporter import config
from wattshed_exporter.model import Batch
from wattshed_exporter.outputs.otlp import Otlp
from wattshed_exporter.outputs.otlp_client import Client
from wattshed_exporter.outputs.otlp_sender import REFUSALS, Blame, Sender
from wattshed_exporter.spool import Memory, Record, never
from wattshed_exporter.telemetry import Telemetry

ODD_DATE = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


def test_an_odd_retry_after_does_not_end_pushing(collector: Collector, push: Push) -> None:
    collector.answers = [(503, {"Retry-After": ODD_DATE}, b"")]
    output = push()
    output.put(Batch(ticks=ticks(1)))
    assert output.flush(5)
    assert collector.times() == [1]


def test_the_sender_outlives_any_error(
    collector: Collector, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Memory):
        errors = 3

        def peek(self, *, newest: bool = False) -> Record | None:
            if self.errors:
                self.errors -= 1
                raise RuntimeError("nobody foresaw this")
            return super().peek(newest=newest)

    store, changed = Broken(1 << 20, lambda *_: None), threading.Condition()
    client = Client(config.Otlp(endpoint=f"http://127.0.0.1:{collector.port}"))
    sender = Sender(client, store, telemetry, changed, 1000.0, jitter=lambda *_: 0.0)
    store.put(gzip.compress(b""), 1, 1)
    sender.wake(live=True)
    until(lambda: not store.level().bodies)
    sender.close(1.0)
    assert caplog.text.count("sending failed unexpectedly") == 1


def test_the_packer_outlives_any_error(
    collector: Collector, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Memory):
        broken = True

        def open(self, stop: object = None) -> None:
            raise RuntimeError("nobody foresaw this")

        def put(self, body: bytes, ticks: int, newest_ms: int) -> None:
            if self.broken:
                raise RuntimeError("nor this")
            super().put(body, ticks, newest_ms)

    told = config.Otlp(endpoint=f"http://127.0.0.1:{collector.port}", batch_seconds=0.0)
    store = Broken(1 << 20, lambda *_: None)
    output = Otlp(config.Config(node="n", otlp=told), telemetry, store=store)
    output.put(Batch(ticks=ticks(1, 2)))
    until(lambda: counted(telemetry, "dropped") == 2)
    store.broken = False
    output.put(Batch(ticks=ticks(3)))
    assert output.flush(5)
    output.close()
    assert collector.times() == [3]
    assert caplog.text.count("packing failed unexpectedly") == 1


def test_what_waits_is_kept_though_the_end_comes_during_a_survey(telemetry: Telemetry) -> None:
    begun = threading.Event()

    class Large(Memory):
        kept = 0

        def open(self, stop: Callable[[], bool] = never) -> None:
            begun.set()
            while not stop():
                threading.Event().wait(0.001)

        def put(self, body: bytes, ticks: int, newest_ms: int) -> None:
            self.kept += ticks

    store = Large(1 << 20, lambda *_: None)
    told = config.Otlp(endpoint="http://127.0.0.1:9", batch_seconds=60.0)
    output = Otlp(config.Config(node="n", otlp=told), telemetry, store=store)
    output.put(Batch(ticks=ticks(1, 2)))
    assert begun.wait(120)
    output.close()
    assert store.kept == 2
    assert counted(telemetry, "dropped") == 0


def test_a_store_that_hangs_does_not_hold_up_the_end(telemetry: Telemetry) -> None:
    hangs = threading.Event()

    class Hanging(Memory):
        def close(self) -> None:
            hangs.wait()

    told = config.Otlp(endpoint="http://127.0.0.1:9")
    store = Hanging(1 << 20, lambda *_: None)
    output = Otlp(config.Config(node="n", otlp=told), telemetry, store=store)
    closing = threading.Thread(target=output.close, daemon=True)
    closing.start()
    closing.join(120)
    assert not closing.is_alive(), "closing waits for a store that hangs"
    hangs.set()


def test_a_request_that_breaks_the_collector_does_not_block_the_rest_for_ever(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    collector.stop()
    output = push(drain_per_second=1000.0)
    for ts in (1, 2, 3):
        output.put(Batch(ticks=ticks(ts)))
        until(lambda: waiting(telemetry) == ts)  # noqa: B023
    collector.breaks_on = {1}
    collector.start()
    ts = 3
    while 2 not in collector.times():
        ts += 1
        assert ts < 200, "the request that breaks the collector still blocks"
        output.put(Batch(ticks=ticks(ts)))
        until(lambda: ts in collector.times())  # noqa: B023
        refused = collector.broken
        until(lambda: collector.broken > refused or 2 in collector.times())  # noqa: B023
    assert output.flush(5)
    assert set(collector.times()) == set(range(2, ts + 1))
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (1, ts - 1)


def test_a_collector_that_fails_now_and_then_is_no_fault_of_a_body() -> None:
    blame = Blame()
    for _ in range(3 * REFUSALS):  # nothing else is accepted
        assert not blame.refused((1, 0))
    for _ in range(3 * REFUSALS):  # others are refused too
        blame.accepted()
        assert not blame.refused((1, 0))
        assert not blame.refused((1, 99))
    for _ in range(REFUSALS):
        assert not blame.refused((1, 0))
        blame.accepted()
    assert blame.refused((1, 0))
