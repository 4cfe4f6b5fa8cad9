"""``wattshed migrate``: bring the tables of a store to what this version knows."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from wattshed_collector import place

EXAMPLES = """examples:
  wattshed migrate --config /etc/wattshed/collector.yaml --dry-run
  wattshed migrate --data clickhouses://wattshed_migrate@ch1/wattshed --json

Where several are started only one works at a time. Collectors with store.migrate: wait begin once
it is done. What rewrites rows goes on in the background, and is listed until it is done."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "migrate",
        help="make or change the store's tables, as a step of its own",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place.add_arguments(command)
    place.add_wait(command)
    command.add_argument("--dry-run", action="store_true", help="show the SQL, and run nothing")
    command.add_argument("--json", action="store_true", help="print what was done as JSON")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Apply what is missing, or show it."""
    config = place.configured(arguments)
    store = place.store(config)
    act = _shown if arguments.dry_run else _applied
    try:
        answer = place.patiently(lambda: act(config, store), arguments.wait, _say)
    finally:
        store.close()
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return
    for statement in answer["statements"]:
        print(f"{statement};\n")
    verb = "would be applied" if arguments.dry_run else "applied"
    named = ", ".join(answer["migrations"]) or "the tables are as this version has them"
    print(f"-- {len(answer['migrations'])} migrations {verb}: {named}")
    for step in answer["background"]:
        print(f"-- in the background: {step['table']} {step['command']}")


def _shown(config: Any, store: Any) -> dict[str, Any]:
    """Return what would be run. A store that is not there yet lacks everything."""
    from wattshed_collector.errors import Retryable
    from wattshed_collector.store.faults import code_of
    from wattshed_collector.store.migrate import VERSIONS, migrations, missing

    layout = place.layout(config, store)
    try:
        wanted = missing(store.client(database=layout.shard_database))
    except Retryable as error:
        if code_of(error) != 81:  # the database is not there yet
            raise
        wanted = migrations()
    statements = [*layout.databases(), *layout.render(VERSIONS)] if wanted else []
    for migration in wanted:
        mine = migration.statements(layout)
        statements += [*mine, *layout.twins(mine)]
    return {"migrations": _names(wanted), "statements": statements, "background": []}


def _applied(config: Any, store: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from wattshed_collector.store import retention
    from wattshed_collector.store.migrate import background, migrate, migrate_server

    layout = place.layout(config, store)
    if store.is_server:
        done = migrate_server(store, layout)
        client = store.client(database=layout.shard_database)
    else:
        client = store.client()
        done = migrate(client, layout)
    retention.apply(client, layout)
    steps = [asdict(step) for step in background(client)]
    client.close()
    return {"migrations": _names(done), "statements": [], "background": steps}


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _names(found: Any) -> list[str]:
    return [f"{migration.number:04d}_{migration.name}" for migration in found]
