"""The register of devices: what operators told, what it took to make them, what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wattshed_collector.errors import InvalidInput
from wattshed_collector.lifecycle.embodied import Embodied
from wattshed_collector.lifecycle.told import Told, Value, merged

from .client import Client
from .versions import following

STATES = ("live", "silent", "lost")
_WHEN = ("commissioned", "warranty_end")
_NUMBERS = ("purchase_price", "embodied_kg", "embodied_low_kg", "embodied_high_kg")
_FACTS = (*_NUMBERS, "currency", "embodied_source", "lifetime_years")
_TOLD = f"""
SELECT device, toString(model) AS model, toUnixTimestamp(commissioned_ts) AS commissioned,
       toUnixTimestamp(warranty_end_ts) AS warranty_end, {", ".join(_FACTS)}
FROM device_told FINAL
"""
_COLUMNS = """
device, kind, node, site, tier, cluster, vendor, model, serial, driver, firmware, source, state,
toUnixTimestamp(commissioned) AS commissioned, toUnixTimestamp(first_seen) AS first_seen,
toUnixTimestamp(last_seen) AS last_seen, age_years, age_since,
toUnixTimestamp(warranty_end) AS warranty_end, purchase_price, currency, lifetime_years,
toUnixTimestamp(written_off) AS written_off, embodied_kg, embodied_low_kg, embodied_high_kg,
embodied_inside_kg, embodied_g_per_hour, embodied_method, embodied_source, embodied_reason,
xid_errors, uncorrected_errors, corrected_errors, failures, program_errors, throttled_seconds,
busy_seconds, idle_seconds, seconds, joules, last_gap, toUnixTimestamp(last_gap_at) AS last_gap_at
"""
_REGISTER = f"""
SELECT {_COLUMNS} FROM v_register
WHERE ({{site:String}} = '' OR site = {{site:String}})
  AND ({{model:String}} = '' OR positionCaseInsensitive(model, {{model:String}}) > 0)
  AND ({{state:String}} = '' OR state = {{state:String}})
  AND ({{kind:String}} = '' OR kind = {{kind:String}})
  AND device > {{after:String}}
ORDER BY device LIMIT {{most:UInt32}}
"""
_ONE = f"SELECT {_COLUMNS} FROM v_register WHERE device = {{device:String}}"
_GAPS = """
SELECT reason, sum(m.seconds) AS seconds FROM v_measured_1m AS m
WHERE device = {device:String} AND reason != '' AND t >= now() - INTERVAL 30 DAY
GROUP BY reason ORDER BY seconds DESC, reason
"""
_DRIFT = """
SELECT model, what, version, majority, direction, majority_devices, devices, versions,
       groupArray(device) AS behind
FROM (SELECT * FROM v_firmware_drift ORDER BY device)
GROUP BY model, what, version, majority, direction, majority_devices, devices, versions
ORDER BY model, what, version
"""


def tell(client: Client, told: Sequence[Told], now_s: float) -> int:
    """Keep what is told; return of how many devices and models it is. Nothing is kept of a part.

    A model may be told of before there is a device of it. Raises InvalidInput where a device was
    never heard of, and where facts do not fit.
    """
    _known(client, told)
    before = {(row.pop("device"), row.pop("model")): row for row in client.records(_TOLD)}
    facts: dict[tuple[str, str], dict[str, Value]] = {}
    for one in told:
        who = one.device, one.model
        facts[who] = merged(facts.get(who) or before.get(who) or {}, one)
    _put(client, facts, now_s)
    return len(facts)


def tell_all(client: Client, lifetime_years: float, now_s: float) -> None:
    """Keep the lifetime of every device of which nobody told another."""
    every = client.records(f"{_TOLD} WHERE device = '' AND model = ''")
    if [row["lifetime_years"] for row in every] != [lifetime_years]:
        _put(client, {("", ""): {"lifetime_years": lifetime_years}}, now_s)


def put_table(client: Client, table: Sequence[Embodied], now_s: float) -> None:
    """Keep the figures that are brought along, and take back those that are not any more."""
    query = "SELECT pattern, kg, low_kg, high_kg, year, source FROM embodied FINAL"
    kept = {row[0]: row for row in client.rows(query)}
    wanted: dict[str, tuple[Any, ...]] = {
        pattern: (pattern, None, None, None, 0, "") for pattern in kept
    }
    wanted |= {e.pattern: (e.pattern, e.kg, e.low_kg, e.high_kg, e.year, e.source) for e in table}
    news = [row for pattern, row in wanted.items() if kept.get(pattern) != row]
    if not news:
        return
    names = ("pattern", "kg", "low_kg", "high_kg", "year", "source")
    columns: dict[str, list[Any]] = {
        name: [row[at] for row in news] for at, name in enumerate(names)
    }
    client.insert(
        "embodied", columns | {"version": [following(client, "embodied", now_s)] * len(news)}
    )


def register(
    client: Client,
    site: str = "",
    model: str = "",
    state: str = "",
    kind: str = "",
    after: str = "",
    most: int = 1000,
) -> list[dict[str, Any]]:
    """Return devices by their keys, those of ``after`` and before left out.

    Times are Unix seconds, None: not known. ``model`` may be a part of the model's name.
    """
    asked = {"site": site, "model": model, "state": state, "kind": kind}
    return client.records(_REGISTER, {**asked, "after": after, "most": most})


def one(client: Client, device: str) -> dict[str, Any]:
    """Return a device and for how long it was not measured in the last 30 days, by reason.

    Raises InvalidInput where nobody heard of it.
    """
    found = client.records(_ONE, {"device": device})
    if not found:
        raise InvalidInput(f"there is no device {device!r}", "device")
    gaps = client.rows(_GAPS, {"device": device})
    return found[0] | {"unmeasured_seconds": {str(reason): held for reason, held in gaps}}


def drift(client: Client) -> list[dict[str, Any]]:
    """Return versions of drivers and firmware that are not their model's usual one, and of whom."""
    return client.records(_DRIFT)


def _known(client: Client, told: Sequence[Told]) -> None:
    names = {one.device for one in told if one.device}
    query = "SELECT key FROM device WHERE key IN {names:Array(String)}"
    found = {row[0] for row in client.rows(query, {"names": sorted(names)})} if names else set()
    if missing := sorted(names - found):
        shown = ", ".join(missing[:10])
        raise InvalidInput(f"no device is called {shown}; nothing was kept", "unknown")


def _put(
    client: Client, facts: Mapping[tuple[str, str], Mapping[str, Value]], now_s: float
) -> None:
    if not facts:
        return
    rows = list(facts.values())
    columns: dict[str, list[Any]] = {
        "device": [device for device, _ in facts],
        "model": [model for _, model in facts],
        **{f"{name}_ts": [row.get(name) for row in rows] for name in _WHEN},
        **{name: [row.get(name) for row in rows] for name in (*_NUMBERS, "lifetime_years")},
        **{name: [row.get(name) or "" for row in rows] for name in ("currency", "embodied_source")},
        "said_ts": [int(now_s)] * len(rows),
        "version": [following(client, "device_told", now_s)] * len(rows),
    }
    client.insert("device_told", columns)
