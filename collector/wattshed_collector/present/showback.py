"""Showback in a terminal, and as CSV: a row per team, day, class and currency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from wattshed_collector import spreadsheet

from . import CLASSES, clean, units
from .layout import WIDTH, named, table

Record = Mapping[str, Any]

ROWS = 12
COLUMNS = (
    *("day", "team", "class", "joules", "device_seconds", "facility_joules"),
    *("facility_unknown_joules", "cost", "currency", "cost_unknown_joules", "carbon_g"),
    *("carbon_unknown_joules", "factor_g", "hourly_g", "yearly_g", "market_g"),
    *("market_unknown_joules", "marginal_g", "marginal_unknown_joules", "carbon_scope"),
    *("carbon_sources", "carbon_said"),
)
_LABELS = {words.key: words.label for words in CLASSES}


def as_csv(document: Record) -> str:
    """Return ``days`` as CSV (RFC 4180) with a header; days are UTC, what is not known is empty."""
    return spreadsheet.written(
        COLUMNS, (_cells(row, document["carbon_scope"]) for row in document["days"])
    )


def _cells(row: Record, scope: str) -> Record:
    day = datetime.fromtimestamp(row["day"], UTC)
    said = "" if row["carbon_said"] is None else _at(row["carbon_said"])
    sources = "; ".join(row["carbon_sources"])
    told = {"carbon_scope": scope, "carbon_said": said, "carbon_sources": sources}
    return {**row, "day": f"{day:%Y-%m-%d}", **told}


def _at(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%MZ}"


def print_showback(document: Record, console: Console) -> None:
    """Print each team, or one with what it idled, produced, could do and has done."""
    width = min(console.width, WIDTH)
    parts: list[RenderableType] = [Text(_when(document), style="dim")]
    teams = document["teams"]
    if not any(team["totals"]["joules"] for team in teams):
        parts += [Text("No energy is known of it.", style="bold")]
        document = {**document, "rates": []}
    elif document["team"] is None:
        parts += [_amounts("All teams", document["fleet"], document["fleet_before"])]
        parts += ["", _teams(teams, document["fleet"]["joules"], width)]
    else:
        parts += list(_team(teams[0], width))
    parts += [Text(line, style="dim") for line in rates(document)]
    for part in parts:
        console.print(part, width=width, highlight=False, crop=False)


def rates(document: Record) -> Iterator[str]:
    """Give a sentence on who told the prices of each site, and one on PUEs."""
    for kind, name in (("price", "Prices"), ("pue", "PUEs")):
        told = [row for row in document["rates"] if row["kind"] == kind]
        if told:
            yield f"{name} as told by {', '.join(map(_teller, told))}."


def _teller(row: Record) -> str:
    said = "" if row["said"] is None else f", said {_at(row['said'])}"
    source = clean(row["source"]) or "nobody named"
    return f"{source} (site {clean(row['site']) or 'not named'}{said})"


def _when(document: Record) -> str:
    period = document["period"]
    until = datetime.fromtimestamp(period["until"], UTC)
    lacks = ""
    if period["until"] < period["end"]:
        lacks = f", known up to {until:%Y-%m-%d %H:%M}"
    elif not period["is_whole"]:
        lacks = ", not known from its start"
    return f"{period['kind'].capitalize()} {period['name']} (UTC){lacks}"


def _amounts(name: str, totals: Record, before: Record | None) -> Text:
    return Text.assemble(
        (f"{name}: {units.joules(totals['joules'], kwh=True)}", "bold"),
        _change(totals["joules"], before["joules"] if before else None),
        f"\ncost {money(totals['costs'])}",
        f", carbon {units.grams(totals['carbon_g'])} (location-based)",
        f"\nmarket-based {units.grams(totals['carbon_market_g'])}",
        f", marginal {units.grams(totals['carbon_marginal_g'])}",
        _known_by(totals),
        *((f"\n{line}", "yellow") for line in unknown(totals)),
    )


def _known_by(totals: Record) -> str:
    """Return by which methods and whom the grams are known, and when that was said last."""
    if totals["carbon_g"] is None:
        return ""
    methods = ", ".join(totals["carbon_g_by_method"])
    sources = "; ".join(map(clean, totals["carbon_sources"]))
    said = "" if totals["carbon_said"] is None else f", said {_at(totals['carbon_said'])}"
    return f"\ncarbon by {methods}: {sources}{said}"


def unknown(totals: Record) -> Iterator[str]:
    """Give a sentence for each amount that is not known for all of the energy."""
    joules, lacks = totals["joules"], totals["unknown_joules"]
    if not joules:
        return
    facility, carbon = lacks["facility"] / joules, lacks["carbon"] / joules
    if lacks["cost"] > 0:
        yield f"No price is known for {units.percent(lacks['cost'] / joules)} of the energy."
    if facility > 0:
        yield f"No PUE, and so no grams, for {units.percent(facility)} of the energy."
    if carbon > facility:
        yield f"What the grid emitted is not known for {units.percent(carbon - facility)} of it."


def _change(now: float, before: float | None) -> str:
    if not before:
        return ""
    return f", {round(now / before - 1, 3) or 0.0:+.1%} against the one before"


def money(costs: Mapping[str, float]) -> str:
    """Return what was paid in each currency."""
    return " + ".join(units.money(paid, clean(c)) for c, paid in costs.items()) or units.UNKNOWN


def _teams(teams: Sequence[Record], whole: float, width: int) -> RenderableType:
    columns = ("Team", "Energy", "Share", "Idle held", "Cost", "Carbon", "Known")
    rows = [
        (
            named(team["team"]) if team["team"] else Text("(no team)", style="dim"),
            Text(units.watt_hours(team["totals"]["joules"])),
            Text(units.percent(team["totals"]["joules"] / whole if whole else None)),
            Text(units.percent(idle_ratio(team))),
            Text(money(team["totals"]["costs"])),
            Text(units.grams(team["totals"]["carbon_g"])),
            Text(units.percent(team["coverage"]["known_ratio"])),
        )
        for team in teams
    ]
    return table(width, columns, 1, rows)


def idle_ratio(team: Record) -> float | None:
    """Return which part of a team's energy was drawn by devices that it held idle."""
    joules, idle = team["totals"]["joules"], team["classes"].get("idle_held")
    return (idle["joules"] if idle else 0.0) / joules if joules else None


def _team(team: Record, width: int) -> Iterator[RenderableType]:
    yield _amounts(clean(team["team"]) or "No team", team["totals"], team["before"])
    yield f"known {units.percent(team['coverage']['known_ratio'])} of its device time"
    yield ""
    yield table(width, ("Class", "Energy", "Cost", "Carbon"), 1, [*_classes(team)])
    for title, columns, names, rows in (
        ("Held idle", ("Workload", "Energy", "Device time", "Cost", "Carbon"), 1, _waste(team)),
        ("Produced", ("AI model", "Outcome", "Count", "J active", "J loaded"), 2, _made(team)),
        ("Could be done now", ("Advice", "A month", "Money", "Carbon"), 1, _advice(team)),
        ("Done", ("Advice", "Saved", "Expected", "Verdict"), 1, _done(team)),
    ):
        if found := list(rows)[:ROWS]:
            yield ""
            yield Text(title, style="bold")
            yield table(width, columns, names, found)
    yield from _shifted(team)


def _classes(team: Record) -> Iterator[tuple[Text, ...]]:
    for name, amounts in team["classes"].items():
        yield (
            Text(_LABELS[name]),
            Text(units.watt_hours(amounts["joules"])),
            Text(money(amounts["costs"])),
            Text(units.grams(amounts["carbon_g"])),
        )


def _waste(team: Record) -> Iterator[tuple[Text, ...]]:
    for row in team["waste"]:
        yield (
            named(row["workload"]),
            Text(units.watt_hours(row["idle_held_joules"])),
            Text(units.seconds(row["idle_held_seconds"])),
            Text(money(row["idle_held_costs"])),
            Text(units.grams(row["idle_held_g"])),
        )


def _made(team: Record) -> Iterator[tuple[Text, ...]]:
    for row in team["outcomes"]:
        yield (
            named(row["ai_model"]),
            named(row["outcome"].replace("_", " ")),
            Text(units.count(row["count"])),
            Text(units.joules(row["joules_per_outcome_active"])),
            Text(units.joules(row["joules_per_outcome_loaded"])),
        )


def _advice(team: Record) -> Iterator[tuple[Text, ...]]:
    for row in team["advice"]:
        yield (
            named(row["title"]),
            Text(units.watt_hours(row["joules_per_month"])),
            Text(units.money(row["cost_per_month"], clean(row["currency"]))),
            Text(units.grams(row["g_per_month"])),
        )


def _done(team: Record) -> Iterator[tuple[Text, ...]]:
    for row in team["done"]:
        is_grams = row["expected_g"] is not None
        yield (
            named(row["title"]),
            Text(
                units.grams(row["saved_g"]) if is_grams else units.watt_hours(row["saved_joules"])
            ),
            Text(
                units.grams(row["expected_g"])
                if is_grams
                else units.watt_hours(row["expected_joules"])
            ),
            Text(row["verdict"].replace("_", " ")),
        )


def _shifted(team: Record) -> Iterator[RenderableType]:
    shifted = team["shifted"]
    if shifted["held"]:
        saved = ", ".join(f"{v:.4g} {clean(u)}" for u, v in shifted["saved_by_unit"].items())
        what = f"saved {saved or units.UNKNOWN} against running when they first asked"
        yield f"{shifted['held']} jobs waited for a better hour: {what}"
