"""``wattshed sql``: statements that an administrator of ClickHouse runs, or has run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from wattshed_collector import place
from wattshed_exporter.errors import ConfigError

EXAMPLES = """examples:
  wattshed sql users --database wattshed | clickhouse-client --multiquery
  wattshed sql users --database wattshed --cluster fleet --sharded > users.sql
  wattshed sql users --apply --config admin.yaml --passwords /run/secrets/wattshed

With --apply they are run at once, as the user of --config, who has to be allowed to manage access.
A file of --passwords is called as the user whose password it holds (wattshed_collector,
wattshed_grafana, wattshed_migrate); who has none is left alone. It may be run again: roles get what
they lack, and users the password of now."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its parts."""
    command = commands.add_parser("sql", help="SQL for the administrator of a ClickHouse server")
    parts = command.add_subparsers(metavar="WHAT", required=True)
    users = parts.add_parser(
        "users",
        help="roles and users with no more rights than each needs",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    users.add_argument("--database", default="wattshed", help="database (default: %(default)s)")
    users.add_argument("--cluster", default="", metavar="NAME", help="cluster, where there is one")
    users.add_argument("--sharded", action="store_true", help="the tables are divided among shards")
    users.add_argument(
        "--apply",
        action="store_true",
        help="run them, for the server and layout of --config",
    )
    users.add_argument(
        "--passwords", type=Path, metavar="FOLDER", help="folder with a file for each user"
    )
    place.add_arguments(users)
    place.add_wait(users)
    users.set_defaults(run=run_users)


def run_users(arguments: argparse.Namespace) -> None:
    """Print the statements, or run them."""
    from wattshed_collector.store.layout import Layout
    from wattshed_collector.store.users import text

    if arguments.apply:
        _apply(arguments)
        return
    whole = "all-replicated" if arguments.sharded else ""
    layout = Layout(cluster=arguments.cluster, whole_cluster=whole, database=arguments.database)
    print(text(layout), end="")


def _apply(arguments: argparse.Namespace) -> None:
    from wattshed_collector.store.users import USERS, people, statements

    passwords = _passwords(arguments.passwords, USERS) if arguments.passwords else {}
    config = place.configured(arguments)
    store = place.store(config)
    if not store.is_server:
        store.close()
        raise ConfigError(["--data: an embedded store has no users; name a server"])
    layout = place.layout(config, store)
    roles: list[tuple[str, dict[str, str]]] = [(text, {}) for text in statements(layout)]
    wanted = roles + people(layout, passwords)

    def act() -> None:
        client = store.client(database="default")
        for statement, parameters in wanted:
            client.command(statement, parameters)
        client.close()

    try:
        place.patiently(act, arguments.wait, lambda text: print(text, file=sys.stderr))
    finally:
        store.close()
    print(f"-- {len(wanted)} statements run, for {', '.join(passwords) or 'roles alone'}")


def _passwords(folder: Path, users: Iterable[str]) -> dict[str, str]:
    """Return the password of each user who has a file. Raises ConfigError."""
    found = {
        user: (folder / user).read_text(encoding="utf-8").strip()
        for user in users
        if (folder / user).is_file()
    }
    problems = [f"{folder / user}: holds no password" for user, word in found.items() if not word]
    if not found:
        problems.append(f"--passwords: {folder} has none of {', '.join(users)}")
    if problems:
        raise ConfigError(problems)
    return found
