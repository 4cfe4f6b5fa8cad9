"""What the grid's kilowatt hours emit and cost, as it was and as it is expected, and whose zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wattshed_collector.grid.series import Step, tidy

from .client import Client
from .versions import following

_STEPS = """
SELECT toUnixTimestamp(t), toUnixTimestamp(end_ts), value, is_estimated FROM v_grid
WHERE kind = {kind:String} AND zone = {zone:String}
  AND t < fromUnixTimestamp({until:UInt32}) AND end_ts > fromUnixTimestamp({since:UInt32})
ORDER BY t
"""
_EXPECTED = """
SELECT toUnixTimestamp(t), toUnixTimestamp(end_ts), value, true FROM v_grid_forecast
WHERE kind = {kind:String} AND zone = {zone:String} ORDER BY t
"""
_NEWEST = """
SELECT source, unit, toUnixTimestamp(t), toUnixTimestamp(end_ts), toUnixTimestamp(said_ts)
FROM v_grid WHERE kind = {kind:String} AND zone = {zone:String} AND isNotNull(value)
ORDER BY t DESC LIMIT 1
"""


_FACTOR = """
SELECT toUnixTimestamp(since), toUnixTimestamp(until), value, unit, source FROM v_factor
WHERE kind = {kind:String} AND site = {site:String} AND until > since ORDER BY since
"""


@dataclass(frozen=True, slots=True)
class Told:
    """Steps of one kind and zone as one source said them at ``said_s`` (Unix seconds)."""

    kind: str
    zone: str
    unit: str
    source: str
    said_s: int
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest value that is known: [start_s, end_s), and when it was said."""

    source: str
    unit: str
    start_s: int
    end_s: int
    said_s: int


def put(client: Client, told: Sequence[Told], now_s: float) -> int:
    """Write what was; return how many steps. What is said later of the same start counts."""
    return _insert(client, "grid", told, now_s, with_estimates=True)


def put_forecast(client: Client, told: Sequence[Told], now_s: float) -> int:
    """Write what is expected; return how many steps. The newest forecast counts as a whole."""
    return _insert(client, "grid_forecast", told, now_s, with_estimates=False)


def put_zones(
    client: Client, zones: Mapping[str, tuple[str, float | None, str]], now_s: float
) -> None:
    """Write zone, yearly intensity (g/kWh) and its source by site."""
    sites = list(zones)
    client.insert(
        "site_zone",
        {
            "site": sites,
            "zone": [zones[site][0] for site in sites],
            "yearly_g_per_kwh": [zones[site][1] for site in sites],
            "yearly_source": [zones[site][2] for site in sites],
            "version": [following(client, "site_zone", now_s)] * len(sites),
        },
    )


def zones(client: Client) -> list[dict[str, Any]]:
    """Return site, zone, yearly_g_per_kwh and yearly_source of every site that lies anywhere."""
    return client.records("SELECT * FROM v_site_zone ORDER BY site")


def told_zones(client: Client) -> list[dict[str, Any]]:
    """Return site and zone as they were told, "" for every other site."""
    return client.records("SELECT site, zone FROM site_zone FINAL WHERE zone != '' ORDER BY site")


def zone_of(client: Client, site: str) -> str:
    """Return the zone of a site, "" where it has none."""
    rows = client.rows("SELECT zone FROM v_site_zone WHERE site = {site:String}", {"site": site})
    return str(rows[0][0]) if rows else ""


def steps(client: Client, kind: str, zone: str, since_s: int, until_s: int) -> list[Step]:
    """Return tidy steps of what was within [since_s, until_s), Unix seconds."""
    asked = {"kind": kind, "zone": zone, "since": since_s, "until": until_s}
    return _steps(client, _STEPS, asked)


def expected(client: Client, kind: str, zone: str) -> list[Step]:
    """Return tidy steps of the newest forecast, estimated all of them."""
    return _steps(client, _EXPECTED, {"kind": kind, "zone": zone})


def newest(client: Client, kind: str, zone: str) -> Newest | None:
    """Return what is known of the newest value, None where none is."""
    rows = client.rows(_NEWEST, {"kind": kind, "zone": zone})
    return Newest(*rows[0]) if rows else None


def factor_steps(client: Client, kind: str, site: str) -> Told:
    """Return what an operator told of a site as a factor of ``kind``; no steps: nothing."""
    asked = {"kind": kind, "site": site}
    rows = client.rows(_FACTOR, asked) if kind else []
    made = tidy(Step(since, until, value) for since, until, value, _, _ in rows)
    unit, source = (str(text) for text in rows[-1][3:]) if rows else ("", "")
    return Told(kind, "", unit, source, 0, made)


def _steps(client: Client, sql: str, asked: Mapping[str, Any]) -> list[Step]:
    rows = client.rows(sql, asked)
    return tidy(Step(s, e, v, None if est is None else bool(est)) for s, e, v, est in rows)


def _insert(
    client: Client, table: str, told: Sequence[Told], now_s: float, *, with_estimates: bool
) -> int:
    rows = [(one, step) for one in told for step in one.steps]
    if not rows:
        return 0
    columns: dict[str, list[Any]] = {
        "kind": [one.kind for one, _ in rows],
        "zone": [one.zone for one, _ in rows],
        "unit": [one.unit for one, _ in rows],
        "source": [one.source for one, _ in rows],
        "said_ts": [one.said_s for one, _ in rows],
        "start_ts": [step.start_s for _, step in rows],
        "end_ts": [step.end_s for _, step in rows],
        "value": [step.value for _, step in rows],
        "version": [following(client, table, now_s)] * len(rows),
    }
    if with_estimates:
        columns["is_estimated"] = [step.is_estimated for _, step in rows]
    client.insert(table, columns)
    return len(rows)
