"""72 hours without a collector and two kill -9: the ledger is that of a live delivery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.address import find
from wattshed_collector.ledger import Ledger, Policy
from wattshed_collector.store.client import Store
from wattshed_collector.store.migrate import Layout
from wattshed_exporter.model import stable_id

pytestmark = pytest.mark.e2e

HOURS = 72
INTERVAL_MS = 60_000
ROUNDS = HOURS * 3_600_000 // INTERVAL_MS
END_MS = (int(time.time() * 1000) - 3_600_000) // 3_600_000 * 3_600_000
START_MS = END_MS - HOURS * 3_600_000
DEVICES = ("n/gpu", "n/cpu", "n/plug")
NOBODY = "http://127.0.0.1:9"

EXPORTER = """
import math, sys, time
from pathlib import Path
from wattshed_exporter.config import Config, Otlp as Settings
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload
from wattshed_exporter.outputs.otlp import Otlp, build_store
from wattshed_exporter.telemetry import Telemetry

url, folder, start, rounds, interval, rate = sys.argv[1:]
start, rounds, interval = int(start), int(rounds), int(interval)
told = Settings(endpoint=url, batch_seconds=0.0, drain_per_second=float(rate))
config = Config(node="n", otlp=told, state_dir=Path(folder))
store = build_store(config, lambda *lost: print("lost", *lost, flush=True))
output = Otlp(config, Telemetry(), store=store)

def power(device, at):
    return 200.0 + 150.0 * math.sin(at / 37.0 + device) + (at * 7919 + device) % 50

def rounds_of_readings():
    joules = [1e6, 0.0]
    for at in range(rounds + 1):
        ts = start + at * interval
        gap = "deadline" if 500 <= at < 520 else ""
        joules[0] += power(0, at) * interval / 1000
        joules[1] += power(1, at) * interval / 1000
        if at == 2000:
            joules[1] = 0.0  # the machine was started anew
        yield (
            Tick("n/gpu", ts, interval, Method.COUNTER, power(0, at), round(joules[0] * 1e6),
                 start - 1000, 0.9 if at % 600 < 400 else 0.01, 1 << 30, 60.0),
            Tick("n/cpu", ts, interval, Method.COUNTER, None, round(joules[1] * 1e6),
                 start - 1000 if at < 2000 else ts, 0.5),
            Tick("n/plug", ts, interval, Method.UNKNOWN, gap=gap) if gap else
            Tick("n/plug", ts, interval, Method.INTEGRAL, power(2, at)),
        )

if rounds:
    kinds = {"n/gpu": Kind.GPU, "n/cpu": Kind.CPU, "n/plug": Kind.BOARD}
    output.put(Batch(
        devices=tuple(Device(key, kind, "n", "test", key[2:]) for key, kind in kinds.items()),
        workloads=(Workload("w/1", "train", "training"), Workload("w/2", "chat", "inference")),
        allocations=(
            Allocation("n/gpu", "w/1", start + 5 * 3_600_000, start + 29 * 3_600_000 + 12_345, 0.5),
            Allocation("n/gpu", "w/2", start + 20 * 3_600_000 + 777, start + 60 * 3_600_000, 0.5),
        ),
    ))
    hour = []
    for at, ticks in enumerate(rounds_of_readings()):
        hour += ticks
        if at % 60 == 59 or at == rounds:
            output.put(Batch(ticks=tuple(hour)))
            hour.clear()
            time.sleep(0.01)
    while not output.ready() and url.endswith(":9") and store.level().ticks < 3 * (rounds + 1):
        time.sleep(0.01)
print("kept", store.level().bodies, flush=True)
while not output.flush(60.0):
    pass
print("empty", flush=True)
output.close()
"""


class Exporter:
    """A process that pushes readings, or just what an earlier one has left."""

    def __init__(self, url: str, state: Path, *, rounds: int = 0, rate: float = 1000.0) -> None:
        numbers = (START_MS, rounds, INTERVAL_MS, rate)
        command = [sys.executable, "-c", EXPORTER, url, str(state), *map(str, numbers)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.kill()
        self.wait(-signal.SIGKILL)

    def wait(self, expected: int = 0) -> None:
        assert self.process.wait(60) == expected
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def collector(folder: Path) -> Iterator[str]:
    """Run the real collector; yield its URL."""
    command = [sys.executable, "-m", "wattshed_collector", "--listen", "127.0.0.1:0"]
    command += ["--data", str(folder), "--ledger.interval-seconds", "20"]
    command += ["--ingest.group-seconds", "0.02"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WATTSHED_")}
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, env=environment)
        try:
            deadline = time.monotonic() + 120
            while not (url := find(folder)):
                assert process.poll() is None, "the collector did not start"
                assert time.monotonic() < deadline, "the collector does not answer"
                time.sleep(0.02)
            yield url
        finally:
            process.terminate()
            process.wait(120)


Rows = dict[tuple[object, ...], tuple[float, float]]


def ledger(folder: Path) -> tuple[Rows, Rows]:
    """Settle the ledger; return what was charged per hour and what was measured per minute."""
    store = Store(folder)
    client = store.client()
    job = Ledger(client, Policy(raw_days=0))
    while job.run():
        pass
    charged = client.rows(
        "SELECT toUnixTimestamp(t), device_id, workload_id, class, joules, seconds "
        "FROM charge_1h FINAL WHERE seconds != 0"
    )
    measured = client.rows(
        "SELECT toUnixTimestamp(t), device_id, method, reason, ifNull(joules, -1), seconds "
        "FROM measured_1m FINAL WHERE seconds != 0"
    )
    client.close()
    store.close()
    charges: Rows = {(t, d, w, str(c)): (j, s) for t, d, w, c, j, s in charged}
    return charges, {(t, d, str(m), str(r)): (j, s) for t, d, m, r, j, s in measured}


def joules_of(charges: Rows, device: str) -> float:
    return sum(j for (_, d, *_), (j, _) in charges.items() if d == stable_id(device))


def test_72_hours_offline_end_in_the_same_ledger(tmp_path: Path, stores: Stores) -> None:
    for name in ("online", "offline"):
        stores.prepare(tmp_path / name, Layout())
    with collector(tmp_path / "online") as url:
        live = Exporter(url, tmp_path / "state-online", rounds=ROUNDS)
        assert live.line()[0] == "kept"
        assert live.line() == ["empty"]
        live.wait()

    state = tmp_path / "state-offline"
    offline = Exporter(NOBODY, state, rounds=ROUNDS)
    word, bodies = offline.line()
    assert word == "kept"
    assert int(bodies) > 50
    offline.kill()

    with collector(tmp_path / "offline") as url:
        first = Exporter(url, state, rate=1.0)  # the fifth request holds sixteen
        assert first.line()[0] == "kept"
        time.sleep(1.0)
        first.kill()
        left = sum(f.stat().st_size for f in (state / "spool").glob("*.spool"))
        assert left > 0, "the second run should have had something left to send"
        second = Exporter(url, state)
        assert second.line()[0] == "kept"
        assert second.line() == ["empty"]
        second.wait()
    assert list((state / "spool").iterdir()) == []

    (online, online_minutes), (replayed, replayed_minutes) = (
        ledger(tmp_path / "online"),
        ledger(tmp_path / "offline"),
    )
    print(
        f"bodies {bodies}, charges per hour {len(online)}, measured minutes {len(online_minutes)}"
    )
    assert {t for t, *_ in online} == set(range(START_MS // 1000, END_MS // 1000, 3600))
    assert {d for _, d, *_ in online} == {stable_id(d) for d in DEVICES}
    assert len({w for _, _, w, _ in online}) == 3
    for ours, theirs in ((replayed, online), (replayed_minutes, online_minutes)):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=1e-9, abs=1e-9), key
    assert joules_of(online, "n/gpu") > 1e7
    assert any(joules == -1 for joules, _ in online_minutes.values()), "a gap is a gap"
