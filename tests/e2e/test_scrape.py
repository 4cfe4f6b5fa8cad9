"""Real tools on a real exporter: promtool, the strict parser, and a Prometheus over TLS."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import bcrypt
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from wattshed_exporter.config import Config, Web
from wattshed_exporter.model import Detail, Device, Kind, Overlap, Reading
from wattshed_exporter.outputs import Snapshot
from wattshed_exporter.outputs.prometheus import Prometheus
from wattshed_exporter.sampler import Sampler
from wattshed_exporter.semconv import DETAIL_METRICS, TICK_METRICS
from wattshed_exporter.sources import Sample
from wattshed_exporter.telemetry import Telemetry

pytestmark = pytest.mark.e2e

BOARD = Device(
    "n1/full/0", Kind.GPU, "n1", "full", "gpu0", "NVIDIA", 'H100 "80GB"', "165", "580.65",
    "96.00", overlap=Overlap.INNER, power_limit_watts=700.0,
)  # fmt: skip
PASSWORD = "sesame"


class Full:
    """A meter that says everything that the contract has, so that every name is seen."""

    name = "full"
    interval_seconds = 0.05

    def discover(self) -> Sequence[Device]:
        return [BOARD]

    def read(self) -> Sample:
        now = time.time_ns() // 1_000_000
        details = [
            Detail(BOARD.key, name, now, 1.5e6, tuple("x" * len(m.own)))
            for name, m in DETAIL_METRICS.items()
        ]
        energy = 10**13 + now
        reading = Reading(BOARD.key, now, 412.5, energy, now - 10**7, 0.97, 85_520_809_984, 61.0)
        return Sample([reading, Reading("unknown", now)], details)

    def close(self) -> None:
        pass


def until(done: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def full() -> Iterator[Callable[[str], str]]:
    """A served exporter whose meter says everything; a function that scrapes it."""
    telemetry = Telemetry()
    sampler = Sampler([Full()], [], Config(node="n1"), telemetry)
    sampler.run(lambda _: sampler.settled(3))
    telemetry.handed_over("otlp", "sent", 5)
    unknown = {(BOARD.key, "deadline"): 1.5}

    def snapshot() -> Snapshot:
        said = sampler.snapshot()
        return Snapshot(said.devices, said.ticks, unknown, said.details)

    server = Prometheus(
        Web(listen_address="127.0.0.1:0"), "n1", snapshot, sampler.health, telemetry.registry
    )
    server.start()

    def scrape(accept: str) -> str:
        url = "http://{}:{}/metrics".format(*server.address)
        asked = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return str(answer.read().decode())

    yield scrape
    server.close()


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return found


def lint(body: str) -> None:
    command = [program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=body, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_has_nothing_to_say_about_the_contract(full: Callable[[str], str]) -> None:
    body = full("*/*")
    names = {m.prometheus for m in (*TICK_METRICS, *DETAIL_METRICS.values())}
    assert names <= {line.split("{")[0] for line in body.splitlines()}
    lint(body)


def test_the_strict_parser_reads_openmetrics(full: Callable[[str], str]) -> None:
    body = full("application/openmetrics-text; version=1.0.0")
    parsed = text_string_to_metric_families(body)  # type: ignore[no-untyped-call]
    found = {f.name for f in parsed if f.samples}
    assert {m.prometheus.removesuffix("_total") for m in DETAIL_METRICS.values()} <= found


def exporter(folder: Path, *argv: str) -> tuple[subprocess.Popen[str], int]:
    """Start the real program on a free port; return it and the port once it serves."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    log = folder / "exporter.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "wattshed_exporter", "--web.listen-address=127.0.0.1:0", *argv],
            env=clean, stderr=stream, text=True,
        )  # fmt: skip
    until(lambda: " port " in log.read_text() or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    (line,) = (line for line in log.read_text().splitlines() if " port " in line)
    return process, int(line.rpartition(" ")[2])


def test_promtool_has_nothing_to_say_about_a_made_up_fleet(tmp_path: Path) -> None:
    program("promtool")
    process, port = exporter(tmp_path, "--sources=simulate", "--simulate.history-hours=0")
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        bodies: list[str] = []

        def scrape() -> bool:
            with urllib.request.urlopen(url, timeout=120) as answer:
                bodies.append(answer.read().decode())
            return "wattshed_power_watts{" in bodies[-1]

        until(scrape)
        lint(bodies[-1])
    finally:
        process.terminate()
        assert process.wait(120) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prometheus(folder: Path, target: int) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Prometheus that scrapes the exporter with TLS, a certificate and a password."""
    binary = program("prometheus")
    (folder / "prometheus.yml").write_text(
        f"""
scrape_configs:
  - job_name: wattshed
    scrape_interval: 1s
    scheme: https
    tls_config: {{ca_file: ca.pem, cert_file: client.pem, key_file: client.key}}
    basic_auth: {{username: alice, password: {PASSWORD}}}
    static_configs: [{{targets: ["localhost:{target}"]}}]
"""
    )
    port = free_port()
    command = [binary, "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    return process, f"http://127.0.0.1:{port}"


def test_prometheus_scrapes_over_tls_with_a_password(tmp_path: Path, certificates: Path) -> None:
    folder = Path(shutil.copytree(certificates, tmp_path / "web"))
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
    (folder / "web.yml").write_text(
        f"""
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [scraper.example]
basic_auth_users: {{alice: {hashed}}}
"""
    )
    process, port = exporter(
        folder, "--sources=estimate", f"--web.config.file={folder / 'web.yml'}"
    )
    scraper, url = prometheus(folder, port)
    try:

        def query(expression: str) -> list[dict[str, object]]:
            try:
                with urllib.request.urlopen(f"{url}/api/v1/query?query={expression}") as answer:
                    return list(json.load(answer)["data"]["result"])
            except OSError:
                return []  # it still starts

        until(lambda: [r for r in query("up") if r["value"][1] == "1"])  # type: ignore[index]
        until(lambda: query("wattshed_energy_joules_total"))
        assert query("wattshed_build_info")
    finally:
        for each in (scraper, process):
            each.terminate()
            each.wait(20)
    assert process.returncode == 0
    assert PASSWORD not in (folder / "exporter.log").read_text()


def test_a_wrong_password_is_told_apart_from_none(tmp_path: Path, certificates: Path) -> None:
    folder = Path(shutil.copytree(certificates, tmp_path / "web"))
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
    tls = "tls_server_config: {cert_file: server.pem, key_file: server.key}"
    (folder / "web.yml").write_text(f"{tls}\nbasic_auth_users: {{alice: {hashed}}}\n")
    process, port = exporter(
        folder, "--sources=estimate", f"--web.config.file={folder / 'web.yml'}"
    )
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))

    def status(credentials: str) -> int:
        asked = urllib.request.Request(f"https://localhost:{port}/healthz")
        if credentials:
            told = base64.b64encode(credentials.encode()).decode()
            asked.add_header("Authorization", f"Basic {told}")
        try:
            with urllib.request.urlopen(asked, timeout=120, context=context) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    try:
        assert status("") == 401
        assert status("alice:wrong") == 401
        until(lambda: status(f"alice:{PASSWORD}") == 200)
    finally:
        process.terminate()
        assert process.wait(120) == 0
