"""JSON documents that people and scripts send, as facts: every problem is found, not the first.

An allocation is ``{device, workload, start, end, share, activity, method, revision}``; a workload
is its key, or ``{key, name, team, ...}``; a factor is ``{kind, site, start, value, unit, source}``;
a score is ``{model, precision, batch_class, hardware, workload, metric, score, better, at, kind,
samples, note}``; expected idleness is ``{id, workload, team, node, reason, by, since, until}``.
Times are RFC 3339 or Unix seconds.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from wattshed_collector.errors import InvalidInput
from wattshed_collector.expected_idle import LONGEST_S, Expected
from wattshed_collector.factor import Factor
from wattshed_collector.instant import unix_seconds
from wattshed_collector.quality import BETTER, KINDS, Score
from wattshed_exporter.model import Allocation, Batch, Doubtful, Workload
from wattshed_exporter.outcome_document import Unreadable, items
from wattshed_exporter.semconv import WORKLOAD_ATTRIBUTES

from .allocations import doubt

METHOD = "api"
PROBLEMS_TOLD = 100
ALLOCATION_FIELDS = frozenset(
    {"device", "workload", "start", "end", "share", "activity", "method", "revision"}
)
WORKLOAD_FIELDS = frozenset(attribute.name for attribute in WORKLOAD_ATTRIBUTES)
FACTOR_FIELDS = frozenset({"kind", "site", "start", "value", "unit", "source"})
SCORE_FIELDS = frozenset(
    {
        *("model", "precision", "batch_class", "hardware", "workload", "metric", "score"),
        *("better", "at", "kind", "samples", "note"),
    }
)
EXPECTED_FIELDS = frozenset({"id", "workload", "team", "node", "reason", "by", "since", "until"})
LONGEST_NAME = 200
LEAST = {"pue": 1.0, "carbon": 0.0, "power_budget_watts": 1.0}
"""Smallest value of a kind of factor; prices may be negative."""

Json = Mapping[str, Any]
T = TypeVar("T")


class Problems(InvalidInput):
    """A document that cannot be read, with everything that is wrong with it."""

    def __init__(self, found: Sequence[str]) -> None:
        self.found = list(found[:PROBLEMS_TOLD])
        if len(found) > PROBLEMS_TOLD:
            self.found.append(f"and {len(found) - PROBLEMS_TOLD} more")
        super().__init__("; ".join(self.found), "malformed")


class Record:
    """One JSON object that is taken apart; what is wrong with it gathers in ``problems``."""

    def __init__(self, where: str, said: Json, problems: list[str]) -> None:
        self._where = where
        self._said = said
        self._problems = problems

    def only(self, names: frozenset[str]) -> None:
        for name in sorted(set(self._said) - names):
            self.fail(name, f"is not known; known are {', '.join(sorted(names))}")

    def text(self, name: str, default: str | None = None) -> str:
        said = self._said.get(name, default)
        if not isinstance(said, str) or (default is None and not said):
            self.fail(name, "must be a text" if name in self._said else "is missing")
            return ""
        if not _is_unicode(said):
            self.fail(name, "holds half of a character")
            return ""
        return said

    def name(self, name: str, default: str | None = None) -> str:
        said = self.text(name, default)
        if len(said) > LONGEST_NAME:
            self.fail(name, f"is longer than {LONGEST_NAME} characters")
        return said

    def one_of(self, name: str, words: Sequence[str], default: str | None = None) -> str:
        said = self.text(name, default)
        if said and said not in words:
            self.fail(name, f"must be one of {', '.join(words)}")
        return said

    def number(self, name: str, default: float | None) -> float | None:
        said = self._said.get(name)
        if said is None:
            return default
        if isinstance(said, bool) or not isinstance(said, int | float):
            self.fail(name, "must be a number")
            return default
        try:
            return float(said)
        except OverflowError:
            self.fail(name, "has too many digits")
            return default

    def whole(self, name: str, largest: int) -> int:
        said = self._said.get(name, 0)
        if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said <= largest:
            self.fail(name, f"must be a whole number from 0 to {largest}")
            return 0
        return said

    def seconds(self, name: str) -> float:
        said = self._said.get(name)
        try:
            at = unix_seconds(said)
        except ValueError:
            at = 0.0
        if not at > 0:
            hint = "must be a time such as 2026-01-31T08:00:00Z, or Unix seconds, before 2106"
            self.fail(name, hint if name in self._said else "is missing")
            return 0.0
        return at

    def fail(self, name: str, problem: str) -> None:
        self._problems.append(f"{self._where}: {name} {problem}")


def allocations(body: bytes, oldest_ms: int = 0) -> Batch:
    """Read a list of allocations; one that ended before ``oldest_ms`` is rejected as too old.

    Raises Problems.
    """
    workloads: dict[str, Workload] = {}

    def read(where: str, said: Json, problems: list[str]) -> Allocation:
        record = Record(where, said, problems)
        record.only(ALLOCATION_FIELDS)
        workload = _workload(where, said.get("workload"), record, problems)
        if workload is not None:
            workloads[workload.key] = workload
        return Allocation(
            record.text("device"),
            workload.key if workload else str(said.get("workload")),
            round(record.seconds("start") * 1000),
            round(record.seconds("end") * 1000),
            record.number("share", 1.0) or 0.0,
            record.text("method", METHOD),
            record.number("activity", None),
            record.whole("revision", 2**20 - 1),
        )

    said = _each(body, read)
    doubts = [(allocation, doubt(allocation)) for allocation in said]
    kept = [(a, reason) for a, reason in doubts if reason or a.end_ms >= oldest_ms]
    good = tuple(allocation for allocation, reason in kept if not reason)
    named = {allocation.workload for allocation in good}
    return Batch(
        workloads=tuple(workload for key, workload in workloads.items() if key in named),
        allocations=good,
        quarantine=tuple(Doubtful(a, reason) for a, reason in kept if reason),
        rejected={"too_old": len(said) - len(kept)} if len(kept) < len(said) else {},
    )


def factors(body: bytes) -> list[Factor]:
    """Read a factor or a list of factors. Raises Problems."""

    def read(where: str, said: Json, problems: list[str]) -> Factor:
        record = Record(where, said, problems)
        record.only(FACTOR_FIELDS)
        kind = record.text("kind")
        value = record.number("value", None)
        if "value" not in said:
            record.fail("value", "is missing; null ends what was said before")
        if value is not None and not LEAST.get(kind, -math.inf) <= value < math.inf:
            record.fail("value", f"must be at least {LEAST.get(kind, 'any')} and finite")
        return Factor(
            kind,
            record.text("site", ""),
            int(record.seconds("start")),
            value,
            record.text("unit", ""),
            record.text("source", ""),
        )

    return _each(body, read)


def scores(body: bytes, latest_s: float) -> list[Score]:
    """Read a score or a list of scores, none of them from after ``latest_s``. Raises Problems."""

    def read(where: str, said: Json, problems: list[str]) -> Score:
        record = Record(where, said, problems)
        record.only(SCORE_FIELDS)
        score = record.number("score", None)
        if "score" not in said:
            record.fail("score", "is missing; null takes back what was said before")
        if score is not None and not math.isfinite(score):
            record.fail("score", "must be finite")
        at_s = record.seconds("at")
        if at_s > latest_s:
            record.fail("at", "is in the future")
        samples = record.whole("samples", 2**63 - 1) if said.get("samples") is not None else None
        return Score(
            record.name("model"),
            record.name("precision", ""),
            record.name("metric"),
            score,
            record.one_of("better", BETTER),
            round(at_s * 1000),
            record.one_of("kind", KINDS, "score"),
            record.name("batch_class", ""),
            record.name("hardware", ""),
            record.name("workload", ""),
            samples,
            record.name("note", ""),
        )

    return _each(body, read)


def expected(body: bytes, now_s: float) -> list[Expected]:
    """Read expected idleness, one or a list; an id that is not given is made. Raises Problems."""

    def read(where: str, said: Json, problems: list[str]) -> Expected:
        record = Record(where, said, problems)
        record.only(EXPECTED_FIELDS)
        if "until" in said and said["until"] is None:
            return Expected(record.name("id"), None)
        workload, team, node = (record.name(name, "") for name in ("workload", "team", "node"))
        if not (workload or team or node):
            record.fail("workload", "is missing, and team and node: of whom is it expected?")
        until_s = record.seconds("until")
        if not now_s < until_s <= now_s + LONGEST_S:
            record.fail("until", "must be in the future, at most a year from now")
        since_s = record.seconds("since") if "since" in said else now_s
        if since_s >= until_s:
            record.fail("since", "must be before until")
        made = record.name("id", "") or secrets.token_hex(4)
        why, who = record.name("reason"), record.name("by", "")
        return Expected(made, until_s, since_s, workload, team, node, why, who)

    return _each(body, read)


def _each(body: bytes, read: Callable[[str, Json, list[str]], T]) -> list[T]:
    try:
        records = items(body)
    except Unreadable as unreadable:
        raise Problems(unreadable.problems) from unreadable
    problems: list[str] = []
    found = []
    for number, said in enumerate(records):
        if isinstance(said, dict):
            found.append(read(f"[{number}]", said, problems))
        else:
            problems.append(f"[{number}]: must be an object")
    if problems:
        raise Problems(problems)
    return found


def _is_unicode(text: str) -> bool:
    """Return whether text can be written: JSON may escape one half of a pair of surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _workload(where: str, said: Any, record: Record, problems: list[str]) -> Workload | None:
    if isinstance(said, str) and said:
        record.text("workload")
        return None
    if not isinstance(said, dict):
        record.fail("workload", "must be a key, or an object with a key")
        return None
    described = Record(f"{where}: workload", said, problems)
    described.only(WORKLOAD_FIELDS)
    key = described.text("key")
    texts = {name: described.text(name, "") for name in WORKLOAD_FIELDS & set(said)}
    return Workload(**{"key": key, "name": key, **texts})
