"""What the report and energy by group hold, as schemas."""

from __future__ import annotations

from wattshed_collector.openapi import (
    SPAN,
    Schema,
    by_name,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.report import BY_MODEL, CLASSES
from wattshed_collector.store.outcome_queries import KEY
from wattshed_collector.store.queries import GROUPS

from .facts import OUTER_METER
from .outcome_pages import VALUES
from .outcomes import ROW

OF_MODEL = (*BY_MODEL, *KEY, *VALUES)
_GROUPED = dict.fromkeys(column for columns in GROUPS.values() for column in columns)
_SPLIT: dict[str, Schema] = {
    "joules": number("All classes"),
    "device_seconds": number(),
    **{f"{name}_joules": number() for name in CLASSES},
    "facility_joules": maybe(number("With the site's PUE; null where it is not known of all")),
    "cost": maybe(number("null where a price is not known of all")),
    "currency": text(),
}
CARBON: dict[str, Schema] = {
    "carbon_g": maybe(number("Grams of CO2 equivalent of what is known; null: of nothing")),
    "carbon_unknown_joules": number("Joules of which they are not known"),
    "carbon_methods": listed(text("factor, hourly or yearly")),
    "carbon_sources": listed(text()),
    "carbon_said": maybe(whole("When a source last said what counts here, Unix seconds")),
    "carbon_reason": text("Why of those; empty where all is known"),
}
ENERGY = record(
    {**{column: text() for column in _GROUPED}, **_SPLIT, **CARBON},
    "The columns of the group, and those; of carbon where it was asked for",
    optional=(*_GROUPED, *CARBON),
)
_WORKLOAD = record(
    {
        **{name: text() for name in ("workload_key", "workload", "workload_kind", "team")},
        **{name: text() for name in BY_MODEL},
        "joules": number(),
        "active_joules": number(),
        "idle_held_joules": number(),
        "device_seconds": number(),
        "idle_held_seconds": number(),
        "outcomes": by_name(number(), "How many by kind"),
        "joules_per_outcome": by_name(
            record(
                {
                    "active": maybe(number()),
                    "loaded": maybe(number()),
                    "low": maybe(number("Bound of loaded by what the meters state")),
                    "high": maybe(number("Bound of loaded by what the meters state")),
                }
            ),
            "By kind, without what was charged before the first outcome of a run",
        ),
    }
)
_LIVE = record(
    {
        **{name: text() for name in ("device", "kind", "node", "site", "overlap")},
        "ts": number("Unix seconds"),
        "power_watts": maybe(number()),
        "utilization_ratio": maybe(number()),
        "temperature_celsius": maybe(number()),
        "method": text(),
        "gap": text("Why it says nothing"),
    }
)
_QUALITY = record(
    {
        "by_method": by_name(number(), "Joules"),
        "known_seconds": number("Of devices"),
        "unknown_seconds": by_name(number(), "Of devices, by reason"),
        "quarantined": by_name(whole(), "Allocations that cannot be true, by reason"),
        "residual_worst_ratio": number("Charged against measured, of any device and hour"),
    }
)
REPORT = record(
    {
        "version": whole(),
        "window": SPAN,
        "total_joules": number(),
        "mean_power_watts": number(),
        "live_power_watts": maybe(number()),
        "classes": record({name: number("Joules") for name in CLASSES}),
        "carbon": record({**CARBON, "carbon_scope": text()}),
        "times": listed(whole("Unix seconds"), "When each step begins"),
        "power": by_name(listed(number()), "Watts by class, at each of times"),
        "workloads": listed(_WORKLOAD),
        "outcomes": listed(
            record({name: of for name, of in ROW.items() if name in OF_MODEL}),
            "Energy per outcome by AI model and precision, the most energy first",
        ),
        "teams": listed(ENERGY),
        "nodes": listed(ENERGY),
        "devices": listed(ENERGY),
        "live": listed(_LIVE),
        "outer_meters": listed(record(OUTER_METER)),
        "quality": _QUALITY,
    }
)
