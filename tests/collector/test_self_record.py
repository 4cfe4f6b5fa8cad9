"""What the collector keeps of its own metrics: under their names, with what they are."""

from __future__ import annotations

import asyncio
import json
import logging
import math

import pytest

from wattshed_collector.config import SelfReport
from wattshed_collector.errors import Retryable
from wattshed_collector.normalise.other import COUNTER, GAUGE
from wattshed_collector.self_record import RECORDED, SelfRecord
from wattshed_collector.store.client import Client
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import (
    COUNTERS,
    GAUGES,
    HISTOGRAMS,
    PREFIX,
    WATCHED_COUNTERS,
    WATCHED_GAUGES,
    Telemetry,
)


def away() -> Client:
    raise Retryable("the store is away")


def test_what_is_kept_is_declared_and_what_grows_is_a_counter() -> None:
    counters = {PREFIX + h.name for h in (*COUNTERS, *WATCHED_COUNTERS)}
    counters |= {f"{PREFIX}{h.name}_bucket" for h in HISTOGRAMS}
    gauges = {PREFIX + h.name for h in (*GAUGES, *WATCHED_GAUGES)}
    since_start = {PREFIX + h.name for h in WATCHED_GAUGES if "since start" in h.help}
    process = {"process_cpu_seconds_total": COUNTER, "process_resident_memory_bytes": GAUGE}
    for name, kind in RECORDED.items():
        assert name in counters | gauges or name in process, name
        grows = name in counters | since_start or process.get(name) == COUNTER
        assert (kind == COUNTER) is grows, name


def test_a_sample_bears_the_name_the_labels_and_who_says_it() -> None:
    telemetry = Telemetry()
    telemetry.count("ticks_total", 3, receiver="otlp")
    telemetry.watch("disk_days_left", lambda: {(): math.inf})
    telemetry.watch("queued_rows", lambda: {(): 5.0})
    writer = Writer(away)
    found = {
        s.metric: s for s in SelfRecord(telemetry, writer, "here:1", 60, lambda: 7.5).samples()
    }
    writer.close()
    ticks = found[f"{PREFIX}ticks_total"]
    assert (ticks.ts_ms, ticks.value, ticks.kind) == (7500, 3, COUNTER)
    assert json.loads(ticks.labels) == {"instance": "here:1", "receiver": "otlp"}
    assert found.keys() >= {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    assert found.keys() <= RECORDED.keys(), "what nobody chose is left out"
    assert f"{PREFIX}disk_days_left" not in found, "what is not finite says nothing"


def test_a_store_that_is_away_is_said_and_nothing_ends(caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(away)
    record = SelfRecord(Telemetry(), writer, "here:1", 60)
    with caplog.at_level(logging.WARNING):
        asyncio.run(record.write())
    writer.close()
    assert "own metrics could not be kept: the store is away" in caplog.text


def test_no_time_between_is_less_than_none() -> None:
    assert SelfReport(record_seconds=0).problems() == []
    assert SelfReport(record_seconds=-1).problems() == ["record_seconds: must be 0 or more"]
