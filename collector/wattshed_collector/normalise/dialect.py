"""The seam of the dialects: samples come in, each dialect says what those of its exporter mean.

A sample is one line of a page or one value of a remote write. Those that speak of one thing at one
instant (a GPU, a machine) are gathered in a ``Scrape``, however they were split on their way, and a
dialect is two pure functions: what a scrape measured (``points``) and who held what between two of
them (``holds``). Both depend on the set of rows alone, so order, splits and repeats change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from wattshed_exporter import semconv

from . import Attributes, Point

Labels = Mapping[str, str]
Series = tuple[tuple[str, str], ...]
"""Labels in their order, by which rows of a metric are told apart."""
CONTAINER_ID = re.compile(r"[0-9a-f]{12}")
"""What a container calls itself unless it is told otherwise: no name of a machine."""
NODE_LABELS = ("node", "kubernetes_node")
"""Labels by which Prometheus is commonly told the machine of a target."""


class Sample(NamedTuple):
    """One value of one series at a Unix time in milliseconds."""

    name: str
    labels: Labels
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


@dataclass(slots=True)
class Scrape:
    """The rows of one thing at one instant, as far as they have come in."""

    node: str
    cluster: str
    ts_ms: int
    interval_ms: int
    whole: bool = True
    known: dict[Series, tuple[Series, Labels]] = field(default_factory=dict)
    """Sets of labels, shared by the rows and by the scrapes of one thing: most are the same."""
    rows: dict[str, dict[Series, Row]] = field(default_factory=dict)
    energy: dict[str, float] = field(default_factory=dict)
    """What was last said of each device's energy counter, in its own unit."""
    memo: Any = None
    """What a dialect made of the rows, until there are more of them."""

    def add(self, sample: Sample) -> None:
        """Take a row; of two values of one series the larger counts, whichever came first."""
        series = self.rows.setdefault(sample.name, {})
        of = tuple(sorted(sample.labels.items()))
        key, labels = self.known.setdefault(of, (of, sample.labels))
        told = series.get(key)
        if told is None or not told.value >= sample.value:
            series[key] = Row(labels, sample.value)
            self.memo = None

    def of(self, *names: str) -> list[Row]:
        """Return the rows of some metrics in an order that does not depend on their arrival."""
        found = [item for name in names for item in self.rows.get(name, {}).items()]
        found.sort(key=itemgetter(0))
        return [row for _, row in found]

    def all(self) -> list[Row]:
        return self.of(*sorted(self.rows))

    def labels(self) -> list[Labels]:
        """Return the sets of labels of all rows, each once, in their order."""
        found = {key: row.labels for series in self.rows.values() for key, row in series.items()}
        return [labels for _, labels in sorted(found.items(), key=itemgetter(0))]


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
    named = {a.name: a.otel for a in semconv.DEVICE_ATTRIBUTES}
    said = {"key": key, "kind": kind, "node": scrape.node, "source": source, **more}
    said.setdefault("cluster", scrape.cluster)
    told: dict[str, str | float | int | bool] = {named[n]: text for n, text in said.items() if text}
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
