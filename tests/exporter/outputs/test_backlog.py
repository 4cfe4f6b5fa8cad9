"""What waited while nobody answered: sent many requests as one, and none lost over a bad one."""

from __future__ import annotations

from pathlib import Path

from tests.exporter.outputs.conftest import (
    Collector,
    Push,
    counted,
    ticks,
    times_of,
    until,
    waiting,
)

from wattshed_exporter.model import Batch
from wattshed_exporter.outputs.otlp import Otlp
from wattshed_exporter.outputs.otlp_sender import LATE_SECONDS, MOST_AT_ONCE, SOON_SECONDS, Portion
from wattshed_exporter.telemetry import Telemetry


def kept_while_away(collector: Collector, telemetry: Telemetry, output: Otlp, count: int) -> None:
    """Let so many requests of a tick each, 0 and so on, wait for a collector that is not there."""
    collector.stop()
    for ts in range(count):
        output.put(Batch(ticks=ticks(ts)))
        until(lambda: waiting(telemetry) == ts + 1)  # noqa: B023
    collector.start()


def test_a_backlog_is_sent_in_ever_larger_requests(
    collector: Collector, push: Push, telemetry: Telemetry, state_dir: Path | None
) -> None:
    output = push(state_dir=state_dir, drain_per_second=1000.0)
    kept_while_away(collector, telemetry, output, 32)
    assert output.flush(5)
    sizes = [len(times_of(body)) for body in collector.bodies]
    assert collector.times() == [31, *range(31)]  # what was put last goes first
    assert sizes == [1, 1, 2, 4, 8, 16]
    assert counted(telemetry, "sent") == 32
    assert telemetry.value("wattshed_spool_bodies", output="otlp") == 0


def test_one_that_is_refused_among_many_is_found_and_all_others_arrive(
    collector: Collector, push: Push, telemetry: Telemetry, state_dir: Path | None
) -> None:
    collector.refuses = {5, 21}
    output = push(state_dir=state_dir, drain_per_second=1000.0)
    kept_while_away(collector, telemetry, output, 40)
    assert output.flush(10)
    assert sorted(collector.times()) == [ts for ts in range(40) if ts not in (5, 21)]
    assert (counted(telemetry, "rejected"), counted(telemetry, "sent")) == (2, 38)
    assert len(collector.seen) < 30


def test_one_that_breaks_the_collector_among_many_costs_only_itself(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    collector.breaks_on = {3}
    output = push(drain_per_second=1000.0)
    kept_while_away(collector, telemetry, output, 8)
    until(lambda: collector.broken > 2)
    ts = 8
    while counted(telemetry, "rejected") < 1:
        assert ts < 200, "the request that breaks the collector still blocks"
        output.put(Batch(ticks=ticks(ts)))
        until(lambda: ts in collector.times())  # noqa: B023
        broken = collector.broken
        until(lambda: collector.broken > broken or counted(telemetry, "rejected"))  # noqa: B023
        ts += 1
    assert output.flush(10)
    assert sorted(collector.times()) == [n for n in range(ts) if n != 3]


def test_several_that_are_too_large_together_are_sent_in_smaller_requests(
    collector: Collector, push: Push, telemetry: Telemetry, state_dir: Path | None
) -> None:
    collector.most_bytes = 1200
    output = push(state_dir=state_dir, drain_per_second=1000.0)
    kept_while_away(collector, telemetry, output, 40)
    assert output.flush(10)
    assert sorted(collector.times()) == list(range(40))
    assert counted(telemetry, "rejected") == 0
    assert max(len(times_of(body)) for body in collector.bodies) > 1
    refused = len(collector.seen) - len(collector.bodies)
    assert refused < 6, "what was learned of the limit is not kept"


def test_a_portion_grows_and_gives_way() -> None:
    portion = Portion()
    portion.answered(1, 0.1)
    assert portion.most == 2
    portion.answered(2, SOON_SECONDS)
    assert portion.most == 4
    portion.answered(3, SOON_SECONDS + 0.1)  # neither soon nor late
    assert portion.most == 4
    portion.answered(4, LATE_SECONDS + 0.1)
    assert portion.most == 2
    for _ in range(5):
        portion.failed(portion.most)
    assert portion.most == 1
    for _ in range(20):
        portion.answered(portion.most, 0.0)
    assert portion.most == MOST_AT_ONCE
