"""Renders snapshots in the text formats of Prometheus and OpenMetrics.

The body is a list of byte strings with a hole after each series' labels, kept from one scrape to
the next and built again only where labels change or a value comes or goes; a scrape fills in the
values and joins. That gives the bytes that prometheus-client does for a small part of the cost.
Formats: "Exposition formats" of the Prometheus documentation; OpenMetrics 1.0.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress
from operator import is_

from wattshed_exporter.model import Detail, Device, Kind
from wattshed_exporter.semconv import (
    DETAIL_METRICS,
    DEVICE_ATTRIBUTES,
    DEVICE_INFO,
    GAP,
    POWER_LIMIT,
    TICK_METRICS,
    WORKLOAD_ENERGY,
    Metric,
    Type,
)

from . import NO_VALUES, Charged, Snapshot, tick_values

log = logging.getLogger(__name__)

FIELD_OF_LABEL = {a.label: a.name for a in DEVICE_ATTRIBUTES}
FAMILY_ORDER = {name: index for index, name in enumerate(DETAIL_METRICS)}
UNITS = ("joules", "watts", "seconds", "bytes", "celsius", "hertz", "ratio")
"""What OpenMetrics says in ``# UNIT`` where the name of a family ends with it."""
MOST_TEXTS = 1024
"""Numbers whose text is remembered: most of what a meter says it has said before."""

EXPONENTS = tuple(f"e+{before - 1:02d}" for before in range(18))
"""By the number of digits before the point."""
NOT_FINITE = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}

Series = tuple[Metric, Device, tuple[str, ...]]
"""A metric, its device and the values of the metric's last labels, which are its own."""
Number = float | None
NOTHING = Charged()
GONE = Device("", Kind.HOST, "", "")
"""Stands for a device that is gone, whose series are not shown."""


class Texts(dict[float, bytes]):
    """Numbers as Go and prometheus-client write them, remembered up to a bound."""

    def __missing__(self, value: float) -> bytes:
        text = number(value)
        if value:  # a zero is not remembered, because it equals the negative one
            self[value] = text
        return text


def number(value: float) -> bytes:
    """Return ``written`` as bytes; ``ValueError`` where the number is not finite."""
    if -1e6 < value < 1e6:  # most are
        return repr(float(value)).encode()
    if not math.isfinite(value):
        raise ValueError(f"{value} has no series")
    return written(value).encode()


def written(value: float) -> str:
    """Return a number as Go and prometheus-client write it.

    Up to a million, and from 1e16 on, that is what Python writes too.
    """
    text = repr(float(value))
    if 1e6 <= value < 1e16:
        dot = text.index(".")
        digits = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}"
        return digits.rstrip("0.") + EXPONENTS[dot]
    return NOT_FINITE.get(text, text)


class Exposition:
    """Renders snapshots in one format; keeps the layout of the last one."""

    def __init__(self, openmetrics: bool = False) -> None:
        head = openmetrics_head if openmetrics else text_head
        self._end = b"# EOF\n" if openmetrics else b""
        texts = Texts()
        self._ticks, self._gaps, self._fleet = (_Part(head, texts) for _ in range(3))
        self._charged = _Part(head, Texts())  # apart, because few joules come twice
        self._details = _Details(_Part(head, texts))
        self._fleet_kept: tuple[tuple[Device, ...], bytes] = ((), b"")

    def render(self, snapshot: Snapshot, before: bytes = b"", charged: Charged = NOTHING) -> bytes:
        """Return the body for a snapshot, after what stands before it in the same format.

        A value that is None or not finite has no series. Everything is joined once: at a megabyte
        each further copy costs as much as the writing of the numbers.
        """
        devices = snapshot.devices
        by_key = {d.key: d for d in devices}
        gaps = [key for key in snapshot.unknown_seconds if key[0] in by_key]
        ticks = self._ticks.render(devices, _tick_values(snapshot), lambda: _tick_series(devices))
        unknown = self._gaps.render(
            (devices, gaps),
            [snapshot.unknown_seconds[key] for key in gaps],
            lambda: ((GAP, by_key[key], (reason,)) for key, reason in gaps),
        )
        details = self._details.render(devices, by_key, snapshot.details)
        fleet = self._fleet_text(devices)
        shares = self._charged_pieces(devices, by_key, charged)
        return b"".join(chain((before,), ticks, unknown, (fleet,), details, shares, (self._end,)))

    def _charged_pieces(
        self, devices: tuple[Device, ...], by_key: Mapping[str, Device], charged: Charged
    ) -> list[bytes]:
        """Return the counters of workloads; those of devices that are gone are not shown."""
        values = [
            joules if key in by_key else None
            for (key, _), joules in zip(charged.keys, charged.joules, strict=True)
        ]
        return self._charged.render(
            (devices, charged.keys),
            values,
            lambda: ((WORKLOAD_ENERGY, by_key.get(key, GONE), own) for key, own in charged.keys),
        )

    def _fleet_text(self, devices: tuple[Device, ...]) -> bytes:
        known, text = self._fleet_kept
        if known != devices:
            values = [1.0 for _ in devices] + [d.power_limit_watts for d in devices]
            text = b"".join(self._fleet.render(devices, values, lambda: _fleet_series(devices)))
        # One assignment, because two scrapes may render at once; the same object compares faster.
        self._fleet_kept = (devices, text)
        return text


class _Details:
    """What is said beside ticks; its pieces are kept until something is said anew."""

    def __init__(self, part: _Part) -> None:
        self._part = part
        self._kept: tuple[tuple[Device, ...], Sequence[Detail], list[bytes]] = ((), (), [])
        self._order: tuple[object, list[int]] = (None, [])

    def render(
        self,
        devices: tuple[Device, ...],
        by_key: Mapping[str, Device],
        details: Mapping[tuple[str, str, tuple[str, ...]], Detail],
    ) -> list[bytes]:
        found = tuple(details.values())
        known_devices, known, pieces = self._kept
        same = len(found) == len(known) and all(map(is_, found, known))
        if same and devices == known_devices:
            return pieces
        key = (devices, list(details))
        known_key, order = self._order
        if key != known_key:
            order = _family_order(found, by_key)
            self._order = (key, order)
        values = [d.value for d in found]
        pieces = self._part.render(
            key,
            [values[i] for i in order],
            lambda: (
                (DETAIL_METRICS[d.metric], by_key[d.device], d.attributes)
                for d in map(found.__getitem__, order)
            ),
        )
        self._kept = (devices, found, pieces)
        return pieces


class _Part:
    """A stretch of the body whose labels change together.

    Args:
        head: the lines of comment before the series of a metric.
        texts: numbers written before, shared and bounded.
    """

    def __init__(self, head: Callable[[Metric], str], texts: Texts) -> None:
        self._head = head
        self._texts = texts
        self._layout: _Layout | None = None

    def render(
        self, key: object, values: Sequence[Number], series: Callable[[], Iterable[Series]]
    ) -> list[bytes]:
        """Return the pieces of ``series``, one for each of ``values``; ``key`` stands for both."""
        layout = self._layout
        if layout is not None and layout.key == key:
            # What is the same object compares faster the next time.
            layout.key = key
            if (filled := layout.fill(values, self._texts)) is not None:
                return filled
        shown = list(map(is_shown, values))
        layout = _Layout(key, shown, self._head, series())
        self._layout = layout
        return layout.fill(values, self._texts) or []


class _Layout:
    """Text around the values of the series that are shown."""

    def __init__(
        self,
        key: object,
        shown: Sequence[bool],
        head: Callable[[Metric], str],
        series: Iterable[Series],
    ) -> None:
        self.key = key
        self._shown = shown
        self._hidden = [not s for s in shown]
        self._pieces: list[bytes] = []
        last, line_end = None, ""
        for metric, device, own in compress(series, shown):
            comment = "" if metric is last else head(metric)
            name_and_labels = f"{metric.prometheus}{{{_labels(metric, device, own)}}} "
            piece = f"{line_end}{comment}{name_and_labels}"
            self._pieces += (piece.encode(errors="replace"), b"")
            last, line_end = metric, "\n"
        self._pieces.append(line_end.encode())

    def fill(self, values: Sequence[Number], texts: Texts) -> list[bytes] | None:
        """Return the pieces with values, None where other series are to be shown than before."""
        hidden = list(compress(values, self._hidden))
        if hidden.count(None) != len(hidden) and any(map(is_shown, hidden)):
            return None
        if len(texts) > MOST_TEXTS:
            texts.clear()
        pieces = self._pieces.copy()
        try:
            pieces[1::2] = map(texts.__getitem__, compress(values, self._shown))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        return pieces


def is_shown(value: Number) -> bool:
    """Return whether a value has a series."""
    return value is not None and math.isfinite(value)


def text_head(metric: Metric) -> str:
    """Return the comment before a metric's series in the format of Prometheus, version 0.0.4."""
    return family_head(metric.prometheus, metric.type, metric.help)


def openmetrics_head(metric: Metric) -> str:
    """Return the comment in the format of OpenMetrics, where a counter's family has no suffix."""
    family, unit = openmetrics_family(metric)
    return family_head(family, metric.type, metric.help, unit, quoted=True)


def openmetrics_family(metric: Metric) -> tuple[str, str]:
    """Return the name of a metric's family and its unit, "" where its name does not end so."""
    name = metric.prometheus
    family = name.removesuffix("_total") if metric.type is Type.COUNTER else name
    unit = family.rpartition("_")[2]
    return family, unit if unit in UNITS else ""


def family_head(name: str, type: str, help: str, unit: str = "", *, quoted: bool = False) -> str:
    """Return the lines of comment of a family; OpenMetrics wants quotes in ``help`` escaped too."""
    told = escape(help) if quoted else help.replace("\\", r"\\").replace("\n", r"\n")
    lines = f"# HELP {name} {told}\n# TYPE {name} {type}\n"
    return f"{lines}# UNIT {name} {unit}\n" if unit else lines


def escape(value: str) -> str:
    """Return the value of a label as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _labels(metric: Metric, device: Device, own: Sequence[str]) -> str:
    values = dict(zip(metric.labels[len(metric.labels) - len(own) :], own, strict=True))
    for label in metric.labels[: len(metric.labels) - len(own)]:
        values[label] = str(getattr(device, FIELD_OF_LABEL[label]))
    return ",".join(f'{label}="{escape(values[label])}"' for label in sorted(values))


def _tick_values(snapshot: Snapshot) -> list[Number]:
    """Return a value for each of ``_tick_series``, in the same order."""
    ticks = [snapshot.ticks.get(d.key) for d in snapshot.devices]
    rows = [NO_VALUES if tick is None else tick_values(tick) for tick in ticks]
    return list(chain.from_iterable(zip(*rows, strict=True)))


def _tick_series(devices: Iterable[Device]) -> Iterator[Series]:
    return ((metric, device, ()) for metric in TICK_METRICS for device in devices)


def _fleet_series(devices: Iterable[Device]) -> Iterator[Series]:
    return ((metric, device, ()) for metric in (DEVICE_INFO, POWER_LIMIT) for device in devices)


def _family_order(found: Sequence[Detail], by_key: Mapping[str, Device]) -> list[int]:
    """Return which details to show, family by family; those of devices that are gone are not."""
    fitting = [i for i, detail in enumerate(found) if detail.device in by_key and _fits(detail)]
    return sorted(fitting, key=lambda i: FAMILY_ORDER[found[i].metric])


def _fits(detail: Detail) -> bool:
    """Return whether the contract has such a metric with so many labels; else say so."""
    metric = DETAIL_METRICS.get(detail.metric)
    fits = metric is not None and len(metric.own) == len(detail.attributes)
    if not fits:
        log.warning("%s: not a detail with %d labels", detail.metric, len(detail.attributes))
    return fits
