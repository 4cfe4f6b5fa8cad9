"""kill -9 in the middle of ingest, again and again: what was acknowledged is there, once."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.address import find
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store.client import Store
from wattshed_collector.store.migrate import Layout
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick, stable_id
from wattshed_exporter.outputs.protobuf import Encoder

pytestmark = pytest.mark.e2e

ROUNDS = 6
"""``bench/faults`` kills it a hundred times."""
SENDERS = 4
TICKS = 20
START_MS = int(time.time() * 1000) - 6 * 3_600_000


class Collector:
    """The real process on a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = (folder.parent / "collector.log").open("ab")
        command = [sys.executable, "-m", "wattshed_collector", "--listen", "127.0.0.1:0"]
        command += ["--data", str(folder), "--ledger.interval-seconds", "0.5"]
        command += ["--ingest.group-seconds", "0.02"]
        self.process = subprocess.Popen(command, stderr=self._log, env=_environment())
        self.url = self._wait()

    def _wait(self) -> str:
        deadline = time.monotonic() + 120
        while not (url := find(self.folder)):
            assert self.process.poll() is None, "the collector did not start"
            assert time.monotonic() < deadline, "the collector does not answer"
            time.sleep(0.01)
        return url

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._log.close()
        return code


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}


class Sender:
    """Pushes numbered ticks of one device; what was not answered is sent again, unchanged."""

    def __init__(self, number: int) -> None:
        self.device = f"sender-{number}"
        self.acknowledged: set[int] = set()
        self.sent: set[int] = set()
        self.repeated = 0
        self._encoder = Encoder({"wattshed.node": "n"}, "0")
        self._numbers = itertools.count()
        self._pending: tuple[bytes, list[int]] | None = None

    def run(self, url: str, stop: threading.Event) -> None:
        """Send until told to stop or until nobody answers."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        try:
            while not stop.is_set():
                body, times = self._pending or self._next()
                self._pending = body, times
                self.sent.update(times)
                headers = {"Content-Type": "application/x-protobuf"}
                connection.request("POST", "/v1/metrics", body, headers)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    self.acknowledged.update(times)
                    self._pending = None
        except (OSError, http.client.HTTPException):
            self.repeated += self._pending is not None
        finally:
            connection.close()

    def _next(self) -> tuple[bytes, list[int]]:
        times = [START_MS + next(self._numbers) * 50 for _ in range(TICKS)]
        ticks = tuple(
            Tick(self.device, t, 50, Method.COUNTER, 100.0, (t - START_MS) * 100_000) for t in times
        )
        device = Device(self.device, Kind.GPU, "n", "s")
        return self._encoder.request(Batch(devices=(device,), ticks=ticks)), times


def ingest(senders: list[Sender], url: str) -> Iterator[None]:
    """Send from all at once until the generator goes on."""
    stop = threading.Event()
    threads = [threading.Thread(target=s.run, args=(url, stop)) for s in senders]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join(120)


def reach(senders: list[Sender], requests: int) -> None:
    """Wait until so many requests more are acknowledged; a slow machine takes longer."""
    wanted = sum(len(s.acknowledged) for s in senders) + requests * TICKS
    deadline = time.monotonic() + 120
    while sum(len(s.acknowledged) for s in senders) < wanted and time.monotonic() < deadline:
        time.sleep(0.005)


def test_kill_in_the_middle_of_ingest(tmp_path: Path, stores: Stores) -> None:
    folder, dice = tmp_path / "data", random.Random(1)
    stores.prepare(folder, Layout())
    senders = [Sender(n) for n in range(SENDERS)]
    for _ in range(ROUNDS):
        collector = Collector(folder)
        running = ingest(senders, collector.url)
        next(running)
        reach(senders, dice.randrange(16))
        time.sleep(dice.uniform(0.0, 0.1))
        assert collector.end(signal.SIGKILL) == -signal.SIGKILL
        assert next(running, None) is None
    # Everything that was interrupted is sent again by those who sent it.
    collector = Collector(folder)
    running = ingest(senders, collector.url)
    next(running)
    reach(senders, 20)
    assert next(running, None) is None
    assert collector.end(signal.SIGTERM) == 0

    lost = doubled = unasked = 0
    store = Store(folder)
    client = store.client()
    for sender in senders:
        rows = client.rows(
            "SELECT toUnixTimestamp64Milli(ts), count() FROM tick FINAL "
            "WHERE device_id = {d:UInt64} GROUP BY ts",
            {"d": stable_id(sender.device)},
        )
        stored = {int(ts): int(count) for ts, count in rows}
        lost += len(sender.acknowledged - stored.keys())
        unasked += len(stored.keys() - sender.sent)
        doubled += sum(count - 1 for count in stored.values())
    acknowledged = sum(len(s.acknowledged) for s in senders)
    repeated = sum(s.repeated for s in senders)
    print(
        f"rounds {ROUNDS}, acknowledged ticks {acknowledged}, requests repeated {repeated}, "
        f"lost {lost}, doubled {doubled}"
    )
    Ledger(client, Policy()).run()
    joules = client.rows("SELECT device_id, sum(joules) FROM charge_1h FINAL GROUP BY device_id")
    expected = {
        stable_id(s.device): (max(s.acknowledged) - min(s.acknowledged)) / 10 for s in senders
    }
    client.close()
    store.close()
    assert acknowledged > ROUNDS * TICKS
    assert repeated > 0
    assert (lost, doubled, unasked) == (0, 0, 0)
    assert dict(joules) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_well_while_it_is_busy(
    tmp_path: Path, stores: Stores, number: signal.Signals
) -> None:
    folder = tmp_path / "data"
    stores.prepare(folder, Layout())
    collector = Collector(folder)
    senders = [Sender(n) for n in range(SENDERS)]
    running = ingest(senders, collector.url)
    next(running)
    reach(senders, 20)
    assert collector.end(number) == 0
    assert next(running, None) is None
    assert not (folder / "collector.json").exists()
    store = Store(folder)
    client = store.client()
    ((stored,),) = client.rows("SELECT count() FROM tick FINAL")
    client.close()
    store.close()
    assert stored >= sum(len(s.acknowledged) for s in senders) > 0
