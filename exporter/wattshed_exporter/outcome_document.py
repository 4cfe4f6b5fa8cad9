"""What programs say that they produced, as JSON: readings of counters and single increments.

A reading is ``{workload, outcome, total, ts, start, source, model}``, an increment ``{workload,
outcome, count, from, to, id, model}`` (or ``ts`` for both times). A workload is its key, or
``{key, name, team, ...}``; times are RFC 3339 or Unix seconds. An increment becomes a counter of
its own, named by its id, that stood at zero at ``from``: said again it is the same rows, so nothing
has to remember it. What cannot be used is left out, told and counted by its reason; the rest is
taken.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .model import Batch, Outcome, Workload
from .semconv import WORKLOAD_ATTRIBUTES

Doubt = Callable[[int], str]
"""Says why a time (Unix milliseconds) is not believed, "" where it is."""
Json = Mapping[str, Any]

KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")
LARGEST = 1e18
"""More makes no sense, and sums must stay finite."""
LONGEST_TEXT = 1024
LONGEST_KEY = 200
PROBLEMS_TOLD = 100
MOMENT_MS = 1
"""How long an increment took that says only when it was."""
SHARED = frozenset({"workload", "outcome", "ts", "model"})
READING = SHARED | {"total", "start", "source"}
INCREMENT = SHARED | {"count", "from", "to", "id"}
WORKLOAD = frozenset(attribute.name for attribute in WORKLOAD_ATTRIBUTES)


class Unreadable(ValueError):
    """A body of which nothing can be taken, with everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class Bad(Exception):
    """An item cannot be used. ``reason`` is the word that it is counted by."""

    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Said:
    """What a document says; ``batch.rejected`` counts what was left out, ``problems`` tells it.

    ``whose`` is the workload of each item that was taken.
    """

    batch: Batch
    whose: tuple[str, ...]
    problems: list[str]


def read(body: bytes, doubt: Doubt, now_ms: int, key: str = "") -> Said:
    """Read a document; ``key`` is that of the whole request, for increments without an id.

    Raises:
        Unreadable: where it is no list of objects, or none of them can be used.
    """
    workloads: dict[str, Workload] = {}
    outcomes: list[Outcome] = []
    rejected: Counter[str] = Counter()
    problems: list[str] = []
    whose = []
    for number, item in enumerate(items(body)):
        try:
            workload, found = _taken(item, doubt, now_ms, f"{key}#{number}" if key else "")
        except Bad as bad:
            rejected[bad.reason] += 1
            problems.append(f"[{number}]: {bad}")
            continue
        if workload is not None:
            workloads[workload.key] = workload
        outcomes += found
        whose.append(found[0].workload)
    told = _bounded(problems)
    if not outcomes:
        raise Unreadable(told)
    batch = Batch(
        workloads=tuple(workloads.values()), outcomes=tuple(outcomes), rejected=dict(rejected)
    )
    return Said(batch, tuple(whose), told)


def items(body: bytes) -> list[Any]:
    """Return what a body of JSON lists, one object as a list of one. Raises Unreadable."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable([f"the body is not JSON: {error}"]) from error
    found = [document] if isinstance(document, dict) else document
    if not isinstance(found, list) or not found:
        raise Unreadable(["the body must be a JSON object or a list of them"])
    return found


def _bounded(problems: list[str]) -> list[str]:
    more = len(problems) - PROBLEMS_TOLD
    return problems[:PROBLEMS_TOLD] + ([f"and {more} more"] if more > 0 else [])


def _taken(
    item: Any, doubt: Doubt, now_ms: int, key: str
) -> tuple[Workload | None, tuple[Outcome, ...]]:
    """Return the workload that an item describes, if it does, and its readings."""
    if not isinstance(item, dict):
        raise Bad("malformed", "must be an object")
    if ("total" in item) == ("count" in item):
        raise Bad("malformed", "must have a total, or a count")
    _only(item, READING if "total" in item else INCREMENT)
    workload, whose = _workload(item.get("workload"))
    kind = _text(item, "outcome")
    if not KIND.fullmatch(kind):
        raise Bad("bad_outcome_kind", "outcome must be a word such as token_out")
    model = _text(item, "model", "")
    if "total" in item:
        return workload, (_reading(item, whose, kind, model, doubt, now_ms),)
    return workload, tuple(_increment(item, whose, kind, model, doubt, key))


def _reading(item: Json, whose: str, kind: str, model: str, doubt: Doubt, now_ms: int) -> Outcome:
    total = _number(item, "total")
    ts_ms = _time(item, "ts", doubt) if "ts" in item else now_ms
    start_ms = _since(item, "start") if item.get("start") is not None else None
    if start_ms is not None and start_ms > ts_ms:
        raise Bad("bad_interval", "start must not be after ts")
    return Outcome(whose, kind, ts_ms, total, start_ms, _text(item, "source", ""), model)


def _increment(
    item: Json, whose: str, kind: str, model: str, doubt: Doubt, key: str
) -> Iterator[Outcome]:
    count = _number(item, "count")
    if "ts" in item:
        if "from" in item or "to" in item:
            raise Bad("malformed", "must have either ts, or from and to")
        to_ms = _time(item, "ts", doubt)
        from_ms = to_ms - MOMENT_MS
    else:
        from_ms, to_ms = _time(item, "from", doubt), _time(item, "to", doubt)
    if from_ms >= to_ms:
        raise Bad("bad_interval", "from must be before to")
    source = _once(item, key)
    yield Outcome(whose, kind, from_ms, 0.0, from_ms, source, model)
    yield Outcome(whose, kind, to_ms, count, from_ms, source, model)


def _once(item: Json, key: str) -> str:
    """Return the name of the counter that an increment is; what says the same again has the same.

    Of the two kinds of keys no two can be one: an id is not followed by a number.
    """
    own = _text(item, "id", "")
    named = f"id:{own}" if own else f"key:{key}"
    if not (own or key):
        raise Bad("no_key", "needs an id, or a header Idempotency-Key for the whole request")
    if len(named) > LONGEST_KEY:
        raise Bad("key_too_long", f"has a key of more than {LONGEST_KEY - 4} characters")
    return named


def _workload(said: Any) -> tuple[Workload | None, str]:
    if isinstance(said, str):
        return None, _text({"workload": said}, "workload", reason="no_workload")
    if not isinstance(said, dict):
        raise Bad("no_workload", "workload must be a key, or an object with a key")
    _only(said, WORKLOAD, "workload: ")
    key = _text(said, "key", reason="no_workload")
    texts = {name: text for name in said if (text := _text(said, name, ""))}
    if texts.keys() == {"key"}:
        return None, key
    return Workload(**{"name": key, **texts}), key


def _only(said: Json, names: frozenset[str], where: str = "") -> None:
    if unknown := sorted(set(said) - names):
        known = ", ".join(sorted(names))
        raise Bad("unknown_field", f"{where}{unknown[0]} is not known; known are {known}")


def _text(said: Json, name: str, default: str | None = None, reason: str = "malformed") -> str:
    text = said.get(name, default)
    if not isinstance(text, str) or (default is None and not text):
        raise Bad(reason, f"{name} must be a text" if name in said else f"{name} is missing")
    if len(text) > LONGEST_TEXT:
        raise Bad("too_long", f"{name} has more than {LONGEST_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Bad("malformed", f"{name} holds half of a character")
    return text


def _number(said: Json, name: str) -> float:
    number = said[name]
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Bad("malformed", f"{name} must be a number")
    if isinstance(number, float) and not math.isfinite(number):
        raise Bad("not_finite", f"{name} must be finite")
    if number < 0:
        raise Bad("negative", f"{name} must not be negative")
    if number > LARGEST:
        raise Bad("out_of_range", f"{name} must be at most {LARGEST:g}")
    return float(number)


def _time(said: Json, name: str, doubt: Doubt) -> int:
    at_ms = _since(said, name)
    if reason := doubt(at_ms):
        raise Bad(reason, f"{name} is not believed: {reason}")
    return at_ms


def _since(said: Json, name: str) -> int:
    """Return a time in Unix milliseconds, however long ago."""
    if name not in said:
        raise Bad("malformed", f"{name} is missing")
    try:
        at_ms = round(_unix_seconds(said[name]) * 1000)
    except (ValueError, TypeError, OverflowError):
        at_ms = 0
    if not 0 < at_ms < 2**42:
        hint = "must be a time such as 2026-01-31T08:00:00Z, or Unix seconds"
        raise Bad("bad_time", f"{name} {hint}")
    return at_ms


def _unix_seconds(said: Any) -> float:
    if isinstance(said, str):
        instant = datetime.fromisoformat(said)
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    if isinstance(said, bool):
        raise TypeError(said)
    return float(said)
