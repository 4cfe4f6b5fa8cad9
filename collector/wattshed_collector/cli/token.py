"""``wattshed token new``: a token for an exporter or a program, and its entry in the file."""

from __future__ import annotations

import argparse
import hashlib
import secrets
import sys

from wattshed_collector.errors import InvalidInput
from wattshed_collector.security.rules import NAME, Role

Subparsers = argparse._SubParsersAction

PREFIX = "wsd_"
"""By which a scanner for secrets finds one that was published."""
EXAMPLES = """examples:
  wattshed token new gpu-pool --role ingest --cluster alpha > gpu-pool.token
  wattshed token new ops --role admin

The token itself is printed once, on standard output; the entry for security.file, on standard
error, holds only its hash. Give the token to an exporter as WATTSHED_OTLP_TOKEN (otlp.token), to
Prometheus as `authorization: {credentials_file: ...}`, to `wattshed` as --token-file."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the group."""
    group = commands.add_parser(
        "token",
        help="make a token for whom the collector asks",
        epilog="example: wattshed token new gpu-pool --role ingest",
    )
    parts = group.add_subparsers(metavar="COMMAND", required=True)
    new = parts.add_parser(
        "new",
        help="print a new token and its entry for security.file",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    new.add_argument("name", help="who gets it, such as the name of a pool of nodes")
    new.add_argument(
        "--role",
        action="append",
        required=True,
        choices=[str(role) for role in Role],
        help="what it may do; may be repeated",
    )
    new.add_argument("--cluster", action="append", default=[], help="only of this cluster")
    new.add_argument("--node", action="append", default=[], help="only of these nodes (a glob)")
    new.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the token and the entry."""
    if not NAME.fullmatch(arguments.name):
        raise InvalidInput(
            f"{arguments.name!r} is no name: up to 64 letters, digits and ._@-", "name"
        )
    token = PREFIX + secrets.token_urlsafe(32)
    print(
        entry(arguments.name, token, arguments.role, arguments.cluster, arguments.node),
        file=sys.stderr,
    )
    print(token)


def entry(name: str, token: str, roles: list[str], clusters: list[str], nodes: list[str]) -> str:
    """Return the lines for security.file, under ``tokens:``."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    lines = [f"  - name: {_scalar(name)}", f"    sha256: [{_scalar(digest)}]"]
    for key, values in (("roles", roles), ("clusters", clusters), ("nodes", nodes)):
        if values:
            lines.append(f"    {key}: [{', '.join(map(_scalar, values))}]")
    return "\n".join(["tokens:", *lines])


def _scalar(text: str) -> str:
    """Return text as YAML; a hash of digits alone would be a number."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'
