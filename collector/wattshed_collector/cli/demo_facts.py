"""What ``wattshed demo`` tells its collector beside the fleet's readings, all of it made up.

An operator would say these things: what a site adds to its joules, what its power may be, how well
models do, what an outcome may take, who may idle. They go through the collector's own API and
settings. Each is a function of time, and what the collector has already is not said again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

HOUR_S, DAY_S = 3600, 86_400
SOURCE = "simulated"
"""Says wherever there is room for it that nobody measured or announced this."""
DAYS_AHEAD = 7
"""A demo that runs for longer goes on with the last price and carbon intensity."""
CALIBRATED_DAYS, STALE_DAYS = 14, 45
"""Before the demo's first start."""

PUE = {"dublin": 1.18, "reno": 1.32}
BUDGET_WATTS = {"dublin": 11_000.0, "reno": 5_500.0}
"""In dublin less than two training jobs draw, in reno more than is ever drawn."""
PRICES = {"dublin": (0.21, 0.32), "reno": (0.12, 0.19)}
"""EUR a kilowatt hour at night and by day."""
DAY_BEGINS_HOUR, NIGHT_BEGINS_HOUR = 7, 22
CARBON = {"dublin": (310.0, 90.0, 19.0), "reno": (380.0, 170.0, 5.0)}
"""Grams a kilowatt hour: the mean, how far it moves, and at which hour (UTC) there is most."""

HARDWARE: tuple[tuple[str, float, float, float, float], ...] = (
    ("NVIDIA H200", 170.0, 85.0, 340.0, 31_000.0),
    ("NVIDIA L40S", 95.0, 50.0, 190.0, 8_500.0),
    ("NVIDIA L40S-48Q", 95.0, 50.0, 190.0, 8_500.0),
    ("Jetson AGX Orin", 25.0, 12.0, 50.0, 1_900.0),
    ("i.MX 8M Plus gateway", 9.0, 4.0, 18.0, 310.0),
    ("Solar field gateway", 14.0, 7.0, 28.0, 420.0),
)
"""Of models of which nobody publishes what it took to make them: kg of CO2 equivalent between
two bounds, and EUR. The H100 is left to the table."""

EXPECTED_WORKLOAD = "nb-vision-3"

Document = dict[str, Any]

SLOS = """\
# Objectives of the demo, for a fleet that is made up.
slos:
  - name: chat-fp8
    owner: assist-bot
    description: The chat in fp8 within what was planned. Simulated.
    outcome: token_out
    match: {workload: chat-70b}
    target_joules_per_outcome: 0.9
    objective_ratio: 0.95
    least_outcomes: 1000

  - name: chat-bf16
    owner: assist-bot
    description: The chat in bf16 at the joules of fp8, which it cannot hold. Simulated.
    outcome: token_out
    match: {workload: chat-70b-bf16}
    target_joules_per_outcome: 0.6
    objective_ratio: 0.95
    least_outcomes: 1000

  - name: dpo-steps
    owner: ivo
    description: Steps of preference tuning within a joule budget. Simulated.
    outcome: step
    match: {team: foundation, ai_model: mixtral-8x7b}
    target_joules_per_outcome: 45000
    basis: active
    sli: joule_budget
    objective_ratio: 0.9
    least_outcomes: 100
"""

CALIBRATIONS: tuple[tuple[str, str, str, str, float, float, int], ...] = (
    ("llama-3.1-70b", "fp8", "mmlu", "higher", 0.822, 0.0004, CALIBRATED_DAYS),
    ("llama-3.1-70b", "bf16", "mmlu", "higher", 0.826, 0.0002, CALIBRATED_DAYS),
    ("qwen2.5-coder-32b", "fp8", "humaneval", "higher", 0.781, 0.031, CALIBRATED_DAYS),
    ("whisper-large-v3", "fp16", "wer", "lower", 0.061, 0.0, CALIBRATED_DAYS),
    ("yolov8s", "int8", "map50", "higher", 0.597, 0.004, STALE_DAYS),
)
"""Model, precision, metric, its better direction, score when calibrated, how much worse it is by
now as a part of that, and days since."""


class Collector(Protocol):
    """A collector that is asked and told."""

    def get(self, path: str, **query: str) -> Any: ...

    def post(self, path: str, document: Any) -> Any: ...


def tell(collector: Collector, now_s: float, history_hours: float) -> None:
    """Tell the collector what it does not know yet, before it is sent any reading."""
    known = collector.get("/v1/factors")["rows"]
    said = {(row["kind"], row["site"], int(row["start"])) for row in known}
    first = min((start for _, _, start in said), default=now_s - history_hours * HOUR_S)
    new = [
        row
        for row in factors(first, now_s + DAYS_AHEAD * DAY_S)
        if (row["kind"], row["site"], row["start"]) not in said
    ]
    if new:
        collector.post("/v1/factors", new)
    if not collector.get("/v1/quality")["rows"]:
        collector.post("/v1/quality", scores(now_s))
    if not any(row["embodied_method"] == "told_of_model" for row in _devices(collector)):
        collector.post("/v1/devices", hardware())
    if not collector.get("/v1/expected-idle", all="1")["entries"]:
        collector.post("/v1/expected-idle", expected(now_s, history_hours))


def factors(since_s: float, until_s: float) -> list[Document]:
    """Return the factors that hold from ``since_s`` until ``until_s`` (Unix seconds)."""
    first = int(since_s // DAY_S) * DAY_S
    days = range(first, int(until_s), DAY_S)
    return [row for site in PUE for row in _site(site, first, days)]


def hardware() -> list[Document]:
    """Return what is told of the fleet's models."""
    return [
        {
            "model": model, "embodied_kg": kg, "embodied_low_kg": low, "embodied_high_kg": high,
            "embodied_source": SOURCE, "purchase_price": price, "currency": "EUR",
        }
        for model, kg, low, high, price in HARDWARE
    ]  # fmt: skip


def _devices(collector: Collector) -> list[Document]:
    found: list[Document] = collector.get("/v1/devices")["devices"]
    return found


def expected(now_s: float, history_hours: float) -> list[Document]:
    """Return whose idleness pages nobody, from the beginning of the history on."""
    return [
        {
            "id": "demo-notebook", "workload": EXPECTED_WORKLOAD, "reason": "notebook",
            "by": SOURCE, "since": now_s - history_hours * HOUR_S,
            "until": now_s + DAYS_AHEAD * DAY_S,
        }
    ]  # fmt: skip


def carbon_g_per_kwh(site: str, at_s: int) -> float:
    """Return the made-up carbon intensity of the full hour in which ``at_s`` lies."""
    mean, swing, most_hour = CARBON[site]
    phase = 2 * math.pi * (at_s // HOUR_S % 24 - most_hour) / 24
    return round(mean + swing * math.cos(phase), 1)


def price(site: str, at_s: int) -> float:
    """Return EUR a kilowatt hour."""
    night, day = PRICES[site]
    return day if DAY_BEGINS_HOUR <= at_s // HOUR_S % 24 < NIGHT_BEGINS_HOUR else night


def _site(site: str, first: int, days: Sequence[int]) -> Iterator[Document]:
    yield _factor("pue", site, first, PUE[site], "1")
    yield _factor("power_budget_watts", site, first, BUDGET_WATTS[site], "W")
    yield _factor("price", site, first, price(site, first), "EUR/kWh")
    for day in days:
        for hour in (DAY_BEGINS_HOUR, NIGHT_BEGINS_HOUR):
            at = day + hour * HOUR_S
            yield _factor("price", site, at, price(site, at), "EUR/kWh")
        for at in range(day, day + DAY_S, HOUR_S):
            yield _factor("carbon_g_per_kwh", site, at, carbon_g_per_kwh(site, at), "g/kWh")


def _factor(kind: str, site: str, start_s: int, value: float, unit: str) -> Document:
    return {
        "kind": kind, "site": site, "start": start_s, "value": value, "unit": unit,
        "source": SOURCE,
    }  # fmt: skip


def scores(now_s: float) -> list[Document]:
    """Return calibrations before ``now_s`` and a score of each day since."""
    today = int(now_s // DAY_S) * DAY_S
    found = []
    for *what, calibrated, worse, days in CALIBRATIONS:
        better = what[3]
        for day in range(days + 1):
            moved = worse * day / days * (-1 if better == "higher" else 1)
            found.append(
                {
                    "model": what[0], "precision": what[1], "metric": what[2], "better": better,
                    "score": round(calibrated * (1 + moved), 6), "samples": 2000,
                    "at": today - (days - day) * DAY_S, "note": SOURCE,
                    "kind": "score" if day else "calibration",
                }
            )  # fmt: skip
    return found
