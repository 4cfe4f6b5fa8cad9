"""Idle power as learned: enough, steady, low but not the lowest, drifting, and kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed_exporter.baseline import (
    BARE,
    CONTEXT,
    ENOUGH,
    KEPT,
    MOST_DEVICES,
    QUICK,
    Baseline,
    Baselines,
)

WINDOW = 30_000


def idle(
    baseline: Baseline, watts: float, minutes: float, since_ms: int = 0, state: str = BARE
) -> int:
    """Let a device idle, read every second; return when that ended."""
    end_ms = since_ms + round(minutes * 60_000)
    for ts_ms in range(since_ms, end_ms, 1000):
        baseline.idle(state, ts_ms + 1000, 1000, watts)
    return end_ms


class TestLearning:
    def test_nothing_is_said_before_enough_was_seen(self) -> None:
        baseline = Baseline(WINDOW)
        idle(baseline, 55.0, ENOUGH / 2 - 0.1)
        assert baseline.watts(BARE) is None
        idle(baseline, 55.0, 0.6)
        assert baseline.watts(BARE) == 55.0
        assert baseline.watts(CONTEXT) is None

    def test_a_short_rest_is_not_idleness(self) -> None:
        baseline = Baseline(WINDOW)
        for _ in range(50):
            idle(baseline, 55.0, 0.4)
            baseline.busy()
        assert baseline.watts(BARE) is None

    def test_a_load_that_no_counter_shows_is_not_steady(self) -> None:
        baseline = Baseline(WINDOW)
        for s in range(3600):
            baseline.idle(BARE, s * 1000, 1000, 200.0 if s % 7 else 280.0)
        assert baseline.watts(BARE) is None

    def test_a_context_costs_more_and_has_a_level_of_its_own(self) -> None:
        baseline = Baseline(WINDOW)
        end_ms = idle(baseline, 70.0, 5)
        idle(baseline, 120.0, 5, end_ms, CONTEXT)
        assert (baseline.watts(BARE), baseline.watts(CONTEXT)) == (70.0, 120.0)

    def test_one_low_outlier_does_not_become_the_baseline(self) -> None:
        baseline = Baseline(WINDOW)
        idle(baseline, 12.0, 0.5)
        idle(baseline, 55.0, 10, 30_000)
        assert baseline.watts(BARE) == 55.0

    def test_a_quarter_of_the_time_is_enough_to_be_the_level(self) -> None:
        baseline, ts_ms = Baseline(WINDOW), 0
        for _ in range(20):
            for watts in (55.0, 80.0, 80.0):
                ts_ms = idle(baseline, watts, 10, ts_ms)
        assert baseline.watts(BARE) == 55.0

    def test_it_drifts_up_with_a_hot_season_within_a_day_of_idleness(self) -> None:
        baseline = Baseline(WINDOW)
        end_ms = idle(baseline, 50.0, 12 * 60)
        idle(baseline, 58.0, 4 * 60, end_ms)
        assert baseline.watts(BARE) == 50.0
        idle(baseline, 58.0, 8 * 60, end_ms + 4 * 3_600_000)
        assert baseline.watts(BARE) == 58.0
        assert len(baseline.means[BARE]) == KEPT

    def test_a_clock_that_was_wrong_does_not_stop_it_from_learning(self) -> None:
        baseline = Baseline(WINDOW, {BARE: [(10**15, 50.0)] * 8})
        idle(baseline, 60.0, 60)
        assert baseline.watts(BARE) == 50.0
        idle(baseline, 60.0, 12 * 60)
        assert baseline.watts(BARE) == 60.0

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.floats(0.001, 800), min_size=ENOUGH, max_size=QUICK))
    def test_it_is_always_a_level_that_was_seen(self, levels: list[float]) -> None:
        baseline, ts_ms = Baseline(WINDOW), 0
        for watts in levels:
            ts_ms = idle(baseline, watts, 0.5, ts_ms)
        learned = baseline.watts(BARE)
        assert learned is not None
        assert min(levels) * 0.999 <= learned <= sorted(levels)[len(levels) // 2] * 1.001


class TestKeeping:
    def learned(self, folder: Path | None) -> Baselines:
        kept = Baselines(folder, 30.0)
        idle(kept.of("GPU-1"), 55.5, 3)
        return kept

    def test_they_outlive_a_restart(self, tmp_path: Path) -> None:
        self.learned(tmp_path / "new").save()
        again = Baselines(tmp_path / "new", 30.0)
        assert again.of("GPU-1").watts(BARE) == 55.5
        assert again.of("GPU-2").watts(BARE) is None
        assert [f.name for f in (tmp_path / "new").iterdir()] == ["baselines.json"]

    def test_without_a_folder_they_are_only_in_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        self.learned(None).save()
        assert list(tmp_path.iterdir()) == []

    def test_a_device_that_was_not_seen_for_three_months_is_forgotten(self, tmp_path: Path) -> None:
        def told() -> dict[str, int]:
            devices = json.loads((tmp_path / "baselines.json").read_text())["devices"]
            return {key: device["seen_ms"] for key, device in devices.items()}

        start = 1_700_000_000_000
        now = [start]
        kept = Baselines(tmp_path, 30.0, lambda: now[0])
        for key in ("gone", "here"):
            idle(kept.of(key), 55.5, 3)
        kept.let_go(["gone", "never seen"])
        for days, gone in ((0, {"gone": start}), (89, {"gone": start}), (91, {})):
            now[0] = start + days * 86_400_000
            kept.save()
            assert told() == {"here": now[0], **gone}
            kept = Baselines(tmp_path, 30.0, lambda: now[0])
            assert kept.of("here").watts(BARE) == 55.5

    def test_of_devices_that_are_gone_a_number_is_remembered_the_last_ones(self) -> None:
        now = [1_700_000_000_000]
        kept = Baselines(None, 30.0, lambda: now[0])
        for n in range(MOST_DEVICES + 2):
            now[0] += 1000
            idle(kept.of(str(n)), 55.5, 3)
            kept.let_go([str(n)])
        assert [kept.of(str(n)).watts(BARE) for n in (0, 1, 2)] == [None, None, 55.5]

    def test_nothing_learned_of_a_device_that_is_gone_leaves_nothing(self) -> None:
        kept = Baselines(None, 30.0)
        first = kept.of("GPU-1")
        kept.let_go(["GPU-1"])
        assert kept.of("GPU-1") is not first

    def test_nothing_learned_writes_nothing(self, tmp_path: Path) -> None:
        kept = Baselines(tmp_path, 30.0)
        kept.of("GPU-1")
        kept.save()
        assert list(tmp_path.iterdir()) == []

    def test_they_are_saved_once_in_ten_minutes(self, tmp_path: Path) -> None:
        kept, file = self.learned(tmp_path), tmp_path / "baselines.json"
        saved = []
        for monotonic in (100.0, 400.0, 699.0, 700.0, 701.0, 1299.0, 1300.0):
            kept.save_if_due(monotonic)
            saved.append(file.exists())
            file.unlink(missing_ok=True)
        assert saved == [False, False, False, True, False, False, True]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "null",
            "[1]",
            '{"version": 2, "devices": {}}',
            '{"version": 1}',
            '{"version": 1, "devices": []}',
            '{"version": 1, "devices": {"d": {"bare": [[1]]}}}',
            '{"version": 1, "devices": {"d": {"bare": [[1, -5.0]]}}}',
            '{"version": 1, "devices": {"d": {"bare": [[1, NaN]]}}}',
            '{"version": 1, "devices": {"d": {"bare": [["x", "y"]]}}}',
            "[" * 100_000,
            "\udcff",
        ],
    )
    def test_a_broken_file_is_set_aside(
        self, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "baselines.json"
        file.write_bytes(text.encode(errors="surrogateescape"))
        kept = self.learned(tmp_path)
        assert "is broken and set aside as baselines.broken" in caplog.text
        assert [f.name for f in tmp_path.iterdir()] == ["baselines.broken"]
        kept.save()
        assert json.loads(file.read_text())["version"] == 1

    def test_a_folder_that_cannot_be_used_is_told_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("")
        kept = self.learned(tmp_path / "file")
        caplog.clear()
        kept.save()
        kept.save()
        assert len(caplog.records) == 1
        assert "cannot be kept" in caplog.text


def test_the_lower_of_what_was_learned_is_what_a_device_idles_at() -> None:
    baselines = Baselines(None, 30.0)
    assert baselines.idle_watts("gpu") is None
    for state, watts in ((CONTEXT, 90.0), (BARE, 60.0)):
        assert baselines.idle_watts("gpu") == (None if state == CONTEXT else 90.0)
        for second in range(0, 120, 10):
            baselines.of("gpu").idle(state, second * 1000, 10_000, watts)
    assert baselines.idle_watts("gpu") == 60.0
