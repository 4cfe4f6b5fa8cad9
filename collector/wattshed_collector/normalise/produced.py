"""Counters of serving engines to outcomes, whichever way they come: scraped, forwarded, OTLP.

A page is read as a whole. A remote write may split one over requests that overtake each other, so
the last instants of each target are kept: a number that further rows could still change is said
once two newer instants are there. Of one server that is scraped here and forwarded as well only
what is scraped counts, while it is.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from wattshed_collector.outcomes.book import AUTOMATIC, Book
from wattshed_collector.outcomes.owners import Owners, Whose, is_pod
from wattshed_collector.outcomes.readings import Reading, readings
from wattshed_exporter import semconv
from wattshed_exporter.model import Workload, stable_id

from . import Attributes, Point
from .dialect import Labels, Origin, Sample, Series
from .precedence import Precedence

KEPT_INSTANTS = 10
SETTLED_BY = 3
"""Newer instants of a target after which its older one is taken to be whole."""
KEPT_TARGETS = 100_000
KEPT_STREAMS = 200_000
MOST_SOURCE = 300
TARGET_LABELS = (
    "instance", "job", "namespace", "pod", "container", "pod_uid", "cluster", "exported_instance",
    "exported_job", "exported_namespace", "exported_pod", "k8s_cluster_name", "k8s_container_name",
    "k8s_namespace_name", "k8s_node_name", "k8s_pod_name", "k8s_pod_uid", "kubernetes_namespace",
    "kubernetes_node", "kubernetes_pod_name", "host_name", "otel_scope_name", "otel_scope_version",
    "pod_name", "pod_namespace", "prometheus", "service_namespace",
)  # fmt: skip
"""Labels that are put on series by who scrapes or forwards them: they say where, not what."""
_TARGET = frozenset(TARGET_LABELS)
_IDENTITY = (
    "job", "instance", "namespace", "pod", "container", "k8s_pod_name", "pod_uid",
    "exported_job", "exported_instance", "exported_pod", "exported_namespace",
)  # fmt: skip
PASSED_ON = "instance"
"""A label that only series have which another one scraped before: as on the page /federate."""
UNIT = semconv.OUTCOMES.unit
RULED = Whose()


@dataclass(slots=True)
class _Target:
    """What came of a forwarded target: rows by instant in Unix milliseconds."""

    labels: Labels
    """Those that say which target it is."""
    instants: dict[int, dict[Series, float]] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    """Instants that were read as whole ones."""
    seen: set[tuple[str, str]] = field(default_factory=set)
    starts: dict[Series, int] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)
    """Instants that were the newest when they came in this request."""
    told: dict[int, dict[tuple[str, str], float]] = field(default_factory=dict)
    """What was said of each instant, by kind and source: it is said again only where it changes."""

    def add(self, series: Series, value: float, ts_ms: int) -> None:
        rows = self.instants.get(ts_ms)
        if rows is None:
            if ts_ms > max(self.instants, default=0):
                self.fresh.add(ts_ms)
            rows = self.instants[ts_ms] = {}
        rows[series] = value

    def ready(self, touched: Set[int]) -> Iterator[tuple[int, bool]]:
        """Yield the instants to read now, each with whether it is taken to be whole.

        Of one that is older than all that are kept the rest may have come and gone.
        """
        order = sorted(self.instants)
        settled, kept = set(order[:-SETTLED_BY]), set(order[-KEPT_INSTANTS:])
        for instant in order:
            is_whole = instant in settled and (instant in kept or instant in self.fresh)
            if instant in touched or (is_whole and instant not in self.settled):
                if is_whole:
                    self.settled.add(instant)
                yield instant, is_whole

    def trim(self) -> None:
        self.fresh.clear()
        for old in sorted(self.instants)[:-KEPT_INSTANTS]:
            del self.instants[old]
            self.settled.discard(old)
            self.told.pop(old, None)
        if len(self.starts) > 2 * max(map(len, self.instants.values()), default=0):
            self.starts.clear()


class _At(NamedTuple):
    """Where and when something was read."""

    origin: Origin
    ts_ms: int
    labels: Labels
    """Of the target, where series have them."""
    whose: Whose
    told: dict[tuple[str, str], float]
    """What was said of it before."""

    @property
    def instance(self) -> str:
        """Where the server answers."""
        said = self.labels.get("exported_instance") or self.labels.get("instance")
        return said or self.origin.instance


class _Stream(NamedTuple):
    """What was last said of a counter."""

    workload: Workload
    former: Workload
    """Whose it was before ``moved_ms``."""
    moved_ms: int
    """When it came to its workload, 0 where it always was its."""
    ts_ms: int
    parts: tuple[float, ...]
    value: float


class Produced:
    """Reads counters; not for several threads at once.

    Args:
        forwarded: the rules for what others forward, and for pages whose origin names none.
        whose: what is known of workloads, and how an operator names those of what is forwarded.
        also: rules of jobs, whose metrics have to be read.
    """

    def __init__(
        self,
        forwarded: Book = AUTOMATIC,
        owners: Owners | None = None,
        whose: Whose = RULED,
        also: Iterable[Book] = (),
    ) -> None:
        self._forwarded = forwarded
        self.owners = owners or Owners()
        self._whose = whose
        self._targets: OrderedDict[tuple[str, ...], _Target] = OrderedDict()
        self._streams: OrderedDict[tuple[str, ...], _Stream] = OrderedDict()
        self._sources: dict[tuple[object, ...], str] = {}
        self._described: dict[str, tuple[Workload, Attributes]] = {}
        self._precedence = Precedence()
        books = (forwarded, *also)
        self.names = frozenset[str]().union(*(book.names for book in books))
        """All metrics whose labels have to be read on pages."""
        self.counters = forwarded.counters
        """Those that are counted where others forward them."""
        self.caveats: Counter[tuple[str, str]] = Counter()
        """Readings that are not quite what they are called, by server and caveat."""

    def book(self, origin: Origin) -> Book:
        return self._forwarded if origin.outcomes is None else origin.outcomes

    def caveats_by_server(self) -> dict[tuple[str, ...], float]:
        """Return them for a thread of its own."""
        return {key: float(count) for key, count in self.caveats.copy().items()}

    def points(
        self,
        samples: Iterable[Sample],
        origin: Origin,
        rejected: Counter[str],
        starts: Mapping[Series, int] | None = None,
    ) -> list[Point]:
        """Return what samples produced; ``starts`` are since when they count, where that is told.

        Whoever cannot be told is counted as ``no_workload``.
        """
        if origin.whole:
            return self._page(samples, origin, rejected)
        found: list[Point] = []
        for target, touched in self._gathered(samples, origin, starts or {}):
            for instant, whole in target.ready(touched):
                told = readings(
                    self._forwarded,
                    target.instants[instant],
                    whole=whole,
                    seen=target.seen,
                    starts=target.starts,
                )
                known = target.told.setdefault(instant, {})
                at = _At(origin, instant, target.labels, self._whose, known)
                found += self._all(told, at, rejected)
            target.trim()
        while len(self._targets) > KEPT_TARGETS:
            self._targets.popitem(last=False)
        return found

    def _page(
        self, samples: Iterable[Sample], origin: Origin, rejected: Counter[str]
    ) -> list[Point]:
        rows: dict[Series, float] = {}
        others: dict[tuple[str, ...], dict[Series, float]] = {}
        ts_ms = 0
        for series, value, ts_ms in samples:  # noqa: B007 (all of a page have one time)
            if PASSED_ON in series.labels:
                others.setdefault(_identity(series.labels), {})[series] = value
            else:
                rows[series] = value
        book = self.book(origin)
        whose = origin.whose or Whose(origin.cluster, labels={"instance": origin.instance})
        found = self._all(readings(book, rows), _At(origin, ts_ms, {}, whose, {}), rejected)
        elsewhere = Whose(whose.cluster, template=whose.template)
        for target in others.values():
            labels = _of_target(next(iter(target)).labels)
            at = _At(origin, ts_ms, labels, elsewhere, {})
            found += self._all(readings(book, target), at, rejected)
        return found

    def _gathered(
        self, samples: Iterable[Sample], origin: Origin, starts: Mapping[Series, int]
    ) -> list[tuple[_Target, set[int]]]:
        """Put samples to their targets; return which instants of which were touched."""
        touched: dict[tuple[str, ...], tuple[_Target, set[int]]] = {}
        for series, value, ts_ms in samples:
            key = (origin.sender, *_identity(series.labels))
            target = self._targets.get(key)
            if target is None:
                target = self._targets[key] = _Target(_of_target(series.labels))
            else:
                self._targets.move_to_end(key)
            target.add(series, value, ts_ms)
            target.seen.update((u.server.name, u.metric) for u in self._forwarded.uses(series.name))
            if series in starts:
                target.starts[series] = starts[series]
            touched.setdefault(key, (target, set()))[1].add(ts_ms)
        return list(touched.values())

    def _all(self, told: Iterable[Reading], at: _At, rejected: Counter[str]) -> list[Point]:
        found: list[Point] = []
        allowed: dict[tuple[str, ...], bool] = {}
        # Only a template looks at what tells counters of one target apart.
        one = None if at.whose.template else self.owners.of(at.whose, at.labels)
        for reading in told:
            workload = one or self.owners.of(at.whose, {**reading.labels, **at.labels})
            if workload is None:
                rejected["no_workload"] += 1
                continue
            claim = _claim(workload, reading, at)
            if claim not in allowed:
                allowed[claim] = self._allows(claim, at)
            if not allowed[claim]:
                rejected["measured_already"] += 1
                continue
            if reading.choice.caveat:
                self.caveats[reading.server.name, reading.choice.caveat] += 1
            found += self._said(reading, workload, at)
        return found

    def _allows(self, claim: tuple[str, ...], at: _At) -> bool:
        """Return whether a server's counters do not come another way that is believed more."""
        origin = at.origin
        return self._precedence.allows(" ".join(claim), origin.rank, at.ts_ms, origin.interval_ms)

    def _said(self, reading: Reading, workload: Workload, at: _At) -> Iterator[Point]:
        """Yield a reading under its workload.

        Where the counter was another workload's until now, because only now it is known whose it
        is, both have this reading: the one ends with it, and the other begins without a past.
        """
        source, ts_ms = self._source(reading, at), at.ts_ms
        kind, value, start_ms = reading.rule.kind, reading.value, reading.start_ms
        if at.told.get((kind, source)) == value:
            return
        at.told[kind, source] = value
        stream = (at.origin.sender, kind, source, *_identity(at.labels))
        before = self._streams.pop(stream, None)
        former, moved_ms = workload, 0
        if before is not None:
            former, moved_ms = before.former, before.moved_ms
            value = _upheld(before, reading, ts_ms)
            if ts_ms < moved_ms:
                workload = former
            elif before.workload.key != workload.key:
                former, moved_ms = before.workload, ts_ms
                yield self._point(reading, former, source, value, ts_ms)
        if start_ms is not None and start_ms <= moved_ms:
            start_ms = None
        yield self._point(reading, workload, source, value, ts_ms, start_ms)
        if before is None or before.ts_ms <= ts_ms:
            before = _Stream(workload, former, moved_ms, ts_ms, reading.parts, value)
        self._streams[stream] = before
        if len(self._streams) > KEPT_STREAMS:
            self._streams.popitem(last=False)

    def _point(
        self,
        reading: Reading,
        workload: Workload,
        source: str,
        value: float,
        ts_ms: int,
        start_ms: int | None = None,
    ) -> Point:
        told = {**self._attributes(workload), semconv.OUTCOME_KIND_ATTRIBUTE: reading.rule.kind}
        told[semconv.OUTCOME_SOURCE_ATTRIBUTE] = source
        if model := reading.server.model_of(reading.labels):
            told[semconv.OUTCOME_MODEL_ATTRIBUTE] = model
        return Point(semconv.OUTCOMES.otel, UNIT, value, ts_ms, told, start_ms or 0)

    def _source(self, reading: Reading, at: _At) -> str:
        key = reading.server.name, at.instance, reading.key, reading.choice.caveat, len(at.labels)
        known = self._sources.get(key)
        if known is None:
            if len(self._sources) >= KEPT_STREAMS:
                self._sources.clear()
            known = self._sources[key] = source_of(reading, at)
        return known

    def _attributes(self, workload: Workload) -> Attributes:
        known = self._described.get(workload.key)
        if known is None or known[0] != workload:
            if len(self._described) >= KEPT_TARGETS:
                self._described.clear()
            told = {a.otel: getattr(workload, a.name) for a in semconv.WORKLOAD_ATTRIBUTES}
            known = workload, {name: text for name, text in told.items() if text}
            self._described[workload.key] = known
        return known[1]


def _claim(workload: Workload, reading: Reading, at: _At) -> tuple[str, ...]:
    """Return what is counted: a server of a pod, by whatever address, else one at its address."""
    name = reading.server.name
    return (workload.key, name) if is_pod(workload) else (workload.key, name, at.instance)


def source_of(reading: Reading, at: _At) -> str:
    """Return what tells a counter from the others of its workload and kind.

    It is made of the server, where it answers, its own labels, which are the same whoever forwards
    them, and the caveat of its numbers.
    """
    own = {name: text for name, text in reading.labels.items() if name not in at.labels}
    told = " ".join(f"{name}={text}" for name, text in sorted(own.items()))
    words = (reading.server.name, at.instance, told, reading.choice.caveat)
    said = " ".join(word for word in words if word)
    return said if len(said) <= MOST_SOURCE else f"{said[:MOST_SOURCE]} {stable_id(said):x}"


def _upheld(before: _Stream, reading: Reading, ts_ms: int) -> float:
    """Return a difference that does not fall where neither of its counters fell.

    They are not read at the very same moment; a counter that falls would be one that began anew.
    """
    if len(reading.parts) < 2 or ts_ms <= before.ts_ms or len(before.parts) != len(reading.parts):
        return reading.value
    fell = any(now < then for now, then in zip(reading.parts, before.parts, strict=True))
    return reading.value if fell else max(reading.value, before.value)


def _of_target(labels: Labels) -> dict[str, str]:
    return {name: text for name, text in labels.items() if name in _TARGET}


def _identity(labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in _IDENTITY)
