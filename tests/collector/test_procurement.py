"""Scorecards and keep-or-replace over a store whose numbers are known by hand."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import procurement
from wattshed_collector.api.procurement import asked
from wattshed_collector.errors import InvalidInput
from wattshed_collector.factor import Factor
from wattshed_collector.lifecycle.embodied import table
from wattshed_collector.lifecycle.poisson import interval
from wattshed_collector.lifecycle.replace import YEAR_S, Change, carbon, money
from wattshed_collector.lifecycle.told import Told
from wattshed_collector.procurement import Question
from wattshed_collector.receivers.mlperf import model as mlperf
from wattshed_collector.store import factors, lifecycle
from wattshed_collector.store import procurement as store
from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Kind,
    Method,
    Outcome,
    Tick,
    Workload,
)

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200
PAIR = {"model": "a", "with": "b"}
HOUR = 3600
NOW = BASE + 4 * HOUR
A100, H100 = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"
MLPERF = "mlperf-inference/r/1"


def run(
    device: Device, workload: Workload, watts: float, rate: float, errors: int | None = None
) -> Batch:
    """Two hours of a device that a workload holds, which makes ``rate`` tokens a second."""
    begin, end = BASE * 1000, (BASE + 2 * HOUR) * 1000
    seconds = range(0, 2 * HOUR + 1, 60)
    details = () if errors is None else tuple(
        Detail(device.key, "wattshed_xid_errors_total", (BASE + at) * 1000, value, ("79",), begin)
        for at, value in ((0, 0.0), (HOUR, float(errors)))
    )  # fmt: skip
    return Batch(
        devices=(device,),
        workloads=(workload,),
        ticks=tuple(
            Tick(
                device.key, (BASE + at) * 1000, 60_000, Method.INTEGRAL, watts,
                utilization_ratio=0.9,
            )
            for at in seconds
        ),
        allocations=(Allocation(device.key, workload.key, begin, end),),
        outcomes=tuple(
            Outcome(workload.key, "token_out", (BASE + at) * 1000, at * rate, begin)
            for at in seconds
        ),
        details=details,
    )  # fmt: skip


def gpu(key: str, model: str) -> Device:
    return Device(key, Kind.GPU, "n", "nvml", model=model, site="dub", vendor="NVIDIA")


def fill(bed: Bed) -> None:
    """An A100 takes 2 J a token and an H100 0.5 J, of one model of AI; a result on an
    H100 was imported, 0.25 J."""
    said = [("pue", 1.5, ""), ("carbon_g_per_kwh", 300.0, ""), ("price", 0.2, "EUR/kWh")]
    told = [Factor(kind, "", BASE, value, unit) for kind, value, unit in said]
    factors.put(bed.client, told, float(NOW))
    lifecycle.put_table(bed.client, table(), float(NOW))
    lifecycle.tell_all(bed.client, 5.0, float(NOW))
    wall = Device("wall", Kind.HOST, "r", "mlperf", model=H100, scope="wall")
    bed.write(
        run(gpu("a", A100), Workload("old", "old", model="llama"), 400.0, 200.0, 3),
        run(gpu("h", H100), Workload("new", "new", model="llama"), 500.0, 1000.0),
        run(wall, Workload(MLPERF, "r", "inference", model="llama"), 5000.0, 20_000.0),
    )
    ledger = bed.ledger(now=lambda: NOW)
    ledger.run()
    ledger.sum_up()


def card(bed: Bed, site: str = "") -> dict[str, Any]:
    return procurement.scorecard(bed.client, BASE, NOW, site)


def test_own_models_and_imported_results_stand_side_by_side(bed: Bed) -> None:
    fill(bed)
    found = card(bed)
    own = {one["model"]: one for one in found["own"]}
    assert sorted(own) == [A100, H100]
    (made,) = own[A100]["outcomes"]
    assert (made["ai_model"], made["outcome"]) == ("llama", "token_out")
    assert made["outcomes_per_joule"] == pytest.approx(0.5)
    assert own[H100]["outcomes"][0]["outcomes_per_joule"] == pytest.approx(2.0)
    (other,) = found["mlperf"]
    assert (other["result"], other["ai_model"], other["measured"]) == ("r", "llama", BASE)
    assert other["outcomes_per_joule"] == pytest.approx(4.0)
    assert card(bed, "reno")["own"] == []


def test_failures_are_of_those_that_count_them(bed: Bed) -> None:
    fill(bed)
    own = {one["model"]: one for one in card(bed)["own"]}
    low, high = interval(3)
    assert (own[A100]["failures"], own[A100]["failure_hours"]) == (3, pytest.approx(2.0))
    rates = [own[A100][f"failures_{name}"] for name in ("low", "per_1000_hours", "high")]
    assert rates == pytest.approx([low * 500, 1500, high * 500])
    assert own[H100]["failures"] is own[H100]["failures_per_1000_hours"] is None


def test_results_are_known_by_how_they_are_imported() -> None:
    assert store.MLPERF == mlperf.SOURCE
    assert all(str(kind).startswith(store.RESULT) for kind in mlperf.Kind)


def question(**more: Any) -> Question:
    return replace(Question(A100, H100, BASE, NOW, remaining_years=3.0), **more)


def test_replacing_is_measured_on_what_both_serve(bed: Bed) -> None:
    fill(bed)
    found = procurement.replace(bed.client, question(purchase_price=1000.0))
    assert found["joules_ratio"] == pytest.approx(0.25)
    assert found["measured_on"] == ["llama"]
    assert found["old_watts"] == pytest.approx(400 * 1.5)
    assert found["new_watts"] == pytest.approx(150.0)
    kwh = 450 * YEAR_S / 3.6e6
    assert found["g_per_kwh"] == pytest.approx(300.0)
    assert found["price_per_kwh"] == pytest.approx(0.2)
    assert found["carbon"]["years"] == pytest.approx(164_000 / (kwh * 300))
    assert found["money"]["years"] == pytest.approx(1000 / (kwh * 0.2))
    assert found["currency"] == "EUR"
    assert found["sources"]["embodied_kg"].startswith("an eighth of 1,312 kg")
    assert found["sources"]["purchase_price"] == "asked for"


def test_what_is_told_and_asked_for_goes_before(bed: Bed) -> None:
    fill(bed)
    price: dict[str, Any] = {"purchase_price": 9e9, "currency": "EUR"}
    price |= {"embodied_kg": 10.0, "embodied_source": "E"}
    lifecycle.tell(bed.client, [Told("", H100, price)], float(NOW))
    found = procurement.replace(bed.client, question(old_per_new=4.0, ratio=0.5, g_per_kwh=100.0))
    assert (found["embodied_kg"], found["sources"]["embodied_kg"]) == (10.0, "E")
    assert (found["old_watts"], found["new_watts"]) == (pytest.approx(2400), pytest.approx(1200))
    assert found["carbon"]["years"] == pytest.approx(10_000 / (1200 * YEAR_S / 3.6e6 * 100))
    assert found["money"]["years"] is None
    assert "would be kept for 3 years" in found["money"]["reason"]


def test_what_was_taken_away_has_no_years_left_and_none_less(bed: Bed) -> None:
    fill(bed)
    gone = gpu("gone", A100)
    at = (BASE - round(YEAR_S)) * 1000
    bed.write(Batch(devices=(gone,), ticks=(Tick("gone", at, 1000, Method.INTEGRAL, 9.0),)))
    told = [
        Told(key, "", {"commissioned": int(time.time() - years * YEAR_S)})
        for key, years in (("a", 1), ("gone", 9))
    ]
    lifecycle.tell(bed.client, told, float(NOW))
    found = procurement.replace(bed.client, question(remaining_years=None))
    assert found["remaining_years"] == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize("said", ["carbon_change=1e3", "remaining_years=1e9", "ratio=1e13"])
def test_what_no_number_comes_of_is_refused(said: str) -> None:
    name, _, value = said.partition("=")
    with pytest.raises(InvalidInput, match=f"{name}=.* must be"):
        asked({"model": A100, "with": H100, name: value}, float(NOW))


def test_too_little_is_said_to_be_too_little(bed: Bed) -> None:
    fill(bed)
    with pytest.raises(InvalidInput, match="nothing was charged to devices of 'T4'"):
        procurement.replace(bed.client, question(model="T4"))
    with pytest.raises(InvalidInput, match="say what the same work takes with ratio"):
        procurement.replace(bed.client, question(other="B200"))
    with pytest.raises(InvalidInput, match="say what the same work takes with ratio"):
        procurement.replace(bed.client, question(work=("token_out", "qwen")))
    age = {"commissioned": BASE - round(9 * YEAR_S)}
    lifecycle.tell(bed.client, [Told("", A100, age)], float(NOW))
    with pytest.raises(InvalidInput, match="past their lifetime"):
        procurement.replace(bed.client, question(remaining_years=None))
    unknown = procurement.replace(bed.client, question(other="B200", ratio=0.3))
    lifecycle.tell(bed.client, [Told("", "B300", {"embodied_kg": 7.0})], float(NOW))
    bought = procurement.replace(bed.client, question(other="B300", ratio=0.3))
    assert bought["embodied_kg"] == 7.0, "a model is told of before there is a device of it"
    assert unknown["carbon"]["years"] is unknown["money"]["years"] is None
    assert unknown["carbon"]["reason"] == "the embodied carbon of the new one is not known"


def test_money_of_two_currencies_is_never_set_against_each_other(bed: Bed) -> None:
    fill(bed)
    price: dict[str, Any] = {"purchase_price": 1000.0, "currency": "USD"}
    lifecycle.tell(bed.client, [Told("", H100, price)], float(NOW))
    found = procurement.replace(bed.client, question())
    assert (found["price_per_kwh"], found["money"]["years"]) == (None, None)
    assert found["money"]["reason"] == "power is paid in EUR, the new one in USD"
    assert (found["currency"], found["carbon"]["reason"]) == ("USD", "")
    said = procurement.replace(bed.client, question(price_per_kwh=0.25))
    assert said["money"]["years"] == pytest.approx(1000 / (450 * YEAR_S / 3.6e6 * 0.25))


def test_prices_of_several_currencies_have_no_mean(bed: Bed) -> None:
    fill(bed)
    bed.write(run(gpu("h2", H100), Workload("more", "more"), 500.0, 1000.0))
    for key, currency in (("h", "EUR"), ("h2", "USD")):
        price: dict[str, Any] = {"purchase_price": 1000.0, "currency": currency}
        lifecycle.tell(bed.client, [Told(key, "", price)], float(NOW))
    found = procurement.replace(bed.client, question())
    assert (found["purchase_price"], found["money"]["years"]) == (None, None)
    assert found["money"]["reason"] == "the new one is priced in several currencies: EUR, USD"
    lifecycle.tell(bed.client, [Told("h2", "", {"currency": "EUR", "purchase_price": 3000.0})], 1.0)
    assert procurement.replace(bed.client, question())["purchase_price"] == pytest.approx(2000.0)


def test_what_programs_cause_is_not_on_the_card_of_the_device(bed: Bed) -> None:
    device = gpu("a", A100)
    begin = BASE * 1000
    details = tuple(
        Detail("a", "wattshed_xid_errors_total", (BASE + at) * 1000, count, (number,), begin)
        for number, count in (("31", 5.0), ("79", 1.0))
        for at in (60, HOUR)
    )
    bed.write(run(device, Workload("old", "old"), 400.0, 200.0), Batch(details=details))
    ledger = bed.ledger(now=lambda: NOW)
    ledger.run()
    ledger.sum_up()
    (own,) = card(bed)["own"]
    assert (own["failures"], own["program_errors"]) == (1, 5)
    assert own["failures_per_1000_hours"] == pytest.approx(500)


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("ratio", "-1", "at least 0 and at most 1e\\+12"),
        ("ratio", "nan", "at least 0"),
        ("old_per_new", "0", "above 0"),
        ("remaining_years", "101", "above 0 and at most 100"),
        ("carbon_change", "-1", "above -1 and at most 10"),
        ("price_change", "11", "at most 10"),
    ],
)
def test_numbers_that_cannot_be(name: str, said: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name}='{said}' must be .*{why}"):
        asked({**PAIR, name: said}, NOW)


def test_the_largest_numbers_still_have_an_answer() -> None:
    told = dict.fromkeys(("carbon_change", "price_change"), "10") | {"remaining_years": "100"}
    question = asked({**PAIR, **told}, NOW)
    change = Change(
        1e9, 0.0, question.remaining_years or 0.0, 1e4, 1e12, 1e12, 1e12,
        question.carbon_change, question.price_change,
    )  # fmt: skip
    for even in (carbon(change), money(change)):
        assert even.left is not None
        assert math.isfinite(even.left)
