"""Renders what a registry of prometheus-client collects, in the bytes that it would write itself.

The registry stays prometheus-client's. Only the writing of counters and gauges is ours, because
half of its cost is to escape names that never change; anything else is left to prometheus-client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from .exposition import escape, family_head, written

PLAIN = ("counter", "gauge")
MOST_SERIES = 1000
"""Series whose text before the value is remembered; our own health has some dozens."""


class Families:
    """Renders a registry in one format."""

    def __init__(self, registry: CollectorRegistry, openmetrics: bool = False) -> None:
        self._registry = registry
        self._openmetrics = openmetrics
        self._starts: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}

    def render(self) -> bytes:
        """Return the text of all families, without the end mark of OpenMetrics."""
        families = list(self._registry.collect())
        if not all(map(_is_plain, families)):
            return self._stock(families)
        if len(self._starts) > MOST_SERIES:
            self._starts.clear()
        return "".join(line for family in families for line in self._lines(family)).encode()

    def _lines(self, family: Metric) -> Iterator[str]:
        suffix = "_total" if family.type == "counter" else ""
        name = family.name if self._openmetrics else family.name + suffix
        unit = family.unit if self._openmetrics else ""
        quoted = self._openmetrics
        yield family_head(name, family.type, family.documentation, unit, quoted=quoted)
        for sample in family.samples:
            yield f"{self._start(sample)}{written(sample.value)}\n"

    def _start(self, sample: Sample) -> str:
        key = (sample.name, tuple(sample.labels.items()))
        start = self._starts.get(key)
        if start is None:
            labels = ",".join(f'{k}="{escape(v)}"' for k, v in sorted(sample.labels.items()))
            start = f"{sample.name}{{{labels}}} " if labels else f"{sample.name} "
            self._starts[key] = start
        return start

    def _stock(self, families: Sequence[Metric]) -> bytes:
        collected = CollectorRegistry(auto_describe=False)
        collected.register(_Collected(families))
        if self._openmetrics:
            text: bytes = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]
            return text.removesuffix(b"# EOF\n")
        return generate_latest(collected)


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _is_plain(family: Metric) -> bool:
    name = family.name + "_total" if family.type == "counter" else family.name
    return family.type in PLAIN and all(
        s.name == name and s.timestamp is None and s.exemplar is None for s in family.samples
    )
