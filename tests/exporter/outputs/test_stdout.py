"""Ticks as lines of JSON."""

from __future__ import annotations

import io
import json

from wattshed_exporter.model import Batch, Method, Tick
from wattshed_exporter.outputs.stdout import Stdout
from wattshed_exporter.telemetry import Telemetry

TICK = Tick("é/d", 1000, 500, Method.INTEGRAL, 0.0, 0, 1000)
GAP = Tick("d", 2000, 500, Method.UNKNOWN, gap="deadline")


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_tick_is_a_line_without_what_it_does_not_say() -> None:
    stream, telemetry = io.StringIO(), Telemetry()
    Stdout(telemetry, stream).put(Batch(ticks=(TICK, GAP)))
    first, second = stream.getvalue().splitlines()
    assert first.startswith('{"device":"é/d",')
    assert json.loads(first) == {
        "device": "é/d", "ts_ms": 1000, "interval_ms": 500, "method": "integral",
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


def test_after_close_nothing_is_written() -> None:
    stream = io.StringIO()
    out = Stdout(Telemetry(), stream)
    out.close()
    out.put(Batch(ticks=(TICK,)))
    assert stream.getvalue() == ""
