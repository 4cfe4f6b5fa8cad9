"""Objectives in a terminal: the list, and what became of one in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from . import clean, units
from .layout import WIDTH, named, table

Record = Mapping[str, Any]

STATES = {
    "ok": ("ok", "green"),
    "burning": ("burning", "bold red"),
    "spent": ("budget spent", "red"),
    "low_traffic": ("too few outcomes", "yellow"),
    "no_outcomes": ("energy, no outcomes", "yellow"),
    "no_energy": ("outcomes, no energy", "yellow"),
    "no_data": ("nothing known", "dim"),
    "computing": ("being computed", "dim"),
}
NOTHING = (
    "No objective is defined: name a file with slo.file (docs/SLO.md says how one is written)."
)


def print_list(slos: Sequence[Record], console: Console) -> None:
    """Print a line per objective; none becomes a sentence."""
    width = min(console.width, WIDTH)
    if not slos:
        console.print(Text(NOTHING, style="dim"), width=width)
        return
    rows = [
        (
            named(slo["slo"]),
            named(slo["owner"]),
            _state(slo["state"]),
            _each(slo["target_joules_per_outcome"]),
            _each(slo["joules_per_outcome"]),
            _left(slo["budget"]["left_ratio"]),
            Text(_rate(max(_known(pair["burn_long"] for pair in slo["burn"]), default=None))),
        )
        for slo in slos
    ]
    columns = ("SLO", "Owner", "State", "Target", "J each", "Left", "Burn")
    console.print(table(width, columns, 2, rows), width=width, highlight=False, crop=False)


def print_explanation(slo: Record, console: Console) -> None:
    """Print what was produced, what it took and might take, who spent most, how long it lasts."""
    width = min(console.width, WIDTH)
    for line in (*_lines(slo), "", *_pairs(slo), ""):
        console.print(line, width=width, highlight=False, crop=False)
    rows = [
        (
            named(row["workload"]),
            named(row["team"]),
            Text(units.joules(row["joules"])),
            Text(units.count(row["outcomes"])),
            _each(row["joules_per_outcome"]),
            Text(_signed(row["above_joules"])),
        )
        for row in slo["workloads"]
    ]
    if rows:
        columns = ("Workload", "Team", "Energy", "Produced", "J each", "Above target")
        console.print(table(width, columns, 2, rows), width=width, highlight=False, crop=False)


def _lines(slo: Record) -> Iterator[Text]:
    owner, kind = clean(slo["owner"]) or "nobody", clean(slo["outcome"])
    yield Text.assemble((clean(slo["slo"]), "bold"), f", owned by {owner}: ", _state(slo["state"]))
    if slo["description"]:
        yield Text(clean(slo["description"]), style="dim")
    basis = "work alone" if slo["basis"] == "active" else "all that is charged"
    yield Text(
        f"Promised: at most {_joules(slo['target_joules_per_outcome'])} for each {kind} ({basis}), "
        f"{units.percent(slo['objective_ratio'])} over {slo['window_days']} days"
        f"{_of(slo['match'])}."
    )
    budget = slo["budget"]
    each = slo["joules_per_outcome"]
    took = f", {_joules(each)} each" if each is not None else ""
    yield Text(
        f"Since {_time(budget['since'])}: {units.count(slo['outcomes'])} {kind} with "
        f"{units.joules(slo['joules'])}{took}; {units.joules(slo['allowed_joules'])} would have "
        "been at the target."
    )
    yield from _asides(slo)
    yield Text(_budget(slo))
    yield Text(_outlook(slo))


def _asides(slo: Record) -> Iterator[Text]:
    if slo["idle_joules"]:
        yield Text(f"{units.joules(slo['idle_joules'])} of them in minutes without outcomes.")
    if slo["unmeasured_outcomes"]:
        yield Text(
            f"{units.count(slo['unmeasured_outcomes'])} more have no energy: neither good nor bad.",
            style="yellow",
        )


def _budget(slo: Record) -> str:
    budget = slo["budget"]
    total, spent = budget["total"], budget["spent"]
    if slo["sli"] == "good_outcomes":
        may = f"{units.count(total)} of them may come from minutes above the target"
        said = f"{may}; {units.count(spent)} do"
    else:
        said = f"{units.joules(total)} may be above that; {units.joules(spent)} are"
    left = budget["left_ratio"]
    if left is None:
        return f"{said}. Too few to say what is left."
    return f"{said}: {units.percent(1 - left)} of the budget is spent."


def _outlook(slo: Record) -> str:
    seconds = slo["budget"]["gone_in_seconds"]
    if slo["budget"]["left_ratio"] is None:
        return "When it is gone is not known."
    if seconds is None:
        return "At this rate it lasts."
    if seconds == 0:
        return "It is gone."
    if seconds > slo["window_days"] * units.DAY_S:
        return "At this rate it lasts the whole window."
    return f"At this rate it is gone in {units.seconds(seconds)}."


def _pairs(slo: Record) -> Iterator[Text]:
    for pair in slo["burn"]:
        long, short = units.seconds(pair["long_seconds"]), units.seconds(pair["short_seconds"])
        yield Text.assemble(
            f"{clean(pair['severity'])}: burns at {_rate(pair['burn_long'])} over {long} and "
            f"{_rate(pair['burn_short'])} over {short}, {pair['factor']:g} allowed: ",
            _state(pair["state"]),
        )


def _state(state: str) -> Text:
    said, style = STATES.get(state, (state, ""))
    return Text(said, style=style)


def _of(match: Mapping[str, str]) -> str:
    found = ", ".join(f"{clean(column)} {clean(match[column])}" for column in sorted(match))
    return f", of {found}" if found else ""


def _known(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _rate(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value:.3g}"


def _each(value: float | None) -> Text:
    return Text(_joules(value))


def _joules(value: float | None) -> str:
    return units.joules(value)


def _left(ratio: float | None) -> Text:
    style = "red" if ratio is not None and ratio <= 0 else ""
    return Text(units.percent(ratio), style=style)


def _signed(value: float) -> str:
    return units.joules(value) if value >= 0 else f"-{units.joules(-value)}"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
