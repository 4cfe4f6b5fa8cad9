"""Who burned which joule, scraped from a node: GPUs that are shared, cut and handed over."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.fixtures.driver import FAR_US

pytestmark = pytest.mark.e2e

SERVE = Path(__file__).parents[1] / "fixtures/nvml/serve.py"
README = Path(__file__).parents[2] / "exporter/README.md"
WORKLOADS, DEVICE = "wattshed_workload_energy_joules_total", "wattshed_energy_joules_total"
HOST_PIDS = "pid:[4026531836]"
MIG = (
    "mig 1", "mig_count 2",
    "mig0_gi 2", "mig0_ci 0", "mig0_uuid MIG-3g", "mig0_slices 3,3,40448",
    "mig1_gi 9", "mig1_ci 0", "mig1_uuid MIG-1g", "mig1_slices 1,1,9984",
)  # fmt: skip
Series = dict[tuple[str, str], float]
"""Joules by class and workload."""


class Node:
    """An exporter over a stand-in for the driver's library; a test says who holds what."""

    def __init__(self, folder: Path, library: Path) -> None:
        namespace = folder / "proc/self/ns"
        namespace.mkdir(parents=True)
        (namespace / "pid").symlink_to(HOST_PIDS)
        self._scenario, self._file = folder / "scenario", folder / "held"
        self._lines: tuple[str, ...] = ()
        self._millijoules = 10**9
        self._lock = threading.Lock()
        self._burning = threading.Event()
        self._done = threading.Event()
        self.hold()
        self.tell()
        options = {"file": str(self._file), "procfs": str(folder / "proc"), "sysfs": str(folder)}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SERVE), json.dumps(options)],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(library),
                "FAKE_NVML_SCENARIO": str(self._scenario),
            },
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self._burner = threading.Thread(target=self._burn)
        self._burner.start()
        self.burn(True)

    def tell(self, *lines: str) -> None:
        """Have the library answer by these lines from now on, beside the energy."""
        with self._lock:
            self._lines = lines
            self._write()

    def hold(self, *claims: tuple[str, str, float], **pids: str) -> None:
        """Have the plug-in say who holds what, and whose process ``p7`` is."""
        named = {pid.removeprefix("p"): holder for pid, holder in pids.items()}
        about = {holder: {"team": f"team-{holder[-1]}"} for _, holder, _ in claims}
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps({"claims": claims, "pids": named, "about": about}))
        draft.replace(self._file)

    def burn(self, burning: bool) -> None:
        """Let the counter of the GPU run, or stand still."""
        if burning:
            self._burning.set()
        else:
            self._burning.clear()

    def reset(self) -> None:
        """Let the counter begin anew, as when the driver is loaded.

        It has counted already: a counter that says 0 is not believed, and power would count.
        """
        with self._lock:
            self._millijoules = 15_000
            self._write()

    @property
    def joules(self) -> float:
        """What the counter of the GPU says."""
        return self._millijoules / 1000

    def scrape(self) -> Series:
        """Return the counters of workloads; a scrape beside Prometheus' own hides what it sees."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=120) as answer:
            body = answer.read().decode()
        found: Series = {}
        for family in text_string_to_metric_families(body):
            for sample in family.samples:
                if sample.name == WORKLOADS:
                    key = sample.labels["class"], sample.labels["workload_id"]
                    assert key not in found
                    found[key] = sample.value
        return found

    def gained(self, *workloads: str) -> list[float]:
        """Return what each was charged as active, from one settled scrape to a later one."""
        keys = [("active", f"k8s/c1/{w}") for w in workloads]
        until(lambda: all(self.scrape().get(key) for key in keys))
        time.sleep(1.1)  # windows of the past are settled
        before = self.scrape()
        until(lambda: all(self.scrape()[key] > before[key] + 1 for key in keys))
        after = self.scrape()
        return [after[key] - before[key] for key in keys]

    def close(self) -> None:
        self._done.set()
        self._burner.join()
        with self._process as process:
            process.terminate()
            assert process.wait(120) == 0

    def _burn(self) -> None:
        while not self._done.wait(0.05):
            if self._burning.is_set():
                with self._lock:
                    self._millijoules += 15_000
                    self._write()

    def _write(self) -> None:
        draft = self._scenario.with_suffix(".draft")
        lines = (*self._lines, f"energy {self._millijoules}")
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.replace(self._scenario)


def until(done: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def node(tmp_path: Path, fake_nvml: Path) -> Iterator[Node]:
    made = Node(tmp_path, fake_nvml)
    yield made
    made.close()


def test_two_pods_in_time_slices_pay_by_what_their_processes_did(node: Node) -> None:
    node.tell("compute 7 8 9", f"util 7,{FAR_US},45 8,{FAR_US},20 9,{FAR_US},15")
    node.hold(
        ("GPU-fake-0", "pod:a", 1.0), ("GPU-fake-0", "pod:b", 1.0),
        p7="pod:a", p9="pod:a", p8="pod:b",
    )  # fmt: skip
    a, b = node.gained("a", "b")
    assert a / b == pytest.approx(3.0, rel=1e-6)


def test_instances_pay_by_activity_and_slices_and_by_share_where_it_is_unknown(
    node: Node,
) -> None:
    node.tell(*MIG, "mig0_gpm_2 50", "mig1_gpm_2 100")
    node.hold(("MIG-3g", "pod:a", 1.0), ("MIG-1g", "pod:b", 1.0))
    a, b = node.gained("a", "b")
    assert a / b == pytest.approx(1.5, rel=1e-6)
    node.tell(*MIG)
    a, b = node.gained("a", "b")
    assert a / b == pytest.approx(3.0, rel=1e-6)


class Prometheus:
    """A real one that scrapes a node four times a second."""

    def __init__(self, folder: Path, target: int) -> None:
        binary = shutil.which("prometheus")
        if binary is None:
            pytest.skip("prometheus is not installed (Debian package prometheus)")
        (folder / "prometheus.yml").write_text(
            "scrape_configs:\n  - job_name: wattshed\n    scrape_interval: 250ms\n"
            f'    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]\n'
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self._url = f"http://127.0.0.1:{port}/api/v1/query"
        command = [binary, "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        self._process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result; none while it still starts."""
        url = f"{self._url}?{urllib.parse.urlencode({'query': expression})}"
        try:
            with urllib.request.urlopen(url, timeout=120) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return []
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        except OSError:
            return []

    def increase(self, metric: str) -> dict[str, float]:
        """Return what each workload's series gained, as ``increase`` counts without extrapolation.

        By workload, or "" for nobody and for a device.
        """
        found: dict[str, float] = {}
        for series in self.query(f"{metric}[10m]"):
            values = [float(value) for _, value in series["values"]]
            gained = sum(b - a if b >= a else b for a, b in itertools.pairwise(values))
            key = series["metric"].get("workload_id", "")
            found[key] = found.get(key, 0.0) + gained
        return found

    def close(self) -> None:
        with self._process as process:
            process.terminate()


def examples() -> list[str]:
    """Return the queries that the exporter's README shows."""
    section = README.read_text(encoding="utf-8").partition("## Who holds what")[2]
    (block,) = re.findall(r"```promql\n(.*?)```", section.partition("\n## ")[0], re.S)
    lines = [line for line in block.splitlines() if line and not line.startswith("#")]
    assert lines
    return lines


def test_what_prometheus_counts_for_workloads_is_what_it_counts_for_the_device(
    node: Node, tmp_path: Path
) -> None:
    scraper = Prometheus(tmp_path, node.port)
    try:

        def sees(*workloads: str) -> bool:
            """Whether these and no others have gained something since the last call."""
            now = {w: j for w, j in scraper.increase(WORKLOADS).items() if w}
            news = {w for w, j in now.items() if j > seen.get(w, 0.0) + 1}
            if news == {f"k8s/c1/{w}" for w in workloads}:
                seen.update(now)
                return True
            return False

        def has_all() -> bool:
            """Whether it has scraped all of the device, which would be lost in a reset."""
            told = scraper.query(DEVICE)
            return bool(told) and float(told[0]["value"][1]) == node.joules

        seen: dict[str, float] = {}
        node.burn(False)
        until(lambda: scraper.query(DEVICE))
        node.burn(True)
        node.hold(("GPU-fake-0", "pod:a", 1.0))
        until(lambda: sees("a"))
        node.hold(("GPU-fake-0", "pod:b", 0.5))
        node.burn(False)
        until(has_all)
        node.reset()
        node.burn(True)
        until(lambda: sees("a", "b") or sees("b"))
        node.hold(("GPU-fake-0", "pod:a", 1.0), ("GPU-fake-0", "pod:b", 1.0))
        until(lambda: sees("a", "b"))
        for expression in examples():
            assert scraper.query(expression), expression
        node.burn(False)

        def is_told() -> bool:
            workloads = math.fsum(scraper.increase(WORKLOADS).values())
            device = math.fsum(scraper.increase(DEVICE).values())
            return device > 0 and workloads == pytest.approx(device, rel=1e-9)

        until(is_told)
    finally:
        scraper.close()
