"""Samples of any exporter to points: gathers what belongs together and asks each dialect.

A remote write may split one scrape over requests that overtake each other, so the last few scrapes
of each thing are kept and a scrape is read again whenever rows of it come. Readings that are said
again are the same rows in the store. Two Prometheus servers that scrape the same targets (a pair)
are one that scrapes twice as often.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from wattshed_exporter.model import Batch

from . import Point
from .all_smi import ALL_SMI
from .amd import AMD
from .dcgm import DCGM
from .dialect import ENERGY, Dialect, Hold, Origin, Sample, Scrape, Series
from .jetson import JETSON
from .kepler import KEPLER
from .node_exporter import NODE_EXPORTER
from .nvidia_smi import NVIDIA_SMI
from .precedence import Precedence
from .produced import Produced
from .prometheus import OURS
from .tenure import MOST_INTERVALS, Tenure

DIALECTS = (OURS, DCGM, NVIDIA_SMI, AMD, KEPLER, NODE_EXPORTER, JETSON, ALL_SMI)
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
BY_METRIC = {metric: dialect for dialect in DIALECTS for metric in dialect.metrics}
RUNTIMES = ("go_", "process_", "python_", "promhttp_", "scrape_")
"""What every exporter and Prometheus itself add about themselves."""
OTHERS = (*RUNTIMES, *(name for dialect in DIALECTS for name in dialect.others))
SOURCES = frozenset(dialect.name for dialect in DIALECTS if dialect is not OURS)
KEPT_SCRAPES = 10
"""Of each thing, where a scrape may come in parts; of whole pages the one before is enough."""
KEPT_THINGS = 100_000
KEPT_TARGETS = 100_000
"""Of our own scrapes; those that were scraped last."""
NAMED = ("wattshed.source", "wattshed.node", "hw.id")
SMALL_FALL = 0.5
"""A counter that falls to more than this part of itself was not reset: other rows were shown."""

Thing = tuple[str, str, str, str]
"""Dialect, machine, group and sender: what one sender says is not mixed with what another does."""


class Place(NamedTuple):
    """Where the samples of a series belong, as one origin reads them."""

    origin: Origin
    thing: Thing | None
    cluster: str = ""
    unknown: bool = False
    counts: bool = False
    """Whether it counts outcomes."""
    tells: bool = False
    """Whether it says since when others count."""


class Foreign:
    """Reads samples of every dialect; may be called from several threads."""

    def __init__(self, tenure: Tenure | None = None, produced: Produced | None = None) -> None:
        self._lock = threading.Lock()
        self.produced = produced or Produced()
        self._things: OrderedDict[Thing, dict[int, Scrape]] = OrderedDict()
        self._tenure = tenure or Tenure()
        self._precedence = Precedence()
        self._scraped: dict[str, tuple[int, int]] = {}
        """From when to when our own scrapes of a target hold good, who was scraped last at the
        end."""

    def saw(self, batch: Batch, newest_ms: int = 0) -> None:
        """Note what came from our own exporters another way, which is then not taken twice.

        ``newest_ms`` is the latest event time of what came as rows beside the batch.
        """
        with self._lock:
            self._precedence.saw(batch, SOURCES, newest_ms)

    def forwarded(
        self,
        samples: Sequence[Sample],
        origin: Origin,
        rejected: Counter[str],
        starts: Mapping[Series, int],
    ) -> list[Point]:
        """Return what counters produced that came another way; ``starts`` as ``Produced.points``
        has it."""
        with self._lock:
            there = [said for said in samples if not self._is_scraped(said.series, said.ts_ms)]
            rejected["measured_already"] += len(samples) - len(there)
            return self.produced.points(there, origin, rejected, starts)

    def place(self, series: Series, origin: Origin) -> Place:
        """Return where the samples of a series belong."""
        return self._place(series, origin)

    def took(
        self, origin: Origin, ts_ms: int, claims: tuple[str, ...], read_ms: Sequence[int]
    ) -> None:
        """Note a whole page of our own exporter that was read another way, as ``points`` does.

        ``claims`` are what it measures (``precedence.claim_of``), the same tuple for each page, and
        ``read_ms`` when it read each, in Unix milliseconds.
        """
        with self._lock:
            self._scrapes(origin, ts_ms)
            self._precedence.speak(claims, read_ms)

    def points(
        self, samples: Iterable[Sample], origin: Origin, rejected: Counter[str]
    ) -> tuple[list[Point], int]:
        """Return the points and how many samples were of known exporters but no concern of ours.

        What no known exporter says is counted as ``unknown_metric`` where a whole page was read;
        a remote write carries whatever its Prometheus has, so there it is no concern of ours.
        """
        with self._lock:
            touched, counters, ignored = self._gather(samples, origin, rejected)
            # Ours go first, because where they speak nobody else is believed.
            if origin.whole:
                times = [max(instants) for instants in touched.values()]
                times += [said.ts_ms for said in counters[-1:]]
                self._scrapes(origin, max(times, default=0))
            order = sorted(touched, key=lambda key: BY_NAME[key[0]].rank)
            found = [p for key in order for p in self._read(key, touched[key], rejected)]
            if counters:
                found += self.produced.points(counters, origin, rejected)
            while len(self._things) > KEPT_THINGS:
                self._things.popitem(last=False)
            return found, ignored

    def _gather(
        self, samples: Iterable[Sample], origin: Origin, rejected: Counter[str]
    ) -> tuple[dict[Thing, set[int]], list[Sample], int]:
        """Put samples to their things; return also those of counters, and how many are neither."""
        touched: defaultdict[Thing, set[int]] = defaultdict(set)
        counters: list[Sample] = []
        ignored, counts = 0, False
        for sample in samples:
            series, value, ts_ms = sample
            place: Place | None = series.place
            if place is None or place.origin is not origin:
                place = series.place = self._place(series, origin)
            if place.unknown:
                rejected["unknown_metric"] += 1
            elif place.thing is None and not place.counts:
                ignored += 1
                if place.tells:
                    counters.append(sample)
            elif not origin.whole and self._is_scraped(series, ts_ms):
                rejected["measured_already"] += 1
            elif place.thing is None:
                counters.append(sample)
                counts = True
            elif self._scrape(place, ts_ms).add(series, value):
                touched[place.thing].add(ts_ms)
            else:
                rejected["too_many_series"] += 1
        return touched, counters if counts else [], ignored

    def _scrapes(self, origin: Origin, ts_ms: int) -> None:
        since_ms, until_ms = self._scraped.pop(origin.instance, (ts_ms, ts_ms))
        since_ms = since_ms if until_ms >= ts_ms else ts_ms
        if len(self._scraped) >= KEPT_TARGETS:
            del self._scraped[next(iter(self._scraped))]
        self._scraped[origin.instance] = since_ms, ts_ms + MOST_INTERVALS * origin.interval_ms

    def _is_scraped(self, series: Series, ts_ms: int) -> bool:
        since_ms, until_ms = self._scraped.get(series.labels.get("instance", ""), (0, -1))
        return since_ms <= ts_ms <= until_ms

    def _place(self, series: Series, origin: Origin) -> Place:
        dialect = BY_METRIC.get(series.name)
        group = None if dialect is None else dialect.group(series.labels)
        if dialect is None or group is None:
            return self._apart(series.name, origin, known=dialect is not None)
        # Our details name their device alone, whose key says the machine.
        node = "" if dialect is OURS else dialect.node(series.labels, origin)
        return Place(
            origin,
            (dialect.name, node, group, origin.sender),
            series.labels.get("cluster", "") or origin.cluster,
        )

    def _apart(self, name: str, origin: Origin, *, known: bool) -> Place:
        """Return the place of a series that no dialect takes."""
        book = self.produced.book(origin)
        if name in book.counters:
            return Place(origin, None, counts=True)
        known = known or name == "up" or name.startswith(OTHERS) or book.knows(name)
        tells = origin.whole and name in book.names
        return Place(origin, None, unknown=origin.whole and not (known or tells), tells=tells)

    def _scrape(self, place: Place, ts_ms: int) -> Scrape:
        assert place.thing is not None
        scrapes = self._things.setdefault(place.thing, {})
        scrape = scrapes.get(ts_ms)
        if scrape is None:
            origin = place.origin
            scrape = scrapes[ts_ms] = Scrape(
                place.thing[1], place.cluster, ts_ms, origin.interval_ms, origin.whole
            )
        return scrape

    def _read(self, key: Thing, touched: set[int], rejected: Counter[str]) -> Iterator[Point]:
        dialect = BY_NAME[key[0]]
        scrapes = self._things[key]
        self._things.move_to_end(key)
        order = sorted(scrapes)
        for at, ts_ms in enumerate(order):
            now, before = scrapes[ts_ms], scrapes[order[at - 1]] if at else None
            if ts_ms in touched:
                if before is not None:
                    now.like(before)
                yield from self._measured(dialect, before, now, rejected)
                _join(before, now, [scrapes[later] for later in order[at + 1 :]])
            if ts_ms in touched or now.since_ms in touched:
                yield from self._held(dialect, scrapes, now)
        kept = KEPT_SCRAPES if not scrapes[order[-1]].whole else 0 if dialect is OURS else 1
        for old in order[: max(0, len(order) - kept)]:
            del scrapes[old]
        if not scrapes:
            del self._things[key]

    def _measured(
        self, dialect: Dialect, before: Scrape | None, now: Scrape, rejected: Counter[str]
    ) -> Iterator[Point]:
        asked, allowed = None, True
        for point in dialect.points(now):
            if point.attributes is not asked:
                asked, allowed = point.attributes, self._allows(dialect, point)
            if not allowed:
                rejected["measured_already"] += 1
            elif point.metric == ENERGY and dialect is not OURS and _fell(before, now, point):
                rejected["counter_fell"] += 1
            else:
                yield point

    def _allows(self, dialect: Dialect, point: Point) -> bool:
        """Return whether the device of a point is not measured better by another."""
        if dialect is OURS:
            source, node, key = (str(point.attributes.get(name, "")) for name in NAMED)
            self._precedence.ours(source, node, key, point.ts_ms)
            return True
        interval_ms = int(point.attributes["wattshed.interval_ms"])
        claim = dialect.claim(point)
        return self._precedence.allows(claim, dialect.rank, point.ts_ms, interval_ms)

    def _held(self, dialect: Dialect, scrapes: dict[int, Scrape], now: Scrape) -> Iterator[Point]:
        reach_ms = MOST_INTERVALS * now.interval_ms
        before = scrapes.get(now.ts_ms if now.since_ms is None else now.since_ms)
        if before is now:
            holds = self._resumed(dialect, now, reach_ms) if now.ts_ms == min(scrapes) else iter(())
        elif before is not None and now.ts_ms - before.ts_ms <= reach_ms:
            holds = dialect.holds(before, now)
        else:
            return
        for hold in holds:
            # Where our own exporter is, it says who holds what.
            if not self._precedence.is_ours(hold.device, now.ts_ms):
                yield from self._tenure.points(hold)

    def _resumed(self, dialect: Dialect, now: Scrape, reach_ms: int) -> Iterator[Hold]:
        """Yield what is held now and was held shortly before, by what the store knows."""
        for hold in dialect.holds(now, now):
            end_ms = self._tenure.end_ms(hold.device, hold.workload_key)
            if end_ms is not None and now.ts_ms - reach_ms <= end_ms < now.ts_ms:
                yield replace(hold, start_ms=end_ms)


def _fell(before: Scrape | None, now: Scrape, point: Point) -> bool:
    key = str(point.attributes["hw.id"])
    now.energy[key] = point.value
    earlier = None if before is None else before.energy.get(key)
    return earlier is not None and SMALL_FALL * earlier < point.value < earlier


def _join(before: Scrape | None, now: Scrape, later: Sequence[Scrape]) -> None:
    """Say with which scrape one makes a window: the one before, when it was first read.

    A scrape that comes late, between two that make a window together, makes none: the time between
    them was said already.
    """
    if now.since_ms is not None:
        return
    now.since_ms = now.ts_ms if before is None else before.ts_ms
    if any(other.since_ms is not None and other.since_ms < now.ts_ms for other in later):
        now.since_ms = now.ts_ms
    elif later and later[0].since_ms == later[0].ts_ms:
        later[0].since_ms = now.ts_ms
