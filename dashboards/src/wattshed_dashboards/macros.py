"""The ClickHouse data source's macros and Grafana's variables, expanded as both would.

Source: grafana/clickhouse-datasource v4.20 (``pkg/macros``, ``src/data``): time macros are expanded
in its back end, ``$__conditionalAll`` and variables in the browser. Only those that all supported
versions know are known here; any other is a ValueError, so that no panel can use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ALL = None
"""Value of a variable of which everything is chosen."""

Chosen = Sequence[str] | None
_MINUTES = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720, 1440, 10_080, 43_200)
STEPS_MS = tuple(minutes * 60_000 for minutes in _MINUTES)
"""Above an hour they are of whole hours: what is read by the hour falls into them evenly."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::(\w+))?\}|(\w+))")
_NAME = re.compile(r"\$__(\w+)")


@dataclass(frozen=True, slots=True)
class Window:
    """A time range in Unix milliseconds, and the width of a step in ms."""

    from_ms: int
    to_ms: int
    interval_ms: int = 60_000

    @classmethod
    def of(cls, from_ms: int, to_ms: int, points: int = 500, least_ms: int = 60_000) -> Window:
        """Choose a step that Grafana would choose too, at least ``least_ms``, with at most
        ``points`` of them where the longest step is not too short for that."""
        wanted = max(least_ms, (to_ms - from_ms) / points)
        step = next((s for s in STEPS_MS if s >= wanted), STEPS_MS[-1])
        return cls(from_ms, to_ms, step)


def expand(sql: str, window: Window, chosen: Mapping[str, Chosen]) -> str:
    """Return the statement that the data source would send.

    ``chosen`` has the values of each variable, or ALL. Raises ValueError for a macro or a variable
    that nobody would expand.
    """
    return _variables(_time_macros(_conditional(sql, chosen), window), chosen, _formatted)


def bind(sql: str, window: Window, chosen: Mapping[str, Chosen]) -> tuple[str, dict[str, str]]:
    """Return the statement with a parameter for each chosen value, and the parameters.

    What somebody chose is never part of the text, so that it cannot become SQL. Raises ValueError
    as ``expand``, and for a variable that would stand in the text as it is.
    """
    bound: dict[str, str] = {}

    def parameter(value: str) -> str:
        name = f"chosen_{len(bound)}"
        bound[name] = value
        return f"{{{name}:String}}"

    def form_parameters(values: Sequence[str], form: str, name: str) -> str:
        if form != "singlequote":
            raise ValueError(f"${name} would be part of the statement: only :singlequote is bound")
        return ",".join(map(parameter, values))

    timed = _time_macros(_conditional(sql, chosen), window)
    return _variables(timed, chosen, form_parameters), bound


def _conditional(sql: str, chosen: Mapping[str, Chosen]) -> str:
    name = "$__conditionalAll("
    while (start := sql.find(name)) >= 0:
        inner, end = _arguments(sql, start + len(name))
        condition, _, variable = inner.rpartition(",")
        bare = variable.strip()
        if not re.fullmatch(r"\$\w+", bare):
            raise ValueError(f"$__conditionalAll wants a plain $variable, not {bare}")
        if bare[1:] not in chosen:
            raise ValueError(f"nobody sets {bare}")
        is_all = chosen[bare[1:]] is ALL
        sql = sql[:start] + ("1=1" if is_all else condition.strip()) + sql[end:]
    return sql


def _arguments(sql: str, start: int) -> tuple[str, int]:
    """Return what stands in the parenthesis that is open at ``start``, and where it ends."""
    depth, quoted = 1, False
    for at in range(start, len(sql)):
        character = sql[at]
        if character == "'" and sql[at - 1] != "\\":
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
            if not depth:
                return sql[start:at], at + 1
    raise ValueError("a parenthesis of a macro stays open")


def _time_macros(sql: str, window: Window) -> str:
    while (found := _NAME.search(sql)) is not None:
        name, start, end = found[1], found.start(), found.end()
        argument = ""
        if sql[end : end + 1] == "(":
            argument, end = _arguments(sql, end + 1)
        sql = sql[:start] + _expanded(name, argument.strip(), window) + sql[end:]
    return sql


def _expanded(name: str, argument: str, window: Window) -> str:
    macro = MACROS.get(name)
    if macro is None:
        raise ValueError(f"$__{name} is no macro of every supported version")
    return macro(argument, window)


def _seconds(ms: int) -> str:
    return f"toDateTime({ms // 1000})"


def _milliseconds(ms: int) -> str:
    return f"fromUnixTimestamp64Milli({ms})"


def _step_s(window: Window) -> int:
    return max(1, window.interval_ms // 1000)


Macro = Callable[[str, Window], str]
MACROS: Mapping[str, Macro] = {
    "fromTime": lambda _, w: _seconds(w.from_ms),
    "toTime": lambda _, w: _seconds(w.to_ms),
    "fromTime_ms": lambda _, w: _milliseconds(w.from_ms),
    "toTime_ms": lambda _, w: _milliseconds(w.to_ms),
    "timeFrom": lambda c, w: f"{c} >= {_seconds(w.from_ms)}",
    "timeTo": lambda c, w: f"{c} <= {_seconds(w.to_ms)}",
    "timeFilter": lambda c, w: f"{c} >= {_seconds(w.from_ms)} AND {c} <= {_seconds(w.to_ms)}",
    "timeFilter_ms": lambda c, w: (
        f"{c} >= {_milliseconds(w.from_ms)} AND {c} <= {_milliseconds(w.to_ms)}"
    ),
    "timeInterval": lambda c, w: (
        f"toStartOfInterval(toDateTime({c}), INTERVAL {_step_s(w)} second)"
    ),
    "interval_s": lambda _, w: str(_step_s(w)),
}


Form = Callable[[Sequence[str], str, str], str]
"""Writes the values of a variable: values, the form that was asked for, the variable's name."""


def _variables(sql: str, chosen: Mapping[str, Chosen], formatted: Form) -> str:
    def value(found: re.Match[str]) -> str:
        name, form = found[1] or found[3], found[2] or ""
        if name not in chosen:
            raise ValueError(f"nobody sets ${name}")
        values = chosen[name]
        if values is ALL:
            raise ValueError(f"${name} is All outside $__conditionalAll")
        return formatted(values, form, name)

    return _VARIABLE.sub(value, sql)


def _formatted(values: Sequence[str], form: str, name: str) -> str:
    """Format as Grafana does; ``singlequote`` escapes a quote with a backslash, nothing else."""
    if form == "singlequote":
        return ",".join("'" + value.replace("'", "\\'") + "'" for value in values)
    if form in ("", "raw"):
        return values[0] if len(values) == 1 else ",".join(values)
    raise ValueError(f"${{{name}:{form}}}: only singlequote and raw are used here")
