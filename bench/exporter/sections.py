"""E1, E2, E3 and E5 of the exporter's goals: each starts what it compares and returns its rows."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import processes
from .processes import ROOT, Server, Tools, environment, free_port, running, wait_for
from .scrape import Scraper, quantile, visit
from .usage import Memory, cpu_seconds, memory

GATEWAY = ROOT / "exporter/systemd/gateway.yaml"
SMALL = {"MALLOC_ARENA_MAX": "1"}
"""What the service's unit puts into the environment."""
NEVER = 1e9
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One line of the table; ``peer`` is the value of the peer that ``ratio`` is taken of."""

    goal: str
    what: str
    value: float | None
    unit: str
    peer: str = ""
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        if self.value is None or not self.peer_value:
            return None
        return self.value / self.peer_value


@dataclass(frozen=True)
class Plan:
    """How long and how often to measure."""

    window_seconds: float
    repeats: int
    starts: int
    scrapes: int


def cpu_percent(
    pids: dict[str, int], plan: Plan, meanwhile: Callable[[float], None]
) -> dict[str, float]:
    """Return each process' CPU in percent of one core: the median of equal windows."""
    seen: dict[str, list[float]] = {name: [] for name in pids}
    for _ in range(plan.repeats):
        began = time.monotonic()
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        meanwhile(plan.window_seconds)
        took = time.monotonic() - began
        for name, pid in pids.items():
            seen[name].append((cpu_seconds(pid) - before[name]) / took * 100)
    return {name: median(values) for name, values in seen.items()}


def cpu(tools: Tools, plan: Plan, say: Say) -> list[Row]:
    """E1, and the CPU part of E5: all processes at once, each scraped at its own rate."""
    with ExitStack() as stack:
        targets: dict[str, tuple[Scraper, float]] = {}

        def add(name: str, server: Server | None, scrape_seconds: float) -> None:
            if server is not None:
                scraper = stack.enter_context(contextlib.closing(Scraper(server)))
                scraper.scrape()
                targets[name] = (scraper, scrape_seconds)

        for hertz, seconds in ((10, 10.0), (10, 0.5), (1, 10.0), (100, 10.0)):
            name = f"{hertz} Hz, scraped every {seconds:g} s"
            flag = f"--interval-seconds={1 / hertz:g}"
            add(name, stack.enter_context(processes.ours(name, tools, flag)), seconds)
        for seconds in (10.0, 0.5):
            name = f"node_exporter, scraped every {seconds:g} s"
            add(name, stack.enter_context(processes.node_exporter(name, tools)), seconds)
        pids = {name: scraper.server.pid for name, (scraper, _) in targets.items()}
        for hertz in (10, 100):
            command = [str(tools.sampler), str(hertz)]
            process = stack.enter_context(running(command, environment(tools, 8)))
            pids[f"C sampler, {hertz} Hz"] = process.pid
        say(f"E1, E5: warming up {len(pids)} processes")
        visit(targets, 5)
        say(f"E1, E5: {plan.repeats} windows of {plan.window_seconds:g} s")
        percent = cpu_percent(pids, plan, lambda seconds: visit(targets, seconds))
        return _cpu_rows(percent, targets)


def _cpu_rows(percent: dict[str, float], targets: dict[str, tuple[Scraper, float]]) -> list[Row]:
    rows = []
    for name, (scraper, seconds) in targets.items():
        peer = f"node_exporter, scraped every {seconds:g} s"
        if name != peer:
            told = f"{name} ({scraper.series} series)"
            rows.append(Row("E1 CPU", told, percent[name], "% core", peer, percent.get(peer)))
    for hertz in (10, 100):
        ours, floor = f"{hertz} Hz, scraped every 10 s", f"C sampler, {hertz} Hz"
        rows.append(Row("E5 CPU", ours, percent[ours], "% core", floor, percent[floor]))
    return rows


def footprint(tools: Tools, plan: Plan, say: Say) -> list[Row]:
    """E2: memory after scrapes, and of Python alone for comparison."""
    with ExitStack() as stack:
        url = stack.enter_context(processes.sink())
        push = f"--otlp.endpoint={url}"
        pull_only = stack.enter_context(processes.ours("pull only", tools))
        both = stack.enter_context(processes.ours("pull and push", tools, push))
        peer = stack.enter_context(processes.node_exporter("node_exporter", tools))
        for number in range(plan.scrapes):
            say(f"E2: scrape {number + 1} of {plan.scrapes}")
            for server in (pull_only, both, peer):
                if server is not None:
                    processes.fetch(server.port)
            time.sleep(0.5)
        others = {name: stack.enter_context(_python(code)) for name, code in PYTHON.items()}
        if GATEWAY.exists():
            command = [sys.executable, "-m", "wattshed_exporter", f"--config={GATEWAY}", push]
            # Sooner than on a gateway, so that what only the first push needs is there.
            command += ["--interval-seconds=1", "--otlp.batch-seconds=2"]
            others["gateway profile, push only"] = stack.enter_context(
                running(command, environment(tools, 0, SMALL))
            )
            time.sleep(12)
        time.sleep(1)
        beside = memory(peer.pid) if peer else None
        found = {s.name: memory(s.pid) for s in (pull_only, both)}
        found |= {name: memory(process.pid) for name, process in others.items()}
    return [row for name, mine in found.items() for row in _memory_rows(name, mine, beside)]


PYTHON = {
    "bare CPython": "pass",
    "CPython with prometheus_client": "import prometheus_client",
}


def _python(code: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return running([sys.executable, "-c", f"{code}\nimport time\ntime.sleep({NEVER})"])


def _memory_rows(name: str, mine: Memory, peer: Memory | None) -> Iterator[Row]:
    for kind in ("rss", "pss", "uss"):
        beside = None if peer is None else getattr(peer, kind)
        told = f"{name}, {kind.upper()}"
        yield Row("E2 memory", told, getattr(mine, kind), "MB", "node_exporter", beside)


def scrapes(tools: Tools, plan: Plan, say: Say, folder: Path) -> list[Row]:
    """E3: CPU per 1000 scrapes and latency, at two sizes, beside prometheus-client and C."""
    rows: list[Row] = []
    with ExitStack() as stack:
        peer = stack.enter_context(processes.node_exporter("node_exporter", tools))
        for series, count in ((240, 600), (3360, 100)):
            say(f"E3: {series} series")
            with ExitStack() as these:
                servers = [
                    these.enter_context(server) for server in _servers(tools, series, folder)
                ]
                named = [*servers, *([peer] if peer else [])]
                rows += _scrape_rows(named, count, plan, say)
    return rows


@contextlib.contextmanager
def _serve(name: str, *command: str) -> Iterator[Server]:
    port = free_port()
    with running([word.replace("PORT", str(port)) for word in command]) as process:
        wait_for(process, port, b"wattshed_power_watts{")
        yield Server(name, process, port)


def _servers(
    tools: Tools, series: int, folder: Path
) -> Iterator[contextlib.AbstractContextManager[Server]]:
    page = folder / f"page{series}"
    module = (sys.executable, "-m", "bench.exporter.serve")
    with _serve("ours", *module, "ours", "PORT", str(series)) as first:
        page.write_bytes(processes.fetch(first.port))
    yield _serve("ours", *module, "ours", "PORT", str(series))
    yield _serve("prometheus_client", *module, "prometheus_client", "PORT", str(page))
    yield _serve("C", str(tools.floor), "PORT", str(page))


def _scrape_rows(servers: list[Server], count: int, plan: Plan, say: Say) -> Iterator[Row]:
    cost: dict[str, list[float]] = {server.name: [] for server in servers}
    took: dict[str, list[float]] = {server.name: [] for server in servers}
    series = 0
    for number in range(plan.repeats):
        for server in servers:
            say(f"E3: {server.name}, round {number + 1} of {plan.repeats}")
            with contextlib.closing(Scraper(server)) as scraper:
                for _ in range(20):
                    scraper.scrape()
                scraper.took.clear()
                before = cpu_seconds(server.pid)
                for _ in range(count):
                    scraper.scrape()
                cost[server.name].append((cpu_seconds(server.pid) - before) / count * 1000)
                took[server.name] += scraper.took
                series = scraper.series if server.name == "ours" else series
    ours, told = servers[0].name, f"{series} series"
    cpu_medians = {name: median(values) for name, values in cost.items()}
    for other in servers[1:]:
        peer = cpu_medians[other.name]
        yield Row("E3 scrape", f"{told}, CPU", cpu_medians[ours], "s/1000", other.name, peer)
    for share in (0.5, 0.99):
        mine = quantile(took[ours], share) * 1000
        for other in servers[1:]:
            peer = quantile(took[other.name], share) * 1000
            yield Row("E3 scrape", f"{told}, p{share * 100:g}", mine, "ms", other.name, peer)


def starts(tools: Tools, plan: Plan, say: Say) -> list[Row]:
    """E5: milliseconds from exec to the first answer of /metrics with data, and CPU until then."""
    mine, peers, spent = [], [], []
    with processes.ours("compiles itself", tools):
        pass
    for number in range(plan.starts):
        say(f"E5: start {number + 1} of {plan.starts}")
        began = time.perf_counter()
        port = free_port()
        command = [sys.executable, "-m", "wattshed_exporter", "--sources=nvml"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log-level=error"]
        began = time.perf_counter()
        with running(command, environment(tools, 8)) as process:
            mine.append(wait_for(process, port, b"wattshed_power_watts{") - began)
            spent.append(cpu_seconds(process.pid))
        if tools.node_exporter:
            began = time.perf_counter()
            with processes.node_exporter("node_exporter", tools):
                peers.append(time.perf_counter() - began)
    beside = median(peers) * 1000 if peers else None
    return [
        Row("E5 start", "to first scrape", median(mine) * 1000, "ms", "node_exporter", beside),
        Row("E5 start", "to first scrape, fastest", min(mine) * 1000, "ms"),
        Row("E5 start", "CPU to first scrape, least", min(spent) * 1000, "ms"),
    ]
