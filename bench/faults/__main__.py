"""Break real collectors on purpose, count what became of what they were given, print one table.

A sample is what one device said at one instant. Every sender knows what it sent, what was
acknowledged and how much its counters grew; after each scenario the store is read by the bare
engine and compared: acknowledged = stored, each once and unaltered; what was charged against what
was measured (residual, of v_conservation_1h) and against the counters (vs truth), both relative,
the worst device or hour of each. Leaves with 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import wattshed_exporter

from . import away, clocks, disk, disorder, kill, overload, poison, table
from .trial import Row, Skipped

SCENARIOS: dict[str, Callable[..., list[Row]]] = {
    "kill": kill.run,
    "away": away.run,
    "moods": away.moods,
    "disk": disk.run,
    "clocks": clocks.run,
    "disorder": disorder.run,
    "overload": overload.run,
    "poison": poison.run,
}


def main(said: Sequence[str] | None = None) -> int:
    """Play what is asked for; return 1 where anything is not as it must be."""
    options = arguments(said)
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="wattshed-faults-", dir=options.folder) as name:
        for scenario in options.only:
            place = Path(name) / scenario
            try:
                found = SCENARIOS[scenario](place, rounds=options.rounds, quick=options.quick)
            except Skipped as reason:
                skipped[scenario] = str(reason)
                continue
            except Exception as error:  # the other scenarios are played all the same
                failed[scenario] = f"{type(error).__name__}: {error}"
                print(f"{scenario:22}FAIL: {failed[scenario]}", file=sys.stderr, flush=True)
                continue
            rows += found
            for row in found:
                print(table.line(row), file=sys.stderr, flush=True)
    told = {**conditions(), "skipped": skipped, "failed": failed}
    print(table.as_json(rows, told) if options.json else table.text(rows, told))
    return int(bool(failed) or any(row.problems for row in rows))


def arguments(said: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = tuple(SCENARIOS)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=100, help="kill: lives (100)")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that it runs")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args(said)


def conditions() -> dict[str, object]:
    return {
        "version": wattshed_exporter.__version__,
        "cpus": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


if __name__ == "__main__":
    sys.exit(main())
