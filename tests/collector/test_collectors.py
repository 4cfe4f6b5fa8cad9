"""Two collectors on one server: both take in, one computes, and the other when that is killed.

The server is the stand-in of ``tests/fixtures/clickhouse.py``; the collector that is killed is a
process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from tests.collector.conftest import collecting
from tests.fixtures.clickhouse import served

from wattshed_collector.config import Config, Durability, Ledger, Retention
from wattshed_collector.store.lease import Timing
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

TIMING = Timing(length_seconds=3.0, settle_seconds=0.5, drift_seconds=0.5)
PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.collector.test_collectors import TIMING, config
from wattshed_collector.app import running

async def run():
    async with running(config(sys.argv[1], Path(sys.argv[2])), timing=TIMING) as url:
        print(url, flush=True)
        await asyncio.Event().wait()

asyncio.run(run())
"""


def config(server: str, folder: Path) -> Config:
    return Config(
        data=server,
        listen="127.0.0.1:0",
        ledger=Ledger(interval_seconds=1.0),
        retention=Retention(raw_days=0, minute_days=0),
        durability=Durability(spool_folder=folder),
    )


@dataclass
class Process:
    """A collector in a process of its own."""

    url: str
    kill: Callable[[], None]

    def leads(self) -> bool:
        return leads(self.url)


@contextmanager
def process(server: str, folder: Path) -> Iterator[Process]:
    command = [sys.executable, "-c", PROGRAM, server, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            yield Process(started.stdout.readline().strip(), started.kill)
        finally:
            started.kill()


def asked(url: str, body: bytes | None = None) -> bytes:
    told = {"Content-Type": "application/x-protobuf"} if body else {}
    with urllib.request.urlopen(urllib.request.Request(url, body, told), timeout=120) as answer:
        return bytes(answer.read())


def leads(url: str) -> bool:
    families = text_string_to_metric_families(asked(f"{url}/metrics").decode())
    samples = [sample for family in families for sample in family.samples]
    return any(s.name == "wattshed_collector_ledger_leader" and s.value == 1 for s in samples)


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 90
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def minute(key: str, start_ms: int, first: int) -> bytes:
    """A minute of ten watts, from the second ``first`` on."""
    ticks = tuple(
        Tick(key, start_ms + second * 1000, 1000, Method.INTEGRAL, power_watts=10.0)
        for second in range(first, first + 61)
    )
    device = Device(key, Kind.GPU, "n", "nvml")
    return Encoder({"wattshed.node": "n"}, "0").request(Batch(devices=(device,), ticks=ticks))


def test_both_take_in_one_computes_and_the_other_follows(bed: Bed, tmp_path: Path) -> None:
    start_ms = int(time.time() * 1000) - 300_000

    def joules() -> dict[str, float]:
        rows = bed.client.rows("SELECT device, round(sum(joules)) FROM v_energy_1h GROUP BY device")
        return {str(device): float(total) for device, total in rows}

    with (
        served(Path(bed.store.target) / "chdb") as front,
        process(front.url, tmp_path / "first") as first,
    ):
        until(first.leads, "the first one leads")
        with collecting(config(front.url, tmp_path / "second"), TIMING) as second:
            urls = {"a": first.url, "b": second.url}
            for key, url in urls.items():
                asked(f"{url}/v1/metrics", minute(key, start_ms, 0))
            until(lambda: joules() == {"a": 600.0, "b": 600.0}, "what both took is charged")
            assert [first.leads(), leads(second.url)] == [True, False]
            # What the one that is killed took last is there, whoever computes it.
            asked(f"{first.url}/v1/metrics", minute("a", start_ms, 60))
            first.kill()
            asked(f"{second.url}/v1/metrics", minute("b", start_ms, 60))
            until(lambda: leads(second.url), "the second one follows")
            until(lambda: joules() == {"a": 1200.0, "b": 1200.0}, "all of it is charged")
    counted = "SELECT count() FROM tick FINAL GROUP BY device_id"
    assert bed.client.rows(counted) == [(121,), (121,)]
    assert bed.client.rows(
        "SELECT count(), max(abs(residual_joules)) < 1e-6 FROM v_conservation_1h"
    ) == [(len(set(_hours(start_ms))) * 2, 1)]


def _hours(start_ms: int) -> Iterator[int]:
    for second in range(121):
        yield (start_ms + second * 1000) // 3_600_000
