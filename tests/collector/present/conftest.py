"""Reports to show: a fleet with everything in it, a plain host, an estimate, an empty store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from wattshed_collector.report import CLASSES, Report

Record = dict[str, Any]
END = 1_780_000_000 // 300 * 300
DAY_S, STEP_S = 86_400, 300
GAP = range(96, 103)
"""Steps in which nothing was heard."""

WORKLOADS: tuple[tuple[str, str, str, str, float, float, dict[str, float]], ...] = (
    ("llama-3.1-8b-sft", "foundation", "training", "llama-3.1-8b", 4100, 0.03, {"step": 14_110}),
    ("speech-encoder-pretrain", "foundation", "training", "conformer-xl", 3700, 0.29,
     {"step": 15_800}),
    ("chat-70b", "assist", "inference", "llama-3.1-70b", 1650, 0.04,
     {"token_in": 7.4e8, "token_out": 2.47e8, "request": 1.12e6}),
    ("mixtral-8x7b-dpo", "foundation", "training", "mixtral-8x7b", 1500, 0.02, {"step": 5600}),
    ("code-32b", "assist", "inference", "qwen2.5-coder-32b", 780, 0.11,
     {"token_in": 3.6e8, "token_out": 1.2e8, "request": 545_000}),
    ("images", "creative", "inference", "stable-diffusion-xl", 205, 0.12, {"image": 91_000}),
    ("embed", "search", "inference", "bge-m3", 190, 0.08, {"request": 9_600_000}),
    ("transcribe", "speech", "inference", "whisper-large-v3", 180, 0.10, {"request": 301_000}),
    ("canary-8x22b", "assist", "inference", "mixtral-8x22b", 118, 1.0, {}),
    ("nb-vision-1", "research-vision", "notebook", "", 74, 0.93, {}),
    ("nb-vision-2", "research-vision", "notebook", "", 69, 0.97, {}),
    ("nb-ranking", "search", "notebook", "", 62, 0.55, {}),
    ("nb-vision-3", "", "notebook", "", 61, 1.0, {}),
    ("weld-inspection", "edge-ops", "edge_inference", "yolov8m", 16.4, 0.02,
     {"inference": 2_700_000}),
    ("bearing-watch", "edge-ops", "edge_inference", "tcn-anomaly", 4.1, 0.01,
     {"inference": 230_000}),
)  # fmt: skip
NODES = (
    ("sim-dub-gpu-01", "dublin", 8, 520.0),
    ("sim-dub-gpu-02", "dublin", 8, 470.0),
    ("sim-reno-gpu-01", "reno", 8, 360.0),
    ("sim-reno-gpu-02", "reno", 8, 95.0),
    ("sim-dub-edge-01", "dublin", 1, 16.4),
    ("sim-reno-edge-02", "reno", 1, 0.0021),
)


def _workload(entry: tuple[str, str, str, str, float, float, dict[str, float]]) -> Record:
    name, team, kind, model, watts, idle, outcomes = entry
    joules = watts * DAY_S
    active = joules * (1 - idle)
    return {
        "workload_key": f"sim-{name}", "workload": name, "workload_kind": kind, "team": team,
        "ai_model": model, "precision": "bf16" if model else "",
        "joules": joules, "active_joules": active, "idle_held_joules": joules * idle,
        "device_seconds": 8.0 * DAY_S, "idle_held_seconds": 8 * DAY_S * idle,
        "outcomes": dict(outcomes),
        "joules_per_outcome": {
            key: {
                "active": active / count,
                "loaded": joules / count,
                "low": 0.98 * joules / count,
                "high": 1.02 * joules / count,
            }
            for key, count in outcomes.items()
        },
    }  # fmt: skip


def by_model(
    model: str, kind: str, count: float, joules: float | None, ratio: float | None = 0.02
) -> Record:
    """Return a row of energy per outcome: a fifth of its energy was idle."""
    state = "no_outcome" if not kind else "ok" if joules is not None else "no_energy"
    loaded = None if joules is None or not kind else joules / count
    active = None if loaded is None else loaded * 0.8

    def off(value: float | None, sign: int) -> float | None:
        return None if value is None or ratio is None else value * (1 + sign * ratio)

    return {
        "ai_model": model,
        "precision": "fp8" if model else "",
        "outcome": kind,
        "state": state,
        "count": count,
        "active_joules": None if joules is None else joules * 0.8,
        "loaded_joules": joules,
        "before_joules": None if joules is None else joules * 0.01,
        "uncertainty_joules": None if joules is None or ratio is None else joules * ratio,
        "joules_per_outcome_active": active,
        "joules_per_outcome_active_low": off(active, -1),
        "joules_per_outcome_active_high": off(active, 1),
        "joules_per_outcome_loaded": loaded,
        "joules_per_outcome_loaded_low": off(loaded, -1),
        "joules_per_outcome_loaded_high": off(loaded, 1),
    }


BY_MODEL: tuple[tuple[Any, ...], ...] = (
    ("llama-3.1-70b", "token_in", 7.4e8, 1.42e8),
    ("llama-3.1-70b", "token_out", 2.47e8, 1.42e8),
    ("stable-diffusion-xl", "image", 91_000.0, 1.77e7, 0.5),
    ("mixtral-8x22b", "", 0.0, 1.02e7),
    ("yolov8m", "inference", 2.7e6, 1.4e6, None),
    ("tcn-anomaly", "inference", 230_000.0, None),
)


def split(joules: float, active: float, held: float, nobody: float, seconds: float) -> Record:
    """Return the columns that every record of ``queries.energy`` has."""
    return {
        "joules": joules,
        "active_joules": joules * active,
        "idle_held_joules": joules * held,
        "idle_unallocated_joules": joules * nobody,
        "overhead_joules": 0.0,
        "unattributed_joules": joules * (1 - active - held - nobody),
        "device_seconds": seconds,
    }


def _power(index: int) -> dict[str, float]:
    phase = 2 * math.pi * index * STEP_S / DAY_S
    stalled = 190 <= index < 244
    return {
        "active": 9500 - 1500 * math.cos(phase) - (3300 if stalled else 0) + 90 * math.sin(index),
        "idle_held": 750 + 160 * math.cos(phase) + (1300 if stalled else 0),
        "idle_unallocated": 420.0,
        "unattributed": 310 + 60 * math.sin(3 * phase),
    }


def _device(node: str, number: int, watts: float) -> Record:
    return {"device": f"{node}/gpu{number}", "kind": "gpu", "node": node,
            **split(watts * DAY_S, 0.72, 0.19, 0.06, DAY_S)}  # fmt: skip


def _live(record: Record) -> Record:
    return {"device": record["device"], "kind": record["kind"], "node": record["node"],
            "site": "dublin", "overlap": "", "ts": END - 1.5, "utilization_ratio": 0.97,
            "power_watts": record["joules"] / DAY_S, "temperature_celsius": 61.0,
            "method": "simulated", "gap": ""}  # fmt: skip


def outer(device: str, joules: float, inside: float, wrong: int) -> Record:
    """Return a record of ``tree_queries.reconciliation`` of a day."""
    missing = min(joules * 0.97 - inside, 0.0) if wrong else 0.0
    return {
        "device": device,
        "node": device.split("/")[0],
        "site": "dublin",
        "source": "simulated",
        "outer_joules": joules,
        "inner_joules": inside,
        "uncovered_joules": joules * 0.03,
        "remainder_joules": joules * 0.97 - inside,
        "missing_joules": missing,
        "mismatched_hours": wrong,
        "hours": 24,
    }


def fleet_report() -> Report:
    """Return a day of a simulated fleet: workloads of all kinds, gaps, meters that overlap."""
    indices = [index for index in range(DAY_S // STEP_S) if index not in GAP]
    steps = [_power(index) for index in indices]
    classes = {name: sum(step.get(name, 0.0) for step in steps) * STEP_S for name in CLASSES}
    total = sum(classes.values())
    devices = [_device(node, number, watts + 3 * number)
               for node, _, boards, watts in NODES for number in range(boards)]  # fmt: skip
    devices.sort(key=lambda record: -record["joules"])
    live = [_live(record) for record in devices]
    live[3] |= {"power_watts": None, "utilization_ratio": None, "temperature_celsius": None,
                "gap": "permission"}  # fmt: skip
    host = _live(devices[0]) | {"device": "sim-dub-gpu-01/host", "kind": "host", "overlap": "outer"}
    teams = sorted({entry[1] for entry in WORKLOADS})
    return {
        "version": 1,
        "window": {"start": END - DAY_S, "end": END, "step": STEP_S},
        "total_joules": total,
        "mean_power_watts": total / DAY_S,
        "live_power_watts": 11_230.0,
        "classes": classes,
        "times": [END - DAY_S + index * STEP_S for index in indices],
        "power": {name: [step[name] for step in steps] for name in steps[0]},
        "workloads": [_workload(entry) for entry in WORKLOADS],
        "outcomes": [by_model(*entry) for entry in BY_MODEL],
        "carbon": carbon(162_000.0, ("hourly", "yearly"), ("a service", "a table"), END - 4 * 3600),
        "teams": [{"team": team, **split(1e8, 0.7, 0.3, 0, DAY_S)} for team in teams],
        "nodes": [{"node": node, "site": site, **split(watts * boards * DAY_S, 0.7, 0.2, 0.06, 1)}
                  for node, site, boards, watts in NODES],
        "devices": devices,
        "live": [*live, host],
        "outer_meters": [outer("sim-dub-gpu-01/host", 3.9e8, 3.4e8, 0), outer(
            "sim-reno-gpu-02/plug", 6.1e7, 6.4e7, 3)],
        "quality": {
            "by_method": {"simulated": total * 0.86, "counter": total * 0.11,
                          "integral": total * 0.03},
            "known_seconds": len(devices) * DAY_S * 0.975,
            "unknown_seconds": {"no_data": len(devices) * DAY_S * 0.024, "permission": 720.0},
            "quarantined": {"end_before_start": 3, "share_out_of_range": 1},
            "residual_worst_ratio": 3.1e-15,
        },
    }  # fmt: skip


def carbon(
    grams: float | None,
    methods: Sequence[str] = (),
    sources: Sequence[str] = (),
    said: int | None = None,
    reason: str = "",
    unknown_joules: float = 0.0,
) -> dict[str, Any]:
    return {
        "carbon_g": grams,
        "carbon_unknown_joules": unknown_joules,
        "carbon_methods": [*methods],
        "carbon_sources": [*sources],
        "carbon_said": said,
        "carbon_reason": reason,
        "carbon_scope": "location-based, average",
    }


def host_report() -> Report:
    """Return five minutes of one machine without a power meter and without any workload."""
    joules = 47.0 * 300
    parts = split(joules, 0, 0, 0.62, 300)
    times = [END - 300 + 60 * index for index in range(5)]
    device = "gateway/cpu"
    live = {"device": device, "kind": "cpu", "node": "gateway", "site": "", "overlap": "",
            "ts": END - 1.0, "power_watts": 47.4, "utilization_ratio": 0.08,
            "temperature_celsius": None, "method": "estimated", "gap": ""}  # fmt: skip
    return {
        "version": 1,
        "window": {"start": END - DAY_S, "end": END, "step": 60},
        "total_joules": joules,
        "mean_power_watts": joules / DAY_S,
        "live_power_watts": 47.4,
        "classes": {name: parts[f"{name}_joules"] for name in CLASSES},
        "times": times,
        "power": {"idle_unallocated": [29.1] * 5, "unattributed": [17.9] * 5},
        "workloads": [],
        "outcomes": [],
        "carbon": carbon(None, reason="the site's PUE is not known", unknown_joules=joules),
        "teams": [{"team": "", **parts}],
        "nodes": [{"node": "gateway", "site": "", **parts}],
        "devices": [{"device": device, "kind": "cpu", "node": "gateway", **parts}],
        "live": [live],
        "outer_meters": [],
        "quality": {
            "by_method": {"estimated": joules},
            "known_seconds": 300.0,
            "unknown_seconds": {},
            "quarantined": {},
            "residual_worst_ratio": 0.0,
        },
    }


def empty_report() -> Report:
    """Return what a store without a single tick says."""
    report = host_report()
    report |= {
        "total_joules": 0.0,
        "mean_power_watts": 0.0,
        "live_power_watts": None,
        "classes": dict.fromkeys(CLASSES, 0.0),
        "times": [],
        "power": {},
        "teams": [],
        "nodes": [],
        "devices": [],
        "live": [],
    }
    report["quality"] |= {"by_method": {}, "known_seconds": 0.0}
    return report


HOSTILE = (
    '</script><img src=x onerror="document.documentElement.dataset.error=1"><b>&amp;[red]\x1b[31m'
)


def hostile_report() -> Report:
    """Return a fleet whose names try to become markup, script and terminal control."""
    report = fleet_report()
    for record in (
        *report["workloads"],
        *report["nodes"],
        *report["devices"],
        *report["live"],
        *report["outer_meters"],
    ):
        for key in ("workload", "workload_key", "team", "node", "device"):
            if key in record:
                record[key] = f"{HOSTILE}{record[key]}"
    report["workloads"][0]["outcomes"] = {HOSTILE: 12.0}
    report["workloads"][0]["joules_per_outcome"] = {
        HOSTILE: {"active": 1.0, "loaded": 2.0, "low": 1.9, "high": 2.1}
    }
    report["outcomes"] = [by_model(HOSTILE, HOSTILE, 12.0, 24.0)]
    report["quality"]["unknown_seconds"] = {HOSTILE: 5.0}
    return report


REPORTS: dict[str, Callable[[], Report]] = {
    "fleet": fleet_report,
    "host": host_report,
    "empty": empty_report,
    "hostile": hostile_report,
}


@pytest.fixture
def reports() -> dict[str, Callable[[], Report]]:
    """Return the builders by name; each call builds a report of its own."""
    return REPORTS
