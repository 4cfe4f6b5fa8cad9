"""Run the numbered SQL migrations: immutable files, checksummed, each statement idempotent.

On a server one migrator works at a time, under a lease. What rewrites rows (a mutation) is started
and goes on in the background; ``background`` says what still does.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources

from wattshed_collector.errors import Denied, Permanent, Retryable

from .client import Client, Store
from .layout import Layout, is_mutation
from .lease import Lease, Timing, holder_name

__all__ = ("Layout", "Migration", "Step", "background", "migrate", "migrations", "missing")

VERSIONS = """
CREATE TABLE IF NOT EXISTS migration {{ON_CLUSTER}} (
    number UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = {{REPLICATED}}ReplacingMergeTree(applied_at) ORDER BY number
"""
_VIEW = re.compile(r"CREATE OR REPLACE VIEW (\w+)")
LEASE = "migration"
LEASE_TIMING = Timing(length_seconds=120.0)
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file. ``checksum`` is taken over the template, before any layout."""

    number: int
    name: str
    template: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.template.encode()).hexdigest()[:16]

    def statements(self, layout: Layout) -> list[str]:
        """Return the statements for ``layout``; an unknown placeholder is a KeyError."""
        return layout.render(self.template)


@dataclass(frozen=True, slots=True)
class Step:
    """A mutation that goes on in the background: parts that are still to be rewritten."""

    table: str
    command: str
    parts_to_do: int
    failed: str


def migrations() -> list[Migration]:
    """Return the migrations that this version knows, in order."""
    folder = resources.files("wattshed_collector") / "migrations"
    found = [
        Migration(int(entry.name[:4]), entry.name[5:-4], entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if re.fullmatch(r"\d{4}_\w+\.sql", entry.name)
    ]
    return sorted(found, key=lambda migration: migration.number)


def migrate(
    client: Client,
    layout: Layout,
    *,
    dry_run: bool = False,
    shards: Sequence[Client] = (),
    still_ours: Callable[[], None] = lambda: None,
) -> Sequence[Migration]:
    """Apply what is missing and return it; with ``dry_run`` only say what would be applied.

    ``client`` is in the layout's shard database; ``shards`` are clients in that of each shard, for
    statements that fill tables, and ``still_ours`` raises where another migrates by now.

    Raises Permanent when an applied migration was edited, or when the store is newer than this
    version: both would silently give tables that the code does not know.
    """
    if not dry_run:
        for statement in (*layout.render(VERSIONS), *layout.twins(layout.render(VERSIONS))):
            client.command(statement)
    wanted = missing(client)
    if dry_run or not wanted:
        return wanted
    is_new = len(wanted) == len(migrations())
    passing = passing_views(wanted, layout) if is_new else frozenset()
    for migration in wanted:
        _apply(client, migration, layout, shards or (client,), still_ours, passing)
        if not is_new:
            _note(client, [migration])
    if is_new:  # whoever is interrupted begins anew: every statement may be repeated
        _note(client, wanted)
    return wanted


def passing_views(wanted: Sequence[Migration], layout: Layout) -> frozenset[str]:
    """Return the statements that make a view which another makes anew before any other names it.

    A new store does without: planning them is a good part of what it costs. Twins on a cluster are
    made of what is there after each migration, so that there all are made.
    """
    found: set[str] = set()
    if layout.is_sharded:
        return frozenset()
    later: list[str] = []
    for statement in reversed([s for m in wanted for s in m.statements(layout)]):
        view = _VIEW.match(statement)
        name = re.compile(rf"\b{view[1]}\b" if view else "(?!)")
        after = next((text for text in reversed(later) if name.search(text)), "")
        again = _VIEW.match(after)
        if view and again and again[1] == view[1] and len(name.findall(after)) == 1:
            found.add(statement)
        else:
            later.append(statement)
    return frozenset(found)


def missing(client: Client) -> Sequence[Migration]:
    """Return the migrations that the store lacks. Raises Permanent as ``migrate`` does."""
    applied, known = _applied(client), migrations()
    _check(known, applied)
    return [migration for migration in known if migration.number not in applied]


def migrate_server(
    store: Store, layout: Layout, sleep: Callable[[float], None] = time.sleep
) -> Sequence[Migration]:
    """Apply what is missing on a server or cluster, once no other does; return it."""
    outside = store.client(database="default")
    for statement in layout.databases():
        outside.command(statement)
    if not layout.is_sharded and layout.database != "default":
        outside.command(f"CREATE DATABASE IF NOT EXISTS `{layout.database}` {layout.on_cluster}")
    outside.close()
    client = store.client(database=layout.shard_database)
    try:
        if not missing(client):
            return []
        with _leading(store, client, layout, sleep) as still_ours:
            shards = store.shard_clients(layout) if layout.is_sharded else ()
            return migrate(client, layout, shards=shards, still_ours=still_ours)
    finally:
        client.close()


def await_migrated(
    open_client: Callable[[], Client],
    *,
    wait: bool,
    told: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once the store has every migration. Raises Permanent where it has not and ``wait``
    is false; a server that is away is waited for as well, one that denies us is not."""
    while True:
        try:
            client = open_client()
            lacks = missing(client)
            client.close()
            if not lacks:
                return
            why = f"the store lacks {len(lacks)} migrations, from {lacks[0].number:04d} on"
            if not wait:
                raise Permanent(f"{why}: run `wattshed migrate`")
        except Denied:
            raise
        except Retryable as error:
            if not wait:
                raise
            why = str(error)
        told(f"waiting for the store: {why}")
        sleep(5 * POLL_SECONDS)


def background(client: Client) -> list[Step]:
    """Return the mutations of this database that are not done."""
    rows = client.rows(
        "SELECT table, command, parts_to_do, latest_fail_reason FROM system.mutations "
        "WHERE database = currentDatabase() AND NOT is_done ORDER BY create_time"
    )
    return [Step(str(t), str(c), int(n), str(why)) for t, c, n, why in rows]


@contextmanager
def _leading(
    store: Store, client: Client, layout: Layout, sleep: Callable[[float], None]
) -> Iterator[Callable[[], None]]:
    for statement in _lease_table(layout):
        client.command(statement)
    own = store.client(database=layout.shard_database, in_sequence=True)
    lease = Lease(own, LEASE, holder_name(), LEASE_TIMING)
    while not lease.hold():
        sleep(POLL_SECONDS)

    def still_ours() -> None:
        if not lease.is_fresh and not lease.hold():
            raise Retryable("another migrator took over; run it again once that one is done")

    try:
        with lease.kept():  # a statement that fills a table may take longer than it lasts
            yield still_ours
    finally:
        lease.release()
        own.close()


def _lease_table(layout: Layout) -> list[str]:
    """Return the statements of the lease's table: it is needed before its migration ran."""
    every = (s for m in migrations() for s in m.statements(layout))
    made = [s for s in every if s.startswith("CREATE TABLE IF NOT EXISTS lease")]
    return [*made, *layout.twins(made)]


def _applied(client: Client) -> dict[int, str]:
    ((exists,),) = client.rows("EXISTS TABLE migration")
    if not exists:
        return {}
    rows = client.rows("SELECT number, checksum FROM migration FINAL")
    return {int(number): str(checksum) for number, checksum in rows}


def _apply(
    client: Client,
    migration: Migration,
    layout: Layout,
    shards: Sequence[Client],
    still_ours: Callable[[], None],
    passing: Set[str] = frozenset(),
) -> None:
    statements = migration.statements(layout)
    for statement in statements:
        if statement in passing:
            continue
        still_ours()
        if statement.startswith("INSERT"):
            for shard in shards:
                shard.command(statement)
        elif is_mutation(statement):
            client.command(f"{statement} SETTINGS mutations_sync = 0")
        else:
            client.command(statement)
    for statement in layout.twins(statements):
        still_ours()
        client.command(statement)


def _note(client: Client, applied: Sequence[Migration]) -> None:
    client.insert(
        "migration",
        {
            "number": [migration.number for migration in applied],
            "name": [migration.name for migration in applied],
            "checksum": [migration.checksum for migration in applied],
        },
    )


def _check(known: Sequence[Migration], applied: dict[int, str]) -> None:
    newest = known[-1].number
    if applied and max(applied) > newest:
        raise Permanent(
            f"the store is at migration {max(applied)}, this version knows only {newest}: "
            "run a newer wattshed, or point it at another data folder"
        )
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise Permanent(
                f"migration {migration.number:04d}_{migration.name} was edited after it was "
                "applied; migrations are immutable, add a new one"
            )
