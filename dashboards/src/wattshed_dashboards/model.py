"""The nouns of a board, as values: what a panel asks, how its answer looks, where it leads.

They know nothing of Grafana's JSON (``render`` writes it) nor of a database. Units are Grafana's
names of them, such as ``watt``, ``joule``, ``watth``, ``percentunit`` and ``si:J/tok``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

WIDTH = 24
"""Columns of the grid."""


class Kind(StrEnum):
    """How an answer is drawn, by Grafana's name of the panel type."""

    STAT = "stat"
    TIME_SERIES = "timeseries"
    BAR_GAUGE = "bargauge"
    TABLE = "table"
    STATE_TIMELINE = "state-timeline"
    HEATMAP = "heatmap"
    XY_CHART = "xychart"
    TEXT = "text"
    ALERT_LIST = "alertlist"

    @property
    def is_over_time(self) -> bool:
        """Whether its query gives a time column first, ascending, for Grafana to make series of."""
        return self in (Kind.TIME_SERIES, Kind.STATE_TIMELINE, Kind.HEATMAP)

    @property
    def asks(self) -> bool:
        """Whether it has a query at all."""
        return self not in (Kind.TEXT, Kind.ALERT_LIST)


class Color(StrEnum):
    """Colours with a meaning, the same on every board."""

    POWER = "blue"
    IDLE = "orange"
    GOOD = "green"
    WARN = "yellow"
    BAD = "red"
    PLAIN = "text"


@dataclass(frozen=True, slots=True)
class Step:
    """From ``value`` on (None: from below all) the answer has this colour."""

    value: float | None
    color: Color


@dataclass(frozen=True, slots=True)
class State:
    """What a number of an answer stands for, such as 1 for busy."""

    value: int
    text: str
    color: Color


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click leads: another board (its uid) with variables set, or a URL.

    ``sets`` maps a variable of that board to a column of this answer.
    """

    title: str
    board: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """What is particular to one column or series of an answer; ``title`` is its heading."""

    title: str = ""
    unit: str = ""
    color: Color | None = None
    link: Link | None = None
    width: int | None = None
    decimals: int | None = None
    is_dashed: bool = False
    is_stacked: bool | None = None
    is_hidden: bool = False
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and how its answer is drawn.

    ``description`` says what the number means, how it is made, from which view, and what it cannot
    say. ``sql`` reads views (``v_*``) only. ``width`` and ``height`` are in grid units.
    """

    title: str
    description: str
    kind: Kind
    unit: str = ""
    sql: str = ""
    width: int = 12
    height: int = 8
    steps: tuple[Step, ...] = ()
    states: tuple[State, ...] = ()
    step_s: int = 60
    """Least seconds between two points: an hour where what is read is by the hour."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    is_stacked: bool = False
    is_in_bars: bool = False
    """Of a series with gaps that mean nothing was there: a line would lead across them."""
    decimals: int | None = None
    least: float | None = None
    most: float | None = None
    color: Color | None = None
    text: str = ""
    no_value: str = ""
    """What stands there if there is nothing, such as "no traffic"."""
    sorted_by: str = ""
    """Column of a table that its rows descend by, as its SQL orders them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the panel type beyond these, merged over ours."""
    runbook: str = ""
    """Name of the page under runbooks/ that says what to do, without ``.md``."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that belong together; they flow left to right and wrap."""

    title: str
    panels: tuple[Panel, ...]
    is_collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A page that answers one ``question``; ``variables`` name some of ``variables.VARIABLES``."""

    uid: str
    title: str
    question: str
    rows: tuple[Row, ...]
    variables: tuple[str, ...] = ()
    window: str = "6h"
    """How far back it looks at first, such as ``6h``, ``7d``."""
    refresh: str = "1m"
