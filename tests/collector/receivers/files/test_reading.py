"""The pace of a file, and what is counted."""

from __future__ import annotations

import pytest

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import LIMIT, POWER
from wattshed_collector.receivers.files import Place, Reading, Tally, paced

HOST = Place("n1", cluster="blue", site="attic", tier="edge")


def readings(key: str, times: list[int]) -> list[Reading]:
    attributes = {"hw.id": key}
    return [Reading(n, attributes, ts, ((POWER, "W", 1.0),)) for n, ts in enumerate(times, 1)]


def intervals(said: list[Reading], told: int | None = None) -> set[tuple[object, object]]:
    points = [point for one in paced(said, told) for point in one.points]
    return {(p.attributes["hw.id"], p.attributes["wattshed.interval_ms"]) for p in points}


def test_each_device_has_the_median_of_its_own() -> None:
    said = readings("a", [0, 10_000, 20_000, 90_000]) + readings("b", [0, 1000, 2000])
    assert intervals(said) == {("a", 10_000), ("b", 1000)}
    assert intervals(said, 5000) == {("a", 5000), ("b", 5000)}


def test_a_fast_logger_and_one_that_said_too_little() -> None:
    assert intervals(readings("a", [0, 7, 14, 30])) == {("a", 1000)}
    assert intervals(readings("a", [0, 60_000])) == {("a", 1000)}
    said = readings("a", [0, 5000, 10_000]) + readings("b", [0])
    assert intervals(said) == {("a", 5000), ("b", 5000)}


def test_a_limit_is_said_once_until_it_changes() -> None:
    values = [(100, 300.0), (200, 300.0), (300, 250.0)]
    said = [Reading(1, {"hw.id": "a"}, ts, ((LIMIT, "W", watts),)) for ts, watts in values]
    assert [p.value for one in paced(said) for p in one.points] == [300.0, 250.0]


def test_keys() -> None:
    assert HOST.key("csv", "psu") == "n1/csv/psu"
    assert Place().key("csv", "GPU-1234-ab") == "GPU-1234-ab"
    assert Place().key("csv", "n2/csv/psu") == "n2/csv/psu"
    with pytest.raises(InvalidInput, match="--node"):
        Place().key("csv", "psu")
    meter = HOST.meter("csv", "k", "gpu", model="")
    assert meter == {
        "wattshed.node": "n1",
        "wattshed.cluster": "blue",
        "wattshed.site": "attic",
        "wattshed.tier": "edge",
        "hw.id": "k",
        "hw.type": "gpu",
        "wattshed.source": "csv",
    }


def test_a_tally_keeps_the_first_place() -> None:
    tally = Tally()
    for file, line in (("a", 7), ("a", 9), ("b", 1)):
        tally.file = file
        tally.add("bad_time", line)
    tally.add("too_old", None, 5)
    assert tally.document() == {
        "bad_time": {"count": 3, "file": "a", "line": 7},
        "too_old": {"count": 5, "file": None, "line": None},
    }
