"""Samples of any exporter to points: gathers what belongs together and asks each dialect.

A remote write may split one scrape over requests that overtake each other, so the last few scrapes
of each thing are kept and a scrape is read again whenever rows of it come. Readings that are said
again are the same rows in the store.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from wattshed_exporter.model import Batch

from . import Point
from .all_smi import ALL_SMI
from .amd import AMD
from .dcgm import DCGM
from .dialect import ENERGY, Dialect, Hold, Labels, Origin, Sample, Scrape
from .jetson import JETSON
from .kepler import KEPLER
from .node_exporter import NODE_EXPORTER
from .nvidia_smi import NVIDIA_SMI
from .precedence import Precedence
from .prometheus import OURS
from .tenure import MOST_INTERVALS, Tenure

DIALECTS = (OURS, DCGM, NVIDIA_SMI, AMD, KEPLER, NODE_EXPORTER, JETSON, ALL_SMI)
BY_METRIC = {metric: dialect for dialect in DIALECTS for metric in dialect.metrics}
RUNTIMES = ("go_", "process_", "python_", "promhttp_", "scrape_")
"""What every exporter and Prometheus itself add about themselves."""
OTHERS = (*RUNTIMES, *(name for dialect in DIALECTS for name in dialect.others))
SOURCES = frozenset(dialect.name for dialect in DIALECTS if dialect is not OURS)
KEPT_SCRAPES = 10
"""Of each thing, where a scrape may come in parts; of whole pages the one before is enough."""
KEPT_THINGS = 100_000
KEPT_LABELS = 10_000
"""Of each thing; pods that came and went would be remembered for ever."""
SMALL_FALL = 0.5
"""A counter that falls to more than this part of itself was not reset: other rows were shown."""

Thing = tuple[str, str, str]
"""Dialect, machine and group."""


class Foreign:
    """Reads samples of every dialect; may be called from several threads."""

    def __init__(self, tenure: Tenure | None = None) -> None:
        self._lock = threading.Lock()
        self._things: OrderedDict[Thing, dict[int, Scrape]] = OrderedDict()
        self._tenure = tenure or Tenure()
        self._precedence = Precedence()

    def saw(self, batch: Batch) -> None:
        """Note what came from our own exporters another way, which is then not taken twice."""
        with self._lock:
            self._precedence.saw(batch, SOURCES)

    def points(
        self, samples: Iterable[Sample], origin: Origin, rejected: Counter[str]
    ) -> tuple[list[Point], int]:
        """Return the points and how many samples were of known exporters but no concern of ours.

        What no known exporter says is counted as ``unknown_metric`` where a whole page was read;
        a remote write carries whatever its Prometheus has, so there it is no concern of ours.
        """
        with self._lock:
            touched, ignored = self._gather(samples, origin, rejected)
            found = [p for key in touched for p in self._read(key, touched[key], rejected)]
            while len(self._things) > KEPT_THINGS:
                self._things.popitem(last=False)
            return found, ignored

    def _gather(
        self, samples: Iterable[Sample], origin: Origin, rejected: Counter[str]
    ) -> tuple[dict[Thing, set[int]], int]:
        touched: dict[Thing, set[int]] = {}
        ignored = 0
        for sample in samples:
            dialect = BY_METRIC.get(sample.name)
            group = None if dialect is None else dialect.group(sample.labels)
            if dialect is None or group is None:
                known = dialect is not None or sample.name.startswith(OTHERS) or sample.name == "up"
                if known or not origin.whole:
                    ignored += 1
                else:
                    rejected["unknown_metric"] += 1
                continue
            # Our details name their device alone, whose key says the machine.
            node = "" if dialect is OURS else dialect.node(sample.labels, origin)
            key = dialect.name, node, group
            self._scrape(key, sample, origin).add(sample)
            touched.setdefault(key, set()).add(sample.ts_ms)
        return touched, ignored

    def _scrape(self, key: Thing, sample: Sample, origin: Origin) -> Scrape:
        scrapes = self._things.setdefault(key, {})
        self._things.move_to_end(key)
        scrape = scrapes.get(sample.ts_ms)
        if scrape is None:
            scrape = scrapes[sample.ts_ms] = Scrape(
                key[1],
                _cluster(sample.labels) or origin.cluster,
                sample.ts_ms,
                origin.interval_ms,
                origin.whole,
                next((other.known for other in scrapes.values()), {}),
            )
        return scrape

    def _read(self, key: Thing, touched: set[int], rejected: Counter[str]) -> Iterator[Point]:
        dialect = next(d for d in DIALECTS if d.name == key[0])
        scrapes = self._things[key]
        order = sorted(scrapes)
        for at, ts_ms in enumerate(order):
            before = scrapes[order[at - 1]] if at else None
            if ts_ms in touched:
                yield from self._measured(dialect, before, scrapes[ts_ms], rejected)
            if ts_ms in touched or (before is not None and before.ts_ms in touched):
                yield from self._held(dialect, before, scrapes[ts_ms])
        kept = KEPT_SCRAPES if not scrapes[order[-1]].whole else 0 if dialect is OURS else 1
        for old in order[: max(0, len(order) - kept)]:
            del scrapes[old]
        if not scrapes:
            del self._things[key]
        elif len(known := scrapes[order[-1]].known) > KEPT_LABELS:
            known.clear()

    def _measured(
        self, dialect: Dialect, before: Scrape | None, now: Scrape, rejected: Counter[str]
    ) -> Iterator[Point]:
        for point in dialect.points(now):
            if dialect is not OURS and not self._allows(dialect, point):
                rejected["measured_already"] += 1
            elif point.metric == ENERGY and dialect is not OURS and _fell(before, now, point):
                rejected["counter_fell"] += 1
            else:
                yield point

    def _allows(self, dialect: Dialect, point: Point) -> bool:
        interval_ms = int(point.attributes["wattshed.interval_ms"])
        claim = dialect.claim(point)
        return self._precedence.allows(claim, dialect.rank, point.ts_ms, interval_ms)

    def _held(self, dialect: Dialect, before: Scrape | None, now: Scrape) -> Iterator[Point]:
        reach_ms = MOST_INTERVALS * now.interval_ms
        if before is None:
            holds = self._resumed(dialect, now, reach_ms)
        elif now.ts_ms - before.ts_ms <= reach_ms:
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


def _cluster(labels: Labels) -> str:
    return labels.get("cluster", "")
