"""Layouts are found among many, and those that nobody uses let go."""

from __future__ import annotations

import numpy as np

from wattshed_collector.receivers.masks import Mask
from wattshed_collector.receivers.shelves import MOST_ENDS, Layouts

LENGTH = 1000


def layout(place: int) -> Mask:
    """Return that of a body whose only number stands there."""
    return Mask(body(place), np.array([place], np.intp))


def body(place: int, number: bytes = bytes(8)) -> bytes:
    text = f"{place:04}".encode() * (LENGTH // 4)
    return text[:place] + number + text[place + 8 :]


def test_of_bodies_of_one_length_the_numbers_stand_at_so_many_places_and_no_more() -> None:
    layouts: Layouts[Mask] = Layouts()
    places = range(5 * MOST_ENDS)
    for _ in range(3):
        for place in places:
            layouts.keep(layout(place))
    found = [place for place in places if layouts.find(body(place, b"8 bytes.")) is not None]
    assert MOST_ENDS <= len(found) <= 2 * MOST_ENDS
    same = Mask(b"y" * LENGTH, np.array([found[0]], np.intp))  # which is no burden
    for _ in range(2):
        layouts.keep(same)
    assert layouts.find(b"y" * LENGTH) is not None
