"""What the exporter says of itself: counted under one lock, served by prometheus-client."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading

import pytest
from prometheus_client import generate_latest

from wattshed_exporter import __version__
from wattshed_exporter.semconv import HEALTH_METRICS, SELF_ENERGY, Type
from wattshed_exporter.telemetry import Telemetry


def page(telemetry: Telemetry) -> list[str]:
    return generate_latest(telemetry.registry).decode().splitlines()


def test_every_metric_of_the_contract_is_told_with_its_help_and_type() -> None:
    said = page(Telemetry())
    for metric in HEALTH_METRICS:
        assert f"# HELP {metric.prometheus} {metric.help}" in said
        assert f"# TYPE {metric.prometheus} {metric.type}" in said
    assert (
        f'wattshed_build_info{{python="{platform.python_version()}",version="{__version__}"}} 1.0'
        in said
    )
    assert any(line.startswith("process_resident_memory_bytes ") for line in said)
    assert any(line.startswith("process_cpu_seconds_total ") for line in said)


def test_counters_add_up_and_gauges_are_replaced() -> None:
    telemetry = Telemetry()
    for reason in ("deadline", "deadline", "permission"):
        telemetry.add("wattshed_source_errors_total", 1, "nvml", reason)
    telemetry.set("wattshed_source_up", 1, "nvml")
    telemetry.set("wattshed_source_up", 0, "nvml")
    telemetry.handed_over("otlp", "sent", 5)
    telemetry.handed_over("otlp", "dropped", 0)
    said = page(telemetry)
    assert 'wattshed_source_errors_total{reason="deadline",source="nvml"} 2.0' in said
    assert 'wattshed_source_errors_total{reason="permission",source="nvml"} 1.0' in said
    assert 'wattshed_source_up{source="nvml"} 0.0' in said
    assert 'wattshed_output_ticks_total{output="otlp",result="sent"} 5.0' in said
    assert not any('result="dropped"' in line for line in said)
    assert telemetry.value("wattshed_source_errors_total", source="nvml", reason="deadline") == 2
    assert telemetry.value("wattshed_source_errors_total", source="rapl", reason="deadline") == 0


def test_a_gauge_whose_value_is_no_longer_known_vanishes() -> None:
    telemetry = Telemetry()
    telemetry.set("wattshed_source_up", 1, "nvml")
    telemetry.set("wattshed_source_up", 1, "rapl")
    for _ in range(2):
        telemetry.clear("wattshed_source_up", "nvml")
    said = [line for line in page(telemetry) if line.startswith("wattshed_source_up{")]
    assert said == ['wattshed_source_up{source="rapl"} 1.0']
    with pytest.raises(KeyError):
        telemetry.clear("wattshed_source_errors_total", "nvml", "deadline")


def test_what_the_contract_does_not_know_is_refused() -> None:
    telemetry = Telemetry()
    with pytest.raises(KeyError):
        telemetry.add("wattshed_nonsense_total", 1)
    with pytest.raises(KeyError):
        telemetry.add("wattshed_source_up", 1, "nvml")
    with pytest.raises(KeyError):
        telemetry.set("wattshed_source_errors_total", 1, "nvml", "deadline")
    with pytest.raises(ValueError, match="wattshed_source_up has the labels"):
        telemetry.set("wattshed_source_up", 1)
    with pytest.raises(ValueError, match="wattshed_source_errors_total has the labels"):
        telemetry.add("wattshed_source_errors_total", 1, "nvml")


def test_its_own_energy_has_no_series_until_somebody_measures_it() -> None:
    telemetry = Telemetry()
    assert not any(line.startswith(f"{SELF_ENERGY} ") for line in page(telemetry))
    joules = iter((1.5, 2.5))
    telemetry.measure_itself(lambda: next(joules))
    assert f"{SELF_ENERGY} 1.5" in page(telemetry)
    assert f"{SELF_ENERGY} 2.5" in page(telemetry)


def test_a_counter_without_labels_would_begin_at_zero() -> None:
    unlabelled = {m.prometheus for m in HEALTH_METRICS if m.type is Type.COUNTER and not m.labels}
    told = {metric.prometheus: series for metric, series in Telemetry().health()}
    assert all(told[name] == {(): 0.0} for name in unlabelled - {SELF_ENERGY})


def test_nothing_is_lost_between_threads() -> None:
    telemetry = Telemetry()

    def count() -> None:
        for _ in range(5000):
            telemetry.add("wattshed_source_reads_total", 1, "nvml")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert telemetry.value("wattshed_source_reads_total", source="nvml") == 20_000


def test_a_node_that_only_pushes_does_not_load_what_serves() -> None:
    code = """
import sys
from wattshed_exporter.__main__ import build_sampler, serve
from wattshed_exporter.config import Config, Web
from wattshed_exporter.telemetry import Telemetry
config = Config(sources=("estimate",), web=Web(listen_address=""), stdout=True)
telemetry = Telemetry()
assert serve(config, build_sampler(config, [], telemetry), telemetry) is None
telemetry.add("wattshed_source_reads_total", 1, "estimate")
print(*sorted(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "wattshed_exporter.telemetry" in loaded
    unwanted = {"prometheus_client", "http.server", "wsgiref", "ssl", "_hashlib", "json", "asyncio"}
    assert not loaded & unwanted
