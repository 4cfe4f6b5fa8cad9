"""Ticks as lines of JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest

from wattshed_exporter.model import Batch, Method, Tick
from wattshed_exporter.outputs.stdout import Stdout
from wattshed_exporter.telemetry import Telemetry

TICK = Tick("é\udcff", 1000, 500, Method.INTEGRAL, 0.0, 0, 1000)
GAP = Tick("d", 2000, 500, Method.UNKNOWN, gap="deadline")


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_tick_is_a_line_without_what_it_does_not_say() -> None:
    stream, telemetry = io.StringIO(), Telemetry()
    Stdout(telemetry, stream).put(Batch(ticks=(TICK, GAP)))
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
    assert out.flush(0)
    assert telemetry.value("wattshed_output_ticks_total", output="stdout", result="dropped") == 2


def test_without_a_standard_output_ticks_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what ``>&-`` in a shell makes of it
    telemetry = Telemetry()
    Stdout(telemetry).put(Batch(ticks=(TICK,)))
    assert telemetry.value("wattshed_output_ticks_total", output="stdout", result="dropped") == 1


def test_after_close_nothing_is_written() -> None:
    stream = io.StringIO()
    out = Stdout(Telemetry(), stream)
    out.close()
    out.put(Batch(ticks=(TICK,)))
    assert stream.getvalue() == ""
