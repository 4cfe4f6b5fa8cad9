"""``wattshed quality``: scores of models, what drifted, which way is worth its joules."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from wattshed_collector.present import units

from . import answers, shown

Subparsers = argparse._SubParsersAction
Rows = list[dict[str, Any]]

RECORD_EXAMPLES = """examples:
  wattshed quality record --model llama-3-70b --precision fp8 --metric rouge-l \\
      --score 44.9 --better higher --calibration --samples 5000
  wattshed quality record --file scores.json

The same measurement (model, precision, metric, ..., time) said again replaces itself."""
COMPARE_EXAMPLES = """examples:
  wattshed quality compare --outcome token_out --metric rouge-l --since 7d
  wattshed quality compare --outcome image --metric top1 --where team=vision --json

A way is dominated where another takes no more joules per outcome at a score that is no worse. What
it would save is true of the loads that both served in the window, and of no other. A way without a
score is shown, and compared with none."""
DRIFT_EXAMPLE = (
    "example: wattshed quality drift --metric rouge-l (1 where anything drifted or is stale)"
)
CACHE_EXAMPLE = "example: wattshed quality cache --since 24h --by workload,hardware"
BAD = ("drifted", "stale")
FIELDS = ("model", "precision", "metric", "batch_class", "hardware", "workload", "note")


class Asked(Protocol):
    """Where scores are: in a running collector, or in the store."""

    def rows(self, view: str, query: dict[str, str]) -> Rows: ...

    def record(self, document: Any) -> int: ...


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add ``quality record``, ``compare``, ``drift`` and ``cache``."""
    command = commands.add_parser(
        "quality",
        help="scores of models beside their joules: compare, drift, record, cache",
        epilog=DRIFT_EXAMPLE,
    )
    parts = command.add_subparsers(metavar="COMMAND", required=True)
    _register_record(parts)
    compare = _added(parts, "compare", "which ways to serve are dominated", COMPARE_EXAMPLES)
    answers.add_arguments(compare)
    compare.add_argument("--outcome", required=True, metavar="KIND", help="such as token_out")
    compare.add_argument("--metric", required=True, metavar="NAME", help="such as rouge-l")
    compare.add_argument("--basis", choices=("loaded", "active"), default="loaded")
    compare.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only those"
    )
    compare.set_defaults(run=run_compare)
    drift = _added(parts, "drift", "what became of each calibration", DRIFT_EXAMPLE)
    answers.add_place(drift)
    drift.add_argument("--metric", default="", metavar="NAME", help="only this one")
    drift.set_defaults(run=run_drift)
    cache = _added(parts, "cache", "joules that cached prompt tokens avoided", CACHE_EXAMPLE)
    answers.add_arguments(cache)
    cache.add_argument("--by", default="workload", metavar="COLUMNS", help="what to group by")
    cache.set_defaults(run=run_cache)


def _register_record(parts: Subparsers[argparse.ArgumentParser]) -> None:
    record = _added(parts, "record", "say how well a model did", RECORD_EXAMPLES)
    answers.add_place(record)
    record.add_argument("--file", default="", metavar="FILE", help="a JSON list of scores; - stdin")
    for name in FIELDS:
        record.add_argument(f"--{name.replace('_', '-')}", default="", metavar="TEXT")
    record.add_argument("--score", type=float, metavar="NUMBER")
    record.add_argument("--better", choices=("higher", "lower"), default="")
    record.add_argument("--at", default="", metavar="TIME", help="when it was measured (now)")
    record.add_argument("--samples", type=int, metavar="COUNT", help="how many it is a mean of")
    record.add_argument(
        "--calibration", action="store_true", help="later scores are set against this one"
    )
    record.set_defaults(run=run_record)


def _added(
    parts: Subparsers[argparse.ArgumentParser], name: str, help: str, epilog: str
) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    command = parts.add_parser(name, help=help, epilog=epilog, formatter_class=raw)
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def run_record(arguments: argparse.Namespace) -> None:
    """Store scores."""
    document = _read(arguments.file) if arguments.file else _document(arguments)
    with opened(arguments) as asked:
        count = asked.record(document)
    print(json.dumps({"accepted": count}) if arguments.json else f"{count} stored")


def run_compare(arguments: argparse.Namespace) -> None:
    """Print ways, the cheapest first."""
    query = {
        name: getattr(arguments, name) for name in ("outcome", "metric", "basis", "since", "until")
    }
    query.update(_where(arguments.where))
    with opened(arguments) as asked:
        rows = asked.rows("pareto", query)
    _print(arguments, rows, _compared(arguments.basis), "no way produced such outcomes")


def run_drift(arguments: argparse.Namespace) -> int:
    """Print calibrations, the worst first; 1 where anything drifted or is stale."""
    with opened(arguments) as asked:
        rows = asked.rows("drift", {"metric": arguments.metric})
    columns = ("state", *_KEY, "calibration_score", "latest_score", "drift_ratio")
    _print(arguments, rows, (*columns, "days_since_calibration"), "no score was recorded")
    return int(any(row["state"] in BAD for row in rows))


def run_cache(arguments: argparse.Namespace) -> None:
    """Print what caches avoided."""
    query = {name: getattr(arguments, name) for name in ("by", "since", "until")}
    with opened(arguments) as asked:
        rows = asked.rows("cache", query)
    by = tuple(filter(None, arguments.by.split(",")))
    figures = ("cached_tokens", "least_avoided_joules", "most_avoided_joules", "blended_joules")
    _print(arguments, rows, (*by, "method", *figures), "no prompt token came from a cache")


_SAID = {"joules": units.joules, "tokens": units.count, "ratio": units.percent}
"""By a word of the column's name how its values are written."""
_KEY = ("metric", "ai_model", "precision", "batch_class", "hardware", "workload")


def _compared(basis: str) -> tuple[str, ...]:
    way = ("ai_model", "precision", "batch_class", "hardware")
    figures = (f"joules_per_outcome_{basis}", "score", "saved_joules_per_outcome")
    return ("verdict", *way, *figures, *(f"best_{c}" for c in way), "is_clear")


def _print(arguments: argparse.Namespace, rows: Rows, columns: tuple[str, ...], none: str) -> None:
    if arguments.json:
        print(json.dumps(rows, indent=2, allow_nan=False))
        return
    if not rows:
        print(none)
        return
    told = [column for column in columns if any(row[column] not in ("", None) for row in rows)]
    titles = [column.replace("_", " ") for column in told]
    shown.table(titles, ([_cell(column, row[column]) for column in told] for row in rows))


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    for word, said in _SAID.items():
        if word in column.split("_"):
            return said(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _document(arguments: argparse.Namespace) -> dict[str, Any]:
    said = {
        name: getattr(arguments, name) for name in (*FIELDS, "better") if getattr(arguments, name)
    }
    said["score"] = arguments.score
    if arguments.score is None:
        del said["score"]
    if arguments.samples is not None:
        said["samples"] = arguments.samples
    said["kind"] = "calibration" if arguments.calibration else "score"
    said["at"] = arguments.at or int(time.time())
    return said


def _read(name: str) -> Any:
    from wattshed_collector.errors import InvalidInput

    try:
        if name == "-":
            return json.load(sys.stdin)
        with open(name, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise InvalidInput(f"{name} is not JSON: {error}", "file") from None


def _where(told: list[str]) -> dict[str, str]:
    from wattshed_collector.errors import InvalidInput

    found = {}
    for text in told:
        column, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(
                f"--where {text!r}: write COLUMN=VALUE, such as team=vision", "where"
            )
        found[column] = value
    return found


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Asked]:
    """Give the scores of the running collector, or of the store where none runs."""
    if remote := answers.connect(arguments):
        yield RemoteScores(remote)
        return
    with answers.existing(arguments.data) as (store, client):
        if not store.is_server and arguments.run in (run_compare, run_cache):
            with answers.computing(store, client) as ledger:
                ledger.run()
        yield LocalScores(client)


class RemoteScores:
    """Asks a running collector."""

    def __init__(self, remote: answers.Remote) -> None:
        self._remote = remote

    def rows(self, view: str, query: dict[str, str]) -> Rows:
        return list(self._remote.whole("/v1/quality", "rows", {"view": view, **query})["rows"])

    def record(self, document: Any) -> int:
        return int(self._remote.post("/v1/quality", document)["accepted"])


class LocalScores:
    """Asks a store that no collector has open."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def rows(self, view: str, query: dict[str, str]) -> Rows:
        from wattshed_collector.api import quality_pages

        question = quality_pages.parse([("view", view), *query.items()], time.time())
        return quality_pages.answer(self._client, replace(question, limit=0))["rows"]

    def record(self, document: Any) -> int:
        from wattshed_collector.normalise import json_documents
        from wattshed_collector.store import quality

        now = time.time()
        scores = json_documents.scores(json.dumps(document).encode(), now)
        quality.put(self._client, scores, now)
        return len(scores)
