"""What it costs to know who burned which joule: CPU and memory of an exporter, with and without.

Eight GPUs of the tests' stand-in for NVML at 1 Hz, and 20 workloads that share them by activity in
rounds of 10 s; the page is scraped every 5 s. ``before`` has neither rounds nor counters,
``nobody`` has counters and nobody who holds anything, ``held`` has both. The plug-in answers at
once, so what asking a kubelet or a kernel costs is not in the numbers. Needs a C compiler:
``python -m bench.holders [SECONDS]``.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.exporter.processes import Tools, build, environment, fetch
from bench.exporter.usage import cpu_seconds, memory

GPUS, WORKLOADS, REPEATS = 8, 20, 3
WARM_SECONDS, SCRAPE_SECONDS = 35.0, 5.0
"""After half a minute the exporter gives back what only its start needed."""
MODES = ("before", "nobody", "held")


def serve(mode: str) -> None:
    """Run an exporter until it is ended; print its port."""
    import threading

    from wattshed_exporter import __main__ as program
    from wattshed_exporter.allocations import Claim, Meters, Told
    from wattshed_exporter.config import Config, Web
    from wattshed_exporter.sampler import Sampler
    from wattshed_exporter.signals import Signals
    from wattshed_exporter.sources.nvml import Nvml
    from wattshed_exporter.telemetry import Telemetry

    class Shared:
        name = "shared"

        def read(self, meters: Meters) -> Told:
            keys = list(meters.devices)
            holders = [f"pod:ns/w{n}" for n in range(WORKLOADS)]
            claims = [
                Claim(keys[n % len(keys)], holder, 1.0, 0.05 + n / 100)
                for n, holder in enumerate(holders)
            ]
            return Told(claims, {h: {"team": "a", "project": "b"} for h in holders})

        def close(self) -> None:
            """Hold nothing."""

    config = Config(node="n1", web=Web(listen_address="127.0.0.1:0"))
    telemetry, signals = Telemetry(), Signals()
    plug_ins = [Shared()] if mode == "held" else []
    live = None
    if mode != "before":
        live = program.build_live(config, telemetry, lambda k: sampler.baselines.idle_watts(k),
                                  plug_ins)  # fmt: skip
    outputs = [] if live is None else [live]
    sampler = Sampler([Nvml(config)], outputs, config, telemetry)
    rounds = program.build_rounds(config, plug_ins, sampler, outputs, telemetry, live)
    server = program.serve(config, sampler, telemetry, live)
    assert server is not None
    print(server.address[1], flush=True)
    if rounds is not None:
        rounds.start()
    timer = threading.Timer(30.0, program.come_to_rest)
    timer.daemon = True
    timer.start()
    sampler.run(signals.wait)


def measure(tools: Tools, mode: str, seconds: float) -> tuple[float, float, int]:
    """Return percent of a core, resident megabytes, and bytes of the page."""
    command = [sys.executable, "-m", "bench.holders", "serve", mode]
    with subprocess.Popen(
        command, env={**environment(tools, GPUS), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = int(process.stdout.readline())
        page = scraped(port, WARM_SECONDS)
        began, spent = time.monotonic(), cpu_seconds(process.pid)
        page = scraped(port, seconds)
        took = time.monotonic() - began
        percent = (cpu_seconds(process.pid) - spent) / took * 100
        rss = memory(process.pid).rss
        process.terminate()
    return percent, rss, page


def scraped(port: int, seconds: float) -> int:
    end, size = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        time.sleep(SCRAPE_SECONDS)
        size = len(fetch(port))
    return size


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-") as folder:
        tools = build(Path(folder))
        found: dict[str, list[tuple[float, float, int]]] = {mode: [] for mode in MODES}
        for _ in range(REPEATS):
            for mode in MODES:
                found[mode].append(measure(tools, mode, seconds))
    print(f"{GPUS} GPUs at 1 Hz, {WORKLOADS} workloads, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<8}{'CPU %':>8}{'RSS MB':>8}{'page kB':>9}")
    for mode, runs in found.items():
        percent, rss, page = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{mode:<8}{percent:>8.3f}{rss:>8.1f}{page / 1000:>9.1f}")


if __name__ == "__main__":
    main()
