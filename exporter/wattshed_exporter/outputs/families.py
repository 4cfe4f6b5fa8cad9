"""Renders what a registry collects, in the bytes that prometheus-client would write itself.

The exporter's own health comes in the same shape without that package, which takes 6 MB; any
registry of prometheus-client does as well. Counters and gauges are written here, because half of
the cost is to escape names that never change; anything else is left to prometheus-client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from .exposition import escape, family_head, written

PLAIN = ("counter", "gauge")
MOST_SERIES = 1000
"""Series whose text before the value is remembered; our own health has some dozens."""


class Registry(Protocol):
    """What can be collected: families of prometheus-client, or ``telemetry.Family``."""

    def collect(self) -> Iterable[Any]: ...


class Families:
    """Renders a registry in one format."""

    def __init__(self, registry: Registry, openmetrics: bool = False) -> None:
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

    def _stock(self, families: Sequence[Any]) -> bytes:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.openmetrics import exposition as openmetrics

        collected = CollectorRegistry(auto_describe=False)
        collected.register(_Collected(families))
        if self._openmetrics:
            text: bytes = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]
            return text.removesuffix(b"# EOF\n")
        return generate_latest(collected)


class _Collected:
    def __init__(self, families: Sequence[Any]) -> None:
        self._families = families

    def collect(self) -> Iterable[Any]:
        return self._families


def _is_plain(family: Any) -> bool:
    name = family.name + "_total" if family.type == "counter" else family.name
    return family.type in PLAIN and all(
        s.name == name and s.timestamp is None and s.exemplar is None for s in family.samples
    )
