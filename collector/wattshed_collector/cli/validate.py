"""``wattshed validate``: replay a published benchmark's raw logs and compare."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from .bars import shown

Subparsers = argparse._SubParsersAction

EXPLANATION = """The folder is imported into a throw-away store and charged by the same ledger as
production. energy_joules is the true clipped window (trapezoid, never across a gap); official is
the benchmark's own rule. Reads MLPerf Inference (spl.txt and loadgen logs), MLPerf Training (MLLOG
power logs) and MLPerf Tiny (trace1-energy.bin). Exit status 1 where the folder is broken."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "validate",
        help="reproduce a published MLPerf energy figure from its raw logs",
        description=EXPLANATION,
        epilog="example: wattshed validate results/h200x8/llama2-70b/Server --json",
    )
    command.add_argument("directory", type=Path, metavar="DIR", help="an MLPerf result folder")
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Validate one folder; 0 answered, 1 it is broken."""
    from wattshed_collector.receivers.mlperf import ResultError
    from wattshed_collector.validate import chunks, validate
    from wattshed_exporter.model import Batch

    with shown() as progress:

        def deliver(batch: Batch) -> Iterator[Batch]:
            task = progress.add_task("importing", total=len(batch.ticks))
            for portion in chunks(batch):
                yield portion
                progress.advance(task, len(portion.ticks))

        try:
            answer = validate(arguments.directory, deliver)
        except ResultError as error:
            print(f"wattshed: {error}", file=sys.stderr)
            return 1
    if arguments.json:
        print(json.dumps(answer, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        from wattshed_collector.present.validation import print_answer

        print_answer(answer, Console())
    return 0
