"""``wattshed bench``: what this machine carries, as a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed_exporter import __version__

from .bars import shown

if TYPE_CHECKING:
    from wattshed_collector.bench.measure import Found

Subparsers = argparse._SubParsersAction
HOUR_S = 3600
EXPLANATION = """Starts a collector on a temporary folder, pushes what a fleet would push through
its HTTP receiver, has the ledger compute it, asks, and looks at the disk; then removes everything.
CPU is the kernel's count of the collector's process. A sample is one value; a reading of a GPU has
five. The size of a fleet is what half of a core carries: the receiver, and the ledger once a
minute. Nothing passes or fails. Run it while the machine is quiet."""
EXAMPLES = """examples:
  wattshed bench                                  64 GPUs, an hour, a reading every 10 s
  wattshed bench --gpus 512 --step 1 --json
"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "bench",
        help="measure what this machine carries",
        description=EXPLANATION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--gpus", type=_count, default=64, help="in nodes of 8 (64)")
    command.add_argument("--minutes", type=_count, default=60, help="of their readings (60)")
    command.add_argument("--step", type=_count, default=10, help="seconds between readings (10)")
    command.add_argument("--repeats", type=_count, default=10, help="of each question (10)")
    command.add_argument("--folder", type=Path, help="where the temporary folder is made")
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    command.set_defaults(run=run)


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; 0 done."""
    from wattshed_collector.bench.fleet import Fleet
    from wattshed_collector.bench.measure import measure

    # As Ctrl-C does, so that the folder is removed then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Whole hours that are over, so that the ledger computes each of them once.
    hours = -(-arguments.minutes // 60) + 1
    start_s = int(time.time()) // HOUR_S * HOUR_S - hours * HOUR_S
    fleet = Fleet(arguments.gpus, start_s * 1000, arguments.minutes, arguments.step)
    with (
        tempfile.TemporaryDirectory(prefix="wattshed-bench-", dir=arguments.folder) as folder,
        _progress() as progress,
    ):
        found = measure(fleet, Path(folder), progress, arguments.repeats)
    if arguments.json:
        print(json.dumps({"machine": machine(), **asdict(found)}, indent=2))
    else:
        _print(found)
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    with shown() as progress:
        task = progress.add_task("starting", total=None)

        def told(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        yield told


def machine() -> dict[str, Any]:
    """Return what the figures depend on beside the program."""
    return {
        "wattshed": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
    }


def rows(found: Found) -> Iterator[tuple[str, str]]:
    """Yield what the table shows."""
    ingest, ledger = found.ingest, found.ledger
    yield "pushed", f"{ingest.readings:,} readings of {found.gpus} GPUs"
    yield "ingest", f"{ingest.cpu_seconds_per_million_samples:.2f} CPU s per million samples"
    yield "", f"{ingest.readings_per_second:,.0f} readings/s, durable, {ingest.retries} retries"
    if not ingest.counted_readings:
        yield "", "with the ledger, which ran all the time: push more for a figure of its own"
    yield "disk", f"{found.disk_bytes_per_sample:.2f} bytes per sample, merged"
    hour = f"{ledger.cpu_seconds_per_hour:.2f} CPU s in {ledger.seconds_per_hour:.2f} s"
    yield "ledger, an hour", hour
    for asked in found.queries:
        times = f"{asked.cpu_milliseconds:.1f} CPU ms, {asked.milliseconds:.1f} ms"
        yield asked.name, times
    if found.peak_memory_bytes is not None:
        yield "largest memory", f"{found.peak_memory_bytes / 2**20:,.0f} MiB"


def sizing(found: Found) -> str:
    """Return the fleet that a machine like this carries, as one sentence."""
    sizes = " or ".join(
        f"{gpus:,} GPUs read every {step}" for step, gpus in found.gpus_per_core.items()
    )
    return f"half of a core of this machine carries about {sizes}"


def _print(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table

    told = machine()
    title = f"wattshed {told['wattshed']}, Python {told['python']}, {told['system']}"
    table = Table(title=f"{title}, {told['cores']} cores", title_justify="left", show_header=False)
    for name, text in rows(found):
        table.add_row(name, text)
    console = Console()
    console.print(table)
    console.print(sizing(found), soft_wrap=True)
