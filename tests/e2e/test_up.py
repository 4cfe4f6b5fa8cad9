"""``wattshed up`` and ``demo`` as a newcomer types them: real processes, real store, real page."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.fixtures.stores import Stores

from wattshed_collector.store.migrate import Layout

pytestmark = pytest.mark.e2e

PATIENCE_S = 180.0
HISTORY_HOURS = 6
"""Of the demo's past; it makes up a day by default, which tests/dashboards charge and ask."""
Done = subprocess.CompletedProcess[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wattshed(*words: str) -> Done:
    command = [sys.executable, "-m", "wattshed_collector.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Up:
    """A running ``wattshed up`` or ``demo``."""

    def __init__(self, process: subprocess.Popen[str], url: str, metrics: str) -> None:
        self.process = process
        self.url = url
        self.metrics = metrics

    def get(self, path: str) -> Any:
        with urlopen(self.url + path, timeout=60) as response:
            return json.load(response)

    def wait_until(self, path: str, is_there: Any, pause_seconds: float = 0.5) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        document = None
        while time.monotonic() < deadline:
            document = self.get(path)
            if is_there(document):
                return document
            time.sleep(pause_seconds)
        raise AssertionError(f"{path} never came to hold it; last: {json.dumps(document)[:800]}")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does; return its status. How long it takes: bench/foundation.py."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def running(command: str, data: Path, *flags: str) -> Iterator[Up]:
    page, metrics = free_port(), free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "wattshed_collector.cli", command, "--data", str(data)),
            *("--listen", f"127.0.0.1:{page}", "--exporter-listen", f"127.0.0.1:{metrics}"),
            *flags,
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert said[0].split() == ["data", str(data)], said
        assert said[1].split() == ["page", f"http://127.0.0.1:{page}"], said
        yield Up(process, f"http://127.0.0.1:{page}", f"http://127.0.0.1:{metrics}/metrics")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@dataclass(frozen=True)
class Told:
    """What was seen of two runs on one folder, and of the folder between and beside them."""

    nothing: Done
    report: Any
    page: bytes
    metrics: bytes
    asked: Done
    second: Done
    code: int
    read: Done
    again: Any


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    data = tmp_path_factory.mktemp("up") / "data"
    energy = ("energy", "--by", "class", "--since", "1h", "--json", "--data", str(data))
    nothing = wattshed(*energy)
    with running("up", data) as up:
        report = up.wait_until("/v1/report?since=1h", lambda r: r["total_joules"] > 0)
        with urlopen(up.url, timeout=60) as page, urlopen(up.metrics, timeout=60) as metrics:
            shown, exposed = page.read(), metrics.read()
        asked = wattshed(*energy)
        second = wattshed("up", "--data", str(data), "--listen", f"127.0.0.1:{free_port()}")
        code = up.stop()
    read = wattshed(*energy)
    with running("up", data) as up:
        again = up.wait_until("/v1/report?since=1h", lambda r: r["total_joules"] > 0)
        up.stop(signal.SIGTERM)
    return Told(nothing, report, shown, exposed, asked, second, code, read, again)


def test_this_machine_is_measured_and_its_data_survives_a_restart(told: Told) -> None:
    assert told.report["live"], "this machine has at least one device"
    assert told.report["quality"]["residual_worst_ratio"] <= 1e-9
    assert b"wattshed" in told.page
    assert b"wattshed_energy_joules_total{" in told.metrics
    assert told.code == 0
    assert told.again["total_joules"] >= told.report["total_joules"]


def test_the_command_line_asks_the_running_collector_and_then_the_store(told: Told) -> None:
    assert told.nothing.returncode == 1
    assert "wattshed up" in told.nothing.stderr
    assert (told.asked.returncode, told.read.returncode) == (0, 0)
    joules = [sum(r["joules"] for r in json.loads(run.stdout)) for run in (told.asked, told.read)]
    assert 0 < joules[0] <= joules[1]


def test_a_second_one_on_the_same_data_says_who_holds_it(told: Told) -> None:
    assert told.second.returncode == 1
    assert "in use by another wattshed" in told.second.stderr
    assert told.second.stdout == "", "it must not show the other one's page as its own"


def chat_joules(report: Any) -> Any:
    """Joules per token of the simulated chat, active and loaded; empty before there are any."""
    chats = (w for w in report["workloads"] if w["workload"].startswith("chat"))
    found: dict[str, Any] = next(chats, {})
    return found.get("joules_per_outcome", {}).get("token_out", {})


def test_the_demo_has_the_past_of_a_simulated_fleet(tmp_path: Path, stores: Stores) -> None:
    stores.prepare(tmp_path / "data", Layout(), by_link=True)
    hours = HISTORY_HOURS - 1
    with running("demo", tmp_path / "data", "--history-hours", str(HISTORY_HOURS)) as demo:
        # Before the minutes of these hours are written no report can be right, and each is dear.
        demo.wait_until("/v1/status", lambda s: s["ticks_written"] >= hours * 60 * 40)
        report = demo.wait_until(
            f"/v1/report?since={HISTORY_HOURS}h",
            # Between two statements of the ledger what is measured is not charged yet.
            lambda r: (
                r["quality"]["known_seconds"] > hours * 3600 * 40
                and r["live"]
                and r["quality"]["residual_worst_ratio"] <= 1e-9
                # Nor are the last tokens set against joules until those are.
                and 0.1 < chat_joules(r).get("active", 0.0) <= chat_joules(r)["loaded"] < 2
            ),
            # Each is as dear as to take in an hour of the day, in the process that does that.
            pause_seconds=3.0,
        )
        assert report["quality"]["by_method"]["simulated"] > 0.99 * report["total_joules"]
        assert {w["workload_kind"] for w in report["workloads"]} >= {
            "training",
            "inference",
            "notebook",
        }
        assert report["classes"]["idle_held"] > 0
        assert report["classes"]["idle_unallocated"] > 0
        methods = {row["method"] for row in report["live"] if row["device"].startswith("sim-")}
        assert methods == {"simulated"}
        assert demo.stop() == 0


def test_it_is_not_open_to_other_machines_by_accident(tmp_path: Path) -> None:
    refused = wattshed("up", "--data", str(tmp_path), "--listen", f"0.0.0.0:{free_port()}")
    assert refused.returncode == 1
    assert "nothing says who may do what" in refused.stderr
    assert "--anonymous" in refused.stderr
