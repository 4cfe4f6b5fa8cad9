"""Tables by a mapping: every unit, wide and long, dirt, and what is wrong with a mapping."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise.dialect import ENERGY, POWER
from wattshed_collector.normalise.facts import Limits, Normaliser
from wattshed_collector.receivers.files import Place, Reading, Tally, paced
from wattshed_collector.receivers.files.mapping import QUANTITIES, Meaning, load, over, pairs
from wattshed_collector.receivers.files.table import DELIMITERS, Table, sniffed
from wattshed_exporter.model import Batch

START = 1_764_126_245_000
LONG = Meaning(
    {"time": "when", "power_watts": "watts", "device": "meter"}, {"kind": "host", "site": "attic"}
)


def read(text: str, meaning: Meaning, node: str = "n1") -> tuple[list[Reading], Tally]:
    tally = Tally()
    table = Table(meaning, Place(node), tally)
    return list(table.read(enumerate(text.split("\n"), 1))), tally


def batch(readings: list[Reading]) -> Batch:
    points = [point for one in paced(readings) for point in one.points]
    return Normaliser(Limits(oldest_seconds=0)).batch(points)


def test_long() -> None:
    found, tally = read(f"when,watts,meter,more\n{START},1.5,psu,x\n{START},2.5,GPU-1,y", LONG)
    assert [(r.line, r.ts_ms, r.values) for r in found] == [
        (2, START, ((POWER, "W", 1.5),)),
        (3, START, ((POWER, "W", 2.5),)),
    ]
    assert [r.attributes["hw.id"] for r in found] == ["n1/csv/psu", "GPU-1"]
    assert found[0].attributes["hw.type"] == "host"
    assert found[0].attributes["wattshed.site"] == "attic"
    assert not tally.counts


def test_wide() -> None:
    meaning = Meaning(
        {
            "time": "t",
            "power_watts:gpu0": "p0",
            "power_watts:gpu1": "p1",
            "temperature_celsius:gpu1": "c",
        }
    )
    found, tally = read(f"t;p0;p1;c\n{START};1;;40\n{START + 1};;;", meaning)
    assert [(r.attributes["hw.id"], r.values) for r in found] == [
        ("n1/csv/gpu0", ((POWER, "W", 1.0),)),
        ("n1/csv/gpu1", (("hw.temperature", "Cel", 40.0),)),
    ]
    assert tally.document() == {"no_value": {"count": 1, "file": "", "line": 3}}


UNITS = {
    "power_milliwatts": ("power_watts", 0.0015),
    "power_kilowatts": ("power_watts", 1500.0),
    "energy_kilowatt_hours": ("energy_uj", 5_400_000_000_000),
    "energy_watt_hours": ("energy_uj", 5_400_000_000),
    "energy_millijoules": ("energy_uj", 1500),
    "utilization_percent": ("utilization_ratio", 0.015),
    "memory_used_mebibytes": ("memory_used_bytes", 1_572_864),
    "temperature_celsius": ("temperature_celsius", 1.5),
}


@pytest.mark.parametrize("name", UNITS)
def test_units(name: str) -> None:
    meaning = Meaning({"time": "t", name: "x"}, {"device": "d"})
    (tick,) = batch(read(f"t,x\n{START},1.5", meaning)[0]).ticks
    field, value = UNITS[name]
    assert getattr(tick, field) == pytest.approx(value)
    assert tick.method == ("counter" if name.startswith("energy") else "integral")


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_is_known_to_the_normaliser(name: str) -> None:
    found = read(f"t,x\n{START},0.5", Meaning({"time": "t", name: "x"}, {"device": "d"}))[0]
    made = batch(found)
    assert not made.rejected
    assert made.devices


def test_missing_is_absent_and_never_zero() -> None:
    meaning = over(LONG, missing=("k.A.",))
    rows = "\n".join(f"{START + n},{said},psu" for n, said in enumerate(("NA", "", "K.a.", "0")))
    found, tally = read(f"when,watts,meter\n{rows}", meaning)
    assert [r.values for r in found] == [((POWER, "W", 0.0),)]
    assert tally.counts == {"no_value": 3}


def test_dirt_costs_its_row_alone() -> None:
    rows = [
        "when,watts,meter",
        f"{START},1,psu",
        f"{START},1",
        "soon,1,psu",
        f"{START},1_0,psu",
        f"{START},1,",
        "",
        f'{START + 1},2,"p\nsu"',
        f"{START + 2},3,psu",
    ]
    found, tally = read("\n".join(rows), LONG)
    assert [(r.line, r.ts_ms - START) for r in found] == [(2, 0), (8, 1), (10, 2)]
    assert {reason: said["line"] for reason, said in tally.document().items()} == {
        "malformed": 3,
        "bad_time": 4,
        "not_a_number": 5,
        "no_device": 6,
    }


def test_a_quote_that_is_never_closed() -> None:
    rows = [f"{START + n},{n},psu" for n in range(20_000)]
    rows[3] = f'{START + 3},"3,psu'
    found, tally = read("\n".join(["when,watts,meter", *rows]), LONG)
    assert [r.ts_ms - START for r in found[:3]] == [0, 1, 2]
    assert found[-1].ts_ms == START + 19_999
    assert tally.document()["malformed"]["line"] == 5


def test_local_times_decimal_commas_and_no_header() -> None:
    meaning = Meaning(
        {"time": "1", "energy_kilowatt_hours": "3"},
        {"device": "meter", "kind": "site"},
        delimiter=";",
        decimal=",",
        time_format="%d.%m.%Y %H:%M",
        timezone="Europe/Berlin",
        header=False,
    )
    (found,), tally = read("26.11.2025 04:04;x;1234,5", meaning)
    assert (found.ts_ms, found.values) == (START - 5000, ((ENERGY, "kW.h", 1234.5),))
    assert not tally.counts


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"map": {}}, "which one column is the time"),
        (
            {"map": {"time": "t", "time_ms": "u", "power_watts": "p"}},
            "which one column is the time",
        ),
        ({"map": {"time": "t"}}, "power or the energy"),
        ({"map": {"time": "t", "power_horses": "p"}}, "'power_horses' is no field; they are time"),
        ({"map": {"time": "t", "power_watts:": "p"}}, "is no field"),
        ({"map": {"time": "t", "power_watts": "p"}, "set": {}}, "which device"),
        ({"map": {"time": "t", "power_watts:a": "p"}}, "so no other names them"),
        ({"set": {"device": "d", "kind": "toaster"}}, "kind is one of gpu, cpu"),
        ({"set": {"device": "d", "colour": "red"}}, "'colour' is no text"),
        ({"delimiter": "ab"}, "not one character"),
        ({"decimal": "'"}, "neither . nor ,"),
        ({"timezone": "Mars/Olympus"}, "no time zone"),
    ],
)
def test_what_is_wrong_with_a_mapping(said: dict[str, Any], problem: str) -> None:
    usual: dict[str, Any] = {"map": {"time": "t", "power_watts": "p"}, "set": {"device": "d"}}
    with pytest.raises(InvalidInput, match=problem):
        Table(Meaning(**{**usual, **said}), Place("n1"), Tally())


@pytest.mark.parametrize(
    ("text", "node", "problem"),
    [
        ("when,watts\n1,2", "n1", "no column 'meter'; it has: when, watts"),
        ("", "n1", "empty"),
        (f"when,watts,meter\n{START},1,psu", "", "--node"),
    ],
)
def test_a_table_that_does_not_fit(text: str, node: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        read(text, LONG, node)


def test_a_mapping_file_and_flags_over_it(tmp_path: Path) -> None:
    file = tmp_path / "meter.yaml"
    file.write_text(
        "delimiter: ;\ndecimal: ','\nmissing: [aus, 0x]\n"
        "map: {time: 1, power_watts: {gpu0: p0, gpu1: p1}}\nset: {node: n1}\n"
    )
    base = load(file)
    assert base.map == {"time": "1", "power_watts:gpu0": "p0", "power_watts:gpu1": "p1"}
    assert (base.delimiter, base.decimal, base.missing) == (";", ",", ("aus", "0x"))
    told = over(base, map=pairs(["time=t"], "--map"), set={}, delimiter="", header=None)
    assert told.map["time"] == "t"
    assert (told.set, told.delimiter, told.header) == ({"node": "n1"}, ";", True)


@pytest.mark.parametrize(
    "text", ["[1]", "colour: red", "map: 3", "header: maybe", "a: [", "map: {1: {2: 3}}\nx: 1"]
)
def test_a_broken_mapping_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput):
        load(file)


def test_arguments_that_are_no_pairs() -> None:
    with pytest.raises(InvalidInput, match="--map: 'time'"):
        pairs(["time"], "--map")


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.none() | st.floats(0, 1e6), CELLS),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(DELIMITERS),
)
def test_a_written_table_is_read_again(
    rows: list[tuple[int, float | None, str]], delimiter: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["note", "when", "watts"])
    for at, watts, note in rows:
        writer.writerow([note, START + at, "" if watts is None else repr(watts)])
    meaning = Meaning(
        {"time": "when", "power_watts": "watts"}, {"device": "d"}, delimiter=delimiter
    )
    found, tally = read(out.getvalue(), meaning)
    expected = [(START + at, watts) for at, watts, _ in rows if watts is not None]
    assert [(r.ts_ms, r.values[0][2]) for r in found] == expected
    assert tally.counts.total() == len(rows) - len(expected)


@given(st.sampled_from(DELIMITERS), st.lists(st.integers(0, 999), min_size=3, max_size=9))
def test_the_delimiter_is_found(delimiter: str, numbers: list[int]) -> None:
    rows = [delimiter.join(["time", "power", "name"])]
    rows += [delimiter.join([str(n), f"{n}.5", "a b"]) for n in numbers]
    assert sniffed(rows) == delimiter


@given(st.lists(CELLS, max_size=8))
def test_any_rows_are_readings_or_counted(rows: list[str]) -> None:
    found, tally = read("\n".join(["when,watts,meter", f"{START},1,psu", *rows]), LONG)
    assert found[0].ts_ms == START
    assert len(found) + tally.counts.total() >= 1
