"""The exposition equals prometheus-client's byte for byte, and is served."""

from __future__ import annotations

import gzip
import http.client
import json
import math
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from wattshed_exporter.model import Device, Kind, Method, Overlap, Tick
from wattshed_exporter.outputs import Snapshot, tick_values
from wattshed_exporter.outputs.prometheus import Exposition, Prometheus, go_float
from wattshed_exporter.semconv import (
    DEVICE_ATTRIBUTES,
    FLEET_METRICS,
    GAP,
    TICK_METRICS,
    Metric,
    Type,
)
from wattshed_exporter.telemetry import Telemetry

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics.txt"

GPU = Device(
    "n1/nvml/GPU-1", Kind.GPU, "n1", "nvml", "gpu0", "NVIDIA", "NVIDIA H100 80GB HBM3", "165",
    site="hall-2", tier="datacenter", cluster="c1", scope="gpu", uncertainty_ratio=0.05,
    power_limit_watts=700.0,
)  # fmt: skip
CPU = Device(
    "n1/rapl/0", Kind.CPU, "n1", "rapl", "package-0", parent="n1", overlap=Overlap.INNER,
    model='odd "name" with \\ and\nnewline at 100 %s é',
)  # fmt: skip
GPU_TICK = Tick(
    GPU.key, 1_763_856_000_123, 1000, Method.COUNTER, 412.5, 9_876_543_210_123,
    1_763_800_000_000, 0.97, 85_520_809_984, 61.0,
)  # fmt: skip
CPU_TICK = Tick(
    CPU.key, 1_763_856_000_500, 1000, Method.COUNTER, None, 1_500_000, 1_763_855_000_000
)
SNAPSHOT = Snapshot(
    (GPU, CPU), {GPU.key: GPU_TICK, CPU.key: CPU_TICK}, {(GPU.key, "deadline"): 6.5}
)


class Stock(Collector):
    """The same families, made of prometheus-client's own objects."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        by_key = {d.key: d for d in self.snapshot.devices}
        for index, metric in enumerate(TICK_METRICS):
            values = {
                (key, ""): tick_values(tick)[index] for key, tick in self.snapshot.ticks.items()
            }
            yield from self.family(metric, by_key, values)
        yield from self.family(GAP, by_key, self.snapshot.unknown_seconds)
        yield from self.family(FLEET_METRICS[0], by_key, {(key, ""): 1.0 for key in by_key})
        limits = {(key, ""): d.power_limit_watts for key, d in by_key.items()}
        yield from self.family(FLEET_METRICS[1], by_key, limits)

    def family(
        self,
        metric: Metric,
        devices: Mapping[str, Device],
        values: Mapping[tuple[str, str], float | None],
    ) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        kind = CounterMetricFamily if metric.type is Type.COUNTER else GaugeMetricFamily
        family = kind(metric.prometheus, metric.help, labels=metric.labels)
        names = {a.label: a.name for a in DEVICE_ATTRIBUTES}
        for (key, reason), value in values.items():
            if value is not None and math.isfinite(value):
                labels = [
                    reason if label == "reason" else str(getattr(devices[key], names[label]))
                    for label in metric.labels
                ]
                family.add_metric(labels, value)
        return [family] if family.samples else []


def stock(snapshot: Snapshot) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Stock(snapshot))
    return generate_latest(registry)


def test_it_is_what_prometheus_client_says() -> None:
    assert Exposition().render(SNAPSHOT).decode() == stock(SNAPSHOT).decode()


def test_it_is_what_it_was() -> None:
    assert Exposition().render(SNAPSHOT).decode() == GOLDEN.read_text(encoding="utf-8")


@given(st.lists(st.tuples(st.text(), st.none() | st.floats(), st.none() | st.integers(0, 10**18))))
def test_it_is_what_prometheus_client_says_whatever_the_values(
    rows: list[tuple[str, float | None, int | None]],
) -> None:
    devices = tuple(replace(CPU, key=f"d{i}", name=name) for i, (name, _, _) in enumerate(rows))
    ticks = {
        f"d{i}": Tick(f"d{i}", 10**12 + i, 1000, Method.COUNTER, watts, uj)
        for i, (_, watts, uj) in enumerate(rows)
    }
    snapshot = Snapshot(devices, ticks)
    assert Exposition().render(snapshot) == stock(snapshot)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_as_they_were(number: float) -> None:
    written = go_float(number)
    assert written is not None
    assert float(written) == number


def test_what_is_silent_has_no_series() -> None:
    odd = replace(GPU_TICK, power_watts=math.nan, utilization_ratio=None, temperature_celsius=None)
    body = Exposition().render(replace(SNAPSHOT, ticks={GPU.key: odd})).decode()
    found = {s.name for f in text_string_to_metric_families(body) for s in f.samples}
    assert "wattshed_energy_joules_total" in found
    assert not found & {
        "wattshed_power_watts", "wattshed_utilization_ratio", "wattshed_temperature_celsius",
    }  # fmt: skip
    assert "NaN" not in body


def test_a_gap_shows_neither_values_nor_a_time_of_reading() -> None:
    gap = Tick(GPU.key, 1, 1000, Method.UNKNOWN, gap="deadline")
    body = Exposition().render(Snapshot((GPU,), {GPU.key: gap})).decode()
    assert {f.name for f in text_string_to_metric_families(body)} == {
        "wattshed_device_info", "wattshed_power_limit_watts",
    }  # fmt: skip


def test_nothing_to_show() -> None:
    assert Exposition().render(Snapshot()) == b""


def test_the_kept_template_follows_values_presence_and_labels() -> None:
    exposition = Exposition()
    for snapshot in (
        SNAPSHOT,
        replace(SNAPSHOT, ticks={GPU.key: replace(GPU_TICK, power_watts=1.0)}),
        replace(SNAPSHOT, ticks={GPU.key: replace(GPU_TICK, power_watts=None)}),
        replace(SNAPSHOT, devices=(replace(GPU, site="moved"), CPU)),
        replace(SNAPSHOT, unknown_seconds={(CPU.key, "reset"): 1.0}),
        Snapshot(),
        SNAPSHOT,
    ):
        assert exposition.render(snapshot) == stock(snapshot)


def test_values_come_in_the_order_of_the_contract() -> None:
    values = tick_values(GPU_TICK)
    assert dict(zip((m.field for m in TICK_METRICS), values, strict=True)) == {
        "energy_joules": 9876543.210123,
        "power_watts": 412.5,
        "utilization_ratio": 0.97,
        "memory_used_bytes": 85_520_809_984,
        "temperature_celsius": 61.0,
        "start_seconds": 1_763_800_000.0,
        "ts_seconds": 1_763_856_000.123,
    }


class Site:
    """A served exporter and what its sources say."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        self.health: dict[str, bool] = {"nvml": True, "rapl": False}
        self.telemetry = Telemetry()
        self.server = Prometheus(
            listen, lambda: SNAPSHOT, lambda: self.health, self.telemetry.registry
        )
        self.server.start()

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection(*self.server.address, timeout=5)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.close()


def test_metrics_hold_our_health_and_the_devices(site: Site) -> None:
    site.telemetry.add("wattshed_source_reads_total", 3, "nvml")
    status, headers, body = site.get("/metrics", Accept="application/openmetrics-text")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert body.endswith(stock(SNAPSHOT))
    values = {
        (s.name, s.labels.get("source")): s.value
        for f in text_string_to_metric_families(body.decode())
        for s in f.samples
    }
    assert values["wattshed_source_reads_total", "nvml"] == 3
    assert values["wattshed_build_info", None] == 1
    assert values["process_resident_memory_bytes", None] > 0
    assert b"_created" not in body


def test_gzip_is_given_to_who_asks_for_it(site: Site) -> None:
    _, headers, body = site.get("/metrics", Accept_Encoding="deflate, gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body).endswith(stock(SNAPSHOT))


def test_health_is_bad_only_while_no_source_reads(site: Site) -> None:
    status, _, body = site.get("/healthz")
    assert (status, json.loads(body)) == (
        200, {"status": "ok", "sources": {"nvml": True, "rapl": False}},
    )  # fmt: skip
    site.health = {"nvml": False}
    status, _, body = site.get("/healthz")
    assert (status, json.loads(body)["status"]) == (503, "no source reads in time")
    site.health = {}
    assert site.get("/healthz")[0] == 503


def test_the_landing_page_leads_to_the_rest(site: Site) -> None:
    site.health = {"<odd>": False}
    status, headers, body = site.get("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b'href="/metrics"' in body
    assert b"&lt;odd&gt;: does not read" in body


def test_other_pages_and_methods_are_refused(site: Site) -> None:
    assert site.get("/metrics/")[0] == 404
    assert site.get("/metrics", "POST")[0] == 405
    status, headers, body = site.get("/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_an_address_in_use_is_an_error(site: Site) -> None:
    host, port = site.server.address
    with pytest.raises(OSError, match="in use"):
        Prometheus(f"{host}:{port}", Snapshot, dict, CollectorRegistry())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_serves_on_ipv6() -> None:
    try:
        site = Site("[::1]:0")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert site.get("/healthz")[0] == 200
    site.server.close()
