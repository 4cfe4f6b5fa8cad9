"""The register in the store: what is told, what is brought along, and what falls to an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.errors import InvalidInput
from wattshed_collector.lifecycle.embodied import Embodied, amortised_g, table
from wattshed_collector.lifecycle.told import Told
from wattshed_collector.store import lifecycle
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

BASE = 1_768_471_200
"""A full hour, 2026-01-15T10:00Z."""
HOUR = 3600
NOW = float(BASE + 5 * HOUR)
MODELS = {"a": "NVIDIA A100-SXM4-80GB", "h": "NVIDIA H100 80GB HBM3", "x": "Novel X1"}


def gpu(key: str, hours: int = 2, at_h: int = 0, kind: Kind = Kind.GPU, **more: Any) -> Batch:
    device = Device(key, kind, "n", "nvml", site="dub", **{"model": MODELS.get(key, "")} | more)
    ticks = tuple(
        Tick(
            key,
            (BASE + at_h * HOUR + at) * 1000,
            60_000,
            Method.INTEGRAL,
            100.0,
            utilization_ratio=0.5,
        )
        for at in range(0, hours * HOUR + 1, 60)
    )
    return Batch(devices=(device,), ticks=ticks)


def held(device: str, workload: str, share: float) -> Allocation:
    return Allocation(device, workload, BASE * 1000, (BASE + HOUR) * 1000, share)


def fill(bed: Bed) -> None:
    lifecycle.put_table(bed.client, table(), NOW)
    lifecycle.tell_all(bed.client, 5.0, NOW)
    bed.write(
        gpu("a"),
        gpu("h"),
        gpu("x"),
        Batch(
            workloads=(Workload("w1", "one", team="t"), Workload("w2", "two")),
            allocations=(held("a", "w1", 0.75), held("a", "w2", 0.25), held("x", "w1", 1.0)),
        ),
    )
    ledger = bed.ledger(now=lambda: NOW)
    ledger.run()
    ledger.sum_up()


def of(bed: Bed, device: str) -> dict[str, Any]:
    return lifecycle.one(bed.client, device)


def test_what_falls_to_an_hour_sums_to_the_device(bed: Bed) -> None:
    fill(bed)
    rows = bed.client.records(
        "SELECT * FROM v_embodied_1h WHERE t = fromUnixTimestamp({at:UInt32}) "
        "ORDER BY device, workload",
        {"at": BASE},
    )
    hour = amortised_g(318, 5, HOUR)
    assert hour == pytest.approx(318_000 / (5 * 8766))
    of_a = {row["workload"]: row for row in rows if row["device"] == "a"}
    assert of_a["one"]["embodied_g"] == pytest.approx(0.75 * hour)
    assert of_a["two"]["embodied_g"] == pytest.approx(0.25 * hour)
    assert of_a["one"]["embodied_low_g"] == pytest.approx(0.75 * hour / 2)
    assert of_a["one"]["embodied_high_g"] == pytest.approx(0.75 * hour * 1.5)
    (free,) = (row for row in rows if row["device"] == "h")
    assert (free["workload_id"], free["embodied_method"]) == (0, "table")
    assert free["embodied_g"] == pytest.approx(amortised_g(164, 5, HOUR))
    (novel,) = (row for row in rows if row["device"] == "x")
    assert (novel["embodied_g"], novel["embodied_reason"]) == (None, "nobody told it of Novel X1")
    assert novel["seconds"] == pytest.approx(HOUR)


def test_what_is_told_goes_before_the_table(bed: Bed) -> None:
    fill(bed)
    price: dict[str, Any] = {"purchase_price": 9000.0, "currency": "EUR"}
    told = [
        Told("", MODELS["x"], {"embodied_kg": 80.0, "lifetime_years": 4.0}),
        Told("", MODELS["a"], {"embodied_kg": 100.0, "embodied_high_kg": 150.0, **price}),
        Told("a", "", {"embodied_kg": 90.0, "embodied_source": "EPD", "commissioned": BASE}),
    ]
    assert lifecycle.tell(bed.client, told, NOW) == 3
    novel, own = of(bed, "x"), of(bed, "a")
    assert (novel["embodied_kg"], novel["embodied_method"]) == (80.0, "told_of_model")
    assert novel["embodied_g_per_hour"] == pytest.approx(80_000 / (4 * 8766))
    assert (novel["embodied_low_kg"], novel["lifetime_years"]) == (None, 4.0)
    assert (own["embodied_kg"], own["embodied_method"], own["embodied_source"]) == (
        90.0, "told", "EPD",
    )  # fmt: skip
    # Bounds belong to their figure; the price is that of the model.
    assert (own["embodied_high_kg"], own["purchase_price"], own["currency"]) == (None, 9000, "EUR")
    assert (own["commissioned"], own["age_since"]) == (BASE, "commissioned")
    lifecycle.tell(bed.client, [Told("a", "", {"embodied_kg": None})], NOW)
    own = of(bed, "a")
    assert (own["embodied_kg"], own["commissioned"]) == (100.0, BASE)


def test_after_its_lifetime_nothing_is_left_to_write_off(bed: Bed) -> None:
    fill(bed)
    years = BASE + HOUR - round(5 * 365.25 * 86400)
    lifecycle.tell(bed.client, [Told("a", "", {"commissioned": years})], NOW)
    rows = bed.client.rows(
        "SELECT t, sum(embodied_g), max(is_written_off) FROM v_embodied_1h WHERE device = 'a' "
        "GROUP BY t ORDER BY t"
    )
    assert [(grams, gone) for _, grams, gone in rows] == [
        (pytest.approx(amortised_g(318, 5, HOUR)), 0), (0.0, 1),
    ]  # fmt: skip


def test_only_devices_that_are_there_are_told_of(bed: Bed) -> None:
    fill(bed)
    facts: dict[str, Any] = {"lifetime_years": 3.0}
    with pytest.raises(InvalidInput, match="no device is called zz; nothing was kept"):
        lifecycle.tell(bed.client, [Told("a", "", facts), Told("zz", "", facts)], NOW)
    assert of(bed, "a")["lifetime_years"] == 5.0
    with pytest.raises(InvalidInput, match="no device 'zz'"):
        of(bed, "zz")


def test_the_table_is_written_once_and_what_left_it_is_gone(bed: Bed) -> None:
    fill(bed)
    count = "SELECT count() FROM embodied"
    before = bed.client.rows(count)
    lifecycle.put_table(bed.client, table(), NOW + 1)
    lifecycle.tell_all(bed.client, 5.0, NOW + 1)
    assert bed.client.rows(count) == before
    assert bed.client.rows("SELECT count() FROM device_told") == [(1,)]
    lifecycle.put_table(bed.client, [Embodied("x1", 1.0, 1.0, 2.0, 2020, "s")], NOW + 2)
    assert (of(bed, "a")["embodied_kg"], of(bed, "x")["embodied_kg"]) == (None, 1.0)
    assert of(bed, "a")["embodied_reason"] == f"nobody told it of {MODELS['a']}"


def test_the_register_says_what_became_of_each(bed: Bed) -> None:
    fill(bed)
    keys = [row["device"] for row in lifecycle.register(bed.client)]
    assert keys == ["a", "h", "x"]
    row = of(bed, "a")
    assert (row["state"], row["first_seen"]) == ("silent", BASE // 86400 * 86400)
    assert row["last_seen"] == BASE + 2 * HOUR
    assert row["busy_seconds"] == pytest.approx(0.5 * 121 * 60)  # each reading says a minute
    assert (row["failures"], row["throttled_seconds"]) == (None, None)
    assert [r["device"] for r in lifecycle.register(bed.client, model="h100")] == ["h"]
    assert lifecycle.register(bed.client, state="live") == []
    assert [r["device"] for r in lifecycle.register(bed.client, after="a", most=1)] == ["h"]
    assert lifecycle.register(bed.client, site="reno") == []


def test_who_does_not_run_what_most_of_its_model_run(bed: Bed) -> None:
    versions = {"g1": "570.9", "g2": "570.10", "g3": "570.9", "g4": "575.1", "g5": "9.1"}
    lone = {"m1": "96.00.61.00.01", "m2": "96.00.A5.00.01"}  # hexadecimal, as NVIDIA writes it
    for key, driver in versions.items():
        bed.write(gpu(key, 0, model="M", driver=driver, firmware="1"))
    for key, firmware in lone.items():
        bed.write(gpu(key, 0, model="N", firmware=firmware))
    rows = lifecycle.drift(bed.client)
    found = [(r["model"], r["what"], r["version"], r["direction"], r["behind"]) for r in rows]
    assert found == [
        ("M", "driver", "570.10", "ahead", ["g2"]),
        ("M", "driver", "575.1", "ahead", ["g4"]),
        ("M", "driver", "9.1", "behind", ["g5"]),
        ("N", "firmware", "96.00.61.00.01", "behind", ["m1"]),
    ]
    assert {(r["majority"], r["majority_devices"], r["devices"], r["versions"]) for r in rows} == {
        ("570.9", 2, 5, 4), ("96.00.A5.00.01", 1, 2, 2),
    }  # fmt: skip


def test_what_was_taken_away_does_not_say_what_most_run(bed: Bed) -> None:
    """Three old ones were read last two months before the others."""
    away = -60 * 24
    for key in ("old1", "old2", "old3"):
        bed.write(gpu(key, 0, model="M", driver="1.0", at_h=away))
    for key, driver in {"g1": "2.0", "g2": "2.0", "g3": "1.0"}.items():
        bed.write(gpu(key, 0, model="M", driver=driver))
    (row,) = lifecycle.drift(bed.client)
    assert (row["version"], row["behind"], row["majority"]) == ("1.0", ["g3"], "2.0")
    assert (row["majority_devices"], row["devices"]) == (2, 3)


def test_what_is_told_of_a_board_is_of_what_is_on_it_as_well(bed: Bed) -> None:
    """A board of 1,000 kg with an H100 of 164 and one that nobody lists: 836 are its own."""
    lifecycle.put_table(bed.client, table(), NOW)
    lifecycle.tell_all(bed.client, 5.0, NOW)
    bed.write(
        gpu("board", kind=Kind.BOARD, model="HGX"),
        gpu("h", parent="board"),
        gpu("x", parent="board"),
    )
    ledger = bed.ledger(now=lambda: NOW)
    ledger.run()
    ledger.sum_up()
    hour = "SELECT sum(embodied_g) FROM v_embodied_1h WHERE t = fromUnixTimestamp({at:UInt32})"
    own = amortised_g(164, 5, HOUR)
    assert bed.client.rows(hour, {"at": BASE}) == [(pytest.approx(own),)]
    assert of(bed, "board")["embodied_inside_kg"] is None
    lifecycle.tell(bed.client, [Told("board", "", {"embodied_kg": 1000.0})], NOW)
    told = of(bed, "board")
    assert (told["embodied_kg"], told["embodied_inside_kg"]) == (1000.0, 164.0)
    assert bed.client.rows(hour, {"at": BASE}) == [(pytest.approx(amortised_g(1000, 5, HOUR)),)]
    assert of(bed, "h")["embodied_g_per_hour"] == pytest.approx(own)
    # Less than what lies on it is nothing of its own, and never less than nothing.
    lifecycle.tell(bed.client, [Told("board", "", {"embodied_kg": 100.0})], NOW)
    assert of(bed, "board")["embodied_g_per_hour"] == 0.0
    assert bed.client.rows(hour, {"at": BASE}) == [(pytest.approx(own),)]


def test_bounds_of_nothing_are_not_known(bed: Bed) -> None:
    fill(bed)
    nothing: dict[str, Any] = {"embodied_kg": 0.0, "embodied_low_kg": 0.0, "embodied_high_kg": 9.0}
    lifecycle.tell(bed.client, [Told("a", "", nothing)], NOW)
    rows = bed.client.rows(
        "SELECT DISTINCT embodied_g, embodied_low_g, embodied_high_g FROM v_embodied_1h "
        "WHERE device = 'a'"
    )
    assert rows == [(0.0, None, None)]
