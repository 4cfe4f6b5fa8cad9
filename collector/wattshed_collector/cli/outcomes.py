"""``wattshed outcomes``: the rules that make outcomes of counters, and what they make of a page."""

from __future__ import annotations

import argparse
import json
import urllib.request
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wattshed_collector.errors import InvalidInput, StoreError
from wattshed_collector.outcomes.book import Book, named
from wattshed_collector.outcomes.engines import AUTO, CHOICES, SERVERS
from wattshed_collector.outcomes.owners import Whose

from . import shown

Subparsers = argparse._SubParsersAction
MOST_BYTES = 32 * 2**20
SECONDS = 10.0
CHECK_EXAMPLES = """examples:
  wattshed outcomes check http://gpu1:8000/metrics
  wattshed outcomes check page.txt --label namespace=ml --label pod=chat-0
  wattshed outcomes check http://ray1:8080/metrics --as ray_serve

exit status: 0 something is counted, 1 nothing is, or the page does not come, 2 wrong usage"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the command and what it does."""
    command = commands.add_parser(
        "outcomes",
        help="which counters of serving engines are outcomes, and what a page would give",
        epilog="example: wattshed outcomes check http://gpu1:8000/metrics",
    )
    does = command.add_subparsers(metavar="WHAT", required=True)
    rules = does.add_parser(
        "rules", help="the rules by server", epilog="example: wattshed outcomes rules --json"
    )
    rules.add_argument("--json", action="store_true", help="print them as JSON")
    rules.set_defaults(run=run_rules)
    check = does.add_parser(
        "check",
        help="what a page, or a file that holds one, would give",
        epilog=CHECK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("page", metavar="URL|FILE")
    check.add_argument(
        "--as",
        dest="servers",
        action="append",
        choices=CHOICES,
        metavar="SERVER",
        help=f"by which rules (default: {AUTO}); repeatable: {', '.join(CHOICES)}",
    )
    check.add_argument("--config", metavar="FILE", help="the collector's configuration, for --job")
    check.add_argument("--job", metavar="NAME", help="by the rules of that job of scrape.jobs")
    check.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a label of the target, as pod, namespace, cluster, job or instance",
    )
    check.add_argument("--json", action="store_true", help="print the records as JSON")
    check.set_defaults(run=run_check)


def run_rules(arguments: argparse.Namespace) -> None:
    """Print the rules."""
    from wattshed_collector.outcomes.look import in_words, rule_records

    records = rule_records(SERVERS)
    if arguments.json:
        print(json.dumps(records, indent=2, allow_nan=False))
        return
    shown.table(
        ("server", "outcome", "counter", "recognised"),
        (
            (
                server["name"],
                rule["kind"],
                ", else ".join(map(in_words, rule["from"])),
                "yes" if server["auto"] else "no",
            )
            for server in records
            for rule in server["rules"]
        ),
    )


def run_check(arguments: argparse.Namespace) -> int:
    """Print what a page would give; 1 where that is nothing. Raises InvalidInput."""
    from wattshed_collector.normalise.samples import samples, unquoted
    from wattshed_collector.outcomes.look import page_records

    book, template = _rules(arguments)
    labels = _where(arguments) | dict(map(_label, arguments.label))
    try:
        page = samples(unquoted(_read(arguments.page)).decode(), 0)
    except ValueError as error:
        raise InvalidInput(
            f"{arguments.page} is no Prometheus page: {error}", "malformed"
        ) from error
    records = page_records(book, page, Whose(labels=labels, template=template), labels)
    if arguments.json:
        print(json.dumps(records, indent=2, allow_nan=False))
    elif records:
        titles = ("server", "outcome", "total", "model", "workload", "counter", "note")
        shown.table(titles, (_cells(record) for record in records))
    else:
        print("nothing on this page is counted by these rules")
    return int(not records)


def _rules(arguments: argparse.Namespace) -> tuple[Book, str]:
    """Return the rules that are asked for, and the template of the job's workload."""
    if not arguments.job:
        return named(arguments.servers or (AUTO,)), ""
    from wattshed_collector.config import PREFIX, Config
    from wattshed_collector.outcomes.own import book_of
    from wattshed_exporter.settings import load

    told = ["--config", arguments.config] if arguments.config else []
    config = load(Config, told, {}, prog="wattshed", prefix=PREFIX)
    for job in config.scrape.every_job():
        if job.name == arguments.job:
            return book_of(job), job.workload
    raise InvalidInput(f"there is no job {arguments.job!r} in scrape.jobs", "job")


def _read(page: str) -> bytes:
    if "://" not in page:
        return Path(page).read_bytes()
    if not page.startswith(("http://", "https://")):
        raise InvalidInput(f"{page!r} is neither an http or https URL nor a file", "page")
    try:
        with urllib.request.urlopen(page, timeout=SECONDS) as answer:
            said: bytes = answer.read(MOST_BYTES + 1)
    except (InvalidURL, UnicodeError) as error:
        raise InvalidInput(f"{page!r} is no URL: {error}", "page") from error
    except (OSError, HTTPException) as error:
        raise StoreError(f"no page comes from {page}: {getattr(error, 'reason', error)}") from error
    if len(said) > MOST_BYTES:
        raise InvalidInput(f"the page is beyond {MOST_BYTES} bytes", "too_large")
    return said


def _where(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the labels that a target at a URL has."""
    from wattshed_collector.config import NAMED_ALONE

    if "://" not in arguments.page:
        return {}
    try:
        where = urlsplit(arguments.page).netloc
    except ValueError as error:
        raise InvalidInput(f"{arguments.page!r} is no URL: {error}", "page") from error
    return {"job": arguments.job or NAMED_ALONE, "instance": where}


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidInput(f"{text!r} is not NAME=VALUE", "label")
    return name, value


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    workload = record["workload"] or "nobody's: no_workload"
    total = "no number" if record["total"] is None else f"{record['total']:.15g}"
    told = record["server"], record["outcome"], total, record["model"]
    return (*told, workload, record["counter"], record["caveat"])
