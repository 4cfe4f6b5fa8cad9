"""What processes used between two rounds is the mean over the readings in between."""

from __future__ import annotations

import pytest

from wattshed_exporter.model import Instance, ProcessUse, Reading
from wattshed_exporter.sources import Sample
from wattshed_exporter.usage import MOST_READINGS, Usage


def sample(second: int, *uses: tuple[int, float | None], gap: str = "") -> Sample:
    ms = second * 1000
    told = [ProcessUse("d", pid, ms, ratio, 100 * second) for pid, ratio in uses]
    return Sample([Reading("d", ms, gap=gap)], processes=told)


def means(usage: Usage, second: int) -> dict[int, float | None]:
    return {u.pid: u.sm_ratio for u in usage.since_last(second * 1000)[0]}


@pytest.fixture
def usage() -> Usage:
    return Usage(60.0)


def test_a_process_is_idle_in_the_readings_without_it(usage: Usage) -> None:
    usage.take("nvml", sample(1, (7, 0.8), (8, 0.2)))
    usage.take("nvml", sample(6, (7, 0.4)))
    assert means(usage, 10) == pytest.approx({7: 0.6, 8: 0.1})


def test_what_is_not_told_once_is_not_known(usage: Usage) -> None:
    usage.take("nvml", sample(1, (7, 0.8)))
    usage.take("nvml", sample(6, (7, None)))
    assert means(usage, 10) == {7: None}


def test_what_nobody_asks_for_is_bounded(usage: Usage) -> None:
    usage.take("nvml", sample(1, (6, 0.8)))
    for second in range(2, 2 + MOST_READINGS):
        usage.take("nvml", sample(second, (7, 0.5)))
    assert means(usage, 60) == {7: 0.5}


def test_memory_and_time_are_the_latest(usage: Usage) -> None:
    usage.take("nvml", sample(1, (7, 0.8)))
    usage.take("nvml", sample(6, (7, 0.8)))
    ((use,), asked, instances) = usage.since_last(10_000)
    assert (use.ts_ms, use.memory_used_bytes) == (6000, 600)
    assert (asked, instances) == (frozenset({"d"}), ())


def test_each_round_has_its_own_readings(usage: Usage) -> None:
    usage.take("nvml", sample(1, (7, 0.8)))
    assert means(usage, 10) == {7: 0.8}
    usage.take("nvml", sample(11, (9, 0.2)))
    assert means(usage, 20) == {9: 0.2}


def test_without_a_newer_reading_the_last_one_holds_for_a_while(usage: Usage) -> None:
    usage.take("nvml", sample(1, (7, 0.8)))
    assert [means(usage, second) for second in (10, 20, 60)] == [{7: 0.8}] * 3
    assert usage.since_last(70_000) == ((), frozenset(), ())


def test_a_device_without_processes_was_asked(usage: Usage) -> None:
    usage.take("nvml", sample(1))
    assert usage.since_last(10_000) == ((), frozenset({"d"}), ())


@pytest.mark.parametrize("told", [Sample([Reading("d", 1000)]), sample(1, (7, 0.5), gap="lost")])
def test_a_device_that_was_not_asked_or_did_not_answer_is_not_known(
    usage: Usage, told: Sample
) -> None:
    usage.take("nvml", told)
    assert usage.since_last(10_000) == ((), frozenset(), ())


def test_instances_are_the_latest_of_each_source(usage: Usage) -> None:
    old, new = Instance("d", "1/0", "MIG-a", 1000), Instance("d", "2/0", "MIG-b", 2000)
    usage.take("nvml", Sample(instances=[old]))
    usage.take("nvml", Sample(instances=[new]))
    usage.take("nvml", sample(3))
    assert usage.since_last(10_000)[2] == (new,)
    assert usage.since_last(70_000)[2] == ()
