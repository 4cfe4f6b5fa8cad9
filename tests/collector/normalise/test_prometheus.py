"""Text expositions to points."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from tests.fixtures.pages import STEP, Reader, read_page

from wattshed_collector.normalise import Point
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.normalise.samples import samples

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics.txt"
AT = 1_768_471_200_000


def read(text: str) -> tuple[list[Point], Counter[str]]:
    rejected: Counter[str] = Counter()
    return read_page(text, AT, 10_000, rejected), rejected


def test_the_exporters_own_page_has_nothing_unknown() -> None:
    found, rejected = read(GOLDEN.read_text(encoding="utf-8"))
    assert rejected == {}
    first = next(p for p in found if p.metric == "hw.energy")
    assert first.unit == "J"
    assert first.attributes["hw.id"] == "n1/nvml/GPU-1"
    assert first.attributes["hw.vendor"] == "NVIDIA"
    assert first.attributes["hw.serial_number"] == "165"
    assert first.attributes["wattshed.interval_ms"] == 10_000
    assert 0 < first.start_ms < first.ts_ms
    assert {p.metric for p in found} == {
        "hw.energy",
        "hw.power",
        "wattshed.device.utilization",
        "hw.gpu.memory.usage",
        "hw.temperature",
        "wattshed.device.power.limit",
        "hw.gpu.memory.limit",
        "wattshed.clock",
        "wattshed.mig.instance",
        "wattshed.power.reading",
        "wattshed.throttled",
        "wattshed.throttled.time",
    }


@pytest.mark.parametrize("seed", range(5))
def test_our_page_in_parts_by_way_of_a_prometheus_is_our_page(seed: int) -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    pages = Reader(Origin("n1:9741", interval_ms=STEP))
    whole = pages.page(text)
    said = samples(text, AT)
    random.Random(seed).shuffle(said)
    parts = Reader(Origin(interval_ms=STEP, whole=False))
    batches = [parts.samples(said[at : at + 40]) for at in range(0, len(said), 40)]
    ticks: dict[tuple[str, int], dict[str, object]] = {}
    for tick in (tick for batch in batches for tick in batch.ticks):
        told = {name: getattr(tick, name) for name in tick.__slots__}
        known = {name: value for name, value in told.items() if value is not None}
        ticks.setdefault((tick.device, tick.ts_ms), {}).update(known)
    assert ticks == {
        (tick.device, tick.ts_ms): {
            name: getattr(tick, name) for name in tick.__slots__ if getattr(tick, name) is not None
        }
        for tick in whole.ticks
    }
    assert {d for batch in batches for d in batch.details} == set(whole.details)
    assert {d.key: d for batch in batches for d in batch.devices} == {
        d.key: d for d in whole.devices
    }


def test_odd_text_in_labels_survives() -> None:
    found, _ = read('wattshed_power_watts{device="a",model="say \\"hi\\" \\\\ \\n µ %s"} 1')
    assert found[0].attributes["hw.model"] == 'say "hi" \\ \n µ %s'


@pytest.mark.parametrize(
    ("told", "ts_ms"),
    [("", AT), ("1.5e9", 1_500_000_000_000), ("1500000000.123", 1_500_000_000_123), ("NaN", 0),
     ("-Inf", 0)],
)  # fmt: skip
def test_the_time_is_that_of_the_reading_where_it_is_told(told: str, ts_ms: int) -> None:
    line = f'wattshed_reading_timestamp_seconds{{device="a"}} {told}\n' if told else ""
    (found,), _ = read(line + 'wattshed_power_watts{device="a"} 1\n')
    assert found.ts_ms == ts_ms


def test_the_counters_of_activity_come_with_their_start_where_it_is_told() -> None:
    lines = [
        'wattshed_activity_seconds_total{device="a",class="busy"} 5',
        'wattshed_activity_joules_total{device="a",class="busy"} 6',
        'wattshed_activity_seconds_total{device="b",class="busy"} 7',
        'wattshed_link_bytes_total{device="a",link="pcie"} 8',
        'wattshed_energy_start_timestamp_seconds{device="b"} 1400000000',
        'wattshed_activity_start_timestamp_seconds{device="a"} 1500000000.123',
    ]
    found, _ = read("\n".join([*lines, ""]))
    assert {(p.value, p.start_ms) for p in found} == {
        (5.0, 1_500_000_000_123),
        (6.0, 1_500_000_000_123),
        (7.0, 0),
        (8.0, 0),
        (1500000000.123, 0),
    }


def test_other_families_are_counted_ours_and_the_processs_are_not() -> None:
    text = "uptime 1\nprocess_open_fds 3\npython_info 1\nwattshed_source_up 1\nother_watts 5\n"
    found, rejected = read(text)
    assert found == []
    assert rejected == {"unknown_metric": 2}


@pytest.mark.parametrize("text", ["<html>", "a{", "a one", "a{b=c} 1"])
def test_what_is_no_exposition_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own words
        read(text)


def test_an_empty_page_is_one() -> None:
    assert read("") == ([], {})
