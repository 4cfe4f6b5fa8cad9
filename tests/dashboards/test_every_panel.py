"""Every panel of every board answers: on the demo fleet, on nothing, and to hostile values."""

from __future__ import annotations

import re
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
HOSTILE = ("it's", "\\", "') OR 1=1 --", "${site}", "")
SILENT: dict[tuple[str, str], str] = {}
"""Panels that say nothing of the demo fleet, and why that is so."""
panels = pytest.mark.parametrize(
    ("uid", "panel"), ASKING, ids=[f"{uid}/{panel['title']}" for uid, panel in ASKING]
)


def window_of(uid: str, end: int) -> Window:
    """Return the window that the board opens with, up to ``end``."""
    found = re.fullmatch(r"now-(\d+)([hdwMy])", KNOWN.document(uid)["time"]["from"])
    assert found, uid
    return Window.of((end - int(found[1]) * UNITS_S[found[2]]) * 1000, end * 1000)


def answered(client: Client, uid: str, panel: Any, end: int, **chosen: str) -> list[Column]:
    asked = Asked(window_of(uid, end), {name: (value,) for name, value in chosen.items()})
    return KNOWN.answer(client, uid, panel["id"], asked)


@panels
def test_it_answers_for_the_fleet(fleet: Fleet, uid: str, panel: dict[str, Any]) -> None:
    columns = answered(fleet.client, uid, panel, fleet.end)
    names = [column["name"] for column in columns]
    assert len(names) == len(set(names))
    said = [value for c in columns if c["kind"] != "time" for value in c["values"]]
    if (uid, panel["title"]) not in SILENT:
        assert any(value is not None for value in said), "it says nothing"
    if panel["targets"][0]["format"] == 0:
        _is_series(columns)


def _is_series(columns: list[Column]) -> None:
    """A time first, ascending and never NULL; numbers, and one row for each time and label."""
    assert [c["kind"] for c in columns].count("time") == 1
    assert columns[0]["kind"] == "time"
    assert any(c["kind"] == "number" for c in columns)
    times = columns[0]["values"]
    assert times == sorted(times)
    labels = [c["values"] for c in columns if c["kind"] == "text"]
    keys = list(zip(times, *labels, strict=True))
    assert len(keys) == len(set(keys))


@pytest.fixture(scope="module")
def one_of_each(fleet: Fleet) -> dict[str, str]:
    """One value of every variable: of the node, team and workload that most is known of."""
    ((node, team, workload),) = fleet.client.rows(
        "SELECT node, team, workload FROM v_energy_1m WHERE team != '' AND kind = 'gpu' "
        "GROUP BY node, team, workload ORDER BY sum(joules) DESC LIMIT 1"
    )
    return {"node": str(node), "team": str(team), "workload": str(workload)}


@panels
def test_it_takes_one_value(
    fleet: Fleet, one_of_each: dict[str, str], uid: str, panel: dict[str, Any]
) -> None:
    """It may have nothing to say, but says that in the same columns."""
    named = {each["name"] for each in KNOWN.variables(uid)}
    chosen = {name: value for name, value in one_of_each.items() if name in named}
    columns = answered(fleet.client, uid, panel, fleet.end, **chosen)
    everything = answered(fleet.client, uid, panel, fleet.end)
    assert [(c["name"], c["kind"]) for c in columns] == [(c["name"], c["kind"]) for c in everything]


@panels
def test_a_hostile_value_is_only_a_value(fleet: Fleet, uid: str, panel: dict[str, Any]) -> None:
    """Nothing is called so, so that every row that depends on a choice is gone."""
    uses = re.findall(r"\$\{(\w+):singlequote\}", panel["targets"][0]["rawSql"])
    lengths = set()
    for value in HOSTILE[:-1] if uses else ():
        columns = answered(fleet.client, uid, panel, fleet.end, **dict.fromkeys(uses, value))
        lengths.add(len(columns[0]["values"]))
    assert len(lengths) <= 1


@pytest.mark.parametrize("uid", [board["uid"] for board in KNOWN.documents()])
def test_variables_have_choices(fleet: Fleet, uid: str) -> None:
    asked = Asked(window_of(uid, fleet.end), {})
    for variable in KNOWN.variables(uid):
        assert KNOWN.choices(fleet.client, uid, variable["name"], asked), variable["name"]
