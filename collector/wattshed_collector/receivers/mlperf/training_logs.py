"""One run's logs of MLPerf Training: what was done when, and what a node or a switch drew.

Formats: mlcommons/logging (mllog constants; mllog/examples/power). All three are MLLOG; a
performance log may hold other output as well, a power log may not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from .mllog import Event, read_mllog
from .model import in_order, wrong


@dataclass(frozen=True, slots=True)
class Performance:
    """One result_*.txt: the measured window and what was done in it."""

    path: Path
    start_ms: int
    stop_ms: int
    converged: bool
    benchmark: str
    samples: float | None
    batch_size: float | None

    @property
    def train_ms(self) -> int:
        return self.stop_ms - self.start_ms

    def outcomes(self) -> dict[str, float]:
        done = {"job": 1.0} if self.converged else {}
        if self.samples is not None:
            done["sample"] = self.samples
            if self.batch_size:
                done["step"] = self.samples / self.batch_size
        return done


@dataclass(frozen=True, slots=True)
class NodeLog:
    """One node_*.txt: readings in order; ``stop_ms`` is the last of them where none is logged."""

    path: Path
    start_ms: int
    stop_ms: int
    readings: list[tuple[int, float]]
    conversion: float | None
    stop_logged: bool
    repeated: int

    def rule_joules(self, train_ms: int) -> float:
        total, previous = 0.0, self.start_ms
        for ts, watts in self.readings:
            if self.start_ms <= ts <= self.stop_ms:
                total += watts * (ts - previous)
                previous = ts
        scale = train_ms / (self.stop_ms - self.start_ms) / 1000
        return (self.conversion or 1.0) * total * scale


def read_performance(path: Path) -> Performance:
    events = read_mllog(path)
    start = _first(events, "run_start")
    stop = _first(events, "run_stop")
    if start is None or stop is None:
        missing = "run_start" if start is None else "run_stop"
        raise wrong(path, events[-1].line, f"the log ends without {missing}")
    if stop.time_ms <= start.time_ms:
        raise wrong(path, stop.line, "run_stop is not after run_start")
    benchmark = _first(events, "submission_benchmark")
    batch_size = _first(events, "global_batch_size")
    return Performance(
        path=path,
        start_ms=round(start.time_ms),
        stop_ms=round(stop.time_ms),
        converged=stop.metadata.get("status", "success") == "success",
        benchmark=str(benchmark.value) if benchmark else path.resolve().parent.name,
        samples=_samples(stop),
        batch_size=batch_size.number() if batch_size else None,
    )


def _samples(stop: Event) -> float | None:
    count = stop.metadata.get("samples_count")
    if not isinstance(count, int | float) or not 0 <= count < math.inf:
        return None
    return float(count)


def read_node(path: Path) -> NodeLog:
    events = read_mllog(path, only=True)
    start = _first(events, "power_measurement_start")
    if start is None:
        raise wrong(path, events[-1].line, "the log ends without power_measurement_start")
    logged = [(round(e.time_ms), e.number()) for e in events if e.key == "power_reading"]
    readings = in_order(logged)
    if not readings or readings[-1][0] <= start.time_ms:
        raise wrong(path, events[-1].line, "no power_reading after power_measurement_start")
    stop = _first(events, "power_measurement_stop")
    # Most published logs stamp the stop with the time of the start.
    stops = stop is not None and stop.time_ms > start.time_ms
    conversion = _first(events, "conversion_eff")
    return NodeLog(
        path=path,
        start_ms=round(start.time_ms),
        stop_ms=round(stop.time_ms) if stop is not None and stops else readings[-1][0],
        readings=readings,
        conversion=conversion.number() if conversion else None,
        stop_logged=stops,
        repeated=len(logged) - len(readings),
    )


def read_switch(path: Path, notes: list[str]) -> float | None:
    events = read_mllog(path, only=True)
    estimate = _first(events, "interconnect_power_est")
    if estimate is None:
        notes.append(f"{path}: no interconnect_power_est, so the switch counts as unknown")
        return None
    conversion = _first(events, "conversion_eff")
    return estimate.number() * (conversion.number() if conversion else 1.0)


def _first(events: list[Event], key: str) -> Event | None:
    return next((event for event in events if event.key == key), None)
