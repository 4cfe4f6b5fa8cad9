"""``wattshed dashboards``: the boards outside of the collector. Each part is a module."""

from __future__ import annotations

import argparse

from . import dashboards_grafana, dashboards_preview

Subparsers = argparse._SubParsersAction


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``dashboards`` and its parts."""
    command = commands.add_parser("dashboards", help="the boards, with a Grafana or without")
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    for module in (dashboards_grafana, dashboards_preview):
        module.register(parts)
