"""Logs of ipmitool, written by hand after its own formats: no recording may be passed on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest

from wattshed_collector.errors import InvalidInput
from wattshed_collector.receivers.files import Place, Reading, Tally
from wattshed_collector.receivers.files.ipmitool import Log
from wattshed_collector.receivers.files.times import Clock, beats

START = 1_764_126_245_000
"""2025-11-26T03:04:05Z"""
BLOCK = """
    Instantaneous power reading:                   {watts} Watts
    Minimum during sampling period:                 20 Watts
    Maximum during sampling period:                924 Watts
    Average power reading over sample period:      212 Watts
    IPMI timestamp:                           {time}
    Sampling period:                          2685198000 Milliseconds
    Power reading state is:                   {state}

"""
CTIME = "Wed Nov 26 03:04:05 2025"
SENSOR = "Pwr Consumption  | {}    | Watts      | ok    | na        | na        | na"


def block(watts: object = 220, time: str = CTIME, state: str = "activated") -> str:
    return BLOCK.format(watts=watts, time=time, state=state)


def read(
    text: str, beat: Iterator[int] | None = None, **how: Any
) -> tuple[list[tuple[int, float]], Tally, list[Reading]]:
    tally = Tally()
    log = Log(Place("n1"), Clock(UTC), beat or beats(None, None), tally, **how)
    found = list(log.read(enumerate(text.split("\n"), 1)))
    return [(r.ts_ms, r.values[0][2]) for r in found], tally, found


def test_blocks_of_dcmi() -> None:
    later = CTIME.replace(":05", ":15")
    found, tally, readings = read(block() + block(230, later))
    assert found == [(START, 220.0), (START + 10_000, 230.0)]
    assert not tally.counts
    # The meter of the exporter's own source.
    assert readings[0].attributes == {
        "hw.id": "n1/ipmi/dcmi",
        "hw.type": "host",
        "hw.name": "dcmi",
        "wattshed.node": "n1",
        "wattshed.source": "ipmi",
        "wattshed.scope": "dcmi",
        "wattshed.method": "integral",
        "wattshed.overlap": "outer",
    }


@pytest.mark.parametrize(
    "time",
    [
        "Wed Nov 26 03:04:05 2025",
        "11/26/2025 03:04:05",
        "11/26/2025 03:04:05 AM UTC",
        f"{CTIME} UTC",
    ],
)
def test_times_of_controllers(time: str) -> None:
    assert read(block(time=time))[0] == [(START, 220.0)]


def test_a_loggers_time_goes_before_the_controllers() -> None:
    wrong = "Thu Jan  1 00:00:12 1970"
    text = "2025-11-26T03:04:05+00:00\n" + block(time=wrong) + "1764126255\n" + block(240, wrong)
    assert read(text)[0] == [(START, 220.0), (START + 10_000, 240.0)]
    told = read(block(time=wrong) * 2, beats(START, 1000), own_times=False)
    assert told[0] == [(START, 220.0), (START + 1000, 220.0)]


def test_nothing_and_not_activated_say_nothing() -> None:
    text = block(0) + block(state="deactivated") + block("n/a") + block(time="soon") + block()
    found, tally, _ = read(text)
    assert found == [(START, 220.0)]
    assert tally.document() == {
        "bad_time": {"count": 1, "file": "", "line": 29},
        "no_value": {"count": 3, "file": "", "line": 2},
    }


def test_rows_of_sensor_sdr_and_csv() -> None:
    rows = [
        "CPU1 Temp        | 41.000     | degrees C  | ok    | na",
        "CPU Power        | 95.000     | Watts      | ok    | na",
        SENSOR.format("220.000"),
        SENSOR.format("na"),
        "Pwr Consumption  | 230 Watts         | ok",
        "Pwr Consumption,240,Watts,ok",
    ]
    found, tally, readings = read("\n".join(rows), beats(START, 1000))
    assert found == [(START, 220.0), (START + 2000, 230.0), (START + 3000, 240.0)]
    assert dict(tally.counts) == {"no_power": 1, "other_sensor": 1, "no_value": 1}
    assert readings[0].attributes["hw.id"] == "n1/ipmi/Pwr Consumption"
    assert readings[0].attributes["wattshed.overlap"] == "outer"


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("Pwr Consumption", True),
        ("PW Consumption", True),
        ("Power Meter", True),
        ("System Level", True),
        ("Sys Power", True),
        ("Total_Power", True),
        ("PS1 Input Power", False),
        ("CPU Power", False),
        ("GPU1 Power", False),
        ("Power Supply 1", False),
    ],
)
def test_which_sensor_is_the_machine(name: str, total: bool) -> None:
    found, tally, _ = read(f"{name},240,Watts,ok", beats(START, 1000))
    assert found == ([(START, 240.0)] if total else [])
    assert tally.counts == ({} if total else {"other_sensor": 1})


def test_supplies_are_added_where_both_are_there() -> None:
    rows = [
        "2025-11-26T03:04:05Z",
        "PS1 Input Power  | 100.000 | Watts | ok",
        "PS2 Input Power  | 50.000  | Watts | ok",
        "2025-11-26T03:04:15Z",
        "PS1 Input Power  | 100.000 | Watts | ok",
        "PS2 Input Power  | na      | Watts | na",
    ]
    found, tally, _ = read("\n".join(rows), sensors=["PS1 Input Power", "PS2 Input Power"])
    assert found == [(START, 150.0)]
    assert tally.document() == {"no_value": {"count": 1, "file": "", "line": 5}}


def test_a_time_in_the_first_column() -> None:
    rows = [f"{time},System Power,{w},Watts,ok" for time, w in ((1764126245, 9), (1764126246, 8))]
    assert read("\n".join(rows))[0] == [(START, 9.0), (START + 1000, 8.0)]


def test_what_must_be_told() -> None:
    with pytest.raises(InvalidInput, match="--start"):
        read(SENSOR.format("220"))
    with pytest.raises(InvalidInput, match="--node"):
        Log(Place(), Clock(UTC), beats(None, None), Tally())
