"""Where the readings of hours begin and end, and what lies beyond: which other hours that touches.

A row stands for an hour and a device, as an array, for a fleet has a hundred thousand of them in
each run of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

HOUR_S = 3600
DAY_S = 24 * HOUR_S

EDGE = np.dtype(
    [
        ("hour", "<u4"),
        ("device", "<u8"),
        ("first", "<i8"),
        ("last", "<i8"),
        ("hour_before", "<u4"),
        ("hour_beyond", "<u4"),
        ("gaps_before", "<u8"),
        ("gaps_beyond", "<u8"),
        ("first_came", "<i8"),
        ("last_came", "<i8"),
    ]
)
"""As ``TOUCHED`` selects them. ``first`` and ``last`` are the times (Unix milliseconds) of the
outermost readings (``last`` 0 without any), the hours (Unix seconds) the nearest that have readings
(0 if none), the gaps those outside of ``first``, ``last``. ``first_came`` and ``last_came`` are
when something was last said of those two instants: a part of a reading that comes late, or a
correction, changes the span across the edge all the same."""

Edges = NDArray[np.void]

HEAD = ("first", "first_came", "gaps_before")
TAIL = ("last", "last_came", "gaps_beyond")


def asked(hours: Iterable[int]) -> dict[str, list[int]]:
    """Return the parameters of a question about ``hours``, Unix seconds, and their days."""
    found = sorted(hours)
    return {"hours": found, "days": sorted({hour // DAY_S * DAY_S for hour in found})}


def none() -> Edges:
    """Return the edges of no hour."""
    return np.empty(0, EDGE)


def ordered(parts: Sequence[Edges]) -> Edges:
    """Join the edges that several shards know of, each device being on one."""
    rows = np.concatenate(parts)
    return rows[np.lexsort((rows["device"], rows["hour"]))]


def beyond(edges: Edges, known: Edges) -> set[int]:
    """Return the hours (Unix seconds) that the spans across the edges of hours reach into.

    An edge that is as in ``known``, when its hour was last recomputed, needs no more than that
    hour. Both are ``ordered``.
    """
    # Where there are only gaps, and no reading on one side of them, there is no span.
    has_span = (edges["last"] != 0) | (edges["hour_before"] != 0) & (edges["hour_beyond"] != 0)
    at, is_known = _places(edges, known)
    found: set[int] = set()
    for side, names in (("hour_before", HEAD), ("hour_beyond", TAIL)):
        is_same = is_known.copy()
        for name in names:
            is_same[is_known] &= edges[name][is_known] == known[name][at[is_known]]
        news = edges[has_span & (edges[side] != 0) & ~is_same]
        for hour, other in np.unique(news[["hour", side]]).tolist():
            first, end = (other, hour) if other < hour else (hour + HOUR_S, other + HOUR_S)
            found.update(range(first, end, HOUR_S))
    return found


def first(edges: Edges, known: Edges) -> set[int]:
    """Return the hours (Unix seconds) with a first reading that is not as in ``known``."""
    at, is_known = _places(edges, known)
    is_same = is_known.copy()
    for name in HEAD:
        is_same[is_known] &= edges[name][is_known] == known[name][at[is_known]]
    return set(np.unique(edges["hour"][(edges["hour_before"] == 0) & ~is_same]).tolist())


def _places(edges: Edges, known: Edges) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return where each edge is in ``known``, and whether it is."""
    at = np.zeros(len(edges), np.intp)
    is_known = np.zeros(len(edges), bool)
    for hour in np.unique(edges["hour"]).tolist():
        begin, end = np.searchsorted(known["hour"], [hour, hour + 1])
        mine = edges["hour"] == hour
        devices = known["device"][begin:end]
        if len(devices):
            place = np.minimum(np.searchsorted(devices, edges["device"][mine]), len(devices) - 1)
            at[mine] = begin + place
            is_known[mine] = devices[place] == edges["device"][mine]
    return at, is_known
