"""A day of trouble in seconds of real time, and a real process for a while: nothing piles up."""

from __future__ import annotations

import contextlib
import gc
import heapq
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from wattshed_exporter.__main__ import serve
from wattshed_exporter.config import Config, Otlp, Web
from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Batch, Detail, Device, Kind, Reading
from wattshed_exporter.outputs import Output
from wattshed_exporter.outputs.otlp import Otlp as Push
from wattshed_exporter.sampler import Sampler
from wattshed_exporter.sources import Sample
from wattshed_exporter.telemetry import Telemetry
from wattshed_exporter.worker import Clock, Worker

DAY_SECONDS = 86_400
INTERVAL_SECONDS = 10.0
RENDER_SECONDS = 900
CHECK_SECONDS = 21_600
FLAP_SECONDS = 1_800
GROWTH_BYTES = 256 * 1024
"""What may be gained between the first check, six hours in, and any later one: what the
interpreter's own cache of looked-up names may take, 4096 strings. Thirty bytes kept of every read
would be more, and so would a kilobyte of every device that was swapped."""


class Day:
    """Simulated time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return 1_763_856_000_000 + round(self.seconds * 1000)


class Troubled:
    """A source that works most of the time and otherwise does everything a driver can do."""

    interval_seconds = INTERVAL_SECONDS

    def __init__(self, name: str, devices: int, seed: int, day: Day) -> None:
        self.name = name
        self.hang: Callable[[], None] = lambda: None
        self.closed = self.swaps = 0
        self._count = devices
        self._draw = random.Random(seed)
        self._day = day
        self._away = 0
        self._joules = 0

    def discover(self) -> Sequence[Device]:
        if self._away:
            self._away -= 1
            if self._away % 2:
                raise SourceError("the driver does not start", "not_ready")
            raise NoData("nothing here just now")
        return [Device(key, Kind.GPU, "n", self.name, key) for key in self._keys()]

    def _keys(self) -> list[str]:
        return [f"{self.name}-{self.swaps}-{i}" for i in range(self._count)]

    def read(self) -> Sample:
        roll = self._draw.random()
        if roll < 0.01:
            raise SourceError("lost", self._draw.choice(("gpu_lost", "permission", "driver_error")))
        if roll < 0.012:
            raise RuntimeError("a defect of the driver's bindings")
        if roll < 0.014:
            self._away = self._draw.randrange(1, 8)
            raise DevicesChanged("the driver was unloaded")
        if roll < 0.05:
            self.swaps += 1
            raise DevicesChanged("a board was swapped, or MIG was set up anew")
        if roll < 0.051:
            self.hang()
        self._joules = 0 if roll < 0.052 else self._joules + self._draw.randrange(2000)
        return Sample(*self._say(roll))

    def _say(self, roll: float) -> tuple[list[Reading], list[Detail]]:
        ms = self._day.now_ms() - (60_000 if roll < 0.055 else 0)
        energy = self._joules * 1_000_000 if self.name == "boards" else None
        watts = -5.0 if roll < 0.06 else self._draw.uniform(50, 400)
        readings = [Reading(key, ms, watts, energy, utilization_ratio=roll) for key in self._keys()]
        details = [
            Detail(key, "wattshed_clock_hertz", ms, 1e9 * roll, (domain,))
            for key in self._keys()
            for domain in ("sm", "memory")
        ]
        return readings, details

    def close(self) -> None:
        self.closed += 1


class Flapping(HTTPServer):
    """A collector that is there for half an hour, then refuses, hangs up or talks nonsense."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.mood = 0
        self.taken = self.refused = 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    timeout = 5

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Flapping)
        self.rfile.read(int(self.headers["Content-Length"]))
        if server.mood % 2 == 0:
            server.taken += 1
            self.send_response(200)
            self.end_headers()
            return
        server.refused += 1
        if server.mood % 4 == 1:
            self.send_response(503)
            self.end_headers()
        # Else the connection ends without an answer.

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: thousands of lines would be kept by the test's own capture."""


@dataclass(frozen=True)
class Held:
    """What the process holds at one moment."""

    heap_bytes: int
    threads: int
    files: int


def held() -> Held:
    gc.collect()
    heap, _ = tracemalloc.get_traced_memory()
    # The thread of the last page that was served may take a moment to end.
    threads = threading.active_count()
    for _ in range(20):
        time.sleep(0.01)
        threads = min(threads, threading.active_count())
    return Held(heap, threads, len(os.listdir("/proc/self/fd")))


class Refusing:
    """An output that takes nothing."""

    name = "refusing"

    def put(self, batch: Batch) -> None:
        raise RuntimeError("no room")

    def ready(self) -> bool:
        return True

    def flush(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        """Hold nothing."""


class Soak:
    """An exporter without threads of its own for sources, driven through a day."""

    def __init__(self, sink: Flapping, pushes: bool) -> None:
        self.day = Day()
        self.sink = sink
        self.telemetry = Telemetry()
        config = Config(
            node="n",
            interval_seconds=INTERVAL_SECONDS,
            web=Web(listen_address="127.0.0.1:0"),
            otlp=Otlp(endpoint=sink.url, batch_seconds=0.1),
        )
        self.output: Output = Refusing()
        if pushes:
            self.output = Push(
                config,
                self.telemetry,
                jitter=lambda _low, _high: 0.01,
                monotonic=lambda: self.day.seconds,
            )
        self.sources = [
            Troubled("boards", 2, 1, self.day),
            Troubled("rails", 1, 2, self.day),
        ]
        clock = Clock(self.day.now_ms, lambda: self.day.seconds)
        self.sampler = Sampler(self.sources, [self.output], config, self.telemetry, clock=clock)
        for source, worker in zip(self.sources, self.sampler.workers, strict=True):
            source.hang = lambda worker=worker: self.hang(worker)  # type: ignore[misc]
        server = serve(config, self.sampler, self.telemetry)
        assert server is not None
        self.server = server
        self.pages = 0

    def hang(self, worker: Worker) -> None:
        """Let time pass in the middle of a read, while the deadline is watched."""
        for _ in range(4):
            self.day.seconds += 3.0
            worker.watch()

    def run(self) -> Iterator[Held]:
        """Live through the day; yield what is held at every check."""
        beats = [(0.0, index) for index in range(len(self.sampler.workers))]
        due = {self.render: RENDER_SECONDS, self.flap: FLAP_SECONDS}
        following = {**due}
        check = CHECK_SECONDS
        while self.day.seconds < DAY_SECONDS:
            at, index = heapq.heappop(beats)
            self.day.seconds = max(self.day.seconds, at)
            delay = self.sampler.workers[index].step()
            assert delay is not None
            heapq.heappush(beats, (self.day.seconds + delay, index))
            for do, when in following.items():
                if self.day.seconds >= when:
                    following[do] = when + due[do]
                    do()
            if self.day.seconds >= check:
                check += CHECK_SECONDS
                self.settle()
                yield held()

    def render(self) -> None:
        host, port = self.server.address
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
            self.pages += b"wattshed_source_reads_total{" in answer.read()

    def close(self) -> None:
        self.server.close()
        self.output.close()

    def flap(self) -> None:
        self.sink.mood += 1

    def settle(self) -> None:
        """Wait until all is delivered, so that checks compare like with like.

        The last request is let go of only when there is another, so a small one follows it.
        """
        mood, self.sink.mood = self.sink.mood, 0
        for tick in list(self.sampler.snapshot().ticks.values())[:1] * 2:
            assert self.output.flush(30)
            with contextlib.suppress(RuntimeError):
                self.output.put(Batch(ticks=(tick,)))
        assert self.output.flush(30)
        self.sink.mood = mood


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the log's thousands of records from being captured: they would be the only growth."""
    caplog.set_level(logging.CRITICAL, "wattshed_exporter")


@pytest.mark.e2e
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "pushes", [True, False], ids=["the collector flaps", "an output that fails"]
)
def test_a_day_of_trouble_leaves_nothing_behind(pushes: bool) -> None:
    sink = Flapping()
    tracemalloc.start(1)
    try:
        soak = Soak(sink, pushes)
        first, *later = soak.run()
        reads = sum(worker.reads for worker in soak.sampler.workers)
        soak.close()
    finally:
        tracemalloc.stop()
        sink.stop()
    assert len(later) == DAY_SECONDS // CHECK_SECONDS - 1
    assert max(now.heap_bytes - first.heap_bytes for now in later) < GROWTH_BYTES
    assert {now.threads for now in later} == {first.threads}
    assert max(now.files for now in later) <= first.files
    # All of that did happen.
    assert reads > 0.8 * 2 * DAY_SECONDS / INTERVAL_SECONDS
    assert soak.pages == DAY_SECONDS / RENDER_SECONDS
    assert min(source.swaps for source in soak.sources) > 100
    assert (sink.taken > 20, sink.refused > 10) == (pushes, pushes)
    for reason in ("gpu_lost", "exception", "devices_changed", "not_ready", "deadline"):
        errors = soak.telemetry.value(
            "wattshed_source_errors_total", source="boards", reason=reason
        )
        assert errors > 0, reason


WARM_SECONDS, LONG_SECONDS, PATIENCE_SECONDS = 5.0, 20.0, 120.0


def listening(log: Path, until: float) -> int:
    """Return the port that an exporter says it was given."""
    while " port " not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    (line,) = (line for line in log.read_text().splitlines() if " port " in line)
    return int(line.rpartition(" ")[2])


def least(pid: int) -> tuple[int, int]:
    """Return open files and threads of a process at rest: the least of a second."""
    seen = []
    for _ in range(20):
        seen.append([len(os.listdir(f"/proc/{pid}/{what}")) for what in ("fd", "task")])
        time.sleep(0.05)
    files, threads = zip(*seen, strict=True)
    return min(files), min(threads)


def visit(port: int, until: float, fewest: int) -> int:
    """Scrape as all sorts of clients do, some of which leave early; return the good answers.

    It goes on beyond ``until`` until there are ``fewest`` of them.
    """
    good = 0
    while time.monotonic() < until or good < fewest:
        assert time.monotonic() < until + PATIENCE_SECONDS, f"{good} answers"
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as answer:
                good += b"wattshed_power_watts{" in answer.read()
            with socket.create_connection(("127.0.0.1", port), timeout=120) as rude:
                rude.sendall(b"GET /metrics HTT")
        time.sleep(0.1)
    return good


@pytest.mark.e2e
def test_a_real_process_keeps_its_files_and_threads(tmp_path: Path) -> None:
    sink, log = Flapping(), tmp_path / "exporter.log"
    command = [sys.executable, "-m", "wattshed_exporter", "--sources=estimate,hwmon,rapl"]
    command += ["--interval-seconds=0.05", "--web.listen-address=127.0.0.1:0"]
    command += [f"--otlp.endpoint={sink.url}", "--otlp.batch-seconds=0.2"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    with log.open("w") as said:
        process = subprocess.Popen(command, env=clean, stderr=said)
    try:
        began = time.monotonic()
        port = listening(log, began + PATIENCE_SECONDS)
        visit(port, began + WARM_SECONDS, 6)
        while sink.taken <= 10:
            assert time.monotonic() < began + PATIENCE_SECONDS, log.read_text()
            time.sleep(0.05)
        before = least(process.pid)
        sink.mood = 1
        visit(port, began + LONG_SECONDS / 2, 10)
        sink.mood = 2
        visit(port, began + LONG_SECONDS, 11)
        after = least(process.pid)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        sink.stop()
    assert (process.returncode, "Traceback" in log.read_text()) == (0, False)
    assert after == before
    assert sink.refused > 0
