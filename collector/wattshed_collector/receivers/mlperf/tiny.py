"""MLPerf Tiny results: a board's energy per millisecond from an energy monitor.

Formats: mlcommons/tiny's runner. ``trace1-energy.bin`` is the byte 0xF1, the sample rate as a
little-endian float32, then microjoules per sample as little-endian float32; window N of
``results.txt`` lies between edges N-1 and N of ``trace1-timestamps.json`` (seconds). Trace times
start at zero, so they are laid on a fixed day: joules do not depend on it, time stamps do.
"""

from __future__ import annotations

import math
import re
import statistics
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wattshed_exporter.model import Device, Method, Tick
from wattshed_exporter.model import Kind as Meter

from .model import (
    SOURCE,
    Held,
    Kind,
    Official,
    Result,
    ResultError,
    assemble,
    hold,
    nominal_ms,
    read_bytes,
    read_json,
    read_lines,
    wrong,
)

BASE_MS = 1_577_836_800_000
"""2020-01-01T00:00:00Z, where every trace starts."""
MAGIC = 0xF1
HEADER = struct.Struct("<Bf")
UNCERTAINTY = 0.01
SLACK_S = 0.02
"""results.txt states where a window begins in hundredths of a second."""
RULE = "MLPerf Tiny (median energy per inference)"

_BEGIN = re.compile(r"Energy data for window (\d+) at time ([\d.]+)")
_WINDOW = re.compile(r"Performance results for window (\d+)")
_COUNT = re.compile(r"# Inferences\s*:\s*(\S+)")
_MEDIAN = re.compile(r"Median energy cost is (\S+) uJ/inf")


@dataclass(frozen=True, slots=True)
class Report:
    """results.txt: what each measured window held, with its line, and the published median."""

    path: Path
    inferences: dict[int, int]
    begins: dict[int, tuple[int, float]]
    median_uj: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Energy since the start of the trace, at milliseconds since the start of the trace."""

    path: Path
    times_ms: npt.NDArray[np.int64]
    total_uj: npt.NDArray[np.float64]

    def energy_uj(self, window: tuple[int, int]) -> float:
        start, end = np.interp(window, self.times_ms, self.total_uj)
        return float(end - start)


def read(directory: Path) -> Result:
    report = read_report(directory / "results.txt")
    trace = read_trace(directory / "trace1-energy.bin")
    windows = read_windows(directory / "trace1-timestamps.json", report, trace)
    name = directory.resolve().name
    device = f"{Kind.TINY}/{name}/board"
    held = tuple(_hold(name, device, report, windows, int(trace.times_ms[-1])))
    each = [trace.energy_uj(window) / report.inferences[n] for n, window in windows.items()]
    return Result(
        kind=Kind.TINY,
        batch=assemble([_board(device, name)], _ticks(device, trace), held),
        runs=tuple(one.run for one in held),
        # statistics.median takes the mean of the middle two where a window is missing.
        official=Official(RULE, statistics.median(each), "uJ/inference", report.median_uj),
        notes=("the trace has no date: its start is laid on 2020-01-01T00:00:00Z",),
    )


def read_report(path: Path) -> Report:
    begins: dict[int, tuple[int, float]] = {}
    inferences: dict[int, int] = {}
    window, median = 0, None
    for line, text in enumerate(read_lines(path), 1):
        if found := _BEGIN.search(text):
            begins[int(found[1])] = (line, _positive(path, line, found[2]))
        elif found := _WINDOW.search(text):
            window = int(found[1])
        elif found := _COUNT.search(text):
            inferences[window] = int(_positive(path, line, found[1]))
        elif found := _MEDIAN.search(text):
            median = _positive(path, line, found[1])
    if not begins:
        raise wrong(path, 1, "the file reports no energy window")
    for n, (line, _) in begins.items():
        if n not in inferences:
            raise wrong(path, line, f"window {n} has energy but no '# Inferences' line")
    return Report(path, inferences, dict(sorted(begins.items())), median)


def read_trace(path: Path) -> Trace:
    content = read_bytes(path)
    if len(content) < HEADER.size:
        raise ResultError(f"{path} ends inside its {HEADER.size} byte header")
    magic, rate = HEADER.unpack_from(content)
    if magic != MAGIC:
        raise ResultError(f"{path}: byte 0 is 0x{magic:02X}, not 0x{MAGIC:02X}")
    if not math.isfinite(rate) or rate <= 0:
        raise ResultError(f"{path}: bytes 1-4 give a sample rate of {rate} Hz")
    odd = (len(content) - HEADER.size) % 4
    if odd or len(content) == HEADER.size:
        raise ResultError(f"{path} ends inside a sample: {odd} odd bytes after the last whole one")
    samples = np.frombuffer(content, "<f4", offset=HEADER.size).astype(np.float64)
    bad = np.flatnonzero(~(samples >= 0) | np.isinf(samples))
    if bad.size:
        raise ResultError(f"{path}: sample {bad[0] + 1} is {samples[bad[0]]} uJ")
    total = np.concatenate(([0.0], np.cumsum(samples)))
    times = np.rint(np.arange(total.size) * (1000 / rate)).astype(np.int64)
    last_of_ms = np.append(times[1:] != times[:-1], True)
    return Trace(path, times[last_of_ms], total[last_of_ms])


def read_windows(path: Path, report: Report, trace: Trace) -> dict[int, tuple[int, int]]:
    """Map the number of each measured window to its edges in milliseconds of the trace."""
    edges = read_json(path)
    if not isinstance(edges, list) or not all(type(edge) in (int, float) for edge in edges):
        raise wrong(path, 1, "expected a list of window edges in seconds")
    if any(not earlier < later for earlier, later in pairwise(edges)):
        raise wrong(path, 1, "the window edges do not increase")
    windows = {}
    for n, (line, begin) in report.begins.items():
        if not 1 <= n < len(edges):
            problem = f"window {n} has no two edges in {path.name} ({len(edges)} edges)"
            raise wrong(report.path, line, problem)
        if abs(edges[n - 1] - begin) > SLACK_S:
            problem = f"window {n} begins at {begin} s but at {edges[n - 1]} s in {path.name}"
            raise wrong(report.path, line, problem)
        windows[n] = (round(edges[n - 1] * 1000), round(edges[n] * 1000))
        if windows[n][1] > trace.times_ms[-1]:
            raise ResultError(
                f"{trace.path} ends at {trace.times_ms[-1] / 1000} s, "
                f"before window {n} does ({edges[n]} s)"
            )
    return windows


def _positive(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise wrong(path, line, f"{text!r} is not a number") from None
    if not math.isfinite(value) or value <= 0:
        raise wrong(path, line, f"{text} is not a positive number")
    return value


def _hold(
    name: str, device: str, report: Report, windows: dict[int, tuple[int, int]], end_ms: int
) -> Iterator[Held]:
    """Give the time between two windows to the phase before the later one."""
    since = 0
    for n, (start, end) in windows.items():
        until = end_ms if n == max(windows) else end
        yield hold(
            f"{Kind.TINY}/{name}/window-{n}",
            f"{name} window {n}",
            (BASE_MS + start, BASE_MS + end),
            {"inference": float(report.inferences[n])},
            {device: (BASE_MS + since, BASE_MS + until)},
            kind="inference",
            model=name.rpartition("_")[2],
        )
        since = end


def _board(device: str, name: str) -> Device:
    return Device(
        key=device,
        kind=Meter.BOARD,
        node=name,
        source=SOURCE,
        name=name,
        scope="board",
        method=Method.COUNTER,
        uncertainty_ratio=UNCERTAINTY,
    )


def _ticks(device: str, trace: Trace) -> Iterator[Tick]:
    # Rounding the sum keeps the error below one microjoule however long the trace is.
    counter = np.rint(trace.total_uj).astype(np.int64).tolist()
    times = (trace.times_ms + BASE_MS).tolist()
    interval = nominal_ms(times[:1000])
    for ts, energy in zip(times, counter, strict=True):
        yield Tick(device, ts, interval, Method.COUNTER, None, energy, BASE_MS)
