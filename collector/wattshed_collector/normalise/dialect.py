"""The seam of the dialects: samples come in, each dialect says what those of its exporter mean.

A sample is one line of a page or one value of a remote write. Those that speak of one thing at one
instant (a GPU, a machine) are gathered in a ``Scrape``, however they were split on their way, and a
dialect is two pure functions: what a scrape measured (``points``) and who held what between two of
them (``holds``). Both depend on the set of rows alone, so order, splits and repeats change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed_exporter import semconv

from . import Attributes, Point

if TYPE_CHECKING:
    from wattshed_collector.outcomes.book import Book
    from wattshed_collector.outcomes.owners import Whose

Labels = Mapping[str, str]
CONTAINER_ID = re.compile(r"[0-9a-f]{12}")
"""What a container calls itself unless it is told otherwise: no name of a machine."""
Key = tuple[tuple[str, str], ...]
"""Labels in their order."""
MOST_ROWS = 10_000
"""Of one thing at one instant; a machine with 1,000 pods says a tenth of that."""
NAMES = {attribute.name: attribute.otel for attribute in semconv.DEVICE_ATTRIBUTES}
KEY = attrgetter("key")
NODE_LABELS = ("node", "kubernetes_node")
"""Labels by which Prometheus is commonly told the machine of a target."""


REPLICA_LABELS = frozenset({"replica", "prometheus_replica", "__replica__"})
"""What tells the Prometheus servers of a pair apart, not what they measure: Thanos' and Cortex'
name, the Prometheus operator's, Mimir's."""


class Series:
    """A name and its labels, as a reader keeps them from one time to the next."""

    __slots__ = ("_hash", "key", "labels", "name", "place", "text")

    def __init__(self, name: str, labels: dict[str, str]) -> None:
        self.name = name
        self.labels = {k: text for k, text in labels.items() if k not in REPLICA_LABELS}
        self.key = tuple(sorted(self.labels.items()))
        self.place: Any = None
        """What was found out about it, by whom it is read."""
        self.text: str | None = None
        """Its labels as they are stored where it is kept as it is, "" where they are too long."""
        self._hash = hash((name, self.key))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Series) and (self.name, self.key) == (other.name, other.key)
        )


class Sample(NamedTuple):
    """One value of one series at a Unix time in milliseconds."""

    series: Series
    value: float
    ts_ms: int


class Row(NamedTuple):
    """A sample of a scrape, whose name and time are known."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Origin:
    """Where samples come from. ``node`` is the machine's name where the operator gave it.

    ``whole`` says that they are a complete page; of a remote write the rest may still come.
    """

    instance: str = ""
    node: str = ""
    cluster: str = ""
    interval_ms: int = 10_000
    whole: bool = True
    sender: str = ""
    """Who was authenticated, "" where nobody was."""
    rank: int = 0
    """Of several ways by which one counter of outcomes comes the lowest is believed."""
    outcomes: Book | None = None
    """The rules that turn its counters into outcomes, where its job says which."""
    whose: Whose | None = None
    """What is known of its workload."""


@dataclass(slots=True)
class Scrape:
    """The rows of one thing at one instant, as far as they have come in."""

    node: str
    cluster: str
    ts_ms: int
    interval_ms: int
    whole: bool = True
    rows: dict[Series, float] = field(default_factory=dict)
    energy: dict[str, float] = field(default_factory=dict)
    """What was last said of each device's energy counter, in its own unit."""
    since_ms: int | None = None
    """The scrape with which this one makes a window, once it was read; itself for none."""
    memo: Any = None
    """What a dialect made of the rows, until there are more of them."""
    _layout: tuple[dict[str, list[Series]], list[Labels]] | None = None

    def add(self, series: Series, value: float) -> bool:
        """Take a row, and return whether there was room for it.

        Of two values of one series the larger counts, whichever came first.
        """
        told = self.rows.get(series)
        if told is None:
            if len(self.rows) >= MOST_ROWS:
                return False
            self._layout = None
        if told is None or not told >= value:
            self.rows[series] = value
            self.memo = None
        return True

    def like(self, before: Scrape) -> None:
        """Share what is known of the rows of an earlier scrape, where they are the same."""
        if before._layout is not None and list(self.rows) == list(before.rows):
            self._layout = before._layout

    def names(self) -> Collection[str]:
        return self._laid_out()[0].keys()

    def of(self, *names: str) -> list[Row]:
        """Return the rows of some metrics in an order that does not depend on their arrival."""
        by_name = self._laid_out()[0]
        found = [series for name in names if name in by_name for series in by_name[name]]
        if len(names) > 1 and len(found) > 1:
            found.sort(key=KEY)
        return [Row(series.labels, self.rows[series]) for series in found]

    def all(self) -> list[Row]:
        return self.of(*sorted(self.names()))

    def labels(self) -> list[Labels]:
        """Return the sets of labels of all rows, each once, in their order."""
        return self._laid_out()[1]

    def _laid_out(self) -> tuple[dict[str, list[Series]], list[Labels]]:
        if self._layout is None:
            by_name: dict[str, list[Series]] = {}
            told: dict[Key, Labels] = {}
            for series in sorted(self.rows, key=KEY):
                by_name.setdefault(series.name, []).append(series)
                told[series.key] = series.labels
            self._layout = by_name, list(told.values())
        return self._layout


@dataclass(frozen=True, slots=True)
class Hold:
    """A workload had ``share`` of a device from one scrape to the next.

    ``alone`` says that it had the device to itself, so that neighbouring holds are one allocation.
    """

    device: str
    workload: Attributes
    start_ms: int
    end_ms: int
    share: float
    method: str
    activity: float | None = None
    alone: bool = False

    @property
    def workload_key(self) -> str:
        return str(self.workload["wattshed.workload.id"])


def _nobody(before: Scrape, now: Scrape) -> Iterator[Hold]:
    return iter(())


def _by_device(point: Point) -> str:
    return str(point.attributes.get("hw.id", ""))


@dataclass(frozen=True, slots=True)
class Dialect:
    """One exporter's way of speaking. ``rank`` decides who is believed where two measure one thing.

    ``group`` names the thing that a row speaks of, None where the row is of no use. ``others`` are
    beginnings of the exporter's other metrics, which are no concern of ours and no error.
    """

    name: str
    rank: int
    metrics: frozenset[str]
    others: tuple[str, ...]
    group: Callable[[Labels], str | None]
    points: Callable[[Scrape], Iterator[Point]]
    holds: Callable[[Scrape, Scrape], Iterator[Hold]] = _nobody
    node_labels: tuple[str, ...] = ()
    claim: Callable[[Point], str] = _by_device

    def node(self, labels: Labels, origin: Origin) -> str:
        """Return the machine: as configured, as a label says, else the host that was scraped."""
        if origin.node:
            return origin.node
        for name in (*NODE_LABELS, *self.node_labels):
            said = labels.get(name, "")
            if said and not CONTAINER_ID.fullmatch(said):
                return said
        return host(labels.get("instance") or origin.instance)


def host(instance: str) -> str:
    """Return ``host`` of ``host:port``, of ``[address]:port`` and of a bare host."""
    if instance.startswith("["):
        return instance[1:].partition("]")[0]
    name, colon, port = instance.rpartition(":")
    return name if colon and port.isdecimal() and ":" not in name else instance


def the_machine(labels: Labels) -> str | None:
    """Say that the rows of a machine belong together."""
    return ""


def meter(
    scrape: Scrape, source: str, key: str, kind: str, **more: str
) -> dict[str, str | float | int | bool]:
    """Return the attributes of a meter; names of ``more`` are fields of ``Device``."""
    said = {"key": key, "kind": kind, "node": scrape.node, "source": source, **more}
    said.setdefault("cluster", scrape.cluster)
    told: dict[str, str | float | int | bool] = {NAMES[n]: text for n, text in said.items() if text}
    told[semconv.INTERVAL_ATTRIBUTE] = scrape.interval_ms
    return told


def quantity(
    attributes: Attributes, ts_ms: int, metric: str, value: float | None, unit: str
) -> Iterator[Point]:
    """Yield the point, or nothing where there is no value: missing is never zero."""
    if value is not None:
        yield Point(metric, unit, value, ts_ms, attributes)


ENERGY, POWER, UTILISATION = "hw.energy", "hw.power", "wattshed.device.utilization"
MEMORY, TEMPERATURE, LIMIT = "hw.gpu.memory.usage", "hw.temperature", "wattshed.device.power.limit"
