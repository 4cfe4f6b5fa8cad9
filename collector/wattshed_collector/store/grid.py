"""What the grid's kilowatt hours emit and cost, as it was and as it is expected, and whose zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wattshed_collector.grid.series import Step, tidy
from wattshed_collector.instant import LATEST_S

from . import grid_hours, ledger_state
from .client import Client
from .versions import following

FILE = "file: "
_STEPS = """
SELECT toUnixTimestamp(t), toUnixTimestamp(end_ts),
       if({unit:String} IN ('', unit), value, NULL), is_estimated FROM v_grid
WHERE kind = {kind:String} AND zone = {zone:String}
  AND t < fromUnixTimestamp({until:UInt32}) AND end_ts > fromUnixTimestamp({since:UInt32})
ORDER BY t
"""
_EXPECTED = """
SELECT toUnixTimestamp(t), toUnixTimestamp(end_ts), value, unit, source, toUnixTimestamp(said_ts)
FROM v_grid_forecast WHERE kind = {kind:String} AND zone = {zone:String} ORDER BY t
"""
_NEWEST = """
SELECT source, unit, toUnixTimestamp(t), toUnixTimestamp(end_ts), toUnixTimestamp(said_ts)
FROM v_grid WHERE kind = {kind:String} AND zone = {zone:String} AND isNotNull(value)
  AND t < fromUnixTimestamp({until:UInt32}) AND end_ts > fromUnixTimestamp({since:UInt32})
ORDER BY t DESC LIMIT 1
"""
_SAID = """
SELECT toUnixTimestamp(t) FROM v_grid
WHERE kind = {kind:String} AND zone = {zone:String}
  AND (source = {source:String}
       OR startsWith(source, {prefix:String}) AND source NOT IN {files:Array(String)})
  AND t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
"""
_NOW = "since <= now() AND until > now()"
_LIES = ("site", "since_ts", "zone", "yearly_g_per_kwh", "yearly_source", "yearly_said_ts")
_TOLD_ZONES = """
SELECT toString(site), toUnixTimestamp(since_ts), toString(zone), yearly_g_per_kwh,
       toString(yearly_source), toUnixTimestamp(yearly_said_ts)
FROM site_zone FINAL ORDER BY site, since_ts
"""


class Lies(NamedTuple):
    """A site lies in ``zone`` from ``since_s`` on (Unix seconds); as the table has it."""

    site: str
    since_s: int
    zone: str
    yearly_g_per_kwh: float | None
    yearly_source: str
    yearly_said_s: int | None = None


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
    """Write what was; return how many steps. What is said later of the same start counts.

    Charged hours that cost something else by it are marked: before, so that nothing is lost with
    us, and after, because the ledger may come in between.
    """
    says: dict[str, dict[int, grid_hours.Said]] = {}
    for one in told:
        if one.kind == "price":
            prices = {step.start_s: (step.end_s, step.value, one.unit) for step in one.steps}
            says.setdefault(one.zone, {}).update(prices)
    hours = {
        hour for zone, prices in says.items() for hour in grid_hours.repriced(client, zone, prices)
    }
    ledger_state.mark_dirty(client, hours)
    count = _insert(client, "grid", told, now_s, with_estimates=True)
    ledger_state.mark_dirty(client, hours)
    return count


def of_file(file: Path) -> str:
    """Return what a file is called as a source: by all of its path, several may have one name."""
    return f"{FILE}{file.absolute()}"


def taken_back(client: Client, told: Sequence[Told], files: Sequence[str] = ()) -> list[Told]:
    """Return what takes back what the sources of ``told`` said before and do not say any more.

    Who tells a time anew tells all of it: what began between the first and the end of the last of
    their steps of a zone is gone. Of any other time what was said stays. What a file said that is
    none of ``files``, the sources of those that are read now, is gone the same way: it lay
    elsewhere, or was called by its name alone.
    """
    says: dict[tuple[str, str, str], list[Step]] = {}
    for one in told:
        says.setdefault((one.kind, one.zone, one.source), []).extend(one.steps)
    said_s = max((one.said_s for one in told), default=0)
    found = []
    for (kind, zone, source), known in says.items():
        starts = {step.start_s for step in known}
        asked = {"since": min(starts, default=0), "until": max((s.end_s for s in known), default=0)}
        who = {"source": source, "prefix": FILE, "files": [source, *files]}
        rows = client.rows(_SAID, {"kind": kind, "zone": zone, **who, **asked})
        gone = [Step(start, start, None) for (start,) in rows if start not in starts]
        found.append(Told(kind, zone, "", source, said_s, gone))
    return [one for one in found if one.steps]


def put_forecast(client: Client, told: Sequence[Told], now_s: float) -> int:
    """Write what is expected; return how many steps. The newest forecast counts as a whole."""
    return _insert(client, "grid_forecast", told, now_s, with_estimates=False)


def put_zones(
    client: Client,
    zones: Mapping[str, tuple[str, float | None, str]],
    now_s: float,
    said_s: Mapping[str, int] | None = None,
) -> None:
    """Say where sites lie: zone, yearly intensity (g/kWh) and its source by site, and with
    ``said_s`` by site since when that could be said (Unix seconds).

    A site that lay nowhere until now lies there since ever, any other from ``now_s`` on. What is
    known is not written again. Charged hours that may cost something else by it are marked.
    """
    known = told_zones(client)
    found = [
        Lies(site, _begins(known, site, lies[0], int(now_s)), *lies, (said_s or {}).get(site))
        for site, lies in zones.items()
        if lies[0] or site in known
    ]
    news = [one for one in found if known.get(one.site) != one]
    if not news:
        return
    hours = {
        hour
        for one in news
        if one.site not in known or known[one.site].zone != one.zone
        for hour in grid_hours.moved(client, one.zone, one.since_s)
    }
    ledger_state.mark_dirty(client, hours)
    columns: dict[str, list[Any]] = {
        name: list(column) for name, column in zip(_LIES, zip(*news, strict=True), strict=True)
    }
    columns["version"] = [following(client, "site_zone", now_s)] * len(news)
    client.insert("site_zone", columns)
    ledger_state.mark_dirty(client, hours)


def _begins(known: Mapping[str, Lies], site: str, zone: str, now_s: int) -> int:
    last = known.get(site)
    if last is None:
        return now_s if "" in known else 0
    return last.since_s if last.zone == zone else max(now_s, last.since_s)


def zones(client: Client) -> list[dict[str, Any]]:
    """Return where each site lies now: site, zone, since when, and what its yearly table says."""
    return client.records(f"SELECT * FROM v_site_zone WHERE {_NOW} ORDER BY site")


def told_zones(client: Client) -> dict[str, Lies]:
    """Return what was told last of each site, "" for every other; a zone of "" is none."""
    return {row[0]: Lies(*row) for row in client.rows(_TOLD_ZONES)}


def zone_of(client: Client, site: str) -> str:
    """Return the zone in which a site lies now, "" where it has none."""
    rows = client.rows(
        f"SELECT zone FROM v_site_zone WHERE site = {{site:String}} AND {_NOW}", {"site": site}
    )
    return str(rows[0][0]) if rows else ""


def steps(
    client: Client, kind: str, zone: str, since_s: int, until_s: int, unit: str = ""
) -> list[Step]:
    """Return tidy steps of what was within [since_s, until_s), Unix seconds; with ``unit`` what is
    told in another is not known."""
    asked = {"kind": kind, "zone": zone, "since": since_s, "until": until_s, "unit": unit}
    rows = client.rows(_STEPS, asked)
    return tidy(Step(s, e, v, None if est is None else bool(est)) for s, e, v, est in rows)


def expected(client: Client, kind: str, zone: str) -> Told | None:
    """Return the newest forecast, tidy and estimated all of it; None: there is none."""
    rows = client.rows(_EXPECTED, {"kind": kind, "zone": zone})
    if not rows:
        return None
    made = tidy(Step(start, end, value, is_estimated=True) for start, end, value, *_ in rows)
    unit, source, said_s = rows[0][3:]
    return Told(kind, zone, unit, source, said_s, made)


def newest(
    client: Client, kind: str, zone: str, since_s: int = 0, until_s: int = LATEST_S + 1
) -> Newest | None:
    """Return what is known of the newest value that is of any time within [since_s, until_s), Unix
    seconds, None where none is."""
    asked = {"kind": kind, "zone": zone, "since": since_s, "until": until_s}
    rows = client.rows(_NEWEST, asked)
    return Newest(*rows[0]) if rows else None


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
