"""Windows as people write them."""

from __future__ import annotations

import pytest

from wattshed_collector.api.window import window
from wattshed_collector.errors import InvalidInput

NOW = 1_768_471_200.5  # 2026-01-15T10:00:00.5Z


@pytest.mark.parametrize(
    ("since", "seconds"),
    [("90s", 90), ("90m", 5400), ("24h", 86_400), ("1.5h", 5400), ("7d", 604_800),
     ("2w", 1_209_600)],
)  # fmt: skip
def test_a_length_ends_now(since: str, seconds: int) -> None:
    assert window(since, "", NOW) == (1_768_471_200 - seconds, 1_768_471_200)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2026-01-15T08:00Z", "", (1_768_464_000, 1_768_471_200)),
        ("2026-01-15T08:00", "2026-01-15T09:00", (1_768_464_000, 1_768_467_600)),
        ("2026-01-15T09:00+01:00", "2026-01-15T09:00Z", (1_768_464_000, 1_768_467_600)),
        ("1h", "2026-01-15T09:00Z", (1_768_464_000, 1_768_467_600)),
        ("2026-01-15", "2026-01-16", (1_768_435_200, 1_768_521_600)),
    ],
)
def test_instants(since: str, until: str, expected: tuple[int, int]) -> None:
    assert window(since, until, NOW) == expected


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("yesterday", "", "'yesterday' is not a time: write a length such as 90m, 24h or 7d"),
        ("", "", "'' is not a time"),
        ("-1h", "", "'-1h' is not a time"),
        ("24", "", "'24' is not a time"),
        ("24H", "", "'24H' is not a time"),
        ("1h", "soon", "'soon' is not a time: write an instant such as 2026"),
        ("2h", "1h", "'1h' is not a time: write an instant such as 2026"),
        ("0h", "", "the window from '0h' to 'now' is empty"),
        ("2026-01-16", "2026-01-15", "is empty"),
        ("2030-01-01", "", "is empty"),
        ("99999w", "", "the window from '99999w' is longer than ten years"),
        ("9" * 400 + "d", "", "is longer than ten years"),
        ("1970-01-01", "", "is longer than ten years"),
        ("0001-01-01T00:00+23:59", "", "longer than ten years"),
        ("1h", "9999-12-31T23:59-23:59", "is later than the year 2105"),
        ("1h", "2106-02-08", "is later than the year 2105"),
        ("1h", "1970-01-01T00:30Z", "is empty"),
    ],
)
def test_what_is_wrong_is_said(since: str, until: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        window(since, until, NOW)
    assert caught.value.reason == "window"
