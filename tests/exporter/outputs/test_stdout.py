"""Ticks as lines of JSON."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from wattshed_exporter.model import Batch, Method, Tick
from wattshed_exporter.outputs.stdout import MOST_TICKS, Stdout
from wattshed_exporter.telemetry import Telemetry

TICK = Tick("é\udcff", 1000, 500, Method.INTEGRAL, 0.0, 0, 1000)
GAP = Tick("d", 2000, 500, Method.UNKNOWN, gap="deadline")


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_tick_is_a_line_without_what_it_does_not_say() -> None:
    stream, telemetry = io.StringIO(), Telemetry()
    out = Stdout(telemetry, stream)
    out.put(Batch(ticks=(TICK, GAP)))
    assert out.flush(5)
    first, second = stream.getvalue().splitlines()
    assert stream.getvalue().isascii()  # whatever the encoding of the stream, it can be written
    assert json.loads(first) == {
        "device": "é\udcff", "ts_ms": 1000, "interval_ms": 500, "method": "integral",
        "power_watts": 0.0, "energy_uj": 0, "start_ms": 1000,
    }  # fmt: skip
    assert json.loads(second)["gap"] == "deadline"
    assert telemetry.value("wattshed_output_ticks_total", output="stdout", result="sent") == 2


def test_a_reader_that_left_does_not_stop_the_exporter() -> None:
    telemetry = Telemetry()
    out = Stdout(telemetry, Broken())
    out.put(Batch(ticks=(TICK,)))
    out.put(Batch(ticks=(TICK,)))
    assert out.ready()
    assert out.flush(5)
    assert telemetry.value("wattshed_output_ticks_total", output="stdout", result="dropped") == 2


def test_without_a_standard_output_ticks_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what ``>&-`` in a shell makes of it
    telemetry = Telemetry()
    out = Stdout(telemetry)
    out.put(Batch(ticks=(TICK,)))
    assert out.flush(5)
    assert telemetry.value("wattshed_output_ticks_total", output="stdout", result="dropped") == 1


def test_after_close_nothing_is_written() -> None:
    stream = io.StringIO()
    out = Stdout(Telemetry(), stream)
    out.close()
    out.put(Batch(ticks=(TICK,)))
    assert stream.getvalue() == ""


def test_a_reader_that_stalls_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = os.pipe()
    telemetry = Telemetry()

    def counted(result: str) -> float:
        return telemetry.value("wattshed_output_ticks_total", output="stdout", result=result)

    with os.fdopen(writer, "w") as stream:
        out = Stdout(telemetry, stream)
        for _ in range(30):
            out.put(Batch(ticks=(TICK,) * 1000))
        assert not out.ready()
        assert not out.flush(0)
        assert counted("dropped") == 30_000 - counted("sent") - MOST_TICKS
        lines = 0
        with os.fdopen(reader) as lagging:
            while lines < MOST_TICKS:
                assert json.loads(lagging.readline())["power_watts"] == 0.0
                lines += 1
            assert out.ready()
            out.put(Batch(ticks=(TICK,) * MOST_TICKS))
            out.close()
    assert counted("sent") + counted("dropped") == 30_000 + MOST_TICKS
    assert "standard output is not read" in caplog.text
