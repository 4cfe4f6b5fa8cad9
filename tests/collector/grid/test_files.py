"""Series of files: what is good is read, what is bad is named with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wattshed_collector.errors import InvalidInput
from wattshed_collector.grid.files import Series, load
from wattshed_collector.grid.series import Step

if TYPE_CHECKING:
    from pathlib import Path

AT = 1_769_846_400
"""2026-01-31T08:00Z"""


def read(tmp_path: Path, text: str, name: str = "grid.csv") -> list[Series]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return load(tmp_path / name, zone="IE")


def test_a_tariff_by_time_of_use(tmp_path: Path) -> None:
    text = (
        "\ufeffstart,value,kind,unit\n"
        "2026-01-31T23:00:00+01:00,0.10,price,EUR/kWh\n"
        "2026-01-31T08:00Z,0.31,price,EUR/kWh\n"
    )
    night = AT + 14 * 3600
    assert read(tmp_path, text) == [
        Series(
            "price", "IE", "EUR/kWh", (Step(AT, night, 0.31), Step(night, night + 14 * 3600, 0.10))
        )
    ]


def test_a_hole_is_not_filled_with_what_was_before_it(tmp_path: Path) -> None:
    hours = [*range(5), *range(800, 805)]
    text = "start,value\n" + "".join(f"{AT + h * 3600},{h}\n" for h in hours)
    (series,) = read(tmp_path, text)
    assert [(step.start_s, step.end_s) for step in series.steps] == [
        (AT + h * 3600, AT + (h + 1) * 3600) for h in hours
    ]


def test_ends_zones_holes_and_what_is_estimated(tmp_path: Path) -> None:
    text = (
        "start,end,zone,value,is_estimated\n"
        f"{AT},{AT + 300},DE,400,true\n"
        f"{AT + 600},{AT + 900},DE,,\n"
        f"{AT},{AT + 300},,100,0\n"
    )
    assert read(tmp_path, text) == [
        Series(
            "carbon",
            "DE",
            "g/kWh",
            (Step(AT, AT + 300, 400.0, True), Step(AT + 600, AT + 900, None)),
        ),
        Series("carbon", "IE", "g/kWh", (Step(AT, AT + 300, 100.0, False),)),
    ]


def test_json(tmp_path: Path) -> None:
    text = f'[{{"start": {AT}, "value": 5, "kind": "carbon_market", "zone": "DE"}}]'
    assert read(tmp_path, text, "grid.json") == [
        Series("carbon_market", "DE", "g/kWh", (Step(AT, AT + 3600, 5.0),))
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start\n1\n", "the header lacks value"),
        ("start,value,colour\n1,2,red\n", "line 2: colour is not known"),
        ("start,value\n1,2,3\n", "line 2: None is not known"),
        ("start,value\nyesterday,2\n", "line 2: .*yesterday"),
        ("start,value\n,2\n", "line 2: start is missing"),
        ("start,value\n1e12,2\n", "not a time between 1970 and 2105"),
        ("start,value\n5,-2\n", "not a number that can be"),
        ("start,value\n5,nan\n", "not a number that can be"),
        ("start,value\n5,much\n", "could not convert"),
        ("start,value,kind\n5,2,water\n", "kind 'water' is none of"),
        ("start,value,kind\n5,2,price\n", "a price needs one such as EUR/kWh"),
        ("start,value,kind,unit\n5,2,price,EUR/MWh\n", "unit 'EUR/MWh': a price needs one"),
        ("start,value,kind,unit\n5,2,price,/kWh\n", "unit '/kWh': a price needs one"),
        ("start,value,unit\n5,2,kg/MWh\n", "unit 'kg/MWh' of carbon is not g/kWh"),
        ("start,end,value\n5,5,2\n", "ends before it begins"),
        ("start,value,is_estimated\n5,2,maybe\n", "neither true nor false"),
        ("start,value\n" + "x,1\n" * 25, "line 21: .*; and 5 more"),
        ('start,value\n1,"2\n' + "5,6\n" * 50_000, "field larger than field limit"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "must be a list"),
        ("[1]", "must be a list"),
    ],
)
def test_what_is_no_list(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(tmp_path, text, "grid.json")


def test_no_zone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("start,value\n5,2\n")
    with pytest.raises(InvalidInput, match="line 2: no zone is named"):
        load(tmp_path / "a.csv")


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(tmp_path / "none.csv")
