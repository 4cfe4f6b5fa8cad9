"""``wattshed dashboards push|diff|doctor``: a Grafana that cannot be provisioned by files."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed_collector.errors import InvalidInput
from wattshed_dashboards.alerts import load
from wattshed_dashboards.render import COLLECTOR_URL

from . import bars

if TYPE_CHECKING:
    from wattshed_collector.grafana.compare import Change
    from wattshed_collector.grafana.doctor import Check
    from wattshed_collector.grafana.server import Grafana
    from wattshed_collector.grafana.wanted import Wanted

Subparsers = argparse._SubParsersAction
EXIT_OK, EXIT_DIFFERS, EXIT_USAGE = 0, 1, 2
COLORS = {"ok": "32", "same": "32", "warning": "33", "failed": "31", "missing": "31"}
CHANGED = "33"
EXAMPLES = """examples:
  export GRAFANA_URL=https://grafana.example GRAFANA_TOKEN=...
  wattshed dashboards doctor --collector http://collector:9740
  wattshed dashboards diff   --collector http://collector:9740
  wattshed dashboards push   --collector http://collector:9740 --collector-token-file token

The token is of a service account with the role Editor; to make the data source it must be Admin,
else name yours with --datasource. Contact points and notification policies are never touched.
exit status: 0 as it should be, 1 something differs or failed, 2 wrong usage."""


def register(parts: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the three commands."""
    push = _part(parts, "push", run_push, "make a Grafana have the boards, data source and rules")
    push.add_argument("--dry-run", action="store_true", help="say what would be done, as diff does")
    push.add_argument(
        "--editable", action="store_true", help="let people change the alert rules in Grafana"
    )
    _part(parts, "diff", run_diff, "say what a Grafana has otherwise, or not at all")
    _part(parts, "doctor", run_doctor, "say why boards show nothing, and what to do")


def _part(
    parts: Subparsers[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    title: str,
) -> argparse.ArgumentParser:
    part = parts.add_parser(
        name, help=title, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    part.add_argument("--grafana-url", metavar="URL", help="of Grafana [GRAFANA_URL]")
    part.add_argument(
        "--grafana-token-file", type=Path, metavar="FILE", help="file with a token [GRAFANA_TOKEN]"
    )
    part.add_argument(
        "--collector",
        default=COLLECTOR_URL,
        metavar="URL",
        help="the collector as Grafana reaches it (default: %(default)s)",
    )
    part.add_argument(
        "--collector-token-file",
        type=Path,
        metavar="FILE",
        help="token with the role read for the data source [WATTSHED_GRAFANA_TOKEN]",
    )
    part.add_argument(
        "--datasource", default="", metavar="UID", help="use this data source and leave it alone"
    )
    part.add_argument("--no-alerts", action="store_true", help="leave alert rules alone")
    part.add_argument("--json", action="store_true", help="print what was found as JSON")
    part.set_defaults(run=run)
    return part


def run_push(arguments: argparse.Namespace) -> int:
    """Do what is needed, one thing after another; the first that fails ends it."""
    from wattshed_collector.grafana.push import steps

    grafana, wanted = _both(arguments)
    if arguments.dry_run:
        return _told(arguments, _changes(arguments, grafana, wanted))
    done: list[Change] = []
    total = _count(wanted, rules=not arguments.no_alerts)
    with bars.counted("Grafana") as progressed:
        rules = not arguments.no_alerts
        for change, do in steps(grafana, wanted, rules=rules, editable=arguments.editable):
            if change.is_needed:
                do()
            done.append(change)
            progressed(len(done), total)
    if arguments.json:
        print(json.dumps([asdict(change) for change in done], indent=2))
        return EXIT_OK
    for change in done:
        if change.is_needed:
            print(f"{change.kind} {change.name}: {'made' if _is_new(change) else 'updated'}")
    same = sum(not change.is_needed for change in done)
    print(f"{len(done) - same} changed, {same} were as they should be")
    return EXIT_OK


def run_diff(arguments: argparse.Namespace) -> int:
    grafana, wanted = _both(arguments)
    return _told(arguments, _changes(arguments, grafana, wanted))


def run_doctor(arguments: argparse.Namespace) -> int:
    from wattshed_collector.grafana.doctor import BAD, examine

    grafana, wanted = _both(arguments)
    checks = list(examine(grafana, wanted, rules=not arguments.no_alerts))
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        _print_checks(checks)
    return EXIT_DIFFERS if any(check.state == BAD for check in checks) else EXIT_OK


def _print_checks(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = _colored(f"{check.state:<7}", COLORS[check.state])
        print(f"{state}  {check.name:<{width}}  {check.said}")
        if check.advice:
            print(f"{'':7}  {'':<{width}}  -> {check.advice}")


def _both(arguments: argparse.Namespace) -> tuple[Grafana, Wanted]:
    url = arguments.grafana_url or os.environ.get("GRAFANA_URL", "")
    if not url:
        raise InvalidInput("which Grafana? give --grafana-url or set GRAFANA_URL", "url")
    from wattshed_collector.grafana.server import Grafana
    from wattshed_collector.grafana.wanted import wanted

    told = _secret(arguments.grafana_token_file, "GRAFANA_TOKEN")
    shown = _secret(arguments.collector_token_file, "WATTSHED_GRAFANA_TOKEN")
    return Grafana(url, told), wanted(load(), arguments.collector, shown, arguments.datasource)


def _secret(file: Path | None, variable: str) -> str:
    if file is not None:
        return file.read_text(encoding="utf-8").strip()
    return os.environ.get(variable, "")


def _changes(arguments: argparse.Namespace, grafana: Grafana, wanted: Wanted) -> list[Change]:
    from wattshed_collector.grafana.push import steps

    rules = not arguments.no_alerts
    return [change for change, _ in steps(grafana, wanted, rules=rules, editable=False)]


def _count(wanted: Wanted, *, rules: bool) -> int:
    return 1 + bool(wanted.datasource) + len(wanted.boards) + rules * len(wanted.groups)


def _told(arguments: argparse.Namespace, changes: Sequence[Change]) -> int:
    if arguments.json:
        print(json.dumps([asdict(change) for change in changes], indent=2))
    else:
        for change in changes:
            color = COLORS.get(change.state, CHANGED)
            print(f"{_colored(f'{change.state:<7}', color)}  {change.kind} {change.name}")
            for path in change.paths:
                print(f"         {path}")
    return EXIT_DIFFERS if any(change.is_needed for change in changes) else EXIT_OK


def _is_new(change: Change) -> bool:
    return change.state == "missing"


def _colored(text: str, color: str) -> str:
    is_terminal: Any = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{color}m{text}\x1b[0m" if is_terminal else text
