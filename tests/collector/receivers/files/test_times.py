"""Times of every tool, and the hour that a clock shows twice."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers.files.times import Clock, beats, zone

BERLIN = ZoneInfo("Europe/Berlin")
AT = 1_764_126_245_678
"""2025-11-26T03:04:05.678Z"""


@pytest.mark.parametrize(
    "text",
    [
        "2025-11-26T03:04:05.678Z",
        "2025-11-26 04:04:05.678+01:00",
        "2025/11/26 04:04:05.678",
        "2025-11-26T04:04:05.678000",
        "1764126245.678",
        "1764126245678",
        "1764126245678000",
        "1764126245678999999",
    ],
)
def test_one_instant(text: str) -> None:
    assert Clock(BERLIN).read(f" {text} ") == AT


def test_a_format_and_a_unit_that_are_told() -> None:
    clock = Clock(BERLIN, "%d.%m.%Y %H:%M:%S")
    assert clock.read("26.11.2025 04:04:05") == AT - 678
    assert Clock(unit="s").read("1764126245.6") == AT - 78
    # Without its unit it would count as seconds.
    assert Clock(unit="ms").read("17641262456") == 17_641_262_456
    assert Clock(unit="ns").read(str(AT * 10**6 + 999_999)) == AT


@pytest.mark.parametrize(
    "text",
    ["", "now", "2025-13-01", "0", "-1", "1e9", "9" * 400, "nan", "0001-01-01", "9999-12-31T23:59"],
)
def test_no_time(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Clock(UTC).read(text)
    assert error.value.reason == "bad_time"


def test_the_hour_that_comes_twice() -> None:
    first = int(datetime(2025, 10, 26, 0, tzinfo=UTC).timestamp() * 1000)
    instants = [first + step * 600_000 for step in range(18)]
    clock = Clock(BERLIN)
    for instant in instants:
        local = datetime.fromtimestamp(instant / 1000, BERLIN).replace(tzinfo=None)
        assert clock.read(local.isoformat(), "a") == instant
    # Another device's part of the file begins in front.
    local = datetime.fromtimestamp(instants[0] / 1000, BERLIN).replace(tzinfo=None)
    assert clock.read(local.isoformat(), "b") == instants[0]


@given(st.integers(1, 3_999_999_999_999))
def test_iso_of_any_millisecond(ms: int) -> None:
    said = datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    assert Clock().read(said.isoformat(timespec="milliseconds")) == ms


def test_zones() -> None:
    assert zone("Europe/Berlin") == BERLIN
    assert zone("") is None
    with pytest.raises(InvalidInput, match="Mars/Olympus"):
        zone("Mars/Olympus")


def test_beats() -> None:
    beat = beats(1000, 500)
    assert [next(beat) for _ in range(3)] == [1000, 1500, 2000]
    for told in ((None, 500), (1000, None)):
        with pytest.raises(InvalidInput, match="--start"):
            next(beats(*told))
