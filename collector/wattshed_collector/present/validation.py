"""What ``wattshed validate`` found, for the terminal: at most 80 columns, like the report."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from wattshed_collector.validate import Answer, Counted, RunAnswer

from . import clean, units
from .layout import WIDTH, named, table
from .per_outcome import produced
from .terminal import lines


def print_answer(answer: Answer, console: Console) -> None:
    """Print what a folder of measurements gave: the official figure, the energy and each run."""
    width = min(console.width, WIDTH)
    official = answer["official"]
    rule = Text.assemble(
        (f"{official['value']:,.10g} {clean(official['unit'])}", "bold"),
        f" by {clean(official['rule'])}",
    )
    parts: list[RenderableType] = [Text(clean(answer["kind"]), style="dim"), rule]
    if published := official["published"]:
        away = abs(official["value"] / published - 1)
        parts.append(Text(f"published: {published:,.10g} (differs by {away:.2g} of it)"))
    parts += ["", _runs(answer, width), "", *_asides(answer)]
    for part in parts:
        console.print(part, width=width, highlight=False, crop=False)


def _runs(answer: Answer, width: int) -> Table:
    rows = [_run(clean(run["name"]), run) for run in answer["runs"]]
    if len(rows) > 1:
        rows.append(_run("all", answer))
    columns = ("Run", "Energy", "Mean power", "Known", "Produced", "J each")
    return table(width, columns, 1, rows)


def _run(title: str, run: RunAnswer | Answer) -> tuple[Text, ...]:
    made: dict[str, Counted] = run["outcomes"]
    return (
        named(title),
        Text(units.joules(run["energy_joules"])),
        Text(units.watts(run["mean_power_watts"])),
        Text(units.seconds(run["known_seconds"])),
        lines((produced(kind, made[kind]["count"]) for kind in made), "none counted"),
        lines((units.joules(made[kind]["joules_per_outcome"]) for kind in made), units.UNKNOWN),
    )


def _asides(answer: Answer) -> Iterator[Text]:
    unknown = answer["unknown_seconds"]
    yield Text(f"Time in the window whose energy is unknown: {units.seconds(unknown)}", style="dim")
    yield Text(f"Before the window: {units.joules(answer['before_window_joules'])}", style="dim")
    for note in answer["notes"]:
        yield Text(clean(note), style="yellow")
