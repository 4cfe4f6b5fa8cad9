"""Scores in the store: idempotent, and set against their calibration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from wattshed_collector.config import Quality
from wattshed_collector.numerics_watch import NumericsWatch
from wattshed_collector.quality import Score
from wattshed_collector.store import quality
from wattshed_collector.store.read import Reader
from wattshed_collector.telemetry import Telemetry

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

Numerics = Callable[..., dict[str, Any]]
DAY_MS = 86_400_000
NOW_MS = int(time.time() * 1000)
CALIBRATED = Score("llama", "fp8", "rouge-l", 0.4, "higher", NOW_MS - 10 * DAY_MS, "calibration")


@pytest.fixture
def numerics(bed: Bed) -> Numerics:
    """Put scores; return the one key's row."""

    def numerics(*scores: Score) -> dict[str, Any]:
        quality.put(bed.client, scores, time.time())
        (row,) = quality.numerics(bed.client)
        return row

    return numerics


def later(score: float, days_ago: float = 1) -> Score:
    at_ms = NOW_MS - round(days_ago * DAY_MS)
    return replace(CALIBRATED, score=score, kind="score", at_ms=at_ms)


class TestDrift:
    def test_is_the_part_of_the_calibrated_score_that_is_lost(self, numerics: Numerics) -> None:
        row = numerics(CALIBRATED, later(0.5, 5), later(0.38, 1), later(0.1, 11))
        assert row["change_ratio"] == pytest.approx(-0.05)
        assert row["drift_ratio"] == pytest.approx(0.05)
        days = (time.time() * 1000 - CALIBRATED.at_ms) / DAY_MS  # the suite may run for a while
        assert row["days_since_calibration"] == pytest.approx(days, abs=0.01)
        assert (row["state"], row["scores_since"], row["latest_score"]) == ("drifted", 2, 0.38)

    def test_looks_the_other_way_where_lower_is_better(self, numerics: Numerics) -> None:
        calm, loud = (replace(s, better="lower") for s in (later(0.38, 2), later(0.5, 1)))
        start = replace(CALIBRATED, better="lower")
        assert numerics(start, calm)["drift_ratio"] == 0
        row = numerics(start, calm, loud)
        assert (row["drift_ratio"], row["state"]) == (pytest.approx(0.25), "drifted")

    def test_is_unknown_without_a_score_since(self, numerics: Numerics) -> None:
        row = numerics(CALIBRATED, later(0.1, 12))
        assert row["drift_ratio"] is row["change_ratio"] is row["latest_score"] is None
        assert (row["state"], row["scores_since"]) == ("ok", 0)

    def test_is_unknown_without_a_calibration(self, numerics: Numerics) -> None:
        row = numerics(later(0.4))
        assert row["drift_ratio"] is row["days_since_calibration"] is row["calibrated_at_s"] is None
        assert row["state"] == "uncalibrated"

    def test_of_nothing_has_no_ratio_and_is_seen(self, numerics: Numerics) -> None:
        row = numerics(replace(CALIBRATED, score=0.0, better="lower"), later(0.0))
        assert (row["drift_ratio"], row["state"]) == (None, "ok")
        row = numerics(replace(later(0.1, 0.5), better="lower"))
        assert (row["drift_ratio"], row["state"]) == (None, "drifted")

    def test_an_old_calibration_is_stale_unless_it_drifted(self, numerics: Numerics) -> None:
        old = replace(CALIBRATED, at_ms=NOW_MS - 31 * DAY_MS)
        assert numerics(old, later(0.4))["state"] == "stale"
        assert numerics(old, later(0.3, 0.5))["state"] == "drifted"

    def test_a_new_calibration_begins_anew(self, numerics: Numerics) -> None:
        anew = replace(CALIBRATED, score=0.3, at_ms=NOW_MS - DAY_MS)
        row = numerics(CALIBRATED, later(0.3, 2), anew)
        assert (row["state"], row["calibration_score"], row["scores_since"]) == ("ok", 0.3, 0)

    def test_limits_are_those_told_last(self, bed: Bed, numerics: Numerics) -> None:
        quality.keep_limits(bed.client, 0.1, 5, time.time())
        try:
            assert numerics(CALIBRATED, later(0.38))["state"] == "stale"
        finally:
            quality.keep_limits(bed.client, 0.01, 30, time.time())
        assert quality.states(bed.client) == {"drifted": 1}


def test_a_measurement_said_again_replaces_itself_and_null_takes_it_back(bed: Bed) -> None:
    for score in (later(0.3), later(0.3), later(0.35)):
        quality.put(bed.client, [score], 1.0)
    (row,) = quality.scores(bed.client)
    assert (row["score"], row["measurements"], row["kind"]) == (0.35, 1, "score")
    quality.put(bed.client, [later(0.9), replace(later(0.3), score=None)], 1.0)
    assert quality.scores(bed.client) == []


async def test_scrapes_are_told_what_became_of_calibrations(bed: Bed) -> None:
    quality.put(bed.client, [CALIBRATED, later(0.3)], time.time())
    telemetry, reader = Telemetry(), Reader(bed.store.client)
    try:
        now_s = NOW_MS / 1000
        watch = NumericsWatch(reader, Quality(drift_ratio=0.1), telemetry, lambda: now_s)
        await reader.ask(watch.look)
    finally:
        reader.close()
    said = {
        sample.name.removeprefix("wattshed_collector_"): sample
        for family in text_string_to_metric_families(generate_latest(telemetry.registry).decode())
        for sample in family.samples
        if "numerics" in family.name or "calibration" in family.name
        if sample.labels.get("state", "drifted") == "drifted"
    }
    assert {name: sample.value for name, sample in said.items()} == {
        "numerics": 1.0,
        "numerics_drift_ratio": pytest.approx(0.25),
        "numerics_drift_limit_ratio": 0.1,
        "calibration_age_seconds": pytest.approx(10 * 86_400),
        "calibration_limit_seconds": Quality().calibration_days * 86_400,
    }
    assert set(said["numerics_drift_ratio"].labels.values()) >= {"llama", "fp8", "rouge-l"}
