"""MLPerf Training results with power: MLLOG performance logs beside one power log per node.

Layout and rule: mlcommons/logging (mllog/examples/power, result_summarizer). ``result_*.txt``
holds run_start and run_stop, ``power/result_*/node_*.txt`` a node's ``power_reading`` and
``sw_*.txt`` an estimate for a switch. The rule takes the joules between
power_measurement_start and the last reading, rescales them from that time to the time to train,
and leaves out the fastest and the slowest run: close to the window's energy, but not the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

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
    note_span,
    power_ticks,
    read_json,
    wrong,
)
from .system import hardware
from .training_logs import NodeLog, Performance, read_node, read_performance, read_switch

RULE = "MLPerf Training energy (result_summarizer)"
UNCERTAINTY = 0.02
"""A node's own power meter; no meter class is required, unlike for Inference."""
DROPPED = {"unet3d": 4}
"""Runs that the rule leaves out at either end, where it is not one."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run with its power logs; ``switches`` maps a log's name to its estimate in watts."""

    performance: Performance
    nodes: list[NodeLog]
    switches: dict[str, float]

    def rule_joules(self) -> float:
        train_ms = self.performance.train_ms
        nodes = sum(node.rule_joules(train_ms) for node in self.nodes)
        return nodes + sum(self.switches.values()) * train_ms / 1000


def read(directory: Path) -> Result:
    notes: list[str] = []
    submitted = [_submitted(path, directory, notes) for path in _paired(directory, notes)]
    _note_dirt(submitted, notes)
    place, measured = directory.resolve(), hardware(directory, notes)
    devices: list[Device] = []
    ticks: list[Tick] = []
    held: list[Held] = []
    for one in submitted:
        prefix = f"{Kind.TRAINING}/{place.parent.name}/{place.name}/{one.performance.path.stem}"
        meters = dict(_meters(one, prefix))
        devices += (replace(device, model=measured) for device, _ in meters.values())
        ticks += (tick for _, series in meters.values() for tick in series)
        ends = {key: (series[0].ts_ms, series[-1].ts_ms) for key, (_, series) in meters.items()}
        held.append(_hold(one, prefix, ends))
    return Result(
        kind=Kind.TRAINING,
        batch=assemble(devices, ticks, held),
        runs=tuple(one.run for one in held),
        official=_official(directory, submitted, notes),
        notes=tuple(notes),
    )


def _paired(directory: Path, notes: list[str]) -> list[Path]:
    """List the performance logs, each of which must have its power folder and the reverse."""
    found = {path.stem: path for path in sorted(directory.glob("result_*.txt"))}
    power = {path.name for path in directory.glob("power/result_*") if path.is_dir()}
    raw = {stem for stem in found.keys() | power if "_raw_" in f"{stem}_"}
    if raw:
        notes.append(f"{len(raw)} _raw_ duplicates of other runs are left out")
    for stem in sorted(power - found.keys() - raw):
        raise ResultError(f"{directory / 'power' / stem} has no performance log {stem}.txt")
    for stem in sorted(found.keys() - power - raw):
        raise ResultError(f"{found[stem]} has no power logs: power/{stem} is missing")
    runs = [path for stem, path in found.items() if stem not in raw]
    if not runs:
        raise ResultError(f"{directory} holds no result_*.txt")
    return runs


def _submitted(path: Path, directory: Path, notes: list[str]) -> Submitted:
    performance = read_performance(path)
    folder = directory / "power" / path.stem
    nodes = [read_node(log) for log in sorted(folder.glob("node_*.txt"))]
    if not nodes:
        raise ResultError(f"{folder} holds no node_*.txt")
    switches = {
        log.stem: watts
        for log in sorted(folder.glob("sw_*.txt"))
        if (watts := read_switch(log, notes)) is not None
    }
    for node in nodes:
        times = [ts for ts, _ in node.readings]
        if not any(performance.start_ms <= ts <= performance.stop_ms for ts in times):
            raise ResultError(f"{node.path}: no reading between run_start and run_stop")
        note_span(str(node.path), (performance.start_ms, performance.stop_ms), times, notes)
    return Submitted(performance, nodes, switches)


def _note_dirt(submitted: list[Submitted], notes: list[str]) -> None:
    logs = [node for one in submitted for node in one.nodes]
    if unstopped := sum(not log.stop_logged for log in logs):
        notes.append(
            f"{unstopped} of {len(logs)} node logs have no power_measurement_stop after their "
            "start: the rule takes the last reading instead"
        )
    if repeated := sum(log.repeated for log in logs):
        notes.append(f"{repeated} readings repeat a time stamp; the first of each is kept")
    if sentinels := sum(watts < 0 for log in logs for _, watts in log.readings):
        notes.append(f"{sentinels} readings are negative: the meter's sign for no value")
    stated = sum(log.conversion is not None for log in logs)
    if 0 < stated < len(logs):
        notes.append(f"{stated} of {len(logs)} node logs state a conversion efficiency")
    if len({len(one.nodes) for one in submitted}) > 1:
        notes.append("the runs do not all have the same number of nodes")
    with_switches = sum(bool(one.switches) for one in submitted)
    if 0 < with_switches < len(submitted):
        notes.append(f"{with_switches} of {len(submitted)} runs have switch estimates")


def _meters(one: Submitted, prefix: str) -> Iterator[tuple[str, tuple[Device, list[Tick]]]]:
    for node in one.nodes:
        key = f"{prefix}/{node.path.stem}"
        factor = node.conversion or 1.0
        readings = [(ts, watts * factor) for ts, watts in node.readings]
        device = _device(key, node.path.stem, "wall", Method.INTEGRAL, UNCERTAINTY)
        yield key, (device, power_ticks(key, readings))
    if one.switches:
        stamps = _switch_stamps(one)
        for name, watts in one.switches.items():
            key = f"{prefix}/{name}"
            device = _device(key, name, "switch", Method.ESTIMATED, None)
            constant = [(ts, watts) for ts in stamps]
            yield key, (device, power_ticks(key, constant, Method.ESTIMATED))


def _switch_stamps(one: Submitted) -> list[int]:
    """An estimate is one constant, stamped years off in places: it is laid on the nodes' time."""
    first = min(node.readings[0][0] for node in one.nodes)
    last = max(node.readings[-1][0] for node in one.nodes)
    step = nominal_ms([ts for ts, _ in one.nodes[0].readings])
    return [*range(first, last, step), last]


def _device(key: str, node: str, scope: str, method: Method, ratio: float | None) -> Device:
    return Device(
        key=key,
        kind=Meter.HOST,
        node=node,
        source=SOURCE,
        name=node,
        scope=scope,
        method=method,
        uncertainty_ratio=ratio,
    )


def _hold(one: Submitted, prefix: str, ends: dict[str, tuple[int, int]]) -> Held:
    performance = one.performance
    window = (performance.start_ms, performance.stop_ms)
    return hold(
        prefix,
        performance.path.stem,
        window,
        performance.outcomes(),
        ends,
        kind="training",
        model=performance.benchmark,
    )


def _official(directory: Path, submitted: list[Submitted], notes: list[str]) -> Official:
    converged = [one for one in submitted if one.performance.converged]
    failed = len(submitted) - len(converged)
    converged.sort(key=lambda one: one.performance.train_ms)
    drop = DROPPED.get(submitted[0].performance.benchmark, 1)
    if failed > drop:
        raise ResultError(f"{directory}: {failed} of {len(submitted)} runs did not converge")
    if failed:
        notes.append(f"{failed} run that did not converge takes the place of the slowest")
    counted = converged[drop : len(converged) - (drop - failed)]
    if not counted:
        notes.append(f"{len(submitted)} runs are too few to leave out the best and the worst")
        counted = converged
    mean = sum(one.rule_joules() for one in counted) / len(counted)
    return Official(RULE, mean * _scaling(directory / "scaling.json", notes), "J")


def _scaling(path: Path, notes: list[str]) -> float:
    if not path.exists():
        return 1.0
    content = read_json(path)
    factor = content.get("scaling_factor") if isinstance(content, dict) else None
    if not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise wrong(path, 1, "scaling_factor is not a positive number")
    notes.append(f"the official figure is scaled by {factor:g} (scaling.json)")
    return float(factor)
