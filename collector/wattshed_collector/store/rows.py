"""Turn the nouns into columns of the tables: the only place that knows both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wattshed_exporter.model import (
    Allocation,
    Batch,
    Detail,
    Device,
    Doubtful,
    Outcome,
    Tick,
    Workload,
    stable_id,
)
from wattshed_exporter.semconv import (
    DEVICE_ATTRIBUTES,
    PUSHED_DETAILS,
    WORKLOAD_ATTRIBUTES,
)

from .frames import frame
from .insert import Frame
from .wide import split

Columns = dict[str, list[Any]]

FROZEN = "counter_frozen"
"""The reason with which an exporter takes back the energy of a counter that stood still."""

DEVICE_TEXT = tuple(attribute.name for attribute in DEVICE_ATTRIBUTES)
WORKLOAD_TEXT = tuple(attribute.name for attribute in WORKLOAD_ATTRIBUTES)
OWN_LABELS = {name: metric.own for name, metric in PUSHED_DETAILS.items()}
"""By metric, the labels whose values a detail's ``attributes`` are."""


class Ids:
    """Remembers the identity of each key: hashing one costs more than looking it up."""

    def __init__(self, limit: int = 200_000) -> None:
        self._known: dict[str, int] = {}
        self._limit = limit

    def __getitem__(self, key: str) -> int:
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._limit:
                self._known.clear()
            known = self._known[key] = stable_id(key)
        return known


def tick_columns(ticks: Sequence[Tick], ids: Ids) -> Columns:
    return {
        "ts": [tick.ts_ms for tick in ticks],
        "device_id": [ids[tick.device] for tick in ticks],
        "power_uw": [_micro(tick.power_watts) for tick in ticks],
        "energy_uj": [tick.energy_uj for tick in ticks],
        "start_ts": [tick.start_ms for tick in ticks],
        "interval_ms": [tick.interval_ms for tick in ticks],
        "util_e4": [_scaled(tick.utilization_ratio, 1e4) for tick in ticks],
        "mem_used_bytes": [tick.memory_used_bytes for tick in ticks],
        "temp_e1": [_scaled(tick.temperature_celsius, 10.0) for tick in ticks],
        "method": [tick.method.value for tick in ticks],
        "gap": [tick.gap or None for tick in ticks],
        "withdrawn": [1 if _withdraws(tick) else None for tick in ticks],
    }


def _withdraws(tick: Tick) -> bool:
    """Return whether a tick takes back the energy of its instant: it says why beside its power.

    The reason alone does, where it can mean nothing else: the power comes in another request then.
    """
    return bool(tick.gap) and (tick.power_watts is not None or tick.gap == FROZEN)


def detail_columns(details: Sequence[Detail], ids: Ids) -> Columns:
    return {
        "device_id": [ids[detail.device] for detail in details],
        "metric": [detail.metric for detail in details],
        "labels": [labels_text(detail) for detail in details],
        "ts": [detail.ts_ms for detail in details],
        "value": [detail.value for detail in details],
        "start_ts": [detail.start_ms for detail in details],
    }


def labels_text(detail: Detail) -> str:
    """Return the detail's own labels as a JSON object, always written the same way."""
    named = zip(OWN_LABELS[detail.metric], detail.attributes, strict=True)
    return json.dumps(dict(named), ensure_ascii=False, separators=(",", ":"))


def undescribed_columns(keys: Sequence[str], ids: Ids) -> Columns:
    """Return device rows that hold nothing but the key, older than any description."""
    return {
        "device_id": [ids[key] for key in keys],
        "key": list(keys),
        "version": [0] * len(keys),
    }


def unnamed_columns(keys: Sequence[str], ids: Ids) -> Columns:
    """Return workload rows that hold nothing but the key, older than any description."""
    return {
        "workload_id": [ids[key] for key in keys],
        "key": list(keys),
        "name": list(keys),
        "version": [0] * len(keys),
    }


def device_columns(devices: Sequence[Device], ids: Ids) -> Columns:
    columns: Columns = {"device_id": [ids[device.key] for device in devices]}
    for name in DEVICE_TEXT:
        columns[name] = [str(getattr(device, name)) for device in devices]
    columns["uncertainty_ratio"] = [device.uncertainty_ratio for device in devices]
    columns["power_limit_watts"] = [device.power_limit_watts for device in devices]
    return columns


def workload_columns(workloads: Sequence[Workload], ids: Ids) -> Columns:
    columns: Columns = {"workload_id": [ids[workload.key] for workload in workloads]}
    for name in WORKLOAD_TEXT:
        columns[name] = [str(getattr(workload, name)) for workload in workloads]
    return columns


def allocation_columns(allocations: Sequence[Allocation], ids: Ids) -> Columns:
    return {
        "device_id": [ids[allocation.device] for allocation in allocations],
        "workload_id": [ids[allocation.workload] for allocation in allocations],
        "start_ts": [allocation.start_ms for allocation in allocations],
        "end_ts": [allocation.end_ms for allocation in allocations],
        "share": [allocation.share for allocation in allocations],
        "activity": [allocation.activity for allocation in allocations],
        "revision": [allocation.revision for allocation in allocations],
        "method": [allocation.method for allocation in allocations],
    }


def quarantine_columns(quarantine: Sequence[Doubtful]) -> Columns:
    doubtful = [member.allocation for member in quarantine]
    return {
        "start_ms": [allocation.start_ms for allocation in doubtful],
        "end_ms": [allocation.end_ms for allocation in doubtful],
        "device": [allocation.device for allocation in doubtful],
        "workload": [allocation.workload for allocation in doubtful],
        "share": [allocation.share for allocation in doubtful],
        "activity": [allocation.activity for allocation in doubtful],
        "method": [allocation.method for allocation in doubtful],
        "revision": [allocation.revision for allocation in doubtful],
        "reason": [member.reason for member in quarantine],
    }


def outcome_columns(outcomes: Sequence[Outcome], ids: Ids) -> Columns:
    return {
        "workload_id": [ids[outcome.workload] for outcome in outcomes],
        "kind": [outcome.kind for outcome in outcomes],
        "source": [outcome.source for outcome in outcomes],
        "model": [outcome.model for outcome in outcomes],
        "ts": [outcome.ts_ms for outcome in outcomes],
        "start_ts": [outcome.start_ms for outcome in outcomes],
        "total": [outcome.total for outcome in outcomes],
    }


def tables(batch: Batch, ids: Ids) -> list[Frame]:
    """Return the rows per table, dimensions first, empty tables left out."""
    detail, narrow = split(batch.details, [ids[detail.device] for detail in batch.details])
    built = {
        "device": device_columns(batch.devices, ids),
        "workload": workload_columns(batch.workloads, ids),
        "allocation": allocation_columns(batch.allocations, ids),
        "quarantine": quarantine_columns(batch.quarantine),
        "outcome": outcome_columns(batch.outcomes, ids),
        "sample": detail_columns([batch.details[place] for place in narrow], ids),
        "tick": tick_columns(batch.ticks, ids),
    }
    found = [frame(name, columns) for name, columns in built.items() if any(columns.values())]
    return found if detail is None else [*found, detail]


def _micro(value: float | None) -> int | None:
    return None if value is None else round(value * 1e6)


def _scaled(value: float | None, factor: float) -> int | None:
    return None if value is None else round(value * factor)
