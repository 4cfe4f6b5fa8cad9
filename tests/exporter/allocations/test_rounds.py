"""A round of plug-ins: what they say together goes out, and none of them can stop the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.activity import Holdings
from wattshed_exporter.allocations import Allocator, Claim, Meters, Told
from wattshed_exporter.allocations.options import Allocations
from wattshed_exporter.allocations.rounds import NEAR_MS, Beat, Caller, Late, Rounds
from wattshed_exporter.config import Config
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Allocation, Batch, Device, Kind, ProcessUse, Reading
from wattshed_exporter.sources import Sample
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.usage import Usage
from wattshed_exporter.worker import RETRY_SECONDS, Clock

GPU = Device("d", Kind.GPU, "n", "test")
Step = Told | Exception


def holds(*workloads: str) -> Told:
    return Told([Claim("d", f"static:{w}") for w in workloads])


class Scripted:
    """A plug-in that says what it was told, in order, the last for ever."""

    def __init__(self, name: str, *script: Step) -> None:
        self.name = name
        self.script = deque(script)
        self.asked: list[Meters] = []
        self.closed = 0

    def read(self, meters: Meters) -> Told:
        self.asked.append(meters)
        step = self.script.popleft() if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed += 1


class Hanging(Scripted):
    """A plug-in that hangs until it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name, holds("h"))
        self.gate = threading.Event()

    def read(self, meters: Meters) -> Told:
        assert self.gate.wait(60)
        return super().read(meters)


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


class Broken(Kept):
    name = "broken"

    def put(self, batch: Batch) -> None:
        raise RuntimeError("no")


class Stage:
    """Rounds at a clock that a test moves."""

    def __init__(self, *plug_ins: Allocator, direct: bool = True, **settings: object) -> None:
        self.seconds = 1000.0
        self.kept, self.telemetry, self.holdings = Kept(), Telemetry(), Holdings()
        self.usage, self.settled = Usage(), list[int]()
        self.devices = [GPU]
        self.rounds = Rounds(
            plug_ins,
            Config(node="n", **settings),  # type: ignore[arg-type]
            lambda: self.devices,
            self.usage,
            [Broken(), self.kept],
            self.holdings,
            self.telemetry,
            settle=self.settled.append,
            clock=Clock(lambda: round(self.seconds * 1000), lambda: self.seconds),
            call=(lambda call, _: call()) if direct else None,
        )

    def round(self) -> list[tuple[str, int, int]]:
        """Do one, ten seconds after the last; return the workloads, starts and ends that it told.

        Times are in seconds since the first round.
        """
        before = len(self.kept.batches)
        self.rounds.step()
        self.seconds += 10
        told = [a for batch in self.kept.batches[before:] for a in batch.allocations]
        return [(a.workload, a.start_ms // 1000 - 1000, a.end_ms // 1000 - 1000) for a in told]

    def health(self, metric: str, source: str, **more: str) -> float:
        return self.telemetry.value(f"wattshed_source_{metric}", source=source, **more)

    def is_told(self, metric: str, source: str) -> bool:
        name = f"wattshed_source_{metric}"
        return any((source,) in s for m, s in self.telemetry.health() if m.prometheus == name)


def test_what_they_say_together_goes_out_and_is_settled() -> None:
    stage = Stage(Scripted("a", holds("x")), Scripted("b", holds("y")))
    assert stage.round() == []
    assert stage.round() == [("static/x", 0, 10), ("static/y", 0, 10)]
    assert [w.key for w in stage.kept.batches[0].workloads] == ["static/x", "static/y"]
    assert [a.share for a in stage.kept.batches[1].allocations] == [0.5, 0.5]
    assert stage.holdings.holds("d", 1_009_000)
    assert stage.settled == [1_000_000, 1_010_000]


def test_workloads_are_told_once_and_when_they_change_and_every_ten_minutes() -> None:
    named = Told([Claim("d", "static:x")], {"static:x": {"team": "a"}})
    stage = Stage(Scripted("a", holds("x"), holds("x"), named))
    told = []
    for _ in range(64):
        before = len(stage.kept.batches)
        stage.round()
        told.append([w.team for b in stage.kept.batches[before:] for w in b.workloads])
    assert told[:4] == [[""], [], ["a"], []]
    assert [at for at, teams in enumerate(told) if teams] == [0, 2, 62]


def test_the_first_round_waits_for_devices() -> None:
    plug_in = Scripted("a", holds("x"))
    stage = Stage(plug_in)
    stage.devices = []
    stage.round()
    assert plug_in.asked == []
    assert stage.settled == [1_000_000]


def test_plug_ins_get_what_the_sources_know() -> None:
    plug_in = Scripted("a", holds("x"))
    stage = Stage(plug_in)
    use = ProcessUse("d", 7, 1_000_000, 0.5)
    stage.usage.take("nvml", Sample([Reading("d", 1_000_000, 1.0)], processes=[use]))
    stage.round()
    (meters,) = plug_in.asked
    assert meters == Meters(1_000_000, {"d": GPU}, (), (use,), frozenset({"d"}))


@pytest.mark.parametrize("error", [SourceError("no", "timeout"), RuntimeError("odd")])
def test_one_that_fails_is_believed_for_three_rounds_and_stops_nobody(error: Exception) -> None:
    stage = Stage(Scripted("a", holds("x"), holds("x"), error), Scripted("b", holds("y")))
    ends = {w: end for _ in range(8) for w, _, end in stage.round()}
    assert ends == {"static/x": 50, "static/y": 70}
    reason = error.reason if isinstance(error, SourceError) else "exception"
    assert stage.health("errors_total", "a", reason=reason) == 6
    assert stage.health("up", "a") == 0
    assert stage.is_told("up", "a")
    assert stage.health("up", "b") == 1
    assert stage.health("reads_total", "b") == 8


def test_one_that_recovers_goes_on_as_if_nothing_had_been() -> None:
    stage = Stage(Scripted("a", holds("x"), SourceError("no"), holds("x")))
    assert [stage.round() for _ in range(3)] == [[], [("static/x", 0, 10)], [("static/x", 0, 20)]]
    assert stage.health("up", "a") == 1


def test_nothing_here_is_no_fault_and_is_asked_again_after_a_while() -> None:
    plug_in = Scripted("a", holds("x"), NoData("no socket"), holds("x"))
    stage = Stage(plug_in)
    stage.round()
    assert stage.round() == [("static/x", 0, 10)]
    assert stage.health("errors_total", "a", reason="none_here") == 0
    assert not stage.is_told("up", "a")
    rounds = int(RETRY_SECONDS // 10)
    assert [stage.round() for _ in range(rounds)] == [[]] * rounds
    assert len(plug_in.asked) == 3
    assert stage.round() == [("static/x", 70, 80)]


def test_what_makes_no_sense_is_counted_by_plug_in() -> None:
    odd = Told([Claim("gone", "static:x", 1.0)], rejected={"bad_line": 2})
    stage = Stage(Scripted("a", odd))
    stage.round()
    assert stage.health("errors_total", "a", reason="unknown_device") == 1
    assert stage.health("errors_total", "a", reason="bad_line") == 2


def test_one_that_hangs_holds_up_nobody_and_is_heard_when_it_comes_back() -> None:
    hanging = Hanging("a")
    stage = Stage(hanging, Scripted("b", holds("y")), direct=False, deadline_seconds=1.0)
    assert stage.round() == []
    assert stage.round() == [("static/y", 0, 10)]
    assert stage.health("errors_total", "a", reason="deadline") == 2
    hanging.gate.set()
    told: list[tuple[str, int, int]] = []
    until = time.monotonic() + 60
    while "static/h" not in {w for w, _, _ in told} and time.monotonic() < until:
        told = stage.round()
        threading.Event().wait(0.01)
    assert {w for w, _, _ in told} == {"static/h", "static/y"}
    stage.rounds.close()


def test_threads_go_on_and_end(tmp_path: Path) -> None:
    plug_in = Scripted("a", holds("x"))
    done = threading.Event()
    rounds = Rounds(
        [plug_in], Config(node="n", state_dir=tmp_path), lambda: [GPU], Usage(), [], Holdings(),
        Telemetry(), settle=lambda _: done.set(),
    )  # fmt: skip
    rounds.start()
    assert done.wait(120)
    rounds.close()
    assert plug_in.closed == 1
    assert (tmp_path / "allocations.json").exists()


def test_a_restart_goes_on_where_the_last_round_was(tmp_path: Path) -> None:
    before = Stage(Scripted("a", holds("x")), state_dir=tmp_path)
    before.round()
    before.round()
    before.rounds.close()
    after = Stage(Scripted("a", holds("x")), state_dir=tmp_path)
    after.seconds = before.seconds
    assert after.round() == [("static/x", 0, 20)]


class TestCaller:
    def test_it_hands_on_results_and_errors(self) -> None:
        call = Caller()
        assert call(lambda: 7, 5) == 7
        with pytest.raises(NoData, match="no"):
            call(self.fails, 5)
        assert call(lambda: 8, 5) == 8
        call.close()

    def test_a_call_that_is_late_goes_on_alone(self) -> None:
        call, gate, ended = Caller(), threading.Event(), threading.Event()

        def slow() -> None:
            assert gate.wait(60)
            ended.set()

        with pytest.raises(Late):
            call(slow, 0.02)
        assert call(lambda: 9, 5) == 9
        assert not ended.is_set()
        gate.set()
        assert ended.wait(120)
        call.close()

    @staticmethod
    def fails() -> None:
        raise NoData("no")


def test_a_round_is_due_at_every_beat() -> None:
    stage = Stage(Scripted("a", holds("x")))
    pauses: list[float] = []
    for late in (0.0, 3.0, 27.0, 0.0):
        stage.seconds += late
        pauses.append(stage.rounds.step())
        stage.seconds += pauses[-1]
    assert pauses == [10.0, 7.0, 3.0, 10.0]


USED = Told([Claim("d", "static:x", 1.0, 0.25, "m")])


def test_windows_go_out_when_they_are_full_and_are_settled_then() -> None:
    stage = Stage(Scripted("a", USED))
    told = [stage.round() for _ in range(10)]
    # The clock of the test begins at 1000 s, 40 s after a full minute.
    assert told[2] == [("static/x", 0, 20)]
    assert told[8] == [("static/x", 20, 80)]
    assert [at for at, each in enumerate(told) if each] == [2, 8]
    assert stage.kept.batches[-1].allocations == (
        Allocation("d", "static/x", 1_020_000, 1_080_000, 1.0, "m", 0.25),
    )
    assert stage.settled == [1_000_000] * 2 + [1_020_000] * 6 + [1_080_000] * 2


def test_a_device_counts_as_held_while_a_window_gathers() -> None:
    stage = Stage(Scripted("a", USED))
    for _ in range(8):
        stage.round()
    assert stage.holdings.holds("d", 1_070_000)


def test_what_windows_have_gathered_goes_out_at_the_end() -> None:
    stage = Stage(Scripted("a", USED))
    stage.round()
    stage.round()
    stage.rounds.close()
    assert stage.kept.batches[-1].allocations == (
        Allocation("d", "static/x", 1_000_000, 1_010_000, 1.0, "m", 0.25),
    )


def test_a_window_is_one_round_at_least() -> None:
    settings = Allocations(interval_seconds=10, window_seconds=1)
    stage = Stage(Scripted("a", USED), allocations=settings)
    assert [stage.round() for _ in range(3)] == [
        [], [("static/x", 0, 10)], [("static/x", 10, 20)],
    ]  # fmt: skip


def test_a_round_near_its_beat_counts_as_on_it_and_the_beat_comes_once() -> None:
    stage = Stage(Scripted("a", holds("x")))
    stage.seconds = 999.75
    assert stage.rounds.step() == 10.25
    stage.seconds = 1010.25
    assert stage.rounds.step() == 9.75
    stage.seconds = 1020.75
    stage.rounds.step()
    assert stage.settled == [1_000_000, 1_010_000, 1_020_750]


@given(st.floats(0.001, 1000), st.integers(0, 2**42))
def test_beats_are_multiples_that_go_on(interval_seconds: float, now_ms: int) -> None:
    beat = Beat(interval_seconds)
    interval_ms = max(1, round(interval_seconds * 1000))
    wait_ms = round(beat.seconds_from(now_ms) * 1000)
    assert 0 < wait_ms < 2 * interval_ms
    assert (now_ms + wait_ms) % interval_ms == 0
    assert beat.nearest(now_ms) < beat.nearest(now_ms + wait_ms) == now_ms + wait_ms
    assert abs(beat.nearest(now_ms) - now_ms) <= min(NEAR_MS, interval_ms / 10)
