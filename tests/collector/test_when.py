"""When a job should run, by what is known of the grid."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import when
from wattshed_collector.api.when import asked
from wattshed_collector.cli import main
from wattshed_collector.errors import InvalidInput
from wattshed_collector.factor import Factor
from wattshed_collector.grid.series import Step
from wattshed_collector.store import factors, grid
from wattshed_collector.store.grid import Told
from wattshed_collector.when import Question
from wattshed_exporter.model import Batch, Device, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.collector.conftest import Bed

HOUR, DAY = 3600, 86400
NOW = int(time.time()) // DAY * DAY + 10 * HOUR
"""Of the present, because forecasts of long ago are not kept."""


def hours(since: int, *values: float | None) -> list[Step]:
    return [Step(since + n * HOUR, since + (n + 1) * HOUR, value) for n, value in enumerate(values)]


def told(steps: list[Step], kind: str = "carbon", said_s: int = NOW) -> Told:
    return Told(kind, "IE", "g/kWh", "a test", said_s, steps)


def ask(bed: Bed, **more: Any) -> dict[str, Any]:
    said = {"run_s": HOUR, "earliest_s": NOW, "deadline_s": NOW + 6 * HOUR, "zone": "IE", **more}
    return when.answer(bed.client, Question(**said), NOW)


def test_by_forecast(bed: Bed) -> None:
    grid.put(bed.client, [told(hours(NOW - HOUR, 400.0))], NOW)
    grid.put_forecast(bed.client, [told(hours(NOW, 400.0, 300.0, 100.0, 200.0, 150.0))], NOW)
    found = ask(bed)
    assert found["plan"] == {
        "start": NOW + 2 * HOUR,
        "end": NOW + 3 * HOUR,
        "pieces": [{"start": NOW + 2 * HOUR, "end": NOW + 3 * HOUR}],
        "mean": 100.0,
        "mean_at_once": 400.0,
        "saved_ratio": 0.75,
        "rests_on": ["forecast"],
    }
    assert found["now"] == {"value": 400.0, "source": "a test", "age_seconds": 0}
    assert not found["run_now"]
    paused = ask(bed, run_s=2 * HOUR, interruptible=True)["plan"]
    assert [piece["start"] for piece in paused["pieces"]] == [NOW + 2 * HOUR, NOW + 4 * HOUR]
    assert paused["mean"] == 125.0


def test_without_a_forecast_by_the_same_hours_of_the_last_days(bed: Bed) -> None:
    steps = [s for day in (1, 2) for s in hours(NOW - day * DAY, 400.0, 300.0, 50.0 * day)]
    grid.put(bed.client, [told(steps)], NOW)
    found = ask(bed)
    assert (found["plan"]["start"], found["plan"]["mean"]) == (NOW + 2 * HOUR, 75.0)
    assert found["plan"]["rests_on"] == ["same_hours"]
    assert found["now"]["age_seconds"] == DAY - 3 * HOUR


def test_where_the_forecast_ends_the_same_hours_go_on(bed: Bed) -> None:
    grid.put(bed.client, [told(hours(NOW - DAY, *[50.0] * 6))], NOW)
    grid.put_forecast(bed.client, [told(hours(NOW, 400.0, 300.0))], NOW)
    plan = ask(bed, run_s=5 * HOUR)["plan"]
    assert plan["start"] == NOW + HOUR
    assert plan["mean"] == pytest.approx((300 + 4 * 50) / 5)
    assert plan["rests_on"] == ["forecast", "same_hours"]


def test_an_hour_that_nobody_knows_is_not_chosen(bed: Bed) -> None:
    grid.put_forecast(bed.client, [told(hours(NOW, 400.0, None, 300.0))], NOW)
    assert ask(bed, run_s=2 * HOUR)["plan"] is None
    assert ask(bed)["plan"]["start"] == NOW + 2 * HOUR


def test_a_tariff_of_the_site(bed: Bed) -> None:
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml", site="dub"),)))
    said = [
        Factor("price", "dub", NOW - DAY, 0.30, "EUR/kWh", "contract"),
        Factor("price", "dub", NOW + 3 * HOUR, 0.10, "EUR/kWh", "contract"),
    ]
    factors.put(bed.client, said, float(NOW))
    found = ask(bed, zone="", site="dub", signal="price")
    assert (found["unit"], found["now"]["source"]) == ("EUR/kWh", "contract")
    assert found["plan"]["start"] == NOW + 3 * HOUR
    assert found["plan"]["saved_ratio"] == pytest.approx(2 / 3)
    assert found["plan"]["rests_on"] == ["factor"]


def test_a_forecast_that_is_too_old_is_not_used(bed: Bed) -> None:
    grid.put(bed.client, [told(hours(NOW - DAY, *[50.0] * 6))], NOW)
    said = told(hours(NOW, 400.0, 300.0, 100.0), said_s=NOW - 2 * HOUR)
    grid.put_forecast(bed.client, [said], NOW)
    seen = {"source": "a test", "said": NOW - 2 * HOUR, "age_seconds": 2 * HOUR}
    for bound, is_used, rests_on in (
        (0, True, "forecast"),
        (2 * HOUR, True, "forecast"),
        (2 * HOUR - 1, False, "same_hours"),
    ):
        found = ask(bed, forecast_age_s=bound, deadline_s=NOW + 2 * HOUR)
        assert found["forecast"] == {**seen, "is_used": is_used}
        assert found["plan"]["rests_on"] == [rests_on]
    late = ask(bed, forecast_age_s=HOUR, run_s=9 * HOUR, deadline_s=NOW + 10 * HOUR)
    assert late["reason"].endswith("the deadline, and the forecast is too old")


def test_a_tariff_that_is_known_beyond_tomorrow(bed: Bed) -> None:
    steps = [Step(NOW, NOW + 9 * DAY, 0.3), Step(NOW + 3 * DAY, NOW + 4 * DAY, 0.1)]
    grid.put(bed.client, [Told("price", "IE", "EUR/kWh", "a file", NOW, steps)], NOW)
    found = ask(bed, signal="price", deadline_s=NOW + 5 * DAY)
    assert (found["plan"]["start"], found["plan"]["rests_on"]) == (NOW + 3 * DAY, ["known"])
    assert found["forecast"] is None


def test_a_contract_that_ends_and_money_of_another_kind(bed: Bed) -> None:
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml", site="dub"),)))
    grid.put_zones(bed.client, {"dub": ("IE", None, "")}, NOW)
    said = [
        Factor("price", "dub", NOW - DAY, 300.0, "EUR/MWh", "contract"),
        Factor("price", "dub", NOW + 2 * HOUR, None),
    ]
    factors.put(bed.client, said, float(NOW))
    for unit, start, rests_on in (
        ("EUR/kWh", NOW + 2 * HOUR, ["known"]),
        ("USD/kWh", NOW, ["factor"]),
    ):
        steps = hours(NOW, *[0.1] * 6)
        grid.put(bed.client, [Told("price", "IE", unit, "a file", NOW, steps)], NOW)
        found = ask(bed, zone="", site="dub", signal="price")
        assert (found["unit"], found["now"]["value"]) == ("EUR/kWh", pytest.approx(0.3))
        assert (found["plan"]["start"], found["plan"]["rests_on"]) == (start, rests_on)


def test_a_contract_in_other_money_is_not_the_price_of_the_zone(bed: Bed) -> None:
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml", site="dub"),)))
    grid.put_zones(bed.client, {"dub": ("IE", None, "")}, NOW)
    steps = hours(NOW, *[0.1] * 6)
    grid.put(bed.client, [Told("price", "IE", "EUR/kWh", "a file", NOW, steps)], NOW)
    said = [
        Factor("price", "dub", NOW - DAY, 0.3, "USD/kWh", "old"),
        Factor("price", "dub", NOW + 2 * HOUR, 0.2, "EUR/kWh", "new"),
    ]
    factors.put(bed.client, said, float(NOW))
    found = ask(bed, zone="", site="dub", signal="price")
    assert (found["unit"], found["now"]["value"], found["now"]["source"]) == ("USD/kWh", 0.3, "old")
    assert (found["plan"]["end"], found["plan"]["mean"]) == (NOW + HOUR, pytest.approx(0.3))
    # Nobody knows what it costs per horse: neither is it what others pay.
    factors.put(bed.client, [Factor("price", "dub", NOW - DAY, 0.3, "EUR/horse")], float(NOW))
    found = ask(bed, zone="", site="dub", signal="price")
    assert (found["now"]["value"], found["plan"]["start"]) == (None, NOW + 2 * HOUR)
    found = ask(bed, zone="", site="dub", signal="price", deadline_s=NOW + 2 * HOUR)
    assert (found["plan"], found["now"]["value"]) == (None, None)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"zone": "", "site": "x"}, "site 'x' lies in no zone"),
        ({"zone": "DE"}, "nothing is known of carbon in zone 'DE'"),
        ({"run_s": 7 * HOUR}, "does not fit"),
        ({"run_s": 5 * HOUR}, "not known for long enough"),
    ],
)
def test_why_there_is_no_plan(bed: Bed, said: dict[str, Any], reason: str) -> None:
    grid.put_forecast(bed.client, [told(hours(NOW, 400.0, 300.0))], NOW)
    found = ask(bed, **said)
    assert found["plan"] is None
    assert reason in found["reason"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"duration": "4h", "deadline": "12h"}, "either site or zone"),
        ({"duration": "4h", "deadline": "12h", "site": "a", "zone": "b"}, "either site or zone"),
        ({"duration": "4", "deadline": "12h", "zone": "b"}, "duration='4'"),
        ({"duration": "4h", "deadline": "soon", "zone": "b"}, "'soon' is not a time"),
        ({"duration": "4h", "deadline": "32d", "zone": "b"}, "within 31 days"),
        ({"duration": "4h", "deadline": "2020-01-01", "zone": "b"}, "within 31 days"),
        ({"duration": "4h", "deadline": "1h", "zone": "b", "signal": "x"}, "choose one of carbon"),
        ({"duration": "4h", "deadline": "1h", "zone": "b", "interruptible": "yes"}, "0 or 1"),
    ],
)
def test_what_is_asked_wrongly(query: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        asked(query, NOW, DAY)


def test_a_factor_that_is_taken_back_leaves_the_zone(bed: Bed) -> None:
    bed.write(Batch(devices=(Device("d", Kind.GPU, "n", "nvml", site="dub"),)))
    grid.put_zones(bed.client, {"dub": ("IE", None, "")}, NOW)
    grid.put_forecast(bed.client, [told(hours(NOW, 400.0, 300.0, 100.0))], NOW)
    said = [
        Factor("carbon_g_per_kwh", "dub", NOW - DAY, 10.0),
        Factor("carbon_g_per_kwh", "dub", NOW - HOUR, None),
    ]
    factors.put(bed.client, said, float(NOW))
    found = ask(bed, zone="", site="dub")
    assert found["plan"]["rests_on"] == ["forecast"]
    assert found["plan"]["mean"] == 100.0


@pytest.mark.parametrize(("words", "where"), [((), "data"), (("--data", "nowhere"), "nowhere")])
def test_the_settings_say_where_the_data_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], where: str
) -> None:
    file = tmp_path / "collector.yaml"
    file.write_text(f"data: {tmp_path / 'data'}\n")
    asked = ("--zone", "IE", "--duration", "1h", "--deadline", "9h", "--config", str(file))
    with pytest.raises(SystemExit) as ended:
        main(["when", *asked, *words])
    said = capsys.readouterr().err
    folder = where if words else tmp_path / where
    assert (ended.value.code, f"no data in {folder};" in said) == (1, True), said
