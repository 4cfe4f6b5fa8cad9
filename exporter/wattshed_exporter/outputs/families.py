"""Renders counters and gauges that a registry collects, in the bytes of prometheus-client.

The exporter's own health comes in the shape of that package's families without loading it. Half of
the cost would be to escape names that never change, so they are remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from .exposition import escape, family_head, written

MOST_SERIES = 1000
"""Series whose text before the value is remembered; our own health has some dozens."""


class Registry(Protocol):
    """Counters and gauges, as ``telemetry.Family`` or as those of prometheus-client."""

    def collect(self) -> Iterable[Any]: ...


class Families:
    """Renders a registry in one format."""

    def __init__(self, registry: Registry, openmetrics: bool = False) -> None:
        self._registry = registry
        self._openmetrics = openmetrics
        self._starts: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}

    def render(self) -> bytes:
        """Return the text of all families, without the end mark of OpenMetrics."""
        families = self._registry.collect()
        if len(self._starts) > MOST_SERIES:
            self._starts.clear()
        return "".join(line for family in families for line in self._lines(family)).encode()

    def _lines(self, family: Any) -> Iterator[str]:
        suffix = "_total" if family.type == "counter" else ""
        name = family.name if self._openmetrics else family.name + suffix
        unit = family.unit if self._openmetrics else ""
        quoted = self._openmetrics
        yield family_head(name, family.type, family.documentation, unit, quoted=quoted)
        for sample in family.samples:
            yield f"{self._start(sample)}{written(sample.value)}\n"

    def _start(self, sample: Any) -> str:
        key = (sample.name, tuple(sample.labels.items()))
        start = self._starts.get(key)
        if start is None:
            labels = ",".join(f'{k}="{escape(v)}"' for k, v in sorted(sample.labels.items()))
            start = f"{sample.name}{{{labels}}} " if labels else f"{sample.name} "
            self._starts[key] = start
        return start
