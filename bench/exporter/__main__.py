"""Measure the exporter beside its peers in one run and print a table; nothing passes or fails.

E1 CPU, E2 memory, E3 scrapes, E5 start and sampling. The pure renderer and the push have programs
of their own beside this one, which run afterwards where they are there (--no-others leaves them
out). CPU is of all threads, in nanosecond steps; ratios are ours / peer of the same run. The GPUs
are a compiled stand-in for NVML, so the driver's time is in no number.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import wattshed_exporter

from . import processes, sections
from .sections import Plan, Row

SECTIONS = ("E1", "E2", "E3", "E5")
OTHERS = ("render", "push")


def main() -> None:
    options = arguments()
    plan = Plan(options.window, options.repeats, options.starts, options.scrapes)
    say = progress if sys.stderr.isatty() and not options.quiet else silent
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="wattshed-bench-") as name:
        folder = Path(name)
        tools = processes.build(folder)
        about = conditions(tools)
        if {"E1", "E5"} & set(options.only):
            rows += sections.cpu(tools, plan, say)
        if "E2" in options.only:
            rows += sections.footprint(tools, plan, say)
        if "E3" in options.only:
            rows += sections.scrapes(tools, plan, say, folder)
        if "E5" in options.only:
            rows += sections.starts(tools, plan, say)
    say("")
    if options.json:
        told = [{**asdict(row), "ratio": row.ratio} for row in rows]
        print(json.dumps({"conditions": about, "rows": told}, indent=2))
        return
    show(about, rows)
    if options.others:
        others()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.exporter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--window", type=float, default=20, help="seconds that are measured (20)")
    parser.add_argument("--repeats", type=int, default=3, help="windows; medians are shown (3)")
    parser.add_argument("--starts", type=int, default=7, help="starts of each program (7)")
    parser.add_argument("--scrapes", type=int, default=25, help="scrapes before E2 (25)")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="measure only these"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quiet", action="store_true", help="show no progress on a terminal")
    parser.add_argument(
        "--no-others", dest="others", action="store_false", help="leave out bench/render and push"
    )
    return parser.parse_args()


def conditions(tools: processes.Tools) -> dict[str, str]:
    """Return what a number depends on beside the code."""
    return {
        "wattshed": wattshed_exporter.__version__,
        "python": platform.python_version(),
        "prometheus_client": version("prometheus-client"),
        "peer": processes.version(tools.node_exporter),
        "kernel": platform.release(),
        "cpus": str(os.cpu_count()),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def show(about: dict[str, str], rows: list[Row]) -> None:
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"\n{'goal':<10} {'what':<44}{'ours':>9}{'peer':>9} {'unit':<7} {'ratio':>6}  peer")
    for row in rows:
        print(
            f"{row.goal:<10} {row.what:<44}{_number(row.value):>9}{_number(row.peer_value):>9} "
            f"{row.unit:<7} {_number(row.ratio):>6}  {row.peer}"
        )


def _number(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3g}"


def others() -> None:
    """Run the programs that measure the renderer and the push, where they are there."""
    for name in OTHERS:
        if (processes.HERE.parent / f"{name}.py").exists():
            print(flush=True)
            subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=processes.ROOT, check=False)


def progress(text: str) -> None:
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def silent(text: str) -> None:
    """Say nothing: the output goes to a file."""


if __name__ == "__main__":
    main()
