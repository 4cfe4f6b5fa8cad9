"""One device's power by the minute: hours that the ledger kept say what their readings said."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wattshed_collector.store.client import Client
from wattshed_collector.store.device_power import device_power
from wattshed_collector.store.queries import Record
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR_S = 3600
DEVICE = Device("a", Kind.GPU, "node", "nvml")
FIELD_BYTES = 128 * 1024
"""What a ClickHouse server takes of one parameter, as it ships."""


class Narrow(Client):
    """Asks another client, with parameters that a server would take."""

    def __init__(self, client: Client) -> None:
        super().__init__(None)
        self._client = client

    def array(
        self, sql: str, dtype: np.dtype[np.void], parameters: Mapping[str, Any] | None = None
    ) -> NDArray[np.void]:
        assert max(len(str(value)) for value in (parameters or {}).values()) < FIELD_BYTES
        return self._client.array(sql, dtype, parameters)


def reading(at_ms: int, watts: float | None, key: str = "a") -> Tick:
    return Tick(key, at_ms, 10_000, Method.INTEGRAL, watts)


def readings(first: int, hours: int) -> dict[int, float | None]:
    """Return by Unix milliseconds what is said at odd times, with silence and unknown powers."""
    dice = random.Random(7)
    times = [first * 1000 + at for at in range(0, hours * HOUR_S * 1000, 16_667)]
    kept = [at for at in times if dice.random() < 0.8 and at // 600_000 % 5]
    return {at: dice.choice([None, 80.0, 250.5, 700.0]) for at in kept}


def means(said: dict[int, float | None], since: int, until: int, step: int) -> dict[int, float]:
    """Return what a device's power is by step, of every minute that the window touches."""
    found: dict[int, list[float]] = {}
    for at, watts in said.items():
        if watts is not None and since // 60 <= at // 60_000 < until / 60:
            found.setdefault(at // 1000 // step * step, []).append(watts)
    return {t: sum(values) / len(values) for t, values in found.items()}


def told(rows: Iterable[Record]) -> dict[int, float]:
    return {row["t"]: row["watts"] for row in rows}


def write(bed: Bed, said: dict[int, float | None]) -> None:
    ticks = tuple(reading(at, watts) for at, watts in said.items())
    bed.write(Batch(devices=(DEVICE,), ticks=ticks), Batch(ticks=ticks[::2]))
    bed.ledger().run()


@pytest.fixture
def first() -> int:
    """Return when the first of some hours begins, of which the last is not over."""
    return int(time.time()) // HOUR_S * HOUR_S - 3 * HOUR_S


def test_kept_hours_say_what_their_readings_said(bed: Bed, first: int) -> None:
    said = readings(first, 3)
    write(bed, said)
    end = first + 3 * HOUR_S
    asked = [(first + cut, end - cut, step) for cut in (0, 17, 1234) for step in (60, 420, HOUR_S)]
    for since, until, step in asked:
        expected = means(said, since, until, step)
        for now in (first, end + HOUR_S):  # none of the hours is settled, and all of them are
            found = told(device_power(bed.client, "a", since, until, step, now))
            assert found == pytest.approx(expected, rel=1e-6)
            assert list(found) == sorted(found)
    bed.client.command("TRUNCATE TABLE tick")
    for since, until, step in asked:
        found = told(device_power(bed.client, "a", since, until, step, end + HOUR_S))
        assert found == pytest.approx(means(said, since, until, step), rel=1e-6)


def test_an_hour_that_is_computed_again_is_kept_again(bed: Bed, first: int) -> None:
    write(bed, {first * 1000: 100.0, (first + 61) * 1000: 50.0})
    write(bed, {(first + 1) * 1000: 200.0})
    bed.client.command("TRUNCATE TABLE tick")
    rows = device_power(bed.client, "a", first, first + HOUR_S, 60, first + 2 * HOUR_S)
    assert told(rows) == {first: 150.0, first + 60: 50.0}


def test_the_hour_that_runs_is_not_kept(bed: Bed, first: int) -> None:
    now = first + 3 * HOUR_S
    write(bed, {now * 1000: 100.0, (now - 1) * 1000: 100.0})
    assert bed.client.rows("SELECT toUnixTimestamp(hour) FROM power_hour") == [(now - HOUR_S,)]


def test_an_hour_that_nobody_kept_is_read_from_its_readings(bed: Bed, first: int) -> None:
    said = readings(first, 2)
    write(bed, said)
    bed.client.command("TRUNCATE TABLE power_hour")
    rows = device_power(bed.client, "a", first, first + 2 * HOUR_S, 60, first + 9 * HOUR_S)
    assert told(rows) == pytest.approx(means(said, first, first + 2 * HOUR_S, 60), rel=1e-6)
    assert device_power(bed.client, "nobody", first, first + HOUR_S, 60, first + 9 * HOUR_S) == []


def test_ten_years_are_not_asked_for_at_once(bed: Bed, first: int) -> None:
    write(bed, {first * 1000: 100.0})
    bed.client.command("TRUNCATE TABLE power_hour")
    until, step = first + HOUR_S, 24 * HOUR_S
    rows = device_power(Narrow(bed.client), "a", until - 3650 * step, until, step)
    assert told(rows) == {first // step * step: 100.0}
