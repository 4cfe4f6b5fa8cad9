"""The rights that ``wattshed sql users`` gives are enough, by an engine that keeps to them."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.granted import granting
from tests.fixtures.programs import program, until

from wattshed_collector import cli
from wattshed_collector.errors import Denied
from wattshed_collector.store import server
from wattshed_collector.store.client import Store
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

pytestmark = pytest.mark.e2e
COLLECTOR = ("writer", "ledger", "reader")
PAGES = (
    "/",
    "/readyz",
    "/metrics",
    "/v1/status",
    "/v1/report",
    "/v1/slo",
    "/v1/ledger",
    "/v1/tree",
    "/v1/quality",
    "/v1/outcomes",
    "/v1/expected-idle",
    "/v1/energy?by=workload",
)


def pushed() -> bytes:
    """Two minutes of ten watts, as the exporter sends them."""
    device, start_ms = Device("d", Kind.GPU, "n", "nvml"), int(time.time() * 1000) - 180_000
    ticks = tuple(
        Tick("d", start_ms + n * 1000, 1000, Method.INTEGRAL, power_watts=10.0) for n in range(121)
    )
    return Encoder({"wattshed.node": "n"}, "0").request(Batch(devices=(device,), ticks=ticks))


def ask(url: str, body: bytes | None = None, kind: str = "application/x-protobuf") -> bytes:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def migrated(url: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(("migrate", "--data", f"{url}/apart", "--wait", "30"))
    assert not ended.value.code


def charged(url: str) -> float:
    rows: list[dict[str, Any]] = json.loads(ask(f"{url}/v1/energy?by=node"))["rows"]
    return float(sum(row["joules"] for row in rows))


def test_nobody_lacks_a_right_and_a_reader_has_no_other(tmp_path: Path) -> None:
    with granting(tmp_path, "apart", "migrator") as url:
        migrated(url)
    with granting(tmp_path, "apart", *COLLECTOR) as url:
        collected(url, tmp_path)
    with granting(tmp_path, "apart", "reader") as url:
        only_read(url)


def collected(url: str, folder: Path) -> None:
    """Run a collector: it takes in, charges and answers."""
    log, file = folder / "log", folder / "c.yaml"
    settings = {
        "listen": "127.0.0.1:0",
        "store": {"migrate": "wait"},
        "ledger": {"interval_seconds": 0.5},
        "durability": {"spool_folder": str(folder / "spool")},
    }
    file.write_text(json.dumps(settings))
    flags = ("--config", str(file), "--data", f"{url}/apart")
    with program(log, "wattshed_collector", *flags) as process:
        until(lambda: "collector at " in log.read_text() or process.poll() is not None)
        collector = log.read_text().partition("collector at ")[2].partition(",")[0]
        ask(f"{collector}/v1/metrics", pushed())
        until(lambda: charged(collector) >= 1199.9, 120)
        for page in PAGES:
            assert ask(f"{collector}{page}"), page
    said = log.read_text()
    assert "ACCESS_DENIED" not in said, said
    assert "Not enough privileges" not in said, said


def only_read(url: str) -> None:
    client = Store(url, told=server.parse(f"{url}/apart")).client()
    assert client.rows("SELECT count() FROM device FINAL") == [(1,)]
    for statement in (
        "INSERT INTO device_work (device_id) VALUES (1)",
        "ALTER TABLE tick DELETE WHERE 1",
        "DROP TABLE tick",
        "CREATE TABLE mine (a Int8) ENGINE = Memory",
    ):
        with pytest.raises(Denied):
            client.command(statement)
    client.close()
