"""What ``wattshed validate`` found, for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from wattshed_collector.validate import Answer

from . import units


def print_answer(answer: Answer, console: Console) -> None:
    """Print the measured figures, each run, the official figure and what there is to know."""
    official = answer["official"]
    console.print(f"[bold]{answer['kind']}[/], {len(answer['runs'])} measured window(s)")
    console.print(_runs(answer))
    published = official["published"]
    console.print(
        f"[bold]{official['value']:,.10g} {official['unit']}[/] by {official['rule']}"
        + (f", published {published:,.10g} {official['unit']}" if published is not None else "")
    )
    for note in answer["notes"]:
        console.print(f"- {note}", style="dim", markup=False, highlight=False)


def _runs(answer: Answer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("window", "energy", "mean power", "unknown", "per outcome"):
        table.add_column(heading, justify="left" if heading == "window" else "right")
    for run in answer["runs"]:
        table.add_row(
            units.seconds(run["window"]["end"] - run["window"]["start"]),
            units.joules(run["energy_joules"]),
            units.watts(run["mean_power_watts"]),
            units.seconds(run["unknown_seconds"]),
            "\n".join(
                f"{units.joules(counted['joules_per_outcome'])}/{kind}"
                for kind, counted in run["outcomes"].items()
            ),
        )
    return table
