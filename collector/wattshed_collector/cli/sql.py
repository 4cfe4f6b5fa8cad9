"""``wattshed sql``: statements that an administrator of ClickHouse runs, or has run."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import ConfigError

if TYPE_CHECKING:
    from wattshed_collector.store.client import Store

EXAMPLES = """examples:
  wattshed sql users --database wattshed | clickhouse-client --multiquery
  wattshed sql users --database wattshed --cluster fleet --sharded > users.sql
  wattshed sql users --password wattshed_grafana=grafana.password \\
    --to clickhouses://admin@ch1 --password-file admin.password

With --password the users that are named are made, or given that password where they are there;
without it, all are shown, with a place for each hash."""


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
        "--password",
        action="append",
        metavar="USER=FILE",
        help="file with a user's password, of which the hash is told; may be repeated",
    )
    users.add_argument("--to", metavar="URL", help="run them there instead of showing them")
    users.add_argument(
        "--password-file", type=Path, metavar="FILE", help="password of the user in --to"
    )
    users.set_defaults(run=run_users)


def run_users(arguments: argparse.Namespace) -> None:
    """Print the statements, or run them. Raises ConfigError, StoreError."""
    from wattshed_collector.store.layout import Layout
    from wattshed_collector.store.users import members, statements, text

    whole = "all-replicated" if arguments.sharded else ""
    layout = Layout(cluster=arguments.cluster, whole_cluster=whole, database=arguments.database)
    hashes = None if arguments.password is None else _hashes(arguments.password)
    if arguments.to is None:
        print(text(layout, hashes), end="")
        return
    wanted = [*statements(layout), *members(layout, hashes or {})]
    store = _store(arguments.to, arguments.password_file)
    client = store.client()
    for statement in wanted:
        client.command(statement)
    client.close()
    print(f"roles and {len(hashes or ())} users are there: {', '.join(hashes or ())}")


def _hashes(said: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of each user's password. Raises ConfigError."""
    from wattshed_collector.store.users import USERS

    found, problems = {}, []
    for each in said:
        user, _, file = each.partition("=")
        word = _password(Path(file)) if file else ""
        if user not in USERS or not file:
            problems.append(f"--password {each}: is not USER=FILE of {', '.join(USERS)}")
        elif not word:
            problems.append(f"--password {each}: the file is empty")
        else:
            found[user] = hashlib.sha256(word.encode()).hexdigest()
    if problems:
        raise ConfigError(problems)
    return found


def _password(file: Path) -> str:
    """Return what stands in a file, as ``store.password_file`` is read."""
    return file.read_text(encoding="utf-8").strip()


def _store(url: str, password_file: Path | None) -> Store:
    """Return the server, without a database of its own: it may not be there yet."""
    from wattshed_collector.store.client import Store
    from wattshed_collector.store.server import hidden, is_url, parse

    try:
        if not is_url(url):
            raise ValueError(f"{hidden(url)!r} is no URL such as clickhouse://admin@host:8123")
        told = parse(url)
    except ValueError as error:
        raise ConfigError([f"--to: {error}"]) from None
    return Store(url, told=replace(told, password_file=password_file, database="default"))
