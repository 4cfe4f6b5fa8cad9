"""What a worker adds to reading: clocks that are set, details, release, lean snapshots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from wattshed_exporter.baseline import BARE
from wattshed_exporter.config import Config
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Allocation, Batch, Detail, Device, Kind, Reading, Tick
from wattshed_exporter.sampler import Sampler
from wattshed_exporter.sources import Sample
from wattshed_exporter.split import spans
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.worker import Clock, Worker

GPU = Device("gpu", Kind.GPU, "n", "test", power_limit_watts=400.0)
PLUG = Device("plug", Kind.HOST, "n", "test")


class Time:
    """A wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000
        self.monotonic = 100.0

    def pass_(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        self.monotonic += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.ms, lambda: self.monotonic)


class Live:
    """A source of devices that draw 100 W and say so with the wall clock's time."""

    name = "test"
    interval_seconds = 1.0

    def __init__(self, time: Time, *devices: Device) -> None:
        self.devices = devices
        self.closed = self.discovered = 0
        self.stamp_behind_ms = 0
        self.used: float | None = None
        self.allocations: Sequence[Allocation] = ()
        self.details: Sequence[Detail] = ()
        self.told: Sample | None = None
        self._time = time

    def discover(self) -> Sequence[Device]:
        self.discovered += 1
        return self.devices

    def read(self) -> Sample:
        if self.told is not None:
            return self.told
        ts_ms, used = self._time.ms - self.stamp_behind_ms, self.used
        readings = [
            Reading(d.key, ts_ms, 100.0, utilization_ratio=used, activity_ratio=used)
            for d in self.devices
        ]
        return Sample(readings, self.details, allocations=self.allocations)

    def close(self) -> None:
        self.closed += 1


class Kept:
    name = "kept"

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def put(self, batch: Batch) -> None:
        self.batches.append(batch)

    def ready(self) -> bool:
        return True

    def flush(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        pass

    @property
    def ticks(self) -> list[Tick]:
        return [tick for batch in self.batches for tick in batch.ticks]

    @property
    def gaps(self) -> list[str]:
        return [tick.gap for tick in self.ticks if tick.gap]


class Stage:
    """One worker with everything around it."""

    def __init__(self, *devices: Device, **settings: object) -> None:
        self.time, self.kept, self.telemetry = Time(), Kept(), Telemetry()
        self.source = Live(self.time, *(devices or (GPU,)))
        config = Config(node="n", **settings)  # type: ignore[arg-type]
        clock = self.time.clock
        self.worker = Worker(self.source, config, [self.kept], self.telemetry, clock)
        self.worker.step()

    def reads(self, count: int) -> None:
        for _ in range(count):
            self.worker.step()
            self.time.pass_(1)

    def errors(self, reason: str) -> float:
        name = "wattshed_source_errors_total"
        return self.telemetry.value(name, source="test", reason=reason)

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        return next(s for metric, s in self.telemetry.health() if metric.prometheus == name)

    @property
    def up(self) -> float:
        return self.telemetry.value("wattshed_source_up", source="test")


@pytest.fixture
def stage() -> Stage:
    return Stage()


class TestClock:
    def test_far_back_the_readings_go_on_at_the_new_time(self, stage: Stage) -> None:
        stage.reads(5)
        stage.time.ms -= 3_600_000
        stage.reads(5)
        assert (stage.errors("clock_step"), stage.errors("out_of_order")) == (1, 0)
        assert (stage.worker.up, stage.up) == (True, 1.0)
        assert stage.kept.gaps == ["clock_step"]
        latest = stage.worker.snapshot.ticks["gpu"]
        assert latest.ts_ms == stage.time.ms - 1000
        assert latest.energy_uj == 3 * 100_000_000

    def test_a_little_back_the_readings_wait_and_the_source_is_not_up(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage.reads(5)
        stage.time.ms -= 10_000
        ups = []
        for _ in range(13):
            stage.reads(1)
            ups.append(stage.worker.up)
        assert ups == [True] * 3 + [False] * 7 + [True] * 3
        assert (stage.errors("clock_step"), stage.errors("out_of_order")) == (1, 8)
        assert stage.up == 1.0
        assert caplog.text.count("readings are refused") == 1
        known = sum(s.joules or 0.0 for s in spans(stage.kept.ticks))
        assert known <= 17 * 100

    def test_forward_is_a_gap_and_no_energy(self, stage: Stage) -> None:
        stage.reads(5)
        stage.time.ms += 2_000
        stage.reads(5)
        assert stage.kept.gaps == ["clock_step"]
        known = sum(s.joules or 0.0 for s in spans(stage.kept.ticks))
        assert known == 4 * 100 + 3 * 100

    def test_readings_of_another_time_are_left_alone(self, stage: Stage) -> None:
        stage.source.stamp_behind_ms = 86_400_000
        stage.reads(5)
        stage.time.ms += 500_000
        stage.source.stamp_behind_ms += 500_000
        stage.reads(5)
        assert stage.kept.gaps == []
        assert len(stage.kept.ticks) == 10

    def test_a_process_that_is_held_up_between_two_looks_at_a_clock_sees_no_step(self) -> None:
        monotonic = iter([100.0, 105.0, 105.0, 105.0, 105.0])
        wall = iter([100_000, 105_000])
        assert Clock(lambda: next(wall), lambda: next(monotonic)).both() == (105_000, 105.0)

    def test_one_device_whose_readings_are_all_refused_is_enough_to_be_down(self) -> None:
        stage = Stage(GPU, PLUG)
        stage.reads(3)
        ts_ms = stage.time.ms

        def read() -> Sample:
            return Sample([Reading("gpu", stage.time.ms, 1.0), Reading("plug", ts_ms - 9000, 1.0)])

        stage.source.read = read  # type: ignore[method-assign]
        stage.reads(3)
        assert (stage.worker.up, stage.up) == (False, 0.0)
        assert stage.worker.snapshot.ticks["gpu"].ts_ms == stage.time.ms - 1000


ACTIVITY_START = "wattshed_activity_start_timestamp_seconds"


class TestDetails:
    def told(self, batch: Batch) -> dict[tuple[str, tuple[str, ...]], float]:
        return {(d.metric, d.attributes): d.value for d in batch.details}

    def test_they_come_every_few_seconds_and_hold_what_was_learned(self, stage: Stage) -> None:
        stage.source.used = 0.0
        stage.reads(200)
        with_details = [i for i, batch in enumerate(stage.kept.batches) if batch.details]
        assert {b - a for a, b in pairwise(with_details)} == {5}
        told = self.told(stage.kept.batches[with_details[-1]])
        assert told == {
            (ACTIVITY_START, ()): stage.kept.ticks[0].ts_ms / 1000,
            ("wattshed_activity_seconds_total", ("unallocated",)): 195.0,
            ("wattshed_activity_joules_total", ("unallocated",)): 19_500.0,
            ("wattshed_idle_baseline_watts", ("bare",)): 100.0,
        }

    def test_an_allocation_that_any_source_tells_makes_a_device_held(self, stage: Stage) -> None:
        stage.source.used = 0.0
        stage.source.allocations = [Allocation("gpu", "w", 0, stage.time.ms + 60_000)]
        stage.reads(7)
        told = self.told(stage.kept.batches[-2])
        assert set(told) == {
            (ACTIVITY_START, ()),
            ("wattshed_activity_seconds_total", ("allocated_no_context",)),
            ("wattshed_activity_joules_total", ("allocated_no_context",)),
        }

    def test_a_counter_that_disagrees_with_power_is_told(self) -> None:
        stage = Stage()
        uj = [10**9]

        def read() -> Sample:
            uj[0] += 57_000_000
            return Sample([Reading("gpu", stage.time.ms, 100.0, uj[0])])

        stage.source.read = read  # type: ignore[method-assign]
        stage.reads(310)
        value = stage.worker.snapshot.details["wattshed_energy_agreement_ratio", "gpu", ()].value
        assert value == pytest.approx(0.57)
        assert stage.errors("counter_power_mismatch") == 1

    def test_a_frozen_counter_is_taken_back_where_it_went_out(self) -> None:
        stage = Stage()
        stage.source.read = lambda: Sample(  # type: ignore[method-assign]
            [Reading("gpu", stage.time.ms, 200.0, 10**9)]
        )
        shown = []
        for _ in range(100):
            stage.reads(1)
            shown.append(stage.worker.snapshot.ticks["gpu"].ts_ms)
        assert shown == sorted(set(shown)), "what is taken back is not shown as the latest"
        assert stage.errors("counter_frozen") == 1
        found = spans(stage.kept.ticks)
        assert sum(s.joules or 0 for s in found) == 99 * 200.0
        assert stage.worker.snapshot.ticks["gpu"].energy_uj is None


class TestSilence:
    @pytest.mark.parametrize(
        ("gap", "ups", "errors"),
        [("permission", [1, 1, 0, 0, 0], 1), ("suspended", [1, 1, 1, 1, 1], 0)],
    )
    def test_a_source_of_nothing_but_gaps_is_not_up(
        self, gap: str, ups: list[int], errors: int
    ) -> None:
        stage = Stage(GPU, PLUG)
        reads = stage.source.read
        stage.source.read = lambda: Sample(  # type: ignore[method-assign]
            [Reading(d.key, stage.time.ms, gap=gap) for d in (GPU, PLUG)]
        )
        seen = []
        for _ in range(5):
            stage.reads(1)
            seen.append(stage.up)
        assert seen == ups
        assert stage.errors(gap) == errors
        stage.source.read = reads  # type: ignore[method-assign]
        stage.reads(1)
        assert stage.up == 1

    def test_one_device_that_says_something_is_enough(self) -> None:
        stage = Stage(GPU, PLUG)
        stage.source.read = lambda: Sample(  # type: ignore[method-assign]
            [Reading("gpu", stage.time.ms, gap="permission"), Reading("plug", stage.time.ms, 5.0)]
        )
        stage.reads(10)
        assert stage.up == 1


class TestSnapshot:
    def test_what_did_not_change_is_the_same_object(self, stage: Stage) -> None:
        stage.reads(2)
        before = stage.worker.snapshot
        stage.reads(1)
        after = stage.worker.snapshot
        assert after is not before
        assert after.devices is before.devices
        assert after.details is before.details
        assert after.unknown_seconds is before.unknown_seconds
        assert before.ticks["gpu"].ts_ms + 1000 == after.ticks["gpu"].ts_ms

    def test_what_a_source_no_longer_says_ends_after_three_rounds(self, stage: Stage) -> None:
        def clock(of: str, hertz: float) -> Detail:
            return Detail("gpu", "wattshed_clock_hertz", stage.time.ms, hertz, (of,))

        stage.source.details = [clock("sm", 1e9), clock("memory", 2e9)]
        stage.reads(1)
        shown = []
        for _ in range(25):
            stage.source.details = [clock("sm", 1e9)]
            stage.reads(1)
            details = stage.worker.snapshot.details
            shown.append(("wattshed_clock_hertz", "gpu", ("memory",)) in details)
        assert shown[:15] == [True] * 15
        assert shown[21:] == [False] * 4
        assert shown == sorted(shown, reverse=True)
        assert ("wattshed_clock_hertz", "gpu", ("sm",)) in stage.worker.snapshot.details

    def test_nor_does_one_outlive_a_source_that_fails_but_what_was_learned_does(
        self, stage: Stage
    ) -> None:
        stage.source.used = 0.9
        stage.source.details = [Detail("gpu", "wattshed_clock_hertz", stage.time.ms, 1e9, ("sm",))]
        stage.reads(10)
        assert len(stage.worker.snapshot.details) == 4

        def lost() -> Sample:
            raise SourceError("lost", "gpu_lost")

        stage.source.read = lost  # type: ignore[method-assign]
        stage.reads(30)
        assert {metric for metric, _, _ in stage.worker.snapshot.details} == {
            "wattshed_activity_seconds_total",
            "wattshed_activity_joules_total",
            "wattshed_activity_start_timestamp_seconds",
        }

    def test_what_was_published_is_never_changed(self, stage: Stage) -> None:
        stage.reads(1)
        seen = [stage.worker.snapshot]
        copies = [(dict(s.ticks), dict(s.unknown_seconds), dict(s.details)) for s in seen]
        stage.time.pass_(10)
        stage.reads(10)
        assert [(s.ticks, s.unknown_seconds, s.details) for s in seen] == copies
        assert stage.worker.snapshot.unknown_seconds == {("gpu", "no_data"): 11.0}

    def test_a_device_that_went_takes_its_rest_with_it(self) -> None:
        stage = Stage(GPU, PLUG)
        stage.reads(7)
        stage.source.devices = (replace(GPU, site="s"),)
        stage.worker._discovered = False
        stage.reads(2)
        left = stage.worker.snapshot
        assert {k[1] for k in left.details} == {"gpu"}
        assert {k[0] for k in left.unknown_seconds} <= {"gpu"}
        assert left.devices[0].site == "s"

    def test_what_is_taken_back_does_not_take_the_snapshot_back(self, stage: Stage) -> None:
        uj = 10**9
        for second in range(120):
            uj += 100 * 10**6 if second < 20 else 0
            reading = Reading("gpu", stage.time.ms, 100.0, uj, 10**5, activity_ratio=0.9)
            stage.source.told = Sample([reading])
            stage.reads(1)
            assert stage.worker.snapshot.ticks["gpu"].ts_ms == reading.ts_ms
        sent = [tick.ts_ms for tick in stage.kept.ticks]
        assert len(sent) > len(set(sent)) == 120
        joules = [d.value for (name, _, _), d in stage.worker.snapshot.details.items()
                  if name == "wattshed_activity_joules_total"]  # fmt: skip
        assert sum(joules) == pytest.approx(100.0 * 119, rel=0.05)


class TestRelease:
    def test_handles_are_given_back_and_taken_up_when_told(self, stage: Stage) -> None:
        stage.reads(3)
        stage.worker.release(600)
        assert stage.worker.step() == 600
        assert (stage.source.closed, stage.worker.released) == (1, True)
        assert (stage.kept.gaps, stage.up, stage.worker.up) == (["released"], 0.0, False)
        assert stage.worker.snapshot.ticks["gpu"].gap == "released"
        stage.time.pass_(30.5)
        assert stage.worker.step() == 569.5
        assert stage.source.closed == 1
        stage.worker.resume()
        assert [stage.worker.step() for _ in range(3)] == [0.0, 0.0, 0.5]
        assert (stage.source.discovered, stage.up) == (2, 1.0)
        assert stage.worker.snapshot.unknown_seconds == {("gpu", "released"): 31.5}

    def test_after_a_while_they_are_taken_up_by_themselves(self, stage: Stage) -> None:
        stage.worker.release(600)
        stage.worker.step()
        stage.time.pass_(600)
        assert stage.worker.step() == 0.0
        assert not stage.worker.released

    def test_taking_up_what_was_not_released_is_nothing(self, stage: Stage) -> None:
        stage.worker.resume()
        stage.reads(1)
        assert (stage.source.discovered, len(stage.kept.ticks)) == (1, 1)

    def test_a_driver_that_was_loaded_anew_meanwhile_is_noticed(self) -> None:
        stage = Stage()
        uj = [5 * 10**9]
        stage.source.read = lambda: Sample(  # type: ignore[method-assign]
            [Reading("gpu", stage.time.ms, None, uj[0])]
        )
        stage.reads(1)
        stage.worker.release(600)
        stage.worker.step()
        stage.time.pass_(10)
        uj[0] = 10**6
        stage.worker.resume()
        stage.reads(3)
        assert stage.errors("counter_reset") == 1

    def test_a_driver_that_hangs_while_it_is_given_back_is_seen(self, stage: Stage) -> None:
        stage.reads(2)
        seen: list[object] = []

        def hang() -> None:
            seen.append((stage.kept.gaps, stage.up, stage.worker.up))
            stage.time.pass_(60)
            stage.worker.watch()
            seen.append(stage.errors("deadline"))

        stage.source.close = hang  # type: ignore[method-assign]
        stage.worker.release(600)
        stage.worker.step()
        assert seen == [(["released"], 0.0, False), 1.0]
        assert stage.kept.gaps == ["released", "deadline"]

    def test_a_source_that_is_absent_stays_absent(self, stage: Stage) -> None:
        def nothing() -> Sequence[Device]:
            raise NoData("none here")

        stage.reads(2)
        assert stage.series("wattshed_source_up") == {("test",): 1.0}
        stage.source.discover = nothing  # type: ignore[method-assign]
        for _ in range(2):
            stage.worker.release(600)
            stage.worker.step()
            stage.worker.resume()
            stage.reads(2)
            assert stage.worker.absent
            assert stage.series("wattshed_source_up") == {}

    def test_only_reading_counts_as_reading(self, stage: Stage) -> None:
        calls = [stage.source.discover, stage.source.read, stage.source.close]

        def slow(call: Callable[[], Any], seconds: float) -> Callable[[], Any]:
            def wait() -> Any:
                stage.time.pass_(seconds)
                return call()

            return wait

        stage.source.discover = slow(calls[0], 3)  # type: ignore[method-assign]
        stage.source.read = slow(calls[1], 0.25)  # type: ignore[method-assign]
        stage.source.close = slow(calls[2], 2)  # type: ignore[method-assign]
        stage.worker.release(600)
        stage.worker.step()
        stage.worker.resume()
        stage.reads(4)
        took = stage.series("wattshed_source_read_seconds_total")
        assert (took, stage.source.discovered) == ({("test",): 0.25 * stage.worker.reads}, 2)

    def test_the_thread_lets_go_at_once_and_a_recording_keeps_its_place(self) -> None:
        time = Time()
        meter, recording = Live(time, GPU), Live(time, PLUG)
        recording.name = "replay"
        meter.interval_seconds = recording.interval_seconds = 3600.0
        meter.name = "nvml"
        sampler = Sampler([meter, recording], [], Config(), Telemetry(), clock=time.clock)
        stop, read = threading.Event(), threading.Event()

        def wait(seconds: float) -> bool:
            if sampler.settled(1):
                read.set()
            return stop.wait(0.01)

        thread = threading.Thread(target=sampler.run, args=(wait,))
        thread.start()
        assert read.wait(120)
        sampler.release()
        deadline = monotonic() + 120
        while not meter.closed and monotonic() < deadline:
            stop.wait(0.01)
        assert (meter.closed, recording.closed) == (1, 0)
        assert [w.released for w in sampler.workers] == [True, False]
        stop.set()
        thread.join(120)
        assert (meter.closed, recording.closed) == (2, 1)


class TestSampler:
    @pytest.fixture
    def sampler(self, tmp_path: Path) -> Sampler:
        self.time = Time()
        source = Live(self.time, GPU)
        source.used = 0.0
        config = Config(state_dir=tmp_path, deadline_seconds=7.0)
        return Sampler([source], [], config, Telemetry(), clock=self.time.clock)

    def test_what_was_learned_is_kept_at_the_end(self, sampler: Sampler, tmp_path: Path) -> None:
        (worker,) = sampler.workers
        for _ in range(200):
            worker.step()
            self.time.pass_(1)
        worker.finished = True
        sampler.run(lambda seconds: True)
        assert (tmp_path / "baselines.json").exists()
        again = Sampler([], [], Config(state_dir=tmp_path), Telemetry(), clock=self.time.clock)
        assert again.baselines.of("gpu").watts(BARE) == 100.0

    def test_nobody_watches_before_a_deadline_can_have_passed(self, sampler: Sampler) -> None:
        pauses: list[float] = []

        def wait(seconds: float) -> bool:
            pauses.append(seconds)
            return len(pauses) == 3

        sampler.run(wait)
        assert pauses == [7.0] * 3

    def test_the_end_of_a_source_wakes_the_main_thread(self) -> None:
        time, woken = Time(), threading.Event()
        source = Live(time, GPU)
        source.read = lambda: Sample(finished=True)  # type: ignore[method-assign]
        clock, config = time.clock, Config()
        sampler = Sampler([source], [], config, Telemetry(), clock=clock, wake=woken.set)

        def wait(seconds: float) -> bool:
            return not woken.wait(10)

        sampler.run(wait)
        assert sampler.finished
