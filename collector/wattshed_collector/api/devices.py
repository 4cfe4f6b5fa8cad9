"""``/v1/devices``: the register, what operators tell of devices, and whose versions differ."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput
from wattshed_collector.lifecycle.told import FIELDS, NUMBERS, WHEN, from_documents
from wattshed_collector.openapi import (
    ADMIN,
    Operation,
    Parameter,
    Schema,
    by_name,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.store import lifecycle
from wattshed_collector.store.lifecycle import STATES
from wattshed_collector.store.read import Reader

from . import pages
from .documents import Unpacked, answered, read_json

MOST_BYTES = 8 * 1024 * 1024
MOST_ROWS = 1000
_TEXTS = (
    *("device", "kind", "node", "site", "tier", "cluster", "vendor", "model", "serial", "driver"),
    *("firmware", "source", "currency", "embodied_source"),
)
_TIMES = ("commissioned", "first_seen", "warranty_end", "written_off", "last_gap_at")
_COUNTS = (
    *("purchase_price", "lifetime_years", "embodied_kg", "embodied_low_kg", "embodied_high_kg"),
    *("uncorrected_errors", "corrected_errors", "throttled_seconds", "seconds"),
    *("idle_seconds", "joules"),
)
_FIELDS: dict[str, Schema] = {
    **{name: text() for name in _TEXTS},
    **{name: maybe(whole("Unix seconds")) for name in _TIMES},
    **{name: maybe(number()) for name in _COUNTS},
    "last_seen": whole("Unix seconds"),
    "state": text("lost: its driver says that it is gone", *STATES),
    "age_years": maybe(number("Since it was commissioned, else since it was first seen")),
    "age_since": text("", "commissioned", "first_seen", ""),
    "embodied_g_per_hour": maybe(number("Grams of CO2 equivalent, while it is written off")),
    "embodied_method": text("", "told", "told_of_model", "table", ""),
    "embodied_reason": text("Why there is none"),
    "embodied_inside_kg": maybe(number("Of it, what devices inside have as their own figures")),
    "xid_errors": maybe(number("Errors that the driver reported, whoever caused them")),
    "failures": maybe(number("Events that are the device's own, each once")),
    "program_errors": maybe(number("Errors of those that programs mostly cause")),
    "busy_seconds": maybe(number("Seconds times utilisation")),
    "last_gap": text("Why it was not read when it was not read last"),
}
_DEVICE = record(
    {
        **_FIELDS,
        "unmeasured_seconds": by_name(number(), "Of the last 30 days, by reason; with ?device="),
    },
    optional=("unmeasured_seconds",),
)
_TOLD = record(
    {
        "device": text("Its key; or model"),
        "model": text("Every device of this model"),
        **{name: maybe(number()) for name in NUMBERS},
        **{name: {"type": ["string", "number", "null"]} for name in WHEN},
        "currency": maybe(text()),
        "embodied_source": maybe(text()),
    },
    "null takes a fact back; what is not named stays",
    optional=("device", "model", *FIELDS),
)
_DRIFT = {
    **{name: text() for name in ("model", "version", "majority")},
    "what": text("", "driver", "firmware"),
    "direction": text("Against what most run", "behind", "ahead", "other"),
    "majority_devices": whole(),
    "devices": whole("Of the model"),
    "versions": whole("Of the model"),
    "behind": listed(text(), "Who runs this version"),
}
OPERATIONS = (
    Operation(
        "GET",
        "/v1/devices",
        "The register: each device, what is told of it, its failures and its use",
        {
            openapi.JSON: record(
                {
                    "devices": listed(_DEVICE),
                    "next": maybe(text("The last device, for ?after=; null: these are all")),
                }
            )
        },
        (
            Parameter("device", "Only this one, and why it was not read"),
            Parameter("site", "Only there"),
            Parameter("model", "Only models with this in their name"),
            Parameter("kind", "gpu, module, cpu, ..."),
            Parameter("state", "", text("", "", *STATES)),
            Parameter("after", "Only devices after this key"),
            Parameter("limit", f"At most {MOST_ROWS}", {"type": "integer", "default": MOST_ROWS}),
        ),
        refusals=(400,),
    ),
    Operation(
        "POST",
        "/v1/devices",
        "Tell of devices or models what no meter says; all of it is taken, or nothing",
        {openapi.JSON: record({"accepted": whole("Devices and models")})},
        takes={openapi.JSON: {"oneOf": [_TOLD, listed(_TOLD)]}},
        role=ADMIN,
        refusals=(400, 413),
    ),
    Operation(
        "GET",
        "/v1/devices/drift",
        "Drivers and firmware that are not what most of a model run, and whose",
        {openapi.JSON: openapi.rows(_DRIFT)},
    ),
)


class DevicesApi:
    """``clerk`` keeps what is told; ``unpacked`` reads bodies within limits."""

    def __init__(self, reader: Reader, clerk: Reader, unpacked: Unpacked) -> None:
        self._reader = reader
        self._clerk = clerk
        self._unpacked = unpacked

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/devices", self.listed),
            web.post("/v1/devices", self.tell),
            web.get("/v1/devices/drift", self.drift),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        """``?site=dublin&model=H100&state=lost&after=&limit=``, or ``?device=`` for one."""
        if device := request.query.get("device", ""):
            row = await self._reader.ask(lifecycle.one, device)
            return answered({"devices": [row], "next": None})
        *asked, most = filters(request.query)
        rows = await self._reader.ask(lifecycle.register, *asked, most + 1)
        following = rows[most - 1]["device"] if len(rows) > most else None
        return answered({"devices": rows[:most], "next": following})

    async def tell(self, request: web.Request) -> web.Response:
        """One object or a list of them."""
        said = read_json(await self._unpacked(request, MOST_BYTES))
        told = from_documents(said if isinstance(said, list) else [said])
        kept = await self._clerk.ask(lifecycle.tell, told, time.time())
        return answered({"accepted": kept})

    async def drift(self, _request: web.Request) -> web.Response:
        """All models."""
        return answered({"rows": await self._reader.ask(lifecycle.drift)})


def filters(query: Mapping[str, str]) -> tuple[str, str, str, str, str, int]:
    """Return site, model, state, kind, after and limit. Raises InvalidInput."""
    site, model, state, kind, after = (
        query.get(name, "") for name in ("site", "model", "state", "kind", "after")
    )
    if state and state not in STATES:
        raise InvalidInput(f"state={state!r}: choose one of {', '.join(STATES)}", "state")
    limit = pages.limit(query.get("limit", str(MOST_ROWS)), MOST_ROWS)
    return site, model, state, kind, after, limit
