"""``wattshed move``: what an embedded store holds, to a ClickHouse server."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from wattshed_collector import place
from wattshed_exporter.errors import ConfigError

from . import answers
from .bars import shown

EXAMPLES = """examples:
  wattshed move --from wattshed-data --config collector.yaml --dry-run
  wattshed move --from wattshed-data --to clickhouses://wattshed@ch1/wattshed

Stop the collector first, and start it afterwards with the server as its data. The folder is only
read. Each partition is compared with what the server holds, by the number of its rows and the sum
of their hashes; what is there already is left alone, so the command may be repeated."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "move",
        help="move an embedded store to a ClickHouse server",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--from",
        dest="source",
        default=answers.DEFAULT_DATA,
        metavar="FOLDER",
        help="data folder (default: %(default)s)",
    )
    command.add_argument("--to", dest="data", metavar="URL", help="the server")
    command.add_argument(
        "--config", metavar="FILE", help="settings file of the collector that will use the server"
    )
    command.add_argument("--dry-run", action="store_true", help="show, and write nothing")
    command.add_argument("--json", action="store_true", help="print what was moved as JSON")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Send what the server lacks."""
    config = place.configured(arguments)
    target = place.store(config)
    if not target.is_server:
        target.close()
        raise ConfigError(["--to: name the URL of a ClickHouse server, or a --config that does"])
    with answers.existing(arguments.source) as (store, source):
        _computed(store, source)
        if not arguments.dry_run:
            place.ready(config, target, place.layout(config, target), _say)
        moved = _moved(source, target.client(), arguments.dry_run)
    if arguments.json:
        print(json.dumps(moved, indent=2))
        return
    sent = f"are there, {moved['sent_rows']} of them sent now"
    print(
        f"{moved['rows']} rows in {moved['partitions']} partitions of {moved['tables']} tables "
        f"{'would be compared and sent' if arguments.dry_run else sent}"
    )


def _computed(store: Any, source: Any) -> None:
    """Have the ledger do what is dirty, so that nothing is left to mark on the other side."""
    with answers.computing(store, source) as ledger:
        ledger.run()


def _moved(source: Any, target: Any, dry_run: bool) -> dict[str, int | bool | None]:
    from wattshed_collector.store import move

    found = move.parts(source)
    sent = 0
    with shown() as bar:
        task = bar.add_task("moving", total=sum(part.rows for part in found))
        for part, is_missing in (
            [(p, True) for p in found] if dry_run else move.unsent(source, target, found)
        ):
            bar.update(task, description=part.table)
            if is_missing:
                sent += part.rows
            steps = move.send(source, target, part) if is_missing and not dry_run else (part.rows,)
            for rows in steps:
                bar.update(task, advance=rows)
    return {
        "dry_run": dry_run,
        "rows": sum(part.rows for part in found),
        "sent_rows": None if dry_run else sent,
        "partitions": len(found),
        "tables": len({part.table for part in found}),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr)
