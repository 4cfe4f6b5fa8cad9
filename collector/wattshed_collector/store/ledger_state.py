"""How far the ledger is, and what of the past it can still compute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypedDict

from . import lease
from .client import Client
from .pieces_sql import HI, LO
from .shards import Shards

LEASE = "ledger"

_STATE = """
SELECT toUnixTimestamp64Micro(watermark), toUnixTimestamp64Milli(settled) FROM ledger_state FINAL
WHERE name = 'charges'
"""
_NEWEST_VERSION = """
SELECT greatest((SELECT max(version) FROM ledger_state), (SELECT max(version) FROM policy))
"""
_WAITING = """
SELECT toUnixTimestamp(hour) AS at FROM dirty
WHERE ingested_at > fromUnixTimestamp64Micro({since_us:Int64}, 'UTC') GROUP BY at ORDER BY at
"""


def _hours_of(place: int, table: str, hour: str) -> str:
    return (
        f"SELECT {hour}, {place} FROM {table} WHERE {hour} >= {LO} AND {hour} < {HI} "
        "AND version = {version:UInt64} AND seconds != 0"
    )


READ = ("measured_1m", "charge_1m", "charge_1h", "workload_1m", "workload_1h", "workload_1d")
"""The tables of which readers take finished hours alone."""
_COUNTED = (
    ("measured_rows", "measured_1m", "toStartOfHour(t)"),
    ("minute_rows", "charge_1m", "toStartOfHour(t)"),
    ("hour_rows", "charge_1h", "t"),
    ("rolled_up_rows", "workload_1h", "t"),
    ("summed_minute_rows", "workload_1m", "toStartOfHour(t)"),
)
"""Each column of ``ledger_hour``, the table whose rows it counts, and the hour that they are of."""
FINISH = f"""
INSERT INTO ledger_hour (t, version, {", ".join(column for column, *_ in _COUNTED)})
SELECT hour, {{version:UInt64}},
       {", ".join(f"countIf(place = {place})" for place in range(1, len(_COUNTED) + 1))}
FROM (
    SELECT toDateTime(arrayJoin(range(toUInt32({{lo:Int64}} / 1000), toUInt32({{hi:Int64}} / 1000),
                                      3600)), 'UTC') AS hour,
           0 AS place
    {" ".join(f"UNION ALL {_hours_of(at, *of)}" for at, (_, *of) in enumerate(_COUNTED, 1))}
)
GROUP BY hour
"""
"""Says that every statement has written ``version`` of the hours of [lo, hi), Unix milliseconds,
and how many rows that are: so a reader can tell whether a version is still whole."""


_OWN = (
    *READ, "device_1d", "ledger_hour", "ledger_open", "ledger_state", "outcome_1d", "outcome_1h",
    "outcome_1m", "outcome_kind", "outcome_reach", "piece", "power_hour", "reconcile_1h", "slo_1h",
    "slo_1m", "slo_member", "slo_reach", "tick_beside", "tick_day", "tick_hour", "tree",
)  # fmt: skip
"""The tables that the ledger writes; where another does as well (``tick_hour``, by its view), it
writes facts or marks with them."""
_WRITTEN = """
SELECT countIf(table = 'dirty'), sum(cityHash64(table, partition_id, newest)) FROM (
    SELECT table, partition_id, max(max_block_number) AS newest FROM system.parts
    WHERE database = currentDatabase() AND active AND table NOT IN {own:Array(String)}
    GROUP BY table, partition_id
)
"""
"""Each insert takes a number above those before it in its partition, and a merge keeps it."""


class State(TypedDict):
    """Times in Unix seconds, None where there is none yet.

    ``leader``: who computes, and until when its lease lasts. ``watermark``: marks up to then are
    done. ``settled``: everything measured up to then is charged. ``dirty_hours``: those that wait.
    """

    leader: str | None
    leader_until: float | None
    watermark: float | None
    settled: float | None
    dirty_hours: list[int]


def read(client: Client) -> State:
    held = lease.newest(client, LEASE)
    rows = client.rows(_STATE)
    watermark_us, settled_ms = (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)
    waiting = client.rows(_WAITING, {"since_us": watermark_us})
    return {
        "leader": held.holder if held and held.until_us else None,
        "leader_until": held.until_us / 1e6 if held and held.until_us else None,
        "watermark": watermark_us / 1e6 if rows else None,
        "settled": settled_ms / 1e3 if rows else None,
        "dirty_hours": [int(hour) for (hour,) in waiting],
    }


def clock_us(client: Client) -> int:
    """Return the time (Unix microseconds) by the store's own clock."""
    ((now_us,),) = client.rows("SELECT toUnixTimestamp64Micro(now64(6))")
    return int(now_us)


def written(client: Client) -> int | None:
    """Return a number that is another where anything but the ledger's own rows was written
    meanwhile; None where there are no marks in this database: what has some is elsewhere.

    Of the engine in this process alone: a replica shows late what another node has taken.
    """
    ((marks, found),) = client.rows(_WRITTEN, {"own": list(_OWN)})
    return int(found) if marks else None


def restore(client: Client) -> tuple[int, int]:
    """Return the watermark (Unix microseconds) and the highest version that was ever begun."""
    rows = client.rows(_STATE)
    ((version,),) = client.rows(_NEWEST_VERSION)
    return (int(rows[0][0]) if rows else 0), int(version)


def outcomes_since(client: Client) -> tuple[int, int]:
    """Return from which hour on (Unix seconds) outcomes are set against joules, 0 where there are
    none, and up to which event time (Unix milliseconds)."""
    rows: dict[str, int] = dict(
        client.rows(
            "SELECT name, toUnixTimestamp64Milli(settled) FROM ledger_state FINAL "
            "WHERE name IN ('charges', 'outcomes')"
        )
    )
    return int(rows.get("outcomes", 0)) // 1000, int(rows.get("charges", 0))


def keep_outcomes_since(client: Client, hour: int, version: int) -> None:
    _insert(client, "outcomes", 0, hour * 1000, version)


def begin(client: Client, version: int) -> None:
    """Note that rows of ``version`` may be written from now on, by whoever follows to go above."""
    _insert(client, "begun", 0, 0, version)


def save(client: Client, watermark_us: int, settled_ms: int, version: int) -> None:
    _insert(client, "charges", watermark_us, settled_ms, version)


def mark_dirty(client: Client, hours: Iterable[int]) -> None:
    found = sorted(hours)
    if found:
        client.insert("dirty", {"hour": found})


@contextmanager
def unmerged(shards: Shards) -> Iterator[None]:
    """Keep what the run before has written as it is: readers see that until the next is done.

    Not on a cluster, where other replicas merge all the same, and a leader that dies would leave
    merges stopped: there readers leave an hour out while rows of its last version are gone.
    """
    client = shards.client
    if shards.are_replicated:
        yield
        return
    try:
        for table in READ:
            client.command(f"SYSTEM STOP MERGES {table}")
        yield
    finally:
        merging(client)


def merging(client: Client) -> None:
    """Have merges go on, also those that a leader stopped which is no more."""
    for table in READ:
        client.command(f"SYSTEM START MERGES {table}")


def open_hours(
    client: Client, hours: Iterable[int], version: int, only_rates: bool = False
) -> None:
    """Say that ``version`` of these hours will be written: they are not whole until FINISH.

    ``only_rates``: it has the joules of the version before.
    """
    found = sorted(hours)
    columns = {"version": [version] * len(found), "only_rates": [int(only_rates)] * len(found)}
    client.insert("ledger_open", {"t": found, **columns})


def is_divided(client: Client) -> bool:
    """Return whether the client's tables are the twins of those on the shards of a cluster."""
    rows = client.rows(
        "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'tick'"
    )
    return bool(rows) and rows[0][0] == "Distributed"


def left_open(client: Client) -> set[int]:
    """Return the hours (Unix seconds) of which a version was begun and not finished."""
    return {int(hour) for (hour,) in client.rows("SELECT toUnixTimestamp(t) FROM v_open_hour")}


def extent(client: Client) -> tuple[int, int] | None:
    """Return the first and the last hour of which anything is known, None in an empty store."""
    rows = client.rows(
        """
        SELECT count(), toUnixTimestamp(min(first)), toUnixTimestamp(max(last)) FROM (
            SELECT toStartOfHour(toDateTime(minIf(first_valid, last_valid > 0), 'UTC')) AS first,
                   toStartOfHour(toDateTime(max(last_valid), 'UTC')) AS last
            FROM tick_day HAVING countIf(last_valid > 0) > 0
            UNION ALL SELECT min(t), max(t) FROM charge_1h HAVING count() > 0
        )
        """
    )
    count, first, last = rows[0]
    return (int(first), int(last)) if count else None


def measured(client: Client) -> tuple[int, int, int]:
    """Return between which days (Unix seconds) anything was said, and the newest reading (ms).

    Nothing can be charged outside of those days, whatever is said of who will hold a device.
    """
    ((first, last, newest_ms),) = client.rows(
        "SELECT toUnixTimestamp(min(day)), toUnixTimestamp(max(day)), "
        "toUnixTimestamp64Milli(max(last_valid)) FROM tick_day"
    )
    return int(first), int(last) + 86_400, int(newest_ms)


def raw_days(client: Client) -> int:
    """Return for how many days the store keeps raw readings; 0: for ever."""
    return _kept_days(client, "tick")


def minute_days(client: Client) -> int:
    """Return for how many days the store keeps what is summed by the minute; 0: for ever."""
    return _kept_days(client, "outcome_1m")


def _kept_days(client: Client, table: str) -> int:
    rows = client.rows(
        "SELECT engine_full FROM system.tables WHERE name = {table:String} AND database IN "
        "(currentDatabase(), currentDatabase() || '_shard') ORDER BY database DESC",
        {"table": table},
    )
    found = re.search(r"TTL .*?toIntervalDay\((\d+)\)", str(rows[0][0])) if rows else None
    return int(found[1]) if found else 0


def raw_since(client: Client) -> int:
    """Return since when (Unix seconds) raw readings are whole, whatever their retention is now."""
    rows = client.rows(
        "SELECT toUnixTimestamp64Milli(settled) FROM ledger_state FINAL WHERE name = 'raw'"
    )
    return int(rows[0][0]) // 1000 if rows else 0


def keep_raw_since(client: Client, at: int) -> None:
    """Note that raw readings from before ``at`` (Unix seconds) may be gone."""
    _insert(client, "raw", 0, at * 1000, 0)


def _insert(client: Client, name: str, watermark_us: int, settled_ms: int, version: int) -> None:
    client.insert(
        "ledger_state",
        {
            "name": [name],
            "watermark": [watermark_us],
            "settled": [settled_ms],
            "version": [version],
        },
    )
