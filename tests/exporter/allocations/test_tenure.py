"""Rounds become intervals that tile time: no overlap, no hole, no negative length."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.allocations.combine import Held
from wattshed_exporter.allocations.tenure import GOES_ON_MS, HOUR_MS, Tenure
from wattshed_exporter.model import Allocation

T0 = 1_700_000_000_000 // HOUR_MS * HOUR_MS
TEN = 10_000


def held(workload: str, share: float = 1.0, activity: float | None = None) -> Held:
    return Held("d", workload, share, activity, "m")


def said(
    workload: str, start: int, end: int, share: float = 1.0, activity: float | None = None
) -> Allocation:
    """An allocation from so many seconds to so many after the hour."""
    return Allocation(
        "d", workload, T0 + start * 1000, T0 + end * 1000, share, "m", activity
    )  # fmt: skip


class Rounds:
    """Rounds every ten seconds, and windows that are as long unless a test says otherwise."""

    def __init__(self, file: Path | None = None, window_seconds: int = 10) -> None:
        self.tenure = Tenure(file, window_seconds * 1000)

    def at(self, second: int, *now: Held) -> list[Allocation]:
        return self.tenure.round(T0 + second * 1000, now)

    def known(self, second: int) -> int:
        """Return until which second all is told, at a round."""
        return (self.tenure.known_ms(T0 + second * 1000) - T0) // 1000


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def test_a_holder_begins_when_it_is_first_seen_and_goes_on(rounds: Rounds) -> None:
    assert rounds.at(0) == []
    assert rounds.at(10, held("a")) == []
    assert rounds.at(20, held("a")) == [said("a", 10, 20)]
    assert rounds.at(30, held("a")) == [said("a", 10, 30)]


def test_one_that_is_gone_ends_where_another_begins(rounds: Rounds) -> None:
    rounds.at(10, held("a"))
    rounds.at(20, held("a"))
    assert rounds.at(30, held("b")) == [said("a", 10, 30)]
    assert rounds.at(40, held("b")) == [said("b", 30, 40)]


def test_another_share_is_another_allocation(rounds: Rounds) -> None:
    rounds.at(10, held("a"))
    assert rounds.at(20, held("a", 0.5), held("b", 0.5)) == [said("a", 10, 20)]
    assert rounds.at(30, held("a", 0.5), held("b", 0.5)) == [
        said("a", 20, 30, 0.5), said("b", 20, 30, 0.5),
    ]  # fmt: skip


def test_each_hour_begins_anew(rounds: Rounds) -> None:
    rounds.at(3580, held("a"))
    rounds.at(3595, held("a"))
    assert rounds.at(3605, held("a")) == [said("a", 3580, 3600), said("a", 3600, 3605)]
    assert rounds.at(3615, held("a")) == [said("a", 3600, 3615)]
    assert rounds.at(7200 - 3, held("a")) == []  # the pause was too long
    assert rounds.at(7200, held("a")) == [said("a", 7197, 7200)]
    assert rounds.at(7210, held("a")) == [said("a", 7200, 7210)]


def test_activity_comes_in_windows(rounds: Rounds) -> None:
    rounds.at(10, held("a", 0.5, 0.1))
    assert rounds.at(20, held("a", 0.5, 0.2)) == [said("a", 10, 20, 0.5, 0.2)]
    assert rounds.at(30, held("a", 0.5, 0.0)) == [said("a", 20, 30, 0.5, 0.0)]
    assert rounds.at(40, held("a", 0.5)) == [said("a", 30, 40, 0.5)]
    assert rounds.at(50, held("a", 0.5)) == [said("a", 30, 50, 0.5)]
    assert rounds.at(60, held("a", 0.5, 0.3)) == [said("a", 50, 60, 0.5, 0.3)]


@pytest.fixture
def minutes() -> Rounds:
    """Return rounds whose windows are a minute."""
    return Rounds(window_seconds=60)


def test_a_window_gathers_several_rounds_and_has_their_mean_by_time(minutes: Rounds) -> None:
    minutes.at(60, held("a", 0.5, 0.9))
    assert minutes.at(70, held("a", 0.5, 0.1)) == []
    assert minutes.at(90, held("a", 0.5, 0.4)) == []
    assert minutes.known(90) == 60
    assert minutes.at(120, held("a", 0.5, 0.7)) == [said("a", 60, 120, 0.5, 0.5)]
    assert minutes.known(120) == 120


def test_a_window_ends_on_a_full_minute_whenever_rounds_are(minutes: Rounds) -> None:
    minutes.at(55, held("a", 0.5, 0.9))
    assert minutes.at(62, held("a", 0.5, 0.2)) == [said("a", 55, 60, 0.5, 0.2)]
    assert minutes.known(62) == 60
    assert minutes.at(122, held("a", 0.5, 0.8)) == [said("a", 60, 120, 0.5, 0.78)]
    assert minutes.at(301, held("a", 0.5, 0.8)) == [
        said("a", start, start + 60, 0.5, 0.8) for start in (120, 180, 240)
    ]


def test_a_window_ends_early_where_the_share_changes(minutes: Rounds) -> None:
    minutes.at(60, held("a", 1.0, 0.2))
    minutes.at(70, held("a", 1.0, 0.2))
    assert minutes.at(80, held("a", 0.5, 0.4)) == [said("a", 60, 80, 1.0, 0.3)]
    assert minutes.at(120, held("a", 0.5, 0.4)) == [said("a", 80, 120, 0.5, 0.4)]


def test_a_window_ends_early_where_its_holder_is_gone(minutes: Rounds) -> None:
    minutes.at(60, held("a", 1.0, 0.2))
    minutes.at(70, held("a", 1.0, 0.2))
    # What it did between the last round that saw it and this one, nobody knows.
    assert minutes.at(80) == [said("a", 60, 70, 1.0, 0.2), said("a", 70, 80, 1.0)]
    assert minutes.known(80) == 80


def test_a_window_ends_early_where_the_activity_is_unknown(minutes: Rounds) -> None:
    minutes.at(60, held("a", 1.0, 0.2))
    minutes.at(70, held("a", 1.0, 0.2))
    assert minutes.at(80, held("a")) == [said("a", 60, 70, 1.0, 0.2), said("a", 70, 80)]
    assert minutes.at(90, held("a", 1.0, 0.3)) == []
    assert minutes.known(90) == 80
    assert minutes.at(120, held("a", 1.0, 0.3)) == [said("a", 80, 120, 1.0, 0.3)]


def test_who_works_now_and_then_without_a_share_has_one_window(minutes: Rounds) -> None:
    minutes.at(60)
    assert minutes.at(70, held("a", 0.0, 0.6)) == []
    assert minutes.known(70) == 60
    assert minutes.at(80) == []
    assert minutes.at(90, held("a", 0.0, 0.6)) == []
    (window,) = minutes.at(120)
    assert window.activity == pytest.approx(0.2)
    assert replace(window, activity=0.2) == said("a", 60, 120, 0.0, 0.2)
    assert minutes.at(180) == []


def test_work_without_a_share_goes_out_when_a_share_is_known(minutes: Rounds) -> None:
    minutes.at(60)
    minutes.at(70, held("a", 0.0, 0.6))
    assert minutes.at(80, held("a", 0.5, 0.4)) == [said("a", 60, 80, 0.0, 0.5)]
    assert minutes.at(120, held("a", 0.5, 0.4)) == [said("a", 80, 120, 0.5, 0.4)]


def test_what_is_gathered_goes_out_before_a_clock_that_is_set_or_a_long_pause(
    minutes: Rounds,
) -> None:
    for now in (30, 2000):
        minutes.at(60, held("a", 1.0, 0.2))
        minutes.at(70, held("a", 1.0, 0.2))
        assert minutes.at(now, held("a", 1.0, 0.9)) == [said("a", 60, 70, 1.0, 0.2)]
        minutes.at(1, held("a"))


def test_who_goes_on_is_known_while_its_window_gathers(minutes: Rounds) -> None:
    minutes.at(60, held("a", 1.0, 0.2))
    minutes.at(70, held("a", 1.0, 0.2))
    assert minutes.tenure.going_on() == [said("a", 60, 70)]


def test_a_window_is_cut_at_the_hour() -> None:
    rounds = Rounds(window_seconds=7000)
    rounds.at(3595, held("a", 1.0, 0.2))
    assert rounds.at(3605, held("a", 1.0, 0.4)) == [said("a", 3595, 3600, 1.0, 0.4)]
    assert rounds.known(3605) == 3600


def test_who_was_seen_to_work_before_it_was_seen_to_hold_pays_for_its_work(rounds: Rounds) -> None:
    rounds.at(0)
    assert rounds.at(10, held("a", 0.5, 0.3)) == [said("a", 0, 10, 0.0, 0.3)]


def test_what_neither_holds_nor_works_is_not_told(rounds: Rounds) -> None:
    rounds.at(0, held("a", 0.0))
    assert rounds.at(10, held("a", 0.0), held("b", 0.0, 0.0)) == []


def test_who_only_works_is_told_while_it_works(rounds: Rounds) -> None:
    rounds.at(0)
    rounds.at(10, held("a", 0.0, 0.3))
    assert rounds.at(20, held("a", 0.0, 0.2)) == [said("a", 10, 20, 0.0, 0.2)]
    assert rounds.at(30) == []
    rounds.at(40, held("a", 0.0, 0.2))
    assert rounds.at(50, held("a", 0.0, 0.0)) == []


@pytest.mark.parametrize("step_seconds", [-3600, -1, 0, GOES_ON_MS // 1000 + 1])
def test_after_a_step_of_the_clock_everything_begins_anew(
    rounds: Rounds, step_seconds: int
) -> None:
    rounds.at(10, held("a"), held("b", 0.5, 0.2))
    rounds.at(20, held("a"), held("b", 0.5, 0.2))
    now = 20 + step_seconds
    assert rounds.at(now, held("a"), held("b", 0.5, 0.2)) == []
    assert rounds.at(now + 10, held("a")) == [
        said("a", now, now + 10), said("b", now, now + 10, 0.5),
    ]  # fmt: skip


class TestRestart:
    def test_what_went_on_goes_on(self, tmp_path: Path) -> None:
        file = tmp_path / "deep" / "allocations.json"
        first = Rounds(file)
        first.at(10, held("a"), held("b", 0.5, 0.2))
        first.at(20, held("a"), held("b", 0.5, 0.2))
        first.tenure.save()
        second = Rounds(file)
        assert second.at(60, held("a"), held("b", 0.5, 0.9)) == [
            said("a", 10, 60), said("b", 20, 60, 0.5),
        ]  # fmt: skip
        assert second.at(70, held("a"), held("b", 0.5, 0.1)) == [
            said("a", 10, 70), said("b", 60, 70, 0.5, 0.1),
        ]  # fmt: skip

    def test_who_is_new_after_it_begins_there(self, tmp_path: Path) -> None:
        first = Rounds(tmp_path / "a")
        first.at(10, held("a"))
        first.tenure.save()
        second = Rounds(tmp_path / "a")
        assert second.at(60, held("c", 1.0, 0.5)) == [said("a", 10, 60)]

    def test_after_a_crash_nothing_is_told_twice(self, tmp_path: Path) -> None:
        first = Rounds(tmp_path / "a")
        first.at(10, held("a"))
        first.tenure.save()
        Rounds(tmp_path / "a")  # which saves nothing
        third = Rounds(tmp_path / "a")
        assert third.at(60, held("a")) == []

    @pytest.mark.parametrize(
        "text",
        [
            "", "{", "[]", '{"version": 2, "open": []}',
            '{"version": 1, "open": [{"device": "d"}]}',
            '{"version": 1, "open": [{"device": "d", "workload": "a", "start_ms": 5, '
            '"until_ms": 1, "share": 1}]}',
            '{"version": 1, "open": [{"device": "d", "workload": "a", "start_ms": 0, '
            '"until_ms": 1, "share": NaN}]}',
            '{"version": 1, "open": [{"device": "d", "workload": "a", "start_ms": 0, '
            '"until_ms": 1, "share": 7}]}',
            '{"version": 1, "open": [{"device": 4, "workload": "a", "start_ms": 0, '
            '"until_ms": 1, "share": 1}]}',
        ],
    )  # fmt: skip
    def test_a_broken_file_is_told_and_left_out(
        self, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "a").write_text(text)
        rounds = Rounds(tmp_path / "a")
        assert rounds.at(10, held("a")) == []
        assert "broken" in caplog.text

    def test_a_folder_that_cannot_be_written_is_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        rounds = Rounds(tmp_path / "file" / "a")
        rounds.at(10, held("a"))
        rounds.tenure.save()
        assert "cannot be kept" in caplog.text

    def test_what_a_window_has_gathered_goes_out_before_it(self, tmp_path: Path) -> None:
        first = Rounds(tmp_path / "a", window_seconds=60)
        first.at(60, held("a", 0.5, 0.2), held("b", 0.0, 0.2))
        first.at(70, held("a", 0.5, 0.2), held("b", 0.0, 0.4))
        assert first.tenure.end() == [said("a", 60, 70, 0.5, 0.2), said("b", 60, 70, 0.0, 0.4)]
        assert first.tenure.end() == []
        first.tenure.save()
        second = Rounds(tmp_path / "a", window_seconds=60)
        now = held("a", 0.5, 0.3), held("b", 0.0, 0.3)
        assert second.at(90, *now) == [said("a", 70, 90, 0.5)]
        assert second.at(120, *now) == [
            said("a", 90, 120, 0.5, 0.3), said("b", 90, 120, 0.0, 0.3),
        ]  # fmt: skip


steps = st.tuples(
    st.integers(-20, 700),
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(st.sampled_from([0.0, 0.25, 0.5]), st.none() | st.floats(0, 1)),
        max_size=3,
    ),
    st.booleans(),
)


@given(st.lists(steps, max_size=12), st.sampled_from([7, 10, 60, 700]))
def test_intervals_of_a_workload_never_overlap_and_are_never_negative(
    history: list[tuple[int, dict[str, tuple[float, float | None]], bool]], window_seconds: int
) -> None:
    with TemporaryDirectory() as folder:
        rounds = Rounds(Path(folder, "a"), window_seconds)
        second = 0
        told: dict[tuple[str, int], Allocation] = {}
        for step, now, restarts in history:
            before, second = second, second + step
            news = rounds.at(second, *(held(w, *have) for w, have in now.items()))
            if step <= 0:
                # What had been gathered goes out; then comes a time that the clock shows twice.
                take(told, news, before)
                told.clear()
            else:
                take(told, news, second)
            if restarts:
                take(told, rounds.tenure.end(), second)
                rounds.tenure.save()
                rounds = Rounds(Path(folder, "a"), window_seconds)


def take(told: dict[tuple[str, int], Allocation], news: list[Allocation], second: int) -> None:
    """Add what is new, and check that each is an allocation and that none overlap."""
    told |= {(a.workload, a.start_ms): a for a in news}
    for a in news:
        assert a.start_ms < a.end_ms <= T0 + second * 1000
        assert a.share or a.activity
        assert a.start_ms // HOUR_MS == (a.end_ms - 1) // HOUR_MS
    for workload in "abc":
        mine = sorted((a.start_ms, a.end_ms) for a in told.values() if a.workload == workload)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(mine))


worked = st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1)), min_size=1, max_size=20)


@given(worked, st.sampled_from([0.0, 0.5]), st.sampled_from([7, 10, 60, 700]))
def test_windows_have_all_work_and_come_after_what_was_known(
    history: list[tuple[int, float]], share: float, window_seconds: int
) -> None:
    rounds = Rounds(window_seconds=window_seconds)
    second, known, told = 0, 0, list[Allocation]()
    rounds.at(0, held("a", share, 0.5))
    for step, activity in history:
        second += step
        news = rounds.at(second, held("a", share, activity))
        assert all(a.start_ms >= T0 + known * 1000 for a in news)
        assert known <= rounds.known(second) <= second
        known = rounds.known(second)
        assert second - known < window_seconds
        told += news
    told += rounds.tenure.end()
    work = math.fsum((a.activity or 0.0) * (a.end_ms - a.start_ms) for a in told)
    assert work == pytest.approx(math.fsum(s * a * 1000 for s, a in history), abs=1e-6)
