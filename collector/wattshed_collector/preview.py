"""What a recomputation would change: the very same statements, into scratch tables.

Every table that a statement inserts into is replaced, by name, with a temporary table of the same
columns and engine, and so is it in the view that answers. The ledger itself is only read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

from .errors import InvalidInput
from .ledger import RUN, Ledger, Progress
from .store.client import Client
from .store.policies import Override

PREFIX = "dry_"
KEYS = ("workload_key", "workload", "team", "class")


class Change(TypedDict):
    """Joules of one workload in one class, nobody's where ``workload_key`` is empty."""

    workload_key: str
    workload: str
    team: str
    charge_class: str
    before_joules: float
    after_joules: float
    change_joules: float


class Scratch:
    """Temporary twins of the tables that ``statements`` fill, for one client."""

    def __init__(self, client: Client, statements: Sequence[str]) -> None:
        self._client = client
        filled = (re.search(r"INSERT\s+INTO\s+(\w+)", text) for text in statements)
        self._tables = sorted({found[1] for found in filled if found})
        self._names = re.compile(rf"(?:\b\w+\.)?\b({'|'.join(self._tables)})\b")
        self.statements = [self.renamed(text) for text in statements]

    def renamed(self, text: str) -> str:
        """Return ``text`` with every table, with or without its database, replaced by its twin."""
        return self._names.sub(lambda found: PREFIX + found[1], text)

    def create(self) -> None:
        self.drop()
        for table in self._tables:
            ((columns, engine),) = self._client.rows(
                "SELECT create_table_query, engine_full FROM system.tables "
                "WHERE database = currentDatabase() AND name = {table:String}",
                {"table": table},
            )
            head = str(columns).partition(" ENGINE = ")[0].partition("(")[2]
            self._client.command(
                f"CREATE TEMPORARY TABLE {PREFIX}{table} ({head} ENGINE = {_alone(str(engine))}"
            )

    def clear(self) -> None:
        for table in self._tables:
            self._client.command(f"TRUNCATE TABLE {PREFIX}{table}")

    def drop(self) -> None:
        for table in self._tables:
            self._client.command(f"DROP TEMPORARY TABLE IF EXISTS {PREFIX}{table}")


def _alone(engine: str) -> str:
    """Return an engine's text without replication, expiry and syncing, for a table of minutes."""
    engine = re.sub(r"^Replicated(\w+)\('[^']*', '[^']*'(?:, )?", r"\1(", engine)
    return re.sub(r" (?:TTL|SETTINGS) .*", "", engine, flags=re.DOTALL)


def preview(
    ledger: Ledger,
    hours: Sequence[int],
    override: Override,
    progress: Progress | None = None,
    statements: Sequence[str] = RUN,
) -> list[Change]:
    """Return what recomputing ``hours`` would change, the largest change first.

    Raises InvalidInput where an hour is too old, as the recomputation would.
    """
    ledger.check(hours)
    if ledger.is_divided:
        raise InvalidInput("a dry run over the shards of a cluster is not possible", "sharded")
    before: dict[tuple[str, ...], float] = {}
    after: dict[tuple[str, ...], float] = {}
    with _scratch(ledger.client, statements) as scratch:
        view = _energy(ledger.client)
        for done, (lo, hi, rule) in ledger.portions(hours, override):
            _add(before, _sums(ledger.client, view, lo, hi))
            ledger.compute(scratch.statements, lo, hi, rule, version=1)
            _add(after, _sums(ledger.client, scratch.renamed(view), lo, hi))
            scratch.clear()
            if progress:
                progress(done, len(hours))
    changes = [_change(key, before, after) for key in {*before, *after}]
    return sorted(changes, key=lambda c: (-abs(c["change_joules"]), c["workload_key"]))


@contextmanager
def _scratch(client: Client, statements: Sequence[str]) -> Iterator[Scratch]:
    scratch = Scratch(client, statements)
    scratch.create()
    try:
        yield scratch
    finally:
        scratch.drop()


def _energy(client: Client) -> str:
    """Return the query behind ``v_energy_1h``: which meters count is said there and only there."""
    ((query,),) = client.rows(
        "SELECT as_select FROM system.tables "
        "WHERE database = currentDatabase() AND name = 'v_energy_1h'"
    )
    return str(query)


def _sums(client: Client, view: str, lo: int, hi: int) -> Iterable[tuple[Any, ...]]:
    keys = ", ".join(KEYS)
    return client.rows(
        f"SELECT {keys}, sum(e.joules) FROM ({view}) AS e "
        "WHERE t >= toDateTime({lo:UInt32}, 'UTC') AND t < toDateTime({hi:UInt32}, 'UTC') "
        f"GROUP BY {keys}",
        {"lo": lo, "hi": hi},
    )


def _add(sums: dict[tuple[str, ...], float], rows: Iterable[tuple[Any, ...]]) -> None:
    for *key, joules in rows:
        where = tuple(str(part) for part in key)
        sums[where] = sums.get(where, 0.0) + float(joules)


def _change(
    key: tuple[str, ...], before: dict[tuple[str, ...], float], after: dict[tuple[str, ...], float]
) -> Change:
    was, becomes = before.get(key, 0.0), after.get(key, 0.0)
    workload_key, workload, team, charge_class = key
    return {
        "workload_key": workload_key,
        "workload": workload,
        "team": team,
        "charge_class": charge_class,
        "before_joules": was,
        "after_joules": becomes,
        "change_joules": becomes - was,
    }
