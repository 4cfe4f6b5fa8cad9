"""The report and the energy table in a terminal, at most 80 columns wide.

Colour comes through the console, which decides whether there is any. Names come from outside: they
are never read as markup, and characters that would steer a terminal are replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from wattshed_collector.report import Report
from wattshed_collector.store.queries import GROUPS

from . import CLASSES, CONSERVED_RATIO, IDLE_CLASSES, METHODS, clean, units
from .layout import WIDTH, named, table
from .per_outcome import by_model, produced

Record = dict[str, Any]

COLOURS = {
    "active": "blue",
    "idle_held": "yellow",
    "idle_unallocated": "red",
    "overhead": "bright_black",
    "unattributed": "white",
}
BAR = 24
BESIDE_BAR = 42
"""What the other columns beside the bar take at most."""
ROWS = 20
HIGH_IDLE_RATIO = 0.3

_START = (
    "Start an exporter on each server (`make up` starts one here, `make demo` adds a simulated "
    "fleet), or ask for a longer window with --since."
)
_TITLES = {"ai_model": "AI model"}
_SHORT = {"active": "Active", "idle_held": "Held", "idle_unallocated": "Nobody"}


def print_report(report: Report, console: Console) -> None:
    """Print the whole report; an empty one becomes one sentence that says what to do."""
    width = min(console.width, WIDTH)
    parts: list[RenderableType] = [_headline(report)]
    if report["total_joules"]:
        parts += ["", _classes(report, width)]
        if report["workloads"]:
            parts += ["", _workloads(report["workloads"], width)]
        if report["outcomes"]:
            parts += ["", by_model(report["outcomes"], width)]
        parts += ["", _nodes(report["nodes"], width), ""]
        if report["outer_meters"]:
            parts += [_outer_meters(report["outer_meters"], width), ""]
        parts += [_footer(report)]
    for part in parts:
        console.print(part, width=width, highlight=False, crop=False)


def print_energy(records: Sequence[Record], by: str, console: Console) -> None:
    """Print records of ``queries.energy`` grouped by ``by``; an empty list becomes a sentence."""
    width = min(console.width, WIDTH)
    if not records:
        console.print(Text("No energy is known in this window.", style="dim"), width=width)
        return
    groups = GROUPS[by]
    is_priced = any(r.get("cost") is not None or r.get("facility_joules") for r in records)
    money = ("With PUE", "Cost") if is_priced else ()
    emitted = ("Carbon", "By") if "carbon_g" in records[0] else ()
    shown = {} if by == "class" or money or emitted else _SHORT
    extra = ("",) if len(groups) == 1 and not (money or emitted) else ()
    columns = [_TITLES.get(column, column.replace("_", " ").capitalize()) for column in groups]
    total = sum(float(record["joules"]) for record in records)
    rows = [
        (
            *(named(record[column]) for column in groups),
            Text(units.joules(record["joules"])),
            *(Text(units.watt_hours(record["joules"])) for _ in extra),
            Text(units.percent(_part(record["joules"], total))),
            *_parts(record, shown),
            *(_money(record) if money else ()),
            *(_emitted(record) if emitted else ()),
        )
        for record in records
    ]
    names = len(groups)
    titles = [*columns, "Energy", *extra, "Share", *shown.values(), *money, *emitted]
    built = table(width, titles, names, rows)
    console.print(built, crop=False)
    for line in _not_emitted(records) if emitted else ():
        console.print(line, width=width)


def _money(record: Record) -> Iterator[Text]:
    yield Text(units.joules(record["facility_joules"]))
    yield Text(units.money(record["cost"], clean(record["currency"])))


def _emitted(record: Record) -> Iterator[Text]:
    yield Text(units.grams(record["carbon_g"]))
    is_known = record["carbon_g"] is not None
    yield Text(clean(", ".join(record["carbon_methods"])) if is_known else "")


def _not_emitted(records: Sequence[Record]) -> Iterator[Text]:
    """Give a sentence for each reason for which grams are not known of some joules."""
    left = Counter[str]()
    for record in records:
        if record["carbon_reason"]:
            left[record["carbon_reason"]] += record["carbon_unknown_joules"]
    for reason, joules in left.items():
        told = f"Carbon of {units.joules(joules)} is not known: {clean(reason)}."
        yield Text(told, style="yellow")


def _headline(report: Report) -> Group:
    start, end = report["window"]["start"], report["window"]["end"]
    first, last = (datetime.fromtimestamp(seconds).astimezone() for seconds in (start, end))
    when = f"{first:%d %b %H:%M} to {last:%d %b %H:%M %Z}, {units.seconds(end - start)}"
    total = report["total_joules"]
    if not total:
        return Group(Text(f"No energy is known from {when}.", style="bold"), Text(_START))
    idle = sum(report["classes"][name] for name in IDLE_CLASSES)
    line = Text.assemble(
        (units.joules(total, kwh=True), "bold"),
        f", now {units.watts(report['live_power_watts'])}",
        f", {len(report['workloads'])} workloads\n",
        (f"{units.percent(_part(idle, total))} burned for nothing", "bold"),
        f": {units.joules(idle, kwh=True)} idle\n",
        _carbon(report["carbon"], total),
    )
    return Group(Text(when, style="dim"), line, *_warnings(report))


def _carbon(told: Record, total: float) -> str:
    """Return a sentence on grams, who says so and when, and of how much of ``total`` joules they
    are not known, and why."""
    if told["carbon_g"] is None:
        return f"carbon not known: {told['carbon_reason']}"
    methods, sources = (", ".join(map(clean, told[f"carbon_{n}"])) for n in ("methods", "sources"))
    at = told["carbon_said"]
    when = None if at is None else datetime.fromtimestamp(at).astimezone()
    said = "" if when is None else f", said {when:%d %b %Y %H:%M %Z}"
    grams = units.grams(told["carbon_g"])
    found = f"carbon {grams} {told['carbon_scope']} ({methods}: {sources}{said})"
    if not told["carbon_reason"]:
        return found
    left = told["carbon_unknown_joules"]
    part = f"{units.joules(left)} ({units.percent(_part(left, total))})"
    return f"{found}\n  and of {part} not known: {told['carbon_reason']}"


def _warnings(report: Report) -> Iterator[Text]:
    by_method = report["quality"]["by_method"]
    if simulated := by_method.get("simulated"):
        share = units.percent(_part(simulated, sum(by_method.values())))
        yield Text(f"Simulated fleet: {share} of this energy was never measured.", style="yellow")
    if estimated := by_method.get("estimated"):
        text = f"No power meter: {units.joules(estimated)} is estimated from utilisation, ±50 %."
        yield Text(text, style="yellow")


def _classes(report: Report, width: int) -> Table:
    longest = min(BAR, max(width - BESIDE_BAR, 1))
    rows = []
    for words in CLASSES:
        joules = report["classes"][words.key]
        share = _part(joules, report["total_joules"]) or 0.0
        bar = Text("█" * max(round(share * longest), 1 if joules else 0), style=COLOURS[words.key])
        label = Text(words.label)
        rows.append((label, bar, Text(units.joules(joules)), Text(units.percent(share))))
    return table(width, ("Where it went", "", "Energy", "Share"), 2, rows)


def _workloads(records: Sequence[Record], width: int) -> Table:
    columns = ("Workload", "Team", "Energy", "Idle", "Produced", "Active", "Loaded")
    rows = [_workload(record) for record in records[:ROWS]]
    return table(width, columns, 2, [*rows, *_rest(records, 2)])


def _workload(record: Record) -> tuple[Text, ...]:
    idle = _part(record["idle_held_joules"], record["joules"])
    high = idle is not None and idle > HIGH_IDLE_RATIO
    kinds = list(record["outcomes"])
    costs = [record["joules_per_outcome"][kind] for kind in kinds]
    return (
        named(record["workload"] or record["workload_key"]),
        named(record["team"]),
        Text(units.joules(record["joules"])),
        Text(units.percent(idle), style="bold red" if high else ""),
        lines((produced(kind, record["outcomes"][kind]) for kind in kinds), "none counted"),
        lines((units.joules(cost["active"]) for cost in costs), units.UNKNOWN),
        lines((units.joules(cost["loaded"]) for cost in costs), units.UNKNOWN),
    )


def lines(texts: Iterable[str], none: str) -> Text:
    joined = "\n".join(texts)
    return Text(joined) if joined else Text(none, style="dim italic")


def _nodes(records: Sequence[Record], width: int) -> Table:
    columns = ("Node", "Site", "Energy", *_SHORT.values())
    rows = [
        (
            named(record["node"]),
            named(record["site"]),
            Text(units.joules(record["joules"])),
            *_parts(record, _SHORT),
        )
        for record in records[:ROWS]
    ]
    return table(width, columns, 2, [*rows, *_rest(records, 2)])


def _outer_meters(records: Sequence[Record], width: int) -> Table:
    rows: list[tuple[Text, ...]] = [
        (
            named(record["device"]),
            Text(units.joules(record["outer_joules"])),
            Text(units.joules(record["inner_joules"])),
            Text(units.joules(record["remainder_joules"] - record["missing_joules"])),
            Text(units.joules(record["uncovered_joules"])),
            _disagreeing(record),
        )
        for record in records[:ROWS]
    ]
    if len(records) > ROWS:
        rows.append((Text(f"{len(records) - ROWS} others", style="dim"), *[Text("")] * 5))
    return table(width, ("Outer meter", "Measured", "Inside", "Beside", "Open", "Wrong"), 1, rows)


def _disagreeing(record: Record) -> Text:
    hours = record["mismatched_hours"]
    return Text(f"{hours} of {record['hours']} h", style="bold red" if hours else "")


def _parts(record: Record, names: Iterable[str]) -> Iterator[Text]:
    for name in names:
        yield Text(units.percent(_part(record[f"{name}_joules"], record["joules"])))


def _rest(records: Sequence[Record], names: int) -> Iterator[tuple[Text, ...]]:
    rest = records[ROWS:]
    if rest:
        joules = units.joules(sum(float(record["joules"]) for record in rest))
        label = Text(f"{len(rest)} others", style="dim")
        yield (label, *(Text("") for _ in range(names - 1)), Text(joules))


def _footer(report: Report) -> Text:
    quality = report["quality"]
    by_method = quality["by_method"]
    total = sum(by_method.values())
    methods = ", ".join(
        f"{words.label.lower()} {units.percent(_part(by_method[words.key], total))}"
        for words in METHODS
        if words.key in by_method
    )
    lost = sum(quality["unknown_seconds"].values())
    reasons = ", ".join(clean(reason).replace("_", " ") for reason in quality["unknown_seconds"])
    worst = quality["residual_worst_ratio"]
    kept = "every joule is accounted for" if worst <= CONSERVED_RATIO else "charges differ"
    refused = quality["quarantined"]
    kinds = ", ".join(f"{clean(r).replace('_', ' ')} {n}" for r, n in refused.items())
    lines = (
        f"How sure: {methods or units.UNKNOWN}",
        f"Unknown device time: {units.seconds(lost)}" + (f" ({reasons})" if reasons else ""),
        f"Charged against measured: {kept} (worst {worst:.1g})",
        *([f"Allocations in quarantine: {sum(refused.values())} ({kinds})"] if refused else []),
        "Active, loaded: joules per outcome, without and with what was held idle.",
    )
    return Text("\n".join(lines if report["workloads"] else lines[:-1]), style="dim")


def _part(amount: float, total: float) -> float | None:
    return amount / total if total else None
