"""Where a run of the ledger computes: in one store, or on every shard of a cluster at once.

A run stays with one node of each shard, because a replica may lag behind what the run itself has
just written. All rows of a device are on one shard, so every statement is of a shard alone; but a
wall meter and what lies inside of it may be on different ones, so that what reconciles them
(``ACROSS``) runs once, through the Distributed tables, over a row per device and minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import reprice_sql, slo_sql
from .client import Client, Row, Store
from .layout import Layout
from .outcome_sql import HOURS, KINDS, MINUTES, SEEN
from .tree_sql import RECONCILE, RECONCILED, REMAINDER

ACROSS = {
    RECONCILE: ("measured_1m", "reconcile_1h"),
    REMAINDER: ("charge_1m", "reconcile_1h"),
    SEEN: ("outcome_reach",),
    MINUTES: ("charge_1m", "charge_1h", "outcome_1m"),
    HOURS: ("workload_1h", "outcome_1m", "outcome_1h"),
    KINDS: ("outcome_1h", "outcome_kind"),
    reprice_sql.RATE_OUTCOMES: ("workload_1h", "outcome_1h"),
    slo_sql.MEMBERS: ("outcome_kind", "workload", "slo_member"),
    slo_sql.RESTART: ("slo_member", "slo_reach"),
    slo_sql.DONE: ("slo_member",),
    slo_sql.MINUTES: ("outcome_1m", "slo_1m"),
    slo_sql.HOURS: ("slo_1m", "slo_1h"),
}
"""Statements over all shards, and the tables that they read or write."""
SAID = (
    "tick",
    "sample",
    "allocation",
    "tick_hour",
    "idle_hour",
    "allocation_hour",
    "tree",
    "outcome",
    "factor",
    "grid",
    "site_zone",
)
"""Tables that a run reads and others write."""
WAIT = (
    "SETTINGS distributed_ddl_output_mode = 'none_only_active', distributed_ddl_task_timeout = 30"
)

T = TypeVar("T")


class Shards:
    """One connection to each part of the store; ``client`` knows them all by their twins."""

    def __init__(
        self, client: Client, parts: Sequence[Client] = (), layout: Layout | None = None
    ) -> None:
        self.client = client
        self.parts = tuple(parts) or (client,)
        self._layout = layout or Layout()

    @property
    def are_several(self) -> bool:
        """Whether the tables are divided, be it into one shard."""
        return self._layout.is_sharded

    @property
    def are_replicated(self) -> bool:
        """Whether other nodes merge and answer as well."""
        return bool(self._layout.cluster)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Ask each shard; return the rows of all."""
        return [row for rows in self._each(lambda c: c.rows(sql, parameters)) for row in rows]

    def arrays(
        self, sql: str, dtype: np.dtype[np.void], parameters: Mapping[str, Any]
    ) -> list[NDArray[np.void]]:
        """Ask each shard for rows of fixed width."""
        return self._each(lambda c: c.array(sql, dtype, parameters))

    def command(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement on each shard, or over all of them where it is one of ``ACROSS``."""
        tables = ACROSS.get(sql, ()) if self.are_several else ()
        if not tables:
            self._each(lambda c: c.command(sql, parameters))
            return
        self.sync(tables)
        self.client.command(sql, parameters)
        if sql == RECONCILE:
            self._each(lambda c: c.command(RECONCILED, parameters))
        self.sync(tables)

    def each(self, does: Callable[[Client], None]) -> None:
        """Do something on each shard."""
        self._each(does)

    def sync(self, tables: Sequence[str] = SAID) -> None:
        """Wait until every replica that is there has what any of them has."""
        layout = self._layout
        if layout.cluster:
            for table in tables:
                name = f"`{layout.shard_database}`.{table}"
                self.client.command(
                    f"SYSTEM SYNC REPLICA {layout.on_cluster} {name} LIGHTWEIGHT {WAIT}"
                )

    def close(self) -> None:
        for client in {id(c): c for c in (self.client, *self.parts)}.values():
            client.close()

    def _each(self, does: Callable[[Client], T]) -> list[T]:
        if len(self.parts) == 1:
            return [does(self.parts[0])]
        with ThreadPoolExecutor(len(self.parts), thread_name_prefix="shard") as pool:
            return list(pool.map(does, self.parts))


def opened(store: Store, layout: Layout) -> Shards:
    """Connect to what a ledger on ``store`` needs. Raises Retryable where a shard is away."""
    if not layout.cluster:
        return Shards(store.client(session=True))
    client = store.pinned(layout, session=True) if not layout.is_sharded else store.client()
    parts = store.shard_clients(layout) if layout.is_sharded else ()
    return Shards(client, parts, layout)
