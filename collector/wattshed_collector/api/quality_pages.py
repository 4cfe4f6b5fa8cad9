"""Scores and what stands beside them as they are asked and answered: views, pages, CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from wattshed_collector import spreadsheet
from wattshed_collector.errors import InvalidInput
from wattshed_collector.store import quality
from wattshed_collector.store.client import Client
from wattshed_collector.store.outcome_queries import COLUMNS, Record

from . import pages
from .window import LONGEST_S, window

TIMES = frozenset({"since", "until"})
NAMED = {
    "scores": frozenset({"metric"}),
    "drift": frozenset({"metric"}),
    "pareto": TIMES | {"metric", "outcome", "basis", *COLUMNS},
    "cache": TIMES | {"by"},
}
"""What each view can be asked, beside how it is told."""
TOLD = ("view", "format", "limit", "after")
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


class Span(TypedDict):
    """[start, end), Unix seconds."""

    start: int
    end: int


class Page(TypedDict):
    """``next`` is what ``after`` must be for the next page, None where this is the last.

    A view that is about all time has no window.
    """

    view: str
    rows: list[Record]
    next: str | None
    window: NotRequired[Span]


@dataclass(frozen=True, slots=True)
class Question:
    """At most ``limit`` (0: all) of a view's rows that follow the key ``after``.

    ``told`` are the parameters of the view, ``span`` its window in Unix seconds, () for all time.
    """

    view: str
    told: Mapping[str, str]
    span: tuple[int, ...]
    digest: str
    limit: int = 0
    after: tuple[object, ...] = ()
    format: str = "json"

    @property
    def groups(self) -> tuple[str, ...]:
        """What ``cache`` is grouped by; () of another view."""
        by = self.told.get("by", "workload").split(",") if self.view == "cache" else ()
        return tuple(dict.fromkeys(filter(None, by)))

    @property
    def basis(self) -> str:
        return self.told.get("basis", "loaded")


def parse(
    said: Sequence[tuple[str, str]], now: float, longest_seconds: float = LONGEST_S
) -> Question:
    """Read the parameters of a request. Raises InvalidInput with what may be asked."""
    told = pages.once(said)
    view = told.get("view", "scores")
    if view not in NAMED:
        raise InvalidInput(f"view={view!r}: choose one of {', '.join(NAMED)}", "view")
    form = pages.form(told.get("format", "json"))
    limit = pages.limit(told.get("limit", str(pages.DEFAULT_ROWS)))
    token = told.get("after", "")
    of_view = {name: value for name, value in told.items() if name not in TOLD}
    for name in sorted(set(of_view) - NAMED[view]):
        known = ", ".join((*sorted(NAMED[view]), *TOLD))
        raise InvalidInput(f"{view} is not asked by {name!r} but by {known}", "query")
    asked = pages.digest([view, of_view])
    if not TIMES.issubset(NAMED[view]):
        key = pages.read(token, asked) if token else []
        return Question(view, of_view, (), asked, limit, tuple(key), form)
    if token:
        start, end, key = pages.read_window(token, asked)
    else:
        times = told.get("since", "24h"), told.get("until", "")
        (start, end), key = window(*times, now, longest_seconds), []
    start -= start % quality.HOUR_S if view == "cache" else 0
    return Question(view, of_view, (start, end), asked, limit, tuple(key), form)


def answer(client: Client, question: Question) -> Page:
    """Return the page that is asked for. Raises InvalidInput."""
    rows = _READ[question.view](client, question)
    found, last = pages.cut(rows, _order(question), question.limit, question.after)
    token = None if last is None else pages.token(question.digest, (*question.span, *last))
    page: Page = {"view": question.view, "rows": found, "next": token}
    if question.span:
        start, end = question.span
        page["window"] = {"start": start, "end": end}
    return page


def as_csv(question: Question, page: Page) -> str:
    """Return a line of names and one per row (RFC 4180); what is not known is empty."""
    return spreadsheet.written((*question.groups, *HEADERS[question.view]), page["rows"])


def _scores(client: Client, question: Question) -> list[Record]:
    return quality.scores(client, question.told.get("metric", ""))


def _drift(client: Client, question: Question) -> list[Record]:
    return quality.numerics(client, question.told.get("metric", ""))


def _pareto(client: Client, question: Question) -> list[Record]:
    told = question.told
    for name in ("outcome", "metric"):
        if not told.get(name):
            raise InvalidInput(f"{name}= is missing: pareto compares by both", name)
    where = {name: told[name] for name in told if name in COLUMNS}
    start, end = question.span
    return quality.pareto(
        client, told["outcome"], told["metric"], start, end, question.basis, where
    )


def _cache(client: Client, question: Question) -> list[Record]:
    start, end = question.span
    return quality.cache_effect(client, question.groups, start, end)


_READ: Mapping[str, Callable[[Client, Question], list[Record]]] = {
    "scores": _scores,
    "drift": _drift,
    "pareto": _pareto,
    "cache": _cache,
}


def _order(question: Question) -> Callable[[Record], pages.Key]:
    """Return the order of a view's rows: a key that no two of them have."""
    match question.view:
        case "drift":
            return _worst_first
        case "pareto":
            basis = f"joules_per_outcome_{question.basis}"
            return lambda row: (*_last(row[basis]), *_texts(row, (*quality.WAY, "state")))
        case "cache":
            return lambda row: _texts(row, (*question.groups, "method"))
        case _:
            return lambda row: _texts(row, quality.KEY)


def _worst_first(row: Record) -> pages.Key:
    drift, since = row["drift_ratio"], row["calibrated_at_s"]
    worse = None if drift is None else -drift
    of_key = _texts(row, quality.KEY)
    return (row["state"] != "drifted", *_last(worse), *_last(since), *of_key)


def _texts(row: Record, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in columns)


def _last(value: float | None) -> tuple[bool, float]:
    """Return what sorts None behind every number."""
    return value is None, float(value or 0.0)
