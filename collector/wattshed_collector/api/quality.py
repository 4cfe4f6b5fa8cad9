"""``/v1/quality``: scores, what drifted, which ways to serve are dominated, what caches avoided."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import SINCE, UNTIL, WINDOW, Operation, Parameter, record, text
from wattshed_collector.store import quality
from wattshed_collector.store.client import Client
from wattshed_collector.store.outcome_queries import COLUMNS
from wattshed_collector.store.read import Reader

from .documents import answered
from .window import LONGEST_S, window

FORMATS = ("json", "csv")
TIMES = frozenset({"since", "until"})
NAMED = {
    "scores": frozenset({"metric"}),
    "drift": frozenset({"metric"}),
    "pareto": TIMES | {"metric", "outcome", "basis", *COLUMNS},
    "cache": TIMES | {"by"},
}
"""What each view can be asked."""
MEASURED = ("score", "better", "at_s", "kind", "samples", "note", "measurements")
CALIBRATED = (
    *("better", "calibrated_at_s", "calibration_score", "latest_at_s", "latest_score"),
    *("scores_since", "change_ratio", "drift_ratio", "days_since_calibration", "state"),
)
COMPARED = (
    *("outcome", "count", "active_joules", "loaded_joules", "before_joules"),
    *("joules_per_outcome_active", "joules_per_outcome_loaded", "uncertainty_joules"),
    *("active_uncertainty_joules", "low", "high", "active_low", "active_high", "state"),
    *("metric", "score", "better", "scored_at_s", "verdict", "saved_joules_per_outcome"),
    *("is_clear", *(f"best_{column}" for column in quality.WAY)),
)
AVOIDED = (
    *("method", "cached_tokens", "computed_tokens", "output_tokens", "active_joules"),
    *("least_avoided_joules", "most_avoided_joules", "blended_joules"),
)
HEADERS = {
    "scores": (*quality.KEY, *MEASURED),
    "drift": (*quality.KEY, *CALIBRATED),
    "pareto": (*quality.WAY, *COMPARED),
    "cache": AVOIDED,
}
"""Names of each view's columns, of ``cache`` those after the groups: CSV without rows has them."""

OPERATIONS = (
    Operation(
        "GET",
        "/v1/quality",
        "Scores, what drifted, which ways to serve are dominated, what caches avoided",
        {
            openapi.JSON: record(
                {
                    "view": text(),
                    "rows": openapi.listed({"type": "object"}, "By view: docs/QUALITY.md"),
                    "window": WINDOW,
                },
                optional=("window",),
            ),
            openapi.CSV: text(),
        },
        (
            Parameter("view", "What is asked", {**text("", *NAMED), "default": "scores"}),
            Parameter("format", "JSON or CSV", text("", *FORMATS)),
            Parameter("metric", "Scores of this metric; pareto needs one"),
            Parameter("outcome", "pareto: the kind of outcome, which it needs"),
            Parameter("basis", "pareto: which joules", text("", "loaded", "active")),
            Parameter("by", "cache: columns to group by, with commas between"),
            SINCE,
            UNTIL,
            *(
                Parameter(column, f"pareto: only what has this {column}")
                for column in COLUMNS
                if column != "outcome"
            ),
        ),
        refusals=(400,),
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, and the window in Unix seconds that they are about, () where that is all time."""

    rows: list[dict[str, Any]]
    window: tuple[int, ...] = ()


class QualityApi:
    """Answers questions about scores and the joules that stand beside them."""

    def __init__(self, reader: Reader, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/quality", self.quality)]

    async def quality(self, request: web.Request) -> web.Response:
        """``?view=scores|drift|pareto|cache``, as JSON or ``&format=csv``.

        ``scores`` and ``drift`` take ``metric=``; ``pareto`` needs ``outcome=`` and ``metric=``
        and takes ``basis=loaded|active``, a window, and columns that must be equal, such as
        ``team=``; ``cache`` takes ``by=workload,hardware`` and a window of whole hours.
        """
        query = dict(request.query)
        view, form = query.pop("view", "scores"), query.pop("format", "json")
        if form not in FORMATS:
            raise InvalidInput(f"format={form!r}: choose one of {', '.join(FORMATS)}", "format")
        answer = await self._reader.ask(ask, view, query, self._longest_seconds)
        if form == "csv":
            groups = _groups(query) if view == "cache" else ()
            names = (*groups, *HEADERS[view])
            return web.Response(text=_csv(names, answer.rows), content_type="text/csv")
        document: dict[str, Any] = {"view": view, "rows": answer.rows}
        if answer.window:
            document["window"] = dict(zip(("start", "end"), answer.window, strict=True))
        return answered(document)


def ask(
    client: Client, view: str, query: Mapping[str, str], longest_seconds: float = LONGEST_S
) -> Answer:
    """Return what ``view`` says to ``query``. Raises InvalidInput."""
    if view not in NAMED:
        raise InvalidInput(f"view={view!r}: choose one of {', '.join(NAMED)}", "view")
    for name in sorted(set(query) - NAMED[view]):
        known = ", ".join(sorted(NAMED[view]))
        raise InvalidInput(f"{view} is not asked by {name!r} but by {known}", "query")
    if view == "scores":
        return Answer(quality.scores(client, query.get("metric", "")))
    if view == "drift":
        return Answer(quality.numerics(client, query.get("metric", "")))
    told = query.get("since", "24h"), query.get("until", "")
    span = window(*told, time.time(), longest_seconds)
    return _pareto(client, query, span) if view == "pareto" else _cache(client, query, span)


def _pareto(client: Client, query: Mapping[str, str], span: tuple[int, int]) -> Answer:
    for name in ("outcome", "metric"):
        if not query.get(name):
            raise InvalidInput(f"{name}= is missing: pareto compares by both", name)
    where = {name: query[name] for name in query if name in COLUMNS}
    told = query["outcome"], query["metric"], *span, query.get("basis", "loaded"), where
    return Answer(quality.pareto(client, *told), span)


def _cache(client: Client, query: Mapping[str, str], span: tuple[int, int]) -> Answer:
    hours = span[0] - span[0] % quality.HOUR_S, span[1]
    return Answer(quality.cache_effect(client, _groups(query), *hours), hours)


def _groups(query: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, query.get("by", "workload").split(","))))


def _csv(names: Sequence[str], rows: list[dict[str, Any]]) -> str:
    """Return a line of names and one per row (RFC 4180); what is not known is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
