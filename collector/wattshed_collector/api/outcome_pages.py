"""Energy per outcome as it is asked and answered: grouping, filters, window, pages, CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from wattshed_collector import spreadsheet
from wattshed_collector.errors import InvalidInput
from wattshed_collector.store.client import Client
from wattshed_collector.store.outcome_queries import COLUMNS, KEY, Asked, Record, per_outcome

from . import pages
from .window import LONGEST_S, window

STEPS = {"1m": 60, "1h": 3600, "1d": 86_400}
DEFAULT_BY, DEFAULT_SINCE = "workload", "24h"
MOST_STEPS = 11_000
"""Of one series: what Prometheus gives as well."""
QUESTION = ("by", "since", "until", "outcome", "step", "limit", "after", "format")
"""What may be asked beside ``COLUMNS``, each of which is a filter."""
MINUTE_S = 60

VALUES: Mapping[str, str] = {
    "count": "count",
    "active_joules": "active_joules",
    "loaded_joules": "loaded_joules",
    "before_joules": "before_joules",
    "uncertainty_joules": "uncertainty_joules",
    "joules_per_outcome_active": "joules_per_outcome_active",
    "joules_per_outcome_active_low": "active_low",
    "joules_per_outcome_active_high": "active_high",
    "joules_per_outcome_loaded": "joules_per_outcome_loaded",
    "joules_per_outcome_loaded_low": "low",
    "joules_per_outcome_loaded_high": "high",
}
"""Numbers of a row, and what they are called in the store's record."""


class Window(TypedDict):
    """Minutes that begin in [start, end), Unix seconds; ``step`` seconds, None without steps."""

    start: int
    end: int
    step: int | None


class Page(TypedDict):
    """``next`` is what ``after`` must be for the next page, None where this is the last."""

    by: list[str]
    window: Window
    rows: list[Record]
    next: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """At most ``limit`` (0: all) of the rows that follow the key ``after``."""

    asked: Asked
    digest: str
    limit: int = 0
    after: tuple[str | int, ...] = ()
    format: str = "json"


def parse(
    said: Sequence[tuple[str, str]], now: float, longest_seconds: float = LONGEST_S
) -> Question:
    """Read the parameters of a request. Raises InvalidInput with what may be asked."""
    told = _once(said)
    by = tuple(dict.fromkeys(_names(said, "by") or [DEFAULT_BY]))
    for column in by:
        if column not in COLUMNS:
            raise InvalidInput(f"by={column!r}: choose some of {', '.join(COLUMNS)}", "by")
    step = _step(told.get("step", ""))
    where = {name: told[name] for name in COLUMNS if name in told}
    outcomes = tuple(dict.fromkeys(_names(said, "outcome")))
    times = told.get("since", DEFAULT_SINCE), told.get("until", "")
    digest = pages.digest([*times, step, by, outcomes, where])
    limit = pages.limit(told.get("limit", str(pages.DEFAULT_ROWS)))
    form = pages.form(told.get("format", "json"))
    if token := told.get("after", ""):
        start, end, key = pages.read_window(token, digest)
    else:
        (start, end), key = _minutes(*window(*times, now, longest_seconds)), []
    asked = Asked(by, start, end, outcomes, where, step)
    if token and [type(value) for value in key] != _types(asked):
        raise InvalidInput(pages.NO_TOKEN, "after")
    if step and (end - start) // step > MOST_STEPS:
        raise InvalidInput(
            f"step={told['step']!r} gives more than {MOST_STEPS} points: ask for a shorter window "
            f"or one of {', '.join(STEPS)}",
            "step",
        )
    return Question(asked, digest, limit, tuple(key), form)


def answer(client: Client, question: Question) -> Page:
    """Return the page that is asked for."""
    asked, limit = question.asked, question.limit
    more = 1 if limit else 0
    records = per_outcome(client, asked, limit and limit + more, question.after)
    is_last = not limit or len(records) <= limit
    records = records if is_last else records[:limit]
    return {
        "by": list(asked.by),
        "window": {"start": asked.since, "end": asked.until, "step": asked.step or None},
        "rows": [row(asked, record) for record in records],
        "next": None if is_last else _token(question, records[-1]),
    }


def columns(page: Page) -> list[str]:
    """Return the names of a page's columns, in their order."""
    time = ["t_s"] if page["window"]["step"] else []
    return [*time, *page["by"], *KEY, *VALUES]


def as_csv(page: Page) -> str:
    """Return the rows as CSV (RFC 4180) with a header; what is not known is empty."""
    return spreadsheet.written(columns(page), page["rows"])


def row(asked: Asked, record: Record) -> Record:
    """Return what people are told of a record of ``per_outcome``."""
    groups = {name: record[name] for name in (*asked.key[: -len(KEY)], *KEY)}
    return groups | {name: _finite(record[theirs]) for name, theirs in VALUES.items()}


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _once(said: Sequence[tuple[str, str]]) -> dict[str, str]:
    for name, _ in said:
        if name not in QUESTION and name not in COLUMNS:
            raise InvalidInput(
                f"{name!r} is not known: ask with {', '.join(QUESTION)}, and filter by "
                f"{', '.join(COLUMNS)}",
                "parameter",
            )
    return pages.once(said, ("by", "outcome"))


def _names(said: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [part for key, value in said if key == name for part in value.split(",")]


def _step(told: str) -> int:
    if told and told not in STEPS:
        raise InvalidInput(f"step={told!r}: choose one of {', '.join(STEPS)}", "step")
    return STEPS[told] if told else 0


def _minutes(since: int, until: int) -> tuple[int, int]:
    """Return the window whose minutes begin in [since, until), from minute to minute."""
    start, end = (-(-second // MINUTE_S) * MINUTE_S for second in (since, until))
    return (start, end) if start < end else (start - MINUTE_S, end)


def _token(question: Question, last: Record) -> str:
    asked = question.asked
    key = asked.since, asked.until, *(last[name] for name in asked.key)
    return pages.token(question.digest, key)


def _types(asked: Asked) -> list[type]:
    return [int if column == "t_s" else str for column in asked.key]
