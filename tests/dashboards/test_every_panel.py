"""Every panel of every board answers: on the demo fleet, on nothing, and to hostile values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from tests.fixtures.fleet_store import Fleet
from tests.fixtures.trial_board import TRIAL

from wattshed_collector.boards import Asked, Boards, Column, panels_of
from wattshed_collector.store.client import Client
from wattshed_dashboards.boards import BOARDS
from wattshed_dashboards.macros import Window

KNOWN = Boards((*BOARDS, TRIAL))
ASKING = [
    (board["uid"], panel)
    for board in KNOWN.documents()
    for panel in panels_of(board)
    if "targets" in panel
]
UNITS_S = {"h": 3600, "d": 86_400, "y": 31_536_000, "w": 604_800, "M": 2_592_000}
HOSTILE = ("it's", "\\", "') OR 1=1 --", "${site}")
Answer = list[Column]
OF_A_COLLECTOR = "what a running collector keeps of itself; tests/collector/test_board_panels.py"
SILENT: dict[tuple[str, str], str] = {
    **{
        ("wattshed-stack", title): OF_A_COLLECTOR
        for title in (
            "Safe within",
            "Taken in",
            "Not taken in",
            "Ledger is behind",
            "Disk lasts for",
            "Most table parts",
            "Own power",
            "What collectors draw",
            "Not taken in, by reason",
            "Time until it is safe",
            "CPU and ledger",
            "Memory",
            "What exporters say of themselves",
            "Tables",
        )
    },
}
"""Panels that say nothing of the demo fleet, and why that is so."""
BRIEF = ("wattshed-workloads", "Who holds what now")
"""Of the last minutes: the past of the fleet may have ended before them, when this is asked."""
panels = pytest.mark.parametrize(
    ("uid", "panel"), ASKING, ids=[f"{uid}/{panel['title']}" for uid, panel in ASKING]
)


def window_of(uid: str, end: int) -> Window:
    """Return the window that the board opens with, up to ``end``."""
    found = re.fullmatch(r"now-(\d+)([hdwMy])", KNOWN.document(uid)["time"]["from"])
    assert found, uid
    return Window.of((end - int(found[1]) * UNITS_S[found[2]]) * 1000, end * 1000)


def answered(client: Client, uid: str, panel: Any, end: int, **chosen: Sequence[str]) -> Answer:
    return KNOWN.answer(client, uid, panel["id"], Asked(window_of(uid, end), chosen))


@panels
def test_it_answers_for_the_fleet(fleet: Fleet, uid: str, panel: dict[str, Any]) -> None:
    """With everything, and in the same columns for one node among names that are nobody's."""
    columns = answered(fleet.client, uid, panel, fleet.end)
    said = [value for c in columns if c["kind"] != "time" for value in c["values"]]
    speaks = any(value is not None for value in said)
    if (uid, panel["title"]) != BRIEF:
        assert speaks is ((uid, panel["title"]) not in SILENT)
    names = [(column["name"], column["kind"]) for column in columns]
    assert len({name for name, _ in names}) == len(names)
    if panel["targets"][0]["format"] == 0:
        _is_series(columns)
    used = set(re.findall(r"\$\{(\w+):singlequote\}", panel["targets"][0]["rawSql"]))
    if used:
        values = dict.fromkeys(used, ("sim-dub-gpu-01", *HOSTILE))
        narrowed = answered(fleet.client, uid, panel, fleet.end, **values)
        assert [(c["name"], c["kind"]) for c in narrowed] == names


def _is_series(columns: Answer) -> None:
    """A time first, ascending and never NULL; numbers, and one row for each time and label."""
    assert [c["kind"] for c in columns].count("time") == 1
    assert columns[0]["kind"] == "time"
    assert any(c["kind"] == "number" for c in columns)
    times = columns[0]["values"]
    assert None not in times
    assert times == sorted(times)
    labels = [c["values"] for c in columns if c["kind"] == "text"]
    keys = list(zip(times, *labels, strict=True))
    assert len(keys) == len(set(keys))


def test_only_panels_are_silent() -> None:
    assert {*SILENT, BRIEF} <= {(uid, panel["title"]) for uid, panel in ASKING}


def test_one_node_is_a_part_of_the_fleet(fleet: Fleet) -> None:
    panel = KNOWN.panel(TRIAL.uid, 2)
    (everything,) = answered(fleet.client, TRIAL.uid, panel, fleet.end)
    (one,) = answered(fleet.client, TRIAL.uid, panel, fleet.end, node=("sim-dub-gpu-01",))
    (nobodys,) = answered(fleet.client, TRIAL.uid, panel, fleet.end, node=HOSTILE)
    assert 0 == nobodys["values"][0] < one["values"][0] < everything["values"][0]


@pytest.mark.parametrize("uid", [board["uid"] for board in KNOWN.documents()])
def test_variables_have_choices(fleet: Fleet, uid: str) -> None:
    asked = Asked(window_of(uid, fleet.end), {})
    for variable in KNOWN.variables(uid):
        assert KNOWN.choices(fleet.client, uid, variable["name"], asked), variable["name"]
