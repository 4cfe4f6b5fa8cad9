"""The columns that the collector writes, by table, with the types that the migrations give them.

Rows are encoded without asking the engine, which may be away; a test holds this against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Types = Mapping[str, str]
"""Type by name of column."""

TEXT = "String"
WORD = "LowCardinality(String)"
TIME = "DateTime64(3, 'UTC')"
TIME_US = "DateTime64(6, 'UTC')"
HOUR = "DateTime('UTC')"


def _maybe(type_name: str) -> str:
    return f"Nullable({type_name})"


TICK: Types = {
    "ts": TIME,
    "device_id": "UInt64",
    "power_uw": _maybe("UInt64"),
    "energy_uj": _maybe("UInt64"),
    "start_ts": _maybe(TIME),
    "interval_ms": "UInt32",
    "util_e4": _maybe("UInt16"),
    "mem_used_bytes": _maybe("UInt64"),
    "temp_e1": _maybe("Int16"),
    "method": WORD,
    "gap": f"LowCardinality({_maybe(TEXT)})",
    "withdrawn": _maybe("UInt8"),
    "ingested_at": TIME_US,
}
SAMPLE: Types = {
    "device_id": "UInt64",
    "metric": WORD,
    "labels": WORD,
    "ts": TIME,
    "value": "Float64",
    "start_ts": _maybe(TIME),
    "ingested_at": TIME_US,
}
DETAIL: Types = {
    "ts": TIME,
    "device_id": "UInt64",
    "memory_total_bytes": _maybe("UInt64"),
    **dict.fromkeys(
        (
            "memory_activity_e6",
            "sm_activity_e6",
            "tensor_activity_e6",
            "fp64_activity_e6",
            "fp32_activity_e6",
            "fp16_activity_e6",
            "process_utilization_e6",
            "contexts",
        ),
        _maybe("UInt32"),
    ),
    **dict.fromkeys(
        ("graphics_clock_hertz", "sm_clock_hertz", "memory_clock_hertz", "video_clock_hertz"),
        _maybe("UInt64"),
    ),
    "memory_temp_e1": _maybe("Int16"),
    **dict.fromkeys(
        (
            "gpu_average_power_uw",
            "gpu_instant_power_uw",
            "module_instant_power_uw",
            "memory_instant_power_uw",
            "requested_limit_uw",
            "default_limit_uw",
            "min_limit_uw",
            "max_limit_uw",
            "pcie_transmit_bytes",
            "pcie_receive_bytes",
            "nvlink_transmit_bytes",
            "nvlink_receive_bytes",
        ),
        _maybe("UInt64"),
    ),
    **dict.fromkeys(
        (
            "pcie_transmit_start",
            "pcie_receive_start",
            "nvlink_transmit_start",
            "nvlink_receive_start",
        ),
        _maybe(TIME),
    ),
}
DEVICE: Types = {
    "device_id": "UInt64",
    "key": TEXT,
    **dict.fromkeys(("kind", "node", "name", "vendor", "model"), WORD),
    "serial": TEXT,
    **dict.fromkeys(("driver", "firmware"), WORD),
    "parent": TEXT,
    **dict.fromkeys(("site", "tier", "cluster", "scope", "source", "method", "overlap"), WORD),
    "uncertainty_ratio": _maybe("Float64"),
    "power_limit_watts": _maybe("Float64"),
    "version": TIME_US,
}
WORKLOAD: Types = {
    "workload_id": "UInt64",
    "key": TEXT,
    "name": TEXT,
    "kind": WORD,
    "instance": TEXT,
    **dict.fromkeys(("namespace", "team", "owner", "project", "cost_center", "queue"), WORD),
    **dict.fromkeys(("model", "precision", "batch_class", "phase", "cluster"), WORD),
    "version": TIME_US,
}
ALLOCATION: Types = {
    "device_id": "UInt64",
    "workload_id": "UInt64",
    "start_ts": TIME,
    "end_ts": TIME,
    "share": "Float64",
    "activity": _maybe("Float64"),
    "method": WORD,
    "revision": "UInt32",
}
QUARANTINE: Types = {
    "start_ms": "Int64",
    "end_ms": "Int64",
    "device": TEXT,
    "workload": TEXT,
    "share": "Float64",
    "activity": _maybe("Float64"),
    "method": WORD,
    "revision": "UInt32",
    "reason": WORD,
}
OUTCOME: Types = {
    "workload_id": "UInt64",
    "kind": WORD,
    "source": TEXT,
    "model": WORD,
    "ts": TIME,
    "start_ts": _maybe(TIME),
    "total": "Float64",
}
METRIC_SAMPLE: Types = {
    **dict.fromkeys(("metric", "sender", "labels"), WORD),
    "ts": TIME,
    "value": "Float64",
    **dict.fromkeys(("kind", "unit"), WORD),
}
LATEST: Types = {
    "device_id": "UInt64",
    **{
        name: f"SimpleAggregateFunction(max, {type_name})"
        for name, type_name in {
            "ts": TIME,
            "power": "UInt128",
            **dict.fromkeys(("energy", "util", "temp", "method"), "UInt64"),
            "gap": "Tuple(ms UInt64, gap String)",
            "withdrawn": "UInt64",
        }.items()
    },
}
DEVICE_WORK: Types = {
    "device_id": "UInt64",
    **dict.fromkeys(("activity", "worked"), "SimpleAggregateFunction(max, UInt64)"),
}
DEVICE_LIMIT: Types = {
    "device_id": "UInt64",
    "bound": WORD,
    "since_ts": TIME,
    "limit_uw": "UInt64",
    "version": TIME_US,
}
TABLES: Mapping[str, Types] = {
    "dirty": {"hour": HOUR, "only_outcomes": "UInt8"},
    "device": DEVICE,
    "workload": WORKLOAD,
    "allocation": ALLOCATION,
    "quarantine": QUARANTINE,
    "outcome": OUTCOME,
    "sample": SAMPLE,
    "detail": DETAIL,
    "metric_sample": METRIC_SAMPLE,
    "tick": TICK,
    "latest": LATEST,
    "device_work": DEVICE_WORK,
    "device_limit": DEVICE_LIMIT,
}
"""In the order in which they are written: what others refer to comes first."""


POWER = np.dtype([("power_uw", "<u8"), ("said", "<u8")])
"""The halves of a UInt128, the low one first: of ``latest.power``."""
GAP = np.dtype([("ms", "<u8"), ("gap", object)])
"""``latest.gap``."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a type is to numpy; ``dtype`` is None for text. A tuple has ``parts``."""

    dtype: np.dtype[Any] | None
    nullable: bool
    dictionary: bool
    parts: tuple[Kind, ...] = ()


def _kind(type_name: str) -> Kind:
    type_name = re.sub(r"^SimpleAggregateFunction\(\w+, (.*)\)$", r"\1", type_name)
    if type_name.startswith("Tuple("):
        named = type_name.removeprefix("Tuple(").removesuffix(")").split(", ")
        return Kind(GAP, False, False, tuple(_kind(part.split(" ", 1)[1]) for part in named))
    if type_name == "UInt128":
        return Kind(POWER, False, False)
    inner = re.sub(r"^(?:LowCardinality|Nullable)\((.*)\)$", r"\1", type_name)
    inner = re.sub(r"^Nullable\((.*)\)$", r"\1", inner)
    plain = re.match(r"(UInt|Int|Float|DateTime64|DateTime|String)(\d*)", inner)
    assert plain is not None, type_name
    letters = {"UInt": "u", "Int": "i", "Float": "f"}
    if plain[1] in letters:
        dtype: np.dtype[Any] | None = np.dtype(f"<{letters[plain[1]]}{int(plain[2]) // 8}")
    else:
        times = {"DateTime64": "<i8", "DateTime": "<u4"}
        dtype = np.dtype(times[plain[1]]) if plain[1] in times else None
    return Kind(dtype, "Nullable(" in type_name, type_name.startswith("LowCardinality"))


KINDS = {name: _kind(name) for types in TABLES.values() for name in types.values()}
