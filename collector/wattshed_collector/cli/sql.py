"""``wattshed sql``: statements that an administrator of ClickHouse runs."""

from __future__ import annotations

import argparse

EXAMPLES = """examples:
  wattshed sql users --database wattshed | clickhouse-client --multiquery
  wattshed sql users --database wattshed --cluster fleet --sharded > users.sql"""


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
    users.set_defaults(run=run_users)


def run_users(arguments: argparse.Namespace) -> None:
    """Print the statements."""
    from wattshed_collector.store.layout import Layout
    from wattshed_collector.store.users import text

    whole = "all-replicated" if arguments.sharded else ""
    layout = Layout(cluster=arguments.cluster, whole_cluster=whole, database=arguments.database)
    print(text(layout), end="")
