"""Days of devices and outcomes: sums of their hours, written anew when one of those is newer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector.ledger_days import DAY_S, Days
from wattshed_collector.store.shards import Shards
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

DAY = 1_768_435_200  # 2026-01-15
HOUR_S = 3600
XID, ECC = "wattshed_xid_errors_total", "wattshed_ecc_errors_total"


class Told(Exception):
    """Told to stop."""


def go_on() -> None:
    """Nothing stops it."""


def stop() -> None:
    raise Told


def run(first: int, last: int, watts: float = 100.0, device: str = "g") -> Batch:
    """A GPU's minutes between two of them, counted from DAY."""
    return Batch(
        devices=(Device(device, Kind.GPU, "n", "s", model="H100"),),
        ticks=tuple(
            Tick(
                device, (DAY + minute * 60) * 1000, 60_000, Method.INTEGRAL, watts,
                utilization_ratio=0.5, temperature_celsius=40.0 + minute % 2,
            )
            for minute in range(first, last + 1)
        ),
    )  # fmt: skip


def charge(bed: Bed) -> None:
    ledger = bed.ledger()
    ledger.run()
    ledger.sum_up()


def days(bed: Bed) -> dict[int, float]:
    """Joules of each day that is summed up, by its place after DAY."""
    rows = bed.client.rows("SELECT toUnixTimestamp(t), sum(joules) FROM v_device_1d GROUP BY t")
    return {(int(t) - DAY) // DAY_S: joules for t, joules in rows}


def sum_up(bed: Bed, of: Days, now: float, oldest: int = 0) -> list[int]:
    due = of.due(oldest, now)
    of.sum_up(due, go_on)
    return [(day - DAY) // DAY_S for day, _ in due]


def test_a_day_is_what_its_hours_are(bed: Bed) -> None:
    workload = Workload("w", "w", model="m")
    begin = DAY + 22 * HOUR_S
    outcomes = tuple(
        Outcome("w", "token", (begin + hour * HOUR_S) * 1000, hour * 3600.0, begin * 1000)
        for hour in range(4)
    )
    held = Allocation("g", "w", begin * 1000, (begin + 3 * HOUR_S) * 1000)
    bed.write(
        run(22 * 60, 25 * 60),
        Batch(workloads=(workload,), allocations=(held,), outcomes=outcomes),
    )
    charge(bed)
    assert days(bed) == {0: pytest.approx(2 * 360_000), 1: pytest.approx(360_000)}
    ((busy, mean, hottest, gone),) = bed.client.rows(
        "SELECT busy_seconds / used_seconds, celsius_seconds / warm_seconds, most_celsius, "
        "throttled_seconds FROM v_device_1d ORDER BY t LIMIT 1"
    )
    assert (busy, mean, hottest, gone) == (0.5, pytest.approx(40.5), 41.0, None)
    made = bed.client.rows("SELECT count, loaded_joules, ai_model FROM v_outcome_1d ORDER BY t")
    assert made == [
        (pytest.approx(7200), pytest.approx(720_000), "m"),
        (pytest.approx(3600), pytest.approx(360_000), "m"),
    ]


def test_late_data_are_in_the_day_and_what_is_gone_is_not(bed: Bed) -> None:
    """A second device comes late; a day whose charges are gone is no more."""
    bed.write(run(23 * 60, 25 * 60))
    charge(bed)
    assert days(bed) == {0: pytest.approx(360_000), 1: pytest.approx(360_000)}
    bed.write(run(23 * 60, 24 * 60, 50.0, "late"))
    charge(bed)
    assert days(bed) == {0: pytest.approx(540_000), 1: pytest.approx(360_000)}
    # An hour whose charges are gone, such as after a correction of its devices.
    bed.client.command("TRUNCATE TABLE charge_1h")
    bed.client.command(
        "INSERT INTO ledger_hour (t, version) SELECT t, version + 1 FROM ledger_hour"
    )
    sum_up(bed, Days(Shards(bed.client)), 0.0)
    assert days(bed) == {}
    assert Days(Shards(bed.client)).due(0, 0.0) == [], "a day without devices is summed up as well"


def test_errors_are_what_counters_grew_by(bed: Bed) -> None:
    """Over midnight, over a restart; without a start what was counted before is not of the day."""

    def said(hour: float, value: float, start: float | None) -> Detail:
        start_ms = None if start is None else round((DAY + start * HOUR_S) * 1000)
        return Detail("g", XID, round((DAY + hour * HOUR_S) * 1000), value, ("79",), start_ms)

    details = (said(23.5, 5, 1), said(24.5, 7, 1), said(25, 1, 24.8), said(25.5, 4, 24.8))
    bed.write(run(23 * 60, 26 * 60), Batch(details=details))
    charge(bed)
    rows = bed.client.rows("SELECT xid_errors, corrected_errors FROM v_device_1d ORDER BY t")
    assert rows == [(5, None), (7 - 5 + 4, None)]


def errors(metric: str, said: str, *values: tuple[float, float]) -> Batch:
    """What a counter said at which hours of DAY, since its exporter began two days before."""
    began = round((DAY - 2 * DAY_S) * 1000)
    return Batch(
        details=tuple(
            Detail("g", metric, round((DAY + hour * HOUR_S) * 1000), value, (said,), began)
            for hour, value in values
        )
    )


def failed(bed: Bed, *told: Batch) -> tuple[Any, ...]:
    """Failures, errors of programs and of the driver's list, on a day of eight hours."""
    bed.write(run(0, 8 * 60), errors(ECC, "uncorrected", *((h / 4, 0.0) for h in range(4))), *told)
    charge(bed)
    ((*found,),) = bed.client.rows("SELECT failures, program_errors, xid_errors FROM v_device_1d")
    return tuple(found)


def test_an_event_that_two_counters_tell_of_is_one_failure(bed: Bed) -> None:
    """A memory error: announced twice under two numbers, and counted when that is asked next."""
    told = [errors(XID, "48", (2.99, 1), (3.5, 1)), errors(XID, "94", (2.99, 1), (3.5, 1))]
    told.append(errors(ECC, "uncorrected", (1, 0), (2.9, 0), (3.01, 2), (3.5, 2)))
    assert failed(bed, *told) == (1, 0, 2)


def test_what_programs_cause_is_no_failure(bed: Bed) -> None:
    told = [errors(XID, number, (2.5, 3), (7.5, 4)) for number in ("13", "31", "43", "45")]
    assert failed(bed, *told) == (0, 16, 16)


def test_a_notice_is_neither(bed: Bed) -> None:
    assert failed(bed, errors(XID, "154", (2.5, 1))) == (0, 0, 1)


def test_each_event_of_its_own_is_a_failure(bed: Bed) -> None:
    """The device fell off the bus three times; memory errors far from that are one an hour."""
    told = [errors(XID, "79", (1.2, 2), (1.7, 2), (2.7, 3))]
    told.append(errors(ECC, "uncorrected", (1, 0), (4.9, 0), (5.5, 7), (5.7, 9), (7.5, 9)))
    assert failed(bed, *told) == (3 + 1, 0, 3)


def test_what_was_counted_before_anybody_looked_is_of_no_day(bed: Bed) -> None:
    """An exporter that ran for two months is read from three o'clock on, beside another."""
    began = round((DAY - 60 * DAY_S) * 1000)
    counted = ((3.2, 5.0), (4.5, 5.0), (5.5, 6.0))
    told = Batch(
        details=tuple(
            Detail("g", XID, round((DAY + hour * HOUR_S) * 1000), value, ("79",), began)
            for hour, value in counted
        )
    )
    assert failed(bed, told) == (1, 0, 1)


def test_a_device_that_counts_nothing_has_no_failures_known(bed: Bed) -> None:
    bed.write(run(0, 60))
    charge(bed)
    assert bed.client.rows("SELECT failures, program_errors FROM v_device_1d") == [(None, None)]


def test_a_long_past_comes_in_portions_and_then_ever_more_seldom(bed: Bed) -> None:
    bed.write(*(run(day * 1440, day * 1440 + 60, device=f"g{day}") for day in range(3)))
    ledger = bed.ledger()
    ledger.run()
    bed.client.command("TRUNCATE TABLE device_1d")
    of = Days(Shards(bed.client), days_per_run=2)
    assert sum_up(bed, of, 100.0) == [2, 1]
    assert sum_up(bed, of, 100.0) == [0]
    assert len(days(bed)) == 3

    def is_looked_at(now: float) -> bool:
        hour = "toDateTime({t:UInt32}, 'UTC')"
        newer = f"SELECT {hour}, max(version) + 1 FROM ledger_hour"
        bed.client.command(f"INSERT INTO ledger_hour (t, version) {newer}", {"t": DAY})
        return sum_up(bed, of, now) == [0]

    looked: Callable[[float], bool] = is_looked_at
    assert [looked(now) for now in (101, 102, 105, 106, 113, 114)] == [
        False, True, False, True, False, True,
    ]  # fmt: skip
    assert looked(90), "a clock that was set back hides nothing"

    before = days(bed)
    with pytest.raises(Told):
        of.sum_up([(DAY, 9)], stop)
    assert days(bed) == before
