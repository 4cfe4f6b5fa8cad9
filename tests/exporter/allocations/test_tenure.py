"""Rounds become intervals that tile time: no overlap, no hole, no negative length."""

from __future__ import annotations

from pathlib import Path

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
    def __init__(self, file: Path | None = None) -> None:
        self.tenure = Tenure(file)

    def at(self, second: int, *now: Held) -> list[Allocation]:
        return self.tenure.round(T0 + second * 1000, now)


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


def test_a_window_is_cut_at_the_hour(rounds: Rounds) -> None:
    rounds.at(3595, held("a", 1.0, 0.2))
    assert rounds.at(3605, held("a", 1.0, 0.4)) == [
        said("a", 3595, 3600, 1.0, 0.4), said("a", 3600, 3605, 1.0, 0.4),
    ]  # fmt: skip


def test_who_was_seen_to_work_before_it_was_seen_to_hold_pays_for_its_work(rounds: Rounds) -> None:
    rounds.at(0)
    assert rounds.at(10, held("a", 0.5, 0.3)) == [said("a", 0, 10, 0.0, 0.3)]


def test_what_neither_holds_nor_works_is_not_told(rounds: Rounds) -> None:
    rounds.at(0, held("a", 0.0))
    assert rounds.at(10, held("a", 0.0), held("b", 0.0, 0.0)) == []


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


steps = st.tuples(
    st.integers(-20, 700),
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(st.sampled_from([0.0, 0.25, 0.5]), st.none() | st.floats(0, 1)),
        max_size=3,
    ),
)


@given(st.lists(steps, max_size=12))
def test_intervals_of_a_workload_never_overlap_and_are_never_negative(
    history: list[tuple[int, dict[str, tuple[float, float | None]]]],
) -> None:
    tenure, now_ms, highest = Tenure(), T0, T0
    latest: dict[tuple[str, int], Allocation] = {}
    for step, now in history:
        now_ms += step * 1000
        told = tenure.round(now_ms, [held(w, *have) for w, have in now.items()])
        assert all(a.end_ms <= now_ms for a in told)
        if now_ms <= highest:
            latest.clear()  # a time that the clock shows twice
        highest = now_ms if now_ms <= highest else max(highest, now_ms)
        latest |= {(a.workload, a.start_ms): a for a in told}
        for a in told:
            assert a.start_ms < a.end_ms
            assert a.end_ms - a.start_ms <= HOUR_MS
            assert a.start_ms // HOUR_MS == (a.end_ms - 1) // HOUR_MS
        for workload in "abc":
            mine = sorted((a.start_ms, a.end_ms) for a in latest.values() if a.workload == workload)
            ends = [end for _, end in mine]
            assert all(start >= end for (start, _), end in zip(mine[1:], ends, strict=False))
