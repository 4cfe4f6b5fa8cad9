"""Requests that came as one are read as if each had come alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.facts import facts
from tests.fixtures.otlp_bodies import BASE_MS, Both, body, frames, numbers, series

from wattshed_collector.errors import InvalidInput
from wattshed_collector.normalise import wire
from wattshed_collector.receivers.otlp_decoding import Way
from wattshed_collector.receivers.resources import MOST, apart


def said(reader: Both, raw: bytes) -> dict[str, Any]:
    return facts(*reader.decode(raw))


def all_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what several requests say, one after the other."""
    whole: dict[str, Any] = {"rejected": Counter(), "devices": {}, "workloads": set()}
    for part in parts:
        for name, told in part.items():
            if isinstance(told, list):
                whole[name] = sorted(whole.get(name, []) + told)
            else:
                whole[name].update(told)
    return {**whole, "rejected": dict(whole["rejected"])}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_they_say_what_each_says_alone(data: st.DataObject) -> None:
    layout = data.draw(st.lists(series, min_size=1, max_size=6))
    bodies = []
    for number in range(data.draw(st.integers(2, 5))):
        told = data.draw(st.lists(numbers, min_size=len(layout), max_size=len(layout)))
        # Minutes apart, because two rows of one instant are made one only where they come together.
        bodies.append(body(layout, told, BASE_MS - 10**9 * (number + 1)))
    whole, alone = Both(), Both()
    if whole.way(bodies[0]) is Way.PARSED:  # what begins so is read as a whole
        return
    apart_said = [said(alone, raw) for raw in bodies]
    for _ in range(3):
        assert said(whole, b"".join(bodies)) == all_of(apart_said)


def test_a_backlog_is_read_by_the_layouts_of_its_requests() -> None:
    reader = Both()
    bodies = frames(12)
    for raw in bodies[:6]:
        reader.way(raw)
    assert reader.way(b"".join(bodies[6:])) is Way.LAYOUT
    decoded = reader.decode(b"".join(bodies[6:]))
    alone = [said(Both(), raw) for raw in bodies[6:]]
    assert facts(*decoded)["tick"] == all_of(alone)["tick"]


@pytest.mark.parametrize("at", range(3))
def test_one_that_is_none_spoils_all(at: int) -> None:
    bodies = frames(3)
    bodies[at] = bodies[at][:4] + b"\xff\xff\xff" + bodies[at][7:]
    with pytest.raises(InvalidInput):
        Both().decode(b"".join(bodies))


def test_only_what_is_made_of_resources_is_taken_apart() -> None:
    one, two = wire.message(1, b"ab"), wire.message(1, b"")
    assert list(apart(one)) == [one]
    assert list(apart(one + two)) == [one, two]
    assert list(apart(b"")) == [b""]
    for other in (one + wire.message(2, b"x"), one + two[:1], two * (MOST + 1)):
        assert list(apart(other)) == [other]
