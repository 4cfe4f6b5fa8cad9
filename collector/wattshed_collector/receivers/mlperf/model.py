"""What a benchmark's result folder becomes: facts for the store beside MLPerf's own figure.

The three families (Inference, Training, Tiny) differ in files, clocks and meters but end in the
same values: one ``Batch`` of facts, and runs that name which workload held the meters during the
measured window and which held them before and after it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from wattshed_exporter.model import Allocation, Batch, Device, Method, Outcome, Tick, Workload

SOURCE = "mlperf"


class Kind(StrEnum):
    """Which benchmark family a folder comes from."""

    INFERENCE = "mlperf-inference"
    TRAINING = "mlperf-training"
    TINY = "mlperf-tiny"


class ResultError(Exception):
    """The folder cannot be read: one sentence that names the file, the line and what is wrong."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured window. The phase keys are "" where the log holds nothing outside it."""

    name: str
    workload_key: str
    before_key: str
    after_key: str
    window_start_ms: int
    window_end_ms: int
    outcomes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Official:
    """The figure by the benchmark's own rule; ``published`` only if the folder itself holds it."""

    rule: str
    value: float
    unit: str
    published: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that a folder says; ``notes`` tell what was dropped, shifted or assumed."""

    kind: Kind
    batch: Batch
    runs: tuple[Run, ...]
    official: Official
    notes: tuple[str, ...] = ()


def wrong(path: Path, line: int, problem: str) -> ResultError:
    return ResultError(f"{path}, line {line}: {problem}")


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ResultError(f"{path} is missing") from None
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from None


def read_lines(path: Path) -> list[str]:
    # Not splitlines: it also splits at characters that may stand inside a JSON string.
    text = read_bytes(path).decode(errors="replace")
    return [line.rstrip("\r") for line in text.split("\n")]


def read_json(path: Path) -> Any:
    text = read_bytes(path).decode(errors="replace")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise wrong(path, error.lineno, f"not valid JSON: {error.msg}") from None


def in_order(readings: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """Sort by time; of several readings with one time stamp the first one stands."""
    first: dict[int, float] = {}
    for ts, watts in readings:
        first.setdefault(ts, watts)
    return sorted(first.items())


def nominal_ms(times: Sequence[int]) -> int:
    """Median spacing: a logger's real period, whatever it was asked for."""
    if len(times) < 2:
        return 1
    gaps = (later - earlier for earlier, later in pairwise(times))
    return max(1, round(statistics.median(gaps)))


def power_ticks(
    device: str, readings: Sequence[tuple[int, float]], method: Method = Method.INTEGRAL
) -> list[Tick]:
    """Turn ordered readings into ticks; a negative reading is the meter's "no value"."""
    interval = nominal_ms([ts for ts, _ in readings])
    return [
        Tick(device, ts, interval, method, power_watts=watts)
        if watts >= 0
        else Tick(device, ts, interval, method, gap="sentinel")
        for ts, watts in readings
    ]


def note_span(what: str, window: tuple[int, int], times: Sequence[int], notes: list[str]) -> None:
    """Say where the log does not cover the window: that part is unknown, not zero."""
    if (late := min(times) - window[0]) > 0:
        notes.append(f"{what}: readings begin {late / 1000:g} s after the window does")
    if (early := window[1] - max(times)) > 0:
        notes.append(f"{what}: readings end {early / 1000:g} s before the window does")


@dataclass(frozen=True, slots=True)
class Held:
    """A run and the time stamps (first, last) between which it and its phases hold each meter."""

    run: Run
    kind: str
    model: str
    meters: Mapping[str, tuple[int, int]]


def hold(
    key: str,
    name: str,
    window: tuple[int, int],
    outcomes: dict[str, float],
    meters: Mapping[str, tuple[int, int]],
    *,
    kind: str,
    model: str = "",
) -> Held:
    """Lay a run on its meters; it has a phase only where some meter was read outside the window."""
    start, end = window
    run = Run(
        name=name,
        workload_key=key,
        before_key=f"{key}/before" if any(first < start for first, _ in meters.values()) else "",
        after_key=f"{key}/after" if any(last > end for _, last in meters.values()) else "",
        window_start_ms=start,
        window_end_ms=end,
        outcomes=outcomes,
    )
    return Held(run, kind, model, meters)


def assemble(devices: Iterable[Device], ticks: Iterable[Tick], held: Sequence[Held]) -> Batch:
    return Batch(
        devices=tuple(devices),
        ticks=tuple(ticks),
        workloads=tuple(workload for one in held for workload in _workloads(one)),
        allocations=tuple(allocation for one in held for allocation in _allocations(one)),
        outcomes=tuple(outcome for one in held for outcome in _outcomes(one.run)),
    )


def _workloads(held: Held) -> Iterator[Workload]:
    run = held.run
    yield Workload(run.workload_key, run.name, held.kind, model=held.model)
    if run.before_key:
        yield Workload(run.before_key, f"{run.name} (before)", "startup", model=held.model)
    if run.after_key:
        yield Workload(run.after_key, f"{run.name} (after)", "tail", model=held.model)


def _allocations(held: Held) -> Iterator[Allocation]:
    run = held.run
    start, end = run.window_start_ms, run.window_end_ms
    for meter, (first, last) in held.meters.items():
        if first < start:
            yield Allocation(meter, run.before_key, first, start, method=SOURCE)
        yield Allocation(meter, run.workload_key, start, end, method=SOURCE)
        if last > end:
            yield Allocation(meter, run.after_key, end, last, method=SOURCE)


def _outcomes(run: Run) -> Iterator[Outcome]:
    for kind, total in run.outcomes.items():
        yield Outcome(run.workload_key, kind, run.window_end_ms, total, run.window_start_ms, SOURCE)
