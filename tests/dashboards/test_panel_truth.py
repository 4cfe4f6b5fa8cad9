"""What panels say of the demo fleet is what its plan says, on every board."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from tests.dashboards.panel_truths import CHECKS, HOURS, Check, World
from tests.dashboards.truth import HOUR_S, Plan, Truth, on_node
from tests.fixtures.fleet_store import HISTORY_HOURS, SEED, Fleet

from wattshed_collector.boards import Asked, Boards, panels_of
from wattshed_dashboards.boards import BOARDS
from wattshed_dashboards.macros import Window
from wattshed_exporter.sources.simulate_curve import LIVE_STEP_MS, MINUTE_MS

RELATIVE = 1e-6
DAY_S = 24 * HOUR_S
UNSETTLED_S = 180
"""What panels leave out of the newest, of which readings may still come; and a minute."""
KNOWN = Boards(BOARDS)


def world_of(fleet: Fleet) -> World:
    """Return the truth of what the store holds; of it only the newest reading's time is asked."""
    until = (fleet.end - UNSETTLED_S) // HOUR_S * HOUR_S
    midnight = _midnight(fleet)
    first = fleet.end - int(HISTORY_HOURS * HOUR_S)
    ((newest,),) = fleet.client.rows("SELECT max(toUnixTimestamp64Milli(ts)) FROM v_device_now")
    step = MINUTE_MS if newest == fleet.end * 1000 else LIVE_STEP_MS
    since, plan = until - HOURS * HOUR_S, Plan(SEED)
    return World(
        Truth(plan, since, until),
        tuple(Truth(plan, hour, hour + HOUR_S) for hour in range(since, until, HOUR_S)),
        Truth(plan, max(first, midnight - DAY_S), midnight),
        until,
        int(newest),
        step,
    )


def _midnight(fleet: Fleet) -> int:
    return (fleet.end - UNSETTLED_S) // DAY_S * DAY_S


@pytest.fixture(scope="module")
def world(fleet: Fleet) -> World:
    return world_of(fleet)


def said(fleet: Fleet, world: World, check: Check) -> Any:
    """Return the number in a panel's answer, or the sums of its numbers by a text."""
    until = world.until_s if check.window == "six" else _midnight(fleet)
    since = until - (HOURS * HOUR_S if check.window == "six" else DAY_S)
    (panel,) = (p for p in panels_of(KNOWN.document(check.uid)) if p["title"] == check.title)
    chosen = {name: (value,) for name, value in check.chosen.items()}
    # Series are cut at full steps; else a time filter includes what begins at its end.
    end = until if panel["targets"][0]["format"] == 0 else until - 1
    asked = Asked(Window.of(since * 1000, end * 1000), chosen)
    answer = KNOWN.answer(fleet.client, check.uid, panel["id"], asked)
    columns = {column["name"]: column["values"] for column in answer}
    if not check.by:
        (value,) = columns[check.column]
        return value
    found: dict[str, float] = defaultdict(float)
    for name, value in zip(columns[check.by], columns[check.column], strict=True):
        if not check.only or name in check.only:
            found[name] += value
    return dict(found)


@pytest.mark.parametrize("check", CHECKS, ids=[f"{c.uid}/{c.title}" for c in CHECKS])
def test_a_panel_says_what_is_true(fleet: Fleet, world: World, check: Check) -> None:
    want = check.want(world)
    assert said(fleet, world, check) == pytest.approx(want, rel=RELATIVE, abs=1e-9)


def test_every_board_is_held_to_the_truth() -> None:
    assert {check.uid for check in CHECKS} == {board.uid for board in BOARDS}


def test_the_truth_sums_to_what_the_wall_meters_say(world: World) -> None:
    """Of machines whose meters all count: every joule at the wall was given to somebody."""
    for node in ("sim-dub-gpu-01", "sim-dub-gpu-02", "sim-reno-gpu-01"):
        given = world.six.joules(on_node(node))
        assert given == pytest.approx(world.six.metered_joules(f"{node}/host"), rel=1e-12)
