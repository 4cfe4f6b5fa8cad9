"""The tables of the terminal: 80 columns, colour only from the console, names only as text."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any, Literal

import pytest
from rich.cells import cell_len
from rich.console import Console

from wattshed_collector.present import terminal
from wattshed_collector.report import Report
from wattshed_collector.store.queries import GROUPS

Reports = dict[str, Callable[[], Report]]


def console(width: int = 80, colour: bool = False) -> Console:
    system: Literal["standard"] | None = "standard" if colour else None
    return Console(
        file=StringIO(), width=width, force_terminal=colour, color_system=system, no_color=False
    )


def text(of: Console) -> str:
    assert isinstance(of.file, StringIO)
    return of.file.getvalue()


def shown(report: Report, width: int = 80) -> str:
    out = console(width)
    terminal.print_report(report, out)
    return text(out)


@pytest.mark.parametrize("name", ["fleet", "host", "empty", "hostile"])
@pytest.mark.parametrize("width", [80, 200])
def test_it_fits_in_80_columns(reports: Reports, name: str, width: int) -> None:
    lines = shown(reports[name](), width).splitlines()
    assert max(cell_len(line) for line in lines) <= 80


@pytest.mark.parametrize("width", [30, 40, 60])
def test_where_it_is_narrower_no_number_gives_way(reports: Reports, width: int) -> None:
    out = shown(reports["fleet"](), width)
    wide = [line.split()[-2:] for line in shown(reports["fleet"]()).splitlines() if "kJ" in line]
    assert wide
    for joules in wide:
        assert " ".join(joules) in out
    assert "█…" not in out


def test_the_fleet_is_all_there(reports: Reports) -> None:
    out = shown(reports["fleet"]())
    assert "892 MJ (248 kWh), now 11.2 kW, 15 workloads" in out
    assert "13.4 % burned for nothing: 120 MJ (33.3 kWh) idle" in out
    assert "Simulated fleet: 86 % of this energy was never measured." in out
    assert "247 M tokens out" in out
    assert "every joule is accounted for" in out
    for words in ("Idle, held", "sim-reno-edge-02", "canary-8x22b", "none counted"):
        assert words in out


def test_grams_say_who_says_so_or_why_there_are_none(reports: Reports) -> None:
    told = " ".join(shown(reports["fleet"]()).split())
    assert "carbon 162 kg location-based, average (hourly, yearly: a service, a table, said" in told
    told = " ".join(shown(reports["host"]()).split())
    assert "carbon not known: the site's PUE is not known" in told
    # One small site without a PUE takes away its own grams alone.
    fleet = reports["fleet"]()
    small = {"carbon_unknown_joules": 8.92e6, "carbon_reason": "the site's PUE is not known"}
    told = " ".join(shown({**fleet, "carbon": fleet["carbon"] | small}).split())
    assert "carbon 162 kg location-based" in told
    assert "and of 8.92 MJ (1 %) not known: the site's PUE is not known" in told


def test_models_stand_by_what_an_outcome_of_theirs_takes(reports: Reports) -> None:
    lines = shown(reports["fleet"]()).splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("AI model"))
    table = lines[start : start + 8]
    assert table[0].split()[2:] == ["Produced", "Energy", "Active", "Loaded", "+-", "Before"]
    told = [" ".join(line.split()) for line in table[2:]]
    assert told[0] == "llama-3.1-70b fp8 740 M tokens in 142 MJ 154 mJ 192 mJ 2 % 1.42 MJ"
    assert told[2].endswith("91.0 k images 17.7 MJ 156 J 195 J 50 % 177 kJ")
    assert told[3].endswith("none counted 10.2 MJ 102 kJ")
    assert told[4].endswith("2.70 M inferences 1.40 MJ 415 mJ 519 mJ unknown 14.0 kJ")
    assert told[5].endswith("230 k inferences unknown")


def test_many_models_end_in_how_many_more_there_are(reports: Reports) -> None:
    report = reports["fleet"]()
    report["outcomes"] = [report["outcomes"][0]] * 27
    assert "7 others" in shown(report)


def test_what_is_not_known_reads_unknown(reports: Reports) -> None:
    report = reports["fleet"]()
    report["live_power_watts"] = None
    assert "now unknown" in shown(report)


def test_a_plain_host_has_no_table_of_workloads(reports: Reports) -> None:
    out = shown(reports["host"]())
    assert "Workload" not in out
    assert "AI model" not in out
    assert "No power meter: 14.1 kJ is estimated from utilisation, ±50 %." in out
    assert "Unattributed" in out


def test_an_empty_store_says_what_to_do(reports: Reports) -> None:
    out = shown(reports["empty"]())
    assert out.startswith("No energy is known")
    assert "Start an exporter" in out
    assert "0 J" not in out


@pytest.mark.parametrize("name", ["fleet", "hostile"])
def test_colour_is_the_choice_of_the_console(reports: Reports, name: str) -> None:
    assert "\x1b" not in shown(reports[name]())
    out = console(colour=True)
    terminal.print_report(reports[name](), out)
    assert "\x1b[34m█" in text(out)


def test_names_are_neither_markup_nor_control(reports: Reports) -> None:
    out = shown(reports["hostile"]())
    assert "[red]\ufffd[31m" in out.replace("\n", "")
    assert "\x1b" not in out


def test_long_lists_end_in_a_sum(reports: Reports) -> None:
    report = reports["fleet"]()
    report["nodes"] = [report["nodes"][0]] * 50
    assert "30 others" in shown(report)


def records(report: Report, by: str) -> list[dict[str, Any]]:
    record = {**report["devices"][0], **report["workloads"][0], "idle_unallocated_joules": 0.0}
    return [{column: f"a-rather-long-{column}-name" for column in GROUPS[by]} | record] * 3


@pytest.mark.parametrize("by", GROUPS)
def test_energy_by_every_group_fits(reports: Reports, by: str) -> None:
    out = console()
    terminal.print_energy(records(reports["fleet"](), by), by, out)
    lines = text(out).splitlines()
    assert len(lines) == 5
    assert max(cell_len(line) for line in lines) <= 80
    assert "33.3 %" in lines[2]
    assert "354 MJ" in lines[2]


def test_why_grams_are_not_known_stands_below_the_table(reports: Reports) -> None:
    out = console()
    reason = "what a kilowatt hour of the site's grid emitted is not known"
    known = {"carbon_g": 12_345.0, "carbon_methods": ["factor", "hourly"], "carbon_reason": ""}
    unknown: dict[str, Any] = {"carbon_g": None, "carbon_methods": [], "carbon_reason": reason}
    unknown["carbon_unknown_joules"] = 4e6
    rows = records(reports["fleet"](), "node")
    terminal.print_energy([rows[0] | known, rows[1] | unknown, rows[2] | unknown], "node", out)
    lines = text(out).splitlines()
    assert max(cell_len(line) for line in lines) <= 80
    assert lines[2].endswith("12.3 kg  factor, hourly")
    assert " ".join(" ".join(lines[5:]).split()) == f"Carbon of 8.00 MJ is not known: {reason}."


def test_names_that_differ_at_their_ends_stay_apart(reports: Reports) -> None:
    out = console()
    terminal.print_energy(reports["fleet"]()["devices"][:8], "device", out)
    names = {line.split()[0] for line in text(out).splitlines()[2:]}
    assert len(names) == 8


def test_no_energy_is_a_sentence() -> None:
    out = console()
    terminal.print_energy([], "team", out)
    assert text(out) == "No energy is known in this window.\n"
