"""What the exporter pushes about itself: its health and process, under a key that is no meter."""

from __future__ import annotations

import os
from pathlib import Path

from tests.exporter.outputs.conftest import Collector, Push

from wattshed_exporter import __main__ as program
from wattshed_exporter.config import Config, Otlp, Web
from wattshed_exporter.model import Batch
from wattshed_exporter.outputs.self_report import LEAST_SECONDS, SelfReport
from wattshed_exporter.semconv import HEALTH_METRICS, PROCESS_METRICS, SELF_ENERGY
from wattshed_exporter.telemetry import Telemetry


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return round(self.now * 1000)


def reporter(telemetry: Telemetry, told: list[Batch], time: Time, **more: object) -> SelfReport:
    return SelfReport(
        "n1",
        telemetry,
        told.append,
        monotonic=time.monotonic,
        now_ms=time.now_ms,
        **more,  # type: ignore[arg-type]
    )


def test_it_reports_once_a_minute_and_not_at_the_start(telemetry: Telemetry) -> None:
    told: list[Batch] = []
    time = Time()
    for seconds, most in ((0.0, LEAST_SECONDS), (300.0, 300.0)):
        report = reporter(telemetry, told, time, seconds=seconds)
        report.tell_if_due()
        time.now += most - 1
        report.tell_if_due()
        assert told == []
        time.now += 1
        report.tell_if_due()
        report.tell_if_due()
        assert len(told) == 1
        told.clear()


def test_all_that_is_known_is_told_and_nothing_else(telemetry: Telemetry, tmp_path: Path) -> None:
    telemetry.set("wattshed_source_up", 1, "rapl")
    telemetry.add("wattshed_source_errors_total", 2, "rapl", "deadline")
    telemetry.measure_itself(lambda: 3.5)
    statm = tmp_path / "statm"
    statm.write_text("5000 1000 500 1 0 2000 0\n")
    told: list[Batch] = []
    time = Time()
    report = reporter(telemetry, told, time, cpu_seconds=lambda: 7.25, statm=statm)
    time.now += LEAST_SECONDS
    report.tell_if_due()
    details = {(d.metric, d.attributes): d for d in told[0].details}
    assert details["wattshed_source_up", ("rapl",)].value == 1
    assert details["wattshed_source_up", ("rapl",)].start_ms is None
    assert details["wattshed_source_errors_total", ("rapl", "deadline")].value == 2
    assert details[SELF_ENERGY, ()].value == 3.5
    assert details[SELF_ENERGY, ()].start_ms == 1_000_000
    assert details["process_cpu_seconds_total", ()].value == 7.25
    assert details["process_resident_memory_bytes", ()].value == 1000 * os.sysconf("SC_PAGE_SIZE")
    assert {d.device for d in told[0].details} == {"n1/exporter"}
    assert {d.ts_ms for d in told[0].details} == {1_060_000}
    assert "wattshed_build_info" not in {d.metric for d in told[0].details}
    statm.unlink()
    time.now += LEAST_SECONDS
    report.tell_if_due()
    assert len(told[1].details) == len(told[0].details) - 1


def test_a_clock_that_was_set_back_makes_no_start_after_the_end(telemetry: Telemetry) -> None:
    told: list[Batch] = []
    time = Time()
    times = iter((5_000_000, 1_000))
    report = SelfReport(
        "n1", telemetry, told.append, monotonic=time.monotonic, now_ms=lambda: next(times)
    )
    time.now += LEAST_SECONDS
    report.tell_if_due()
    assert {d.start_ms for d in told[0].details} <= {None, 1_000}


def test_every_series_arrives_under_its_name(
    collector: Collector, push: Push, telemetry: Telemetry
) -> None:
    gauges = {m.prometheus for m in HEALTH_METRICS if m.type == "gauge"}
    telemetry.measure_itself(lambda: 1.0)
    for metric in HEALTH_METRICS:
        if metric.prometheus != SELF_ENERGY:
            tell = telemetry.set if metric.prometheus in gauges else telemetry.add
            tell(metric.prometheus, 1.0, *metric.labels)
    output = push()
    time = Time()
    report = SelfReport("n1", telemetry, output.put, monotonic=time.monotonic, now_ms=time.now_ms)
    time.now += LEAST_SECONDS
    report.tell_if_due()
    assert output.flush(5)
    for metric in (*HEALTH_METRICS, *PROCESS_METRICS):
        points = collector.points(metric.otel)
        assert bool(points) == bool(metric.otel)
        said = [{a.key: a.value.string_value for a in point.attributes} for point in points]
        wanted = {"hw.id": "n1/exporter", **{f"wattshed.{name}": name for name in metric.labels}}
        assert not metric.otel or wanted in said


def test_only_a_node_that_pushes_reports(telemetry: Telemetry) -> None:
    def wait(seconds: float) -> bool:
        return seconds == 1.0

    pulls = Config(web=Web(listen_address="127.0.0.1:0"))
    assert program.reporting(pulls, telemetry, [], wait) is wait
    pushes = Config(otlp=Otlp(endpoint="http://127.0.0.1:9"))
    outputs = program.build_outputs(pushes, telemetry)
    told = program.reporting(pushes, telemetry, outputs, wait)
    assert told(1.0)
    assert not told(0.5)
    outputs[0].close()
