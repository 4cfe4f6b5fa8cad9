"""A real Prometheus scrapes a recorded page and writes it to a collector: no joule goes astray."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.collector.conftest import collecting
from tests.fixtures.stores import Stores

from wattshed_collector.config import Config, Ingest, Ledger
from wattshed_collector.store.migrate import Layout

if TYPE_CHECKING:
    from tests.collector.conftest import Running

pytestmark = pytest.mark.e2e

UUID = "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
RECORDED_MJ = 128_996_013
JOULES_A_SCRAPE = 70
SCRAPES = 3
CONFIG = """
global: {{scrape_interval: 1s, external_labels: {{cluster: green}}}}
scrape_configs:
- job_name: dcgm
  static_configs: [{{targets: ["127.0.0.1:{page}"]}}]
remote_write:
- url: {collector}/api/v1/write
  queue_config: {{min_shards: 3, max_samples_per_send: 7, batch_send_deadline: 200ms}}
"""


class Pages:
    """Serves the recorded page; its energy grows by each scrape and then stands still."""

    def __init__(self, recorded: str) -> None:
        # The pod is a stand-in: the recording is of a machine without Kubernetes.
        self._page = recorded.replace(
            f'UUID="{UUID}"', f'UUID="{UUID}",pod="train",namespace="ml",container="main"'
        )
        self.served: list[int] = []

    def next(self) -> bytes:
        energy = RECORDED_MJ + 1000 * JOULES_A_SCRAPE * min(len(self.served), SCRAPES)
        self.served.append(energy)
        text, count = re.subn(
            rf"({ENERGY}{{[^}}]*}}) {RECORDED_MJ}", rf"\g<1> {energy}", self._page
        )
        assert count == 1
        return text.encode() + b"\n"


@contextmanager
def serving(pages: Pages) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.next()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[None]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "prometheus.yml").write_text(config)
    command = [program, f"--config.file={folder}/prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(120)


def until(value: Callable[[], object], wanted: object, folder: Path, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while (found := value()) != wanted:
        assert time.monotonic() < end, f"{found} is not {wanted}; {(folder / 'log').read_text()}"
        time.sleep(0.3)


def charged(collector: Running) -> float:
    rows = collector.rows(
        "SELECT sum(joules) FROM charge_1m FINAL INNER JOIN "
        "(SELECT workload_id, key FROM workload FINAL) AS w USING (workload_id) "
        "WHERE key = 'k8s/green/ml/train'"
    )
    return round(float(rows[0][0]), 6)


def test_the_joules_of_the_page_are_the_joules_of_the_pod(
    data: Path, stores: Stores, tmp_path: Path
) -> None:
    recorded = data / "recordings/dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt"
    pages = Pages(recorded.read_text(encoding="utf-8"))
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path / "store"),
        ingest=Ingest(remote_write_interval_seconds=10.0),
        ledger=Ledger(interval_seconds=1.0),
    )
    stores.prepare(tmp_path / "store", Layout())
    with serving(pages) as page, collecting(config) as collector:
        told = CONFIG.format(page=page, collector=collector.url)
        with prometheus(tmp_path, told):
            until(lambda: len(pages.served) > SCRAPES + 1, True, tmp_path)
            joules = (pages.served[-1] - pages.served[0]) / 1000
            assert joules == JOULES_A_SCRAPE * SCRAPES
            until(lambda: charged(collector), joules, tmp_path)
        (total,) = collector.rows("SELECT sum(joules) FROM charge_1m FINAL")
        assert total[0] == pytest.approx(joules, rel=1e-9)
        assert collector.counter("requests_total", receiver="remote_write", code="400") == 0
        rows = collector.rows("SELECT key, node, cluster, model FROM device FINAL")
        assert (UUID, "127.0.0.1", "green", "Tesla T4") in rows
