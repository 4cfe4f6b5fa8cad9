"""Schedule, deadlines, failures and recovery of sources; what can be pulled; fallbacks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Outcome, Reading, Tick
from wattshed_exporter.sampler import Sampler
from wattshed_exporter.sources import Sample, Source
from wattshed_exporter.split import spans
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.worker import RETRY_SECONDS, Clock, Worker

GPU = Device("gpu", Kind.GPU, "n", "test")
CPU = Device("cpu", Kind.CPU, "n", "test")
Step = Sample | Exception | Callable[[], Sample]


class Scripted:
    """A source that says what it was told, in order; then the same power for ever."""

    def __init__(
        self, time: Time, *found: Sequence[Device] | Exception, name: str = "test"
    ) -> None:
        self.name = name
        self.interval_seconds = 1.0
        self.script: deque[Step] = deque()
        self.found = deque(found)
        self.closed = 0
        self.devices: Sequence[Device] = ()
        self._time = time

    def discover(self) -> Sequence[Device]:
        found = self.found.popleft() if len(self.found) > 1 else self.found[0]
        if isinstance(found, Exception):
            raise found
        self.devices = found
        return found

    def read(self) -> Sample:
        step = self.script.popleft() if self.script else self.powers()
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Sample) else step()

    def powers(self) -> Sample:
        return Sample([Reading(d.key, self._time.ms, 100.0) for d in self.devices])

    def close(self) -> None:
        self.closed += 1


class Kept:
    """An output that keeps everything."""

    name = "kept"

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.room = True

    def put(self, batch: Batch) -> None:
        self.batches.append(batch)

    def ready(self) -> bool:
        return self.room

    def flush(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        pass

    @property
    def ticks(self) -> list[Tick]:
        return [tick for batch in self.batches for tick in batch.ticks]

    @property
    def gaps(self) -> list[tuple[int, str]]:
        return [(tick.ts_ms, tick.gap) for tick in self.ticks if tick.gap]


class Broken(Kept):
    name = "broken"

    def put(self, batch: Batch) -> None:
        raise RuntimeError("no")


class Time:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    @property
    def ms(self) -> int:
        return round(self.seconds * 1000)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.ms, lambda: self.seconds)


@pytest.fixture
def time_() -> Time:
    return Time()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


Build = Callable[..., Worker]


@pytest.fixture
def build(time_: Time, kept: Kept, telemetry: Telemetry) -> Build:
    def make(source: Source, **more: object) -> Worker:
        return Worker(source, Config(node="n"), [kept], telemetry, time_.clock, **more)  # type: ignore[arg-type]

    return make


def errors(telemetry: Telemetry, reason: str) -> float:
    return telemetry.value("wattshed_source_errors_total", source="test", reason=reason)


def up(telemetry: Telemetry) -> float:
    return telemetry.value("wattshed_source_up", source="test")


class TestReading:
    def test_devices_are_told_before_their_ticks_which_carry_energy(
        self, time_: Time, kept: Kept, telemetry: Telemetry, build: Build
    ) -> None:
        worker = build(Scripted(time_, [GPU]))
        assert worker.step() == 0.0
        assert worker.step() == 1.0
        time_.seconds += 1
        worker.step()
        assert kept.batches[0] == Batch(devices=(GPU,))
        assert [(t.ts_ms, t.energy_uj) for t in kept.ticks] == [
            (1_000_000, 0),
            (1_001_000, 100_000_000),
        ]
        assert {(t.method, t.interval_ms) for t in kept.ticks} == {(Method.INTEGRAL, 1000)}
        assert (up(telemetry), worker.up, worker.reads) == (1.0, True, 2)
        assert telemetry.value("wattshed_source_devices", source="test") == 1
        assert telemetry.value("wattshed_source_reads_total", source="test") == 2

    def test_the_schedule_does_not_drift_and_leaves_out_missed_beats(
        self, time_: Time, build: Build
    ) -> None:
        source = Scripted(time_, [GPU])

        def slow(seconds: float) -> Callable[[], Sample]:
            def read() -> Sample:
                time_.seconds += seconds
                return source.powers()

            return read

        worker = build(source)
        worker.step()
        source.script.extend(slow(s) for s in (0.0, 0.25, 0.5, 2.75, 0.0))
        delays = []
        for _ in range(5):
            delays.append(worker.step())
            time_.seconds += delays[-1] or 0.0
        assert delays == [1.0, 0.75, 0.5, 0.25, 1.0]
        assert time_.seconds == 1007.0

    def test_everything_else_in_a_sample_goes_along(
        self, time_: Time, kept: Kept, build: Build
    ) -> None:
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        held, made = Allocation("gpu", "w", 0, 1), Outcome("w", "step", 1, 1.0)
        source.script.append(Sample(allocations=(held,), outcomes=(made,)))
        worker.step()
        assert kept.batches[-1] == Batch(allocations=(held,), outcomes=(made,))

    def test_a_reading_of_a_stranger_is_counted(
        self, time_: Time, kept: Kept, telemetry: Telemetry, build: Build
    ) -> None:
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        source.script.append(Sample([Reading("who", 1, 1.0)]))
        worker.step()
        assert kept.ticks == []
        assert errors(telemetry, "unknown_device") == 1

    def test_values_that_cannot_be_believed_are_counted(
        self, time_: Time, telemetry: Telemetry, build: Build
    ) -> None:
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        source.script.append(Sample([Reading("gpu", 5, -1.0), Reading("gpu", 6, -1.0)]))
        worker.step()
        worker.step()
        assert errors(telemetry, "impossible_power") == 2

    def test_an_output_that_fails_does_not_stop_the_others(
        self, time_: Time, kept: Kept, telemetry: Telemetry
    ) -> None:
        outputs = [Broken(), kept]
        worker = Worker(Scripted(time_, [GPU]), Config(), outputs, telemetry, time_.clock)
        worker.step()
        worker.step()
        assert len(kept.ticks) == 1
        dropped = telemetry.value("wattshed_output_ticks_total", output="broken", result="dropped")
        assert dropped == 1


class TestBacklog:
    def test_history_is_read_at_once_but_waits_for_room(
        self, time_: Time, kept: Kept, build: Build
    ) -> None:
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        source.script.extend(Sample(more=True) for _ in range(3))
        assert worker.step() == 0.0
        kept.room = False
        assert worker.step() == 0.05
        assert len(source.script) == 2
        kept.room = True
        assert worker.step() == 0.0

    def test_live_ticks_do_not_wait(self, time_: Time, kept: Kept, build: Build) -> None:
        worker = build(Scripted(time_, [GPU]))
        worker.step()
        kept.room = False
        worker.step()
        assert len(kept.ticks) == 1

    def test_the_end_of_a_recording_ends_the_source(
        self, time_: Time, kept: Kept, build: Build
    ) -> None:
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        source.script.append(replace(source.powers(), finished=True))
        assert worker.step() is None
        assert worker.step() is None
        assert (len(kept.ticks), worker.finished) == (1, True)


class TestFailure:
    def test_an_error_is_a_gap_and_the_next_read_goes_on(
        self, time_: Time, kept: Kept, telemetry: Telemetry, build: Build
    ) -> None:
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        source.script.extend([source.powers(), SourceError("bus", "io"), SourceError("bus", "io")])
        states = []
        for _ in range(4):
            worker.step()
            states.append(worker.up)
            time_.seconds += 1
        assert states == [True, False, False, True]
        assert kept.gaps == [(1_001_000, "io"), (1_002_000, "io")]
        assert errors(telemetry, "io") == 2
        assert up(telemetry) == 1.0
        assert worker.snapshot.unknown_seconds == {("gpu", "io"): 3.0}
        assert [s.joules for s in spans(kept.ticks)] == [None]

    def test_an_unexpected_error_is_one_too(
        self, time_: Time, kept: Kept, telemetry: Telemetry, build: Build,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        source.script.extend([ZeroDivisionError("oops"), ZeroDivisionError("oops")])
        worker.step()
        time_.seconds += 1
        worker.step()
        assert errors(telemetry, "exception") == 2
        assert [gap for _, gap in kept.gaps] == ["exception"] * 2
        assert caplog.text.count("Traceback") == 1  # said once, not every second

    def test_a_sample_that_makes_no_sense_is_one_too(
        self, time_: Time, kept: Kept, telemetry: Telemetry, build: Build
    ) -> None:
        source = Scripted(time_, [GPU], [None], [GPU])  # type: ignore[list-item]
        worker = build(source)
        worker.step()
        source.script.extend([Sample(None), DevicesChanged("again")])  # type: ignore[arg-type]
        assert worker.step() == 1.0
        assert kept.gaps == [(1_000_000, "exception")]
        worker.step()
        assert errors(telemetry, "exception") == 2
        worker.step()
        time_.seconds += 1
        worker.step()
        assert (worker.up, kept.ticks[-1].power_watts) == (True, 100.0)

    def test_nothing_here_is_no_error_and_is_asked_again_later(
        self, time_: Time, telemetry: Telemetry, build: Build, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = build(Scripted(time_, NoData("no driver"), [GPU]))
        assert worker.step() == RETRY_SECONDS
        assert (worker.absent, worker.tried, worker.up) == (True, True, False)
        assert errors(telemetry, "none_here") == 0
        assert [r.levelname for r in caplog.records if r.levelno > 10] == []
        assert worker.step() == 0.0
        assert not worker.absent

    def test_discovery_that_fails_is_tried_again_ever_more_slowly(
        self, time_: Time, telemetry: Telemetry, build: Build
    ) -> None:
        worker = build(Scripted(time_, SourceError("denied", "permission")))
        assert [worker.step() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert errors(telemetry, "permission") == 8
        assert not worker.absent

    def test_devices_that_change_are_discovered_again_and_keep_their_counters(
        self, time_: Time, kept: Kept, telemetry: Telemetry, build: Build
    ) -> None:
        other = replace(GPU, key="other")
        moved = replace(GPU, site="moved")
        source = Scripted(time_, [GPU, other], [moved])
        worker = build(source)
        worker.step()
        for _ in range(2):
            worker.step()
            time_.seconds += 1
        source.script.append(DevicesChanged("one left"))
        assert worker.step() == 1.0
        assert kept.batches[-1].devices == (moved,)
        assert [(t.device, t.gap) for t in kept.ticks if t.gap] == [("other", "device_gone")]
        time_.seconds += 1
        worker.step()
        assert kept.ticks[-1].energy_uj == 300_000_000
        assert worker.snapshot.devices == (moved,)
        assert set(worker.snapshot.ticks) == {"gpu"}
        assert errors(telemetry, "devices_changed") == 1

    def test_devices_that_all_vanish_leave_a_gap_and_may_come_back(
        self, time_: Time, kept: Kept, telemetry: Telemetry, build: Build
    ) -> None:
        source = Scripted(time_, [GPU], NoData("unplugged"), [GPU])
        worker = build(source)
        worker.step()
        worker.step()
        time_.seconds += 1
        source.script.append(DevicesChanged("gone"))
        assert worker.step() == RETRY_SECONDS
        assert kept.gaps == [(1_001_000, "device_gone")]
        assert (worker.absent, up(telemetry), worker.snapshot.devices) == (True, 0.0, ())
        time_.seconds += RETRY_SECONDS
        assert worker.step() == 0.0
        worker.step()
        assert (worker.absent, up(telemetry)) == (False, 1.0)

    def test_a_source_that_cannot_be_closed_is_no_trouble(
        self, time_: Time, build: Build, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = Scripted(time_, [GPU])
        source.close = lambda: 1 / 0  # type: ignore[assignment]
        build(source).close()
        assert "cannot be closed" in caplog.text


class TestDeadline:
    @pytest.fixture
    def hanging(self, time_: Time, build: Build) -> Iterator[tuple[Worker, threading.Event]]:
        """A worker whose read does not return until told."""
        source = Scripted(time_, [GPU])
        worker = build(source)
        worker.step()
        worker.step()
        time_.seconds += 1
        go_on, began = threading.Event(), threading.Event()

        def hang() -> Sample:
            sample = source.powers()
            began.set()
            assert go_on.wait(120)
            return sample

        source.script.append(hang)
        thread = threading.Thread(target=worker.step)
        thread.start()
        assert began.wait(120)
        yield worker, go_on
        go_on.set()
        thread.join()

    def test_a_read_in_time_is_left_alone(
        self, time_: Time, kept: Kept, hanging: tuple[Worker, threading.Event]
    ) -> None:
        time_.seconds += 5
        hanging[0].watch()
        assert kept.gaps == []

    def test_a_read_that_hangs_is_a_gap_every_interval_and_counted_once(
        self,
        time_: Time,
        kept: Kept,
        telemetry: Telemetry,
        hanging: tuple[Worker, threading.Event],
    ) -> None:
        worker, _ = hanging
        for _ in range(3):
            time_.seconds += 5.5
            worker.watch()
            worker.watch()
        assert kept.gaps == [
            (1_006_500, "deadline"), (1_012_000, "deadline"), (1_017_500, "deadline"),
        ]  # fmt: skip
        assert (worker.up, up(telemetry), errors(telemetry, "deadline")) == (False, 0.0, 1)
        assert worker.snapshot.ticks["gpu"].gap == "deadline"

    def test_what_comes_late_is_used(
        self,
        time_: Time,
        kept: Kept,
        telemetry: Telemetry,
        hanging: tuple[Worker, threading.Event],
    ) -> None:
        worker, go_on = hanging
        time_.seconds += 6
        worker.watch()
        go_on.set()
        until = time.monotonic() + 120
        while not worker.up and time.monotonic() < until:
            time.sleep(0.001)
        assert [t.ts_ms for t in kept.ticks if not t.gap] == [1_000_000, 1_001_000]
        assert up(telemetry) == 1.0


class TestSampler:
    def test_a_hanging_source_does_not_hold_up_another_or_the_end(
        self, kept: Kept, telemetry: Telemetry
    ) -> None:
        now = Time()
        stuck, live = Scripted(now, [GPU], name="stuck"), Scripted(now, [CPU], name="live")
        forever = threading.Event()
        stuck.script.append(lambda: Sample(finished=forever.wait(30)))
        stuck.close = lambda: forever.wait(30)  # type: ignore[assignment, method-assign]
        live.interval_seconds = 0.01
        sampler = Sampler([stuck, live], [kept], Config(deadline_seconds=0.05), telemetry)

        def wait(seconds: float) -> bool:
            time.sleep(0.01)
            return "deadline" in {t.gap for t in kept.ticks} and sampler.workers[1].reads > 5

        began = time.monotonic()
        sampler.run(wait)
        took = time.monotonic() - began
        forever.set()
        assert took < 2
        assert {t.device for t in kept.ticks if t.gap} == {"gpu"}
        assert sampler.health() == {"stuck": False, "live": True}
        assert live.closed == 1

    def test_it_ends_when_every_source_has_finished(
        self, time_: Time, kept: Kept, telemetry: Telemetry
    ) -> None:
        sources = [Scripted(time_, [d], name=d.key) for d in (GPU, CPU)]
        for source in sources:
            source.script.append(Sample(finished=True))
        sampler = Sampler(sources, [kept], Config(), telemetry)
        sampler.run(threading.Event().wait)
        assert sampler.finished

    def test_the_snapshot_holds_the_latest_of_all_and_each_device_once(
        self, time_: Time, kept: Kept, telemetry: Telemetry
    ) -> None:
        first = Scripted(time_, [GPU, CPU], name="a")
        second = Scripted(time_, [replace(CPU, source="b")], name="b")
        sampler = Sampler([first, second], [kept], Config(), telemetry, clock=time_.clock)
        before = sampler.snapshot()
        for worker in sampler.workers:
            worker.step()
            worker.step()
            time_.seconds += 0.5
        got = sampler.snapshot()
        assert got.devices == (GPU, CPU)
        assert {key: tick.ts_ms for key, tick in got.ticks.items()} == {
            "gpu": 1_000_000,
            "cpu": 1_000_000,
        }
        assert (before.devices, before.ticks) == ((), {})

    def test_a_meter_of_this_machine_starts_at_its_boot_and_a_recording_does_not(
        self, time_: Time, kept: Kept, telemetry: Telemetry
    ) -> None:
        starts = {}
        for name in ("nvml", "replay"):
            source = Scripted(time_, [GPU], name=name)
            source.script.append(Sample([Reading("gpu", time_.ms, None, 5)]))
            sampler = Sampler([source], [kept], Config(), telemetry, boot_ms=7, clock=time_.clock)
            sampler.workers[0].step()
            sampler.workers[0].step()
            starts[name] = sampler.snapshot().ticks["gpu"].start_ms
        assert starts == {"nvml": 7, "replay": None}


class TestFallback:
    """``auto``: the estimate is read only where nothing measures the host."""

    def sampler(
        self, time_: Time, telemetry: Telemetry, *found: Sequence[Device] | Exception
    ) -> Sampler:
        meters = [Scripted(time_, f, name=f"m{i}") for i, f in enumerate(found)]
        spare = Scripted(time_, [replace(CPU, key="model")], name="estimate")
        return Sampler(meters, [Kept()], Config(), telemetry, fallbacks=[spare], clock=time_.clock)

    def test_it_waits_until_the_meters_were_tried_and_then_reads(
        self, time_: Time, telemetry: Telemetry
    ) -> None:
        sampler = self.sampler(time_, telemetry, [GPU], NoData("no RAPL"))
        *meters, spare = sampler.workers
        assert spare.step() == 0.05
        assert not sampler.settled(1)
        meters[0].step()
        assert spare.step() == 0.05
        meters[1].step()
        assert spare.step() == 0.0
        spare.step()
        assert [d.key for d in sampler.snapshot().devices] == ["gpu", "model"]
        meters[0].step()
        assert sampler.settled(1)
        assert sampler.health() == {"m0": True, "estimate": True}

    @pytest.mark.parametrize("kind", [Kind.CPU, Kind.HOST, Kind.MODULE, Kind.BOARD])
    def test_it_rests_where_a_meter_measures_the_host(
        self, time_: Time, telemetry: Telemetry, kind: Kind
    ) -> None:
        sampler = self.sampler(time_, telemetry, [replace(CPU, kind=kind)])
        meter, spare = sampler.workers
        meter.step()
        assert spare.step() == RETRY_SECONDS
        meter.step()
        assert sampler.settled(1)
        assert sampler.health() == {"m0": True}

    def test_it_yields_to_a_meter_that_comes_later(self, time_: Time, telemetry: Telemetry) -> None:
        late = Scripted(time_, NoData("not yet"), [CPU], name="m0")
        spare_source = Scripted(time_, [replace(CPU, key="model")], name="estimate")
        kept = Kept()
        sampler = Sampler(
            [late], [kept], Config(), telemetry, fallbacks=[spare_source], clock=time_.clock
        )
        meter, spare = sampler.workers
        meter.step()
        spare.step()
        spare.step()
        meter.step()
        time_.seconds += 1
        assert spare.step() == RETRY_SECONDS
        assert [(t.device, t.gap) for t in kept.ticks if t.gap] == [("model", "superseded")]
        assert [d.key for d in sampler.snapshot().devices] == ["cpu"]

    def test_a_meter_whose_discovery_hangs_does_not_keep_it_waiting(
        self, time_: Time, telemetry: Telemetry
    ) -> None:
        sampler = self.sampler(time_, telemetry, [CPU])
        meter, spare = sampler.workers
        go_on, began = threading.Event(), threading.Event()
        found = meter.source.discover

        def hang() -> Sequence[Device]:
            began.set()
            assert go_on.wait(120)
            return found()

        meter.source.discover = hang  # type: ignore[method-assign]
        thread = threading.Thread(target=meter.step)
        thread.start()
        assert began.wait(120)
        time_.seconds += 6
        meter.watch()
        assert spare.step() == 0.0
        go_on.set()
        thread.join()
