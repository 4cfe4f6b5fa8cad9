"""What the exporter serves: formats, health, the page; and that a scrape never reads a meter."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from wattshed_exporter.config import Config, Web
from wattshed_exporter.model import Detail, Device, Kind, Method, Overlap, Reading, Tick
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.outputs.exposition import Exposition
from wattshed_exporter.outputs.page import MOST_DEVICES, page, scaled
from wattshed_exporter.outputs.prometheus import CONTENT_TYPE, Prometheus, content_type
from wattshed_exporter.sampler import Sampler
from wattshed_exporter.sources import Sample
from wattshed_exporter.telemetry import Telemetry

GPU = Device("n1/nvml/GPU-1", Kind.GPU, "n1", "nvml", "gpu0", "NVIDIA", "H100", scope="gpu")
TICK = Tick(GPU.key, 1_763_856_000_123, 1000, Method.COUNTER, 412.5, 9_876_543_210_123)
CLOCK = Detail(GPU.key, "wattshed_clock_hertz", 1, 1.98e9, ("sm",))
SNAPSHOT = Snapshot(
    (GPU,), {GPU.key: TICK}, {}, {(CLOCK.metric, CLOCK.device, CLOCK.attributes): CLOCK}
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class Site:
    """A served exporter and what its sources say."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        self.health: dict[str, bool] = {"nvml": True, "rapl": False}
        self.telemetry = Telemetry()
        self.server = Prometheus(
            Web(listen_address=listen), "n1", lambda: SNAPSHOT, lambda: self.health,
            self.telemetry.registry,
        )  # fmt: skip
        self.server.start()

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection(*self.server.address, timeout=120)
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
    status, headers, body = site.get("/metrics")
    assert (status, headers["Content-Type"]) == (200, CONTENT_TYPE)
    assert body.endswith(Exposition().render(SNAPSHOT))
    samples = [s for f in text_string_to_metric_families(body.decode()) for s in f.samples]
    values = {(s.name, s.labels.get("source")): s.value for s in samples}
    assert values["wattshed_source_reads_total", "nvml"] == 3
    assert values["wattshed_build_info", None] == 1
    assert values["wattshed_clock_hertz", None] == 1.98e9
    assert values["process_resident_memory_bytes", None] > 0
    assert b"_created" not in body
    (build,) = (s for s in samples if s.name == "wattshed_build_info")
    assert set(build.labels) == {"version", "python"}


def test_our_health_is_written_as_prometheus_client_would(site: Site) -> None:
    site.telemetry.add("wattshed_source_reads_total", 3, "nvml")
    own = generate_latest(site.telemetry.registry).split(b"# HELP process_")[0]
    assert site.get("/metrics")[2].startswith(own)


def test_openmetrics_is_given_to_who_asks_for_it(site: Site) -> None:
    site.telemetry.add("wattshed_source_reads_total", 3, "nvml")
    _, headers, body = site.get("/metrics", Accept=PROMETHEUS_2)
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    own = bytes(generate_openmetrics(site.telemetry.registry))  # type: ignore[no-untyped-call]
    assert body.startswith(own.split(b"# HELP process_")[0])
    assert body.endswith(Exposition(openmetrics=True).render(SNAPSHOT))
    assert body.count(b"# EOF") == 1
    names = {f.name for f in openmetrics_families(body.decode())}  # type: ignore[no-untyped-call]
    assert {"wattshed_source_reads", "wattshed_energy_joules", "wattshed_clock_hertz"} <= names
    assert site.get("/metrics")[2].endswith(Exposition().render(SNAPSHOT))


@pytest.mark.parametrize(
    "accept",
    [
        "", "*/*", BROWSER, PROMETHEUS_2, PROMETHEUS_3, "text/plain", "text/plain;version=0.0.4",
        "text/plain; version=1.0.0; escaping=underscores", "application/openmetrics-text",
        "application/openmetrics-text; version=0.0.1, text/plain;version=1.0.0",
        "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8",
        "application/json, application/openmetrics-text;version=1.0.0;charset=utf-8",
    ],
)  # fmt: skip
def test_formats_are_chosen_as_prometheus_client_does(accept: str) -> None:
    assert content_type(accept) == choose_encoder(accept)[1]


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("application/openmetrics-text; version=next", CONTENT_TYPE),
        ("application/openmetrics-text; version=2.0.0\r\n x", CONTENT_TYPE),
        (
            "application/openmetrics-text;version=1.0.0;escaping=dots",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
def test_only_what_is_kept_is_promised(accept: str, answer: str) -> None:
    assert content_type(accept) == answer


def test_gzip_is_given_to_who_asks_for_it(site: Site) -> None:
    _, headers, body = site.get("/metrics", Accept_Encoding="deflate, gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body).endswith(Exposition().render(SNAPSHOT))
    _, headers, body = site.get("/metrics", Accept_Encoding="gzip;q=0")
    assert headers["Content-Encoding"] is None
    assert body.endswith(Exposition().render(SNAPSHOT))


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
    status, headers, body = site.get("/?from=here")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b'href="/metrics"' in body
    assert b"&lt;odd&gt;" in body
    assert b"412 W" in body
    assert b"9.88 MJ" in body


def test_the_page_trusts_no_name_and_invents_no_number() -> None:
    odd = replace(
        GPU, name="<script>", model="a&b", source='"s"', node="<n2>", overlap=Overlap.INNER
    )
    gap = Tick(GPU.key, 1, 1000, Method.UNKNOWN, gap="deadline")
    shown = page("<n1>", Snapshot((odd,), {odd.key: gap}), {}).decode()
    assert "<script>" not in shown
    assert "a&amp;b, on &lt;n2&gt;, inside another meter" in shown
    assert "exporter on &lt;n1&gt;" in shown
    assert shown.count("–") == 2
    assert "No source reads yet." in shown
    many = Snapshot(tuple(replace(GPU, key=str(i)) for i in range(MOST_DEVICES + 1)))
    shown = page("n1", many, {}).decode()
    assert shown.count("H100") == MOST_DEVICES
    assert f"The first {MOST_DEVICES} of {MOST_DEVICES + 1}." in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 W"), (0.0252, "25.2 mW"), (2.1e-5, "21 µW"), (7.0, "7 W"), (999.9, "1000 W"),
        (1234.0, "1.23 kW"), (48.6e9, "48.6 GW"), (-3.0, "-3 W"),
    ],
)  # fmt: skip
def test_quantities_for_people(value: float, text: str) -> None:
    assert scaled(value, "W") == text


def test_other_pages_and_methods_are_refused(site: Site) -> None:
    assert site.get("/metrics/")[0] == 404
    assert site.get("/metrics", "POST")[0] == 405
    status, headers, body = site.get("/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_an_address_in_use_is_an_error(site: Site) -> None:
    host, port = site.server.address
    taken = Web(listen_address=f"{host}:{port}")
    with pytest.raises(OSError, match="in use"):
        Prometheus(taken, "n1", Snapshot, dict, CollectorRegistry())


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_serves_on_ipv6() -> None:
    try:
        site = Site("[::1]:0")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert site.get("/healthz")[0] == 200
    site.server.close()


class Slow:
    """A meter that counts its reads and hangs in the second one until it is let go."""

    name = "slow"
    interval_seconds = 0.01

    def __init__(self) -> None:
        self.reads = 0
        self.hangs, self.let_go = threading.Event(), threading.Event()

    def discover(self) -> Sequence[Device]:
        return [GPU]

    def read(self) -> Sample:
        self.reads += 1
        if self.reads > 1:
            self.hangs.set()
            self.let_go.wait(30)
        return Sample([Reading(GPU.key, 1_763_856_000_000 + self.reads, power_watts=50.0)])

    def close(self) -> None:
        pass


def test_a_scrape_reads_no_meter_and_waits_for_none() -> None:
    source, telemetry = Slow(), Telemetry()
    sampler = Sampler([source], [], Config(node="n1"), telemetry)
    server = Prometheus(
        Web(listen_address="127.0.0.1:0"), "n1", sampler.snapshot, sampler.health,
        telemetry.registry,
    )  # fmt: skip
    server.start()
    done = threading.Event()
    running = threading.Thread(target=sampler.run, args=(done.wait,))
    running.start()
    try:
        assert source.hangs.wait(120)
        for _ in range(5):
            connection = http.client.HTTPConnection(*server.address, timeout=120)
            connection.request("GET", "/metrics")
            assert b"wattshed_power_watts{" in connection.getresponse().read()
            connection.close()
        assert source.reads == 2
    finally:
        source.let_go.set()
        done.set()
        running.join()
        server.close()
