"""Move what an embedded store holds to a server, partition by partition.

Nothing is noted of what was done: a partition whose rows are on the server, by their number and the
sum of their hashes, is left alone, and any other is sent again. That is harmless because every
table is replacing or merging; so a move that was cut off is simply begun again. What materialized
views fill is sent as well: of some of it the facts are no longer kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wattshed_collector.errors import Permanent

from .client import Client
from .insert import Insert

LEFT_BEHIND = frozenset({"dirty", "lease", "migration", "piece", "tick_beside"})
"""Tables whose rows are of one store's running, or of no use after a run of the ledger."""
LAST = ("ledger_hour", "ledger_state")
"""What says that an hour is whole comes after what is in it."""
ROWS_AT_ONCE = 200_000

TABLES = """
SELECT name, partition_key, sorting_key FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name
"""
COLUMNS = """
SELECT name FROM system.columns
WHERE database = currentDatabase() AND table = {table:String}
  AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One partition of a table; ``partition`` is the value of its key, 0 where it has none."""

    table: str
    partition_key: str
    sorting_key: str
    columns: tuple[str, ...]
    partition: int
    rows: int

    @property
    def where(self) -> str:
        return f"{self.partition_key} = {{partition:UInt32}}" if self.partition_key else "1"


@dataclass(frozen=True, slots=True)
class Sum:
    """What two stores hold of a partition is the same where this is."""

    rows: int
    hashes: int


def parts(source: Client) -> list[Part]:
    """Return every partition with rows that count, in the order in which they are to be sent."""
    found = []
    for name, partition_key, sorting_key in source.rows(TABLES):
        table = str(name)
        if table in LEFT_BEHIND:
            continue
        columns = tuple(str(c) for (c,) in source.rows(COLUMNS, {"table": table}))
        key = str(partition_key)
        counted = source.rows(
            f"SELECT toUInt32({key or '0'}) AS partition, count() FROM {table} FINAL "
            "GROUP BY partition ORDER BY partition"
        )
        found += [Part(table, key, str(sorting_key), columns, int(p), int(n)) for p, n in counted]
    return sorted(found, key=lambda part: part.table in LAST)


def summed(client: Client, part: Part) -> Sum:
    """Return what a store holds of a partition, each row once."""
    # As text, because the hash of a NULL is none.
    row = ", ".join(f"ifNull(toString({column}), '\\0')" for column in part.columns)
    ((rows, hashes),) = client.rows(
        f"SELECT count(), sum(sipHash64(tuple({row}))) FROM {part.table} FINAL WHERE {part.where}",
        {"partition": part.partition},
    )
    return Sum(int(rows), int(hashes))


def send(source: Client, target: Client, part: Part, at_once: int = ROWS_AT_ONCE) -> Iterator[int]:
    """Send a partition; yields how many rows each insert had.

    Raises Permanent where the target then holds something else: what is wrong would be lost.
    """
    pieces = -(-part.rows // at_once)
    names = ", ".join(part.columns)
    for piece in range(pieces):
        where = f"{part.where} AND cityHash64({part.sorting_key}) % {{n:UInt64}} = {{i:UInt64}}"
        told = {"partition": part.partition, "n": pieces, "i": piece}
        ((rows,),) = source.rows(f"SELECT count() FROM {part.table} FINAL WHERE {where}", told)
        if rows:
            body = source.native(f"SELECT {names} FROM {part.table} FINAL WHERE {where}", told)
            target.insert_native(Insert(part.table, part.columns, int(rows), body))
        yield int(rows)
    here, there = summed(source, part), summed(target, part)
    if here != there:
        raise Permanent(
            f"{part.table}, partition {part.partition}: {here.rows} rows were sent and "
            f"{there.rows} are there{'' if here.rows != there.rows else ' that differ'}; does a "
            "collector write to the server already, or does it keep rows for less time?"
        )


def unsent(source: Client, target: Client, found: Sequence[Part]) -> Iterator[tuple[Part, bool]]:
    """Give each partition, and whether the target lacks it."""
    for part in found:
        yield part, summed(source, part) != summed(target, part)
