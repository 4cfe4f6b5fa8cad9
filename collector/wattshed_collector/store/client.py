"""One synchronous clickhouse-connect client: the embedded engine or a server, the same calls.

The embedded engine takes an exclusive lock on its folder and reports a taken one in words that
nobody understands, so the folder is locked here first. A client belongs to one thread; open one
per thread with ``Store.client``. On a server a client has no session, asks the node that answers,
and asks the next one where a node fails: every statement of ours may run twice.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlencode
from xml.sax.saxutils import escape

import numpy as np
import zstandard
from numpy.typing import NDArray

from wattshed_collector.errors import Denied, Permanent, Retryable, StoreError, StoreLocked

from . import server
from .faults import as_ours, is_elsewhere, said
from .insert import Insert
from .layout import Layout
from .server import Node, Nodes, Server

UNUSED = (
    "aggregators_of_group_by_keys",
    "and_compare_chain",
    "dictget_tuple_element",
    "empty_string_comparisons",
    "group_by_constant_keys",
    "injective_functions_in_limit_by",
    "injective_functions_inside_uniq",
    "inverse_dictionary_lookup",
    "limit_by_function_keys",
    "multiif_to_if",
    "normalize_count_variants",
    "or_like_chain",
    "qbit_distance_function_reads",
    "redundant_comparisons",
    "redundant_functions_in_order_by",
    "rewrite_array_exists_to_has",
    "rewrite_has_to_in",
    "rewrite_like_perfect_affix",
    "rewrite_regexp_functions",
    "rewrite_sum_if_to_count_if",
    "syntax_fuse_functions",
    "truncate_order_by_after_group_by_keys",
    "uniq_to_count",
)
"""Rewritings of a query that gain nothing on ours. Each walks over every expression, through every
use of every name, and together they are a fifth of what a query costs before it reads a row."""

ENGINE = {
    "max_threads": "2",
    "compile_expressions": "0",
    "compile_aggregate_expressions": "0",
    "compile_sort_description": "0",
    "memory_worker_period_ms": "1000",
    "background_processing_pool_thread_sleep_seconds_if_nothing_to_do": "5",
    "background_streaming_processing_pool_thread_sleep_seconds_if_nothing_to_do": "60",
    "max_partitions_per_insert_block": "0",
    **{f"optimize_{rewriting}": "0" for rewriting in UNUSED},
}
"""Settings of the embedded engine. By default it looks at its memory ten times a second, which is
a quarter of a percent of a core for nothing, and refuses a batch that spans a hundred days. It
looks at each table more than once a second, whether there is something to merge or to stream, which
takes another percent; an insert makes it look at once anyway (BackgroundJobsAssignee.cpp). It
compiles expressions to machine code after their third use (Settings.cpp); of the ledger's that
takes a second of CPU time, and computing an hour of 1500 GPUs again is no faster for it."""

SESSION = {
    "max_partitions_per_insert_block": "0",
    "distributed_foreground_insert": "1",
    "distributed_product_mode": "global",
}
"""Settings of a connection to a server. An insert through a Distributed table is durable on its
shard before it returns; a subquery over the whole cluster means the whole cluster."""

IN_SEQUENCE = {
    "insert_quorum": "auto",
    "insert_quorum_parallel": "0",
    "select_sequential_consistency": "1",
}
SHARDS = """
SELECT shard_num, max(is_local) FROM system.clusters WHERE cluster = {cluster:String}
GROUP BY shard_num ORDER BY shard_num
"""
AS_IT_IS = {"optimize_on_insert": "0"}
"""Settings of an insert of facts. Repeated rows of one block are merged with those of others later,
as any two inserts are; to look for them at once took as long as all else with wide rows."""
COMPRESSED_FROM = 1024
"""Bytes of a body from which on it is worth compressing."""

Row = tuple[Any, ...]
T = TypeVar("T")


class Client:
    """A connection of one thread.

    With ``reopen`` it takes another connection after a failure: what a query of the embedded engine
    had made before it failed would be the first rows of the connection's next answer.
    """

    def __init__(self, connection: Any, reopen: Callable[[], Any] | None = None) -> None:
        self._connection = connection
        self._reopen = reopen
        self._settings: dict[str, Any] = {}
        self._types: dict[tuple[str, ...], Sequence[Any]] = {}

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run a query and return its rows; ``{name:Type}`` in the text takes ``parameters``."""
        return [tuple(row) for row in self._query(sql, parameters).result_rows]

    def records(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Run a query and return each row as a mapping of column name to value."""
        result = self._query(sql, parameters)
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def columns(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> list[tuple[str, str, Sequence[Any]]]:
        """Run a query and return each column's name, ClickHouse type and values."""
        result = self._query(sql, parameters)
        types = [kind.name for kind in result.column_types]
        if not result.column_names:  # the embedded engine says nothing of a result without rows
            told = self.rows(f"DESCRIBE ({sql}\n)", parameters)
            return [(str(name), str(kind), []) for name, kind, *_ in told]
        return list(zip(result.column_names, types, result.result_columns, strict=True))

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""
        self._run(lambda c: c.command(sql, parameters=dict(parameters or {})))

    def insert(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows given as equally long columns; DateTime64 columns take integer ticks."""
        self._run(lambda c: self._insert(c, table, columns))

    def insert_native(self, insert: Insert) -> None:
        """Append rows that are FORMAT Native already."""
        names = list(insert.columns)
        self._run(
            lambda c: c.raw_insert(
                insert.table, names, insert.body, settings=AS_IT_IS, fmt="Native"
            )
        )

    def native(self, sql: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """Run a query and return its rows as FORMAT Native, b"" where there are none."""
        told = dict(parameters or {})
        return bytes(self._run(lambda c: c.raw_query(sql, parameters=told, fmt="Native")))

    def array(
        self, sql: str, dtype: np.dtype[np.void], parameters: Mapping[str, Any] | None = None
    ) -> NDArray[np.void]:
        """Run a query and return its rows as an array; ``dtype`` names its columns, all of them of
        fixed width and never NULL, in their order."""
        told = dict(parameters or {})
        body = self._run(lambda c: c.raw_query(sql, parameters=told, fmt="RowBinary"))
        return np.frombuffer(body, dtype)

    def limit(self, seconds: float, rows: int) -> None:
        """Have each query from now on fail beyond ``seconds`` or ``rows`` of its answer."""
        self._set({"max_execution_time": seconds, "max_result_rows": rows})

    def only_read(self) -> None:
        """Have the engine refuse, from now on, whatever is no question."""
        self._set({"readonly": "2"})

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _insert(self, connection: Any, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows; what types their columns have is asked once, a third of a small insert."""
        names = list(columns)
        types = self._types.get((table, *names))
        if types is None:
            types = connection.create_insert_context(table, names).column_types
            self._types[table, *names] = types
        values = list(columns.values())
        connection.insert(
            table, values, column_names=names, column_types=types, column_oriented=True
        )

    def _query(self, sql: str, parameters: Mapping[str, Any] | None) -> Any:
        return self._run(lambda c: c.query(sql, parameters=dict(parameters or {})))

    def _run(self, call: Callable[[Any], T]) -> T:
        try:
            with _translated():
                return call(self._open())
        except Exception:
            self._drop()
            raise

    def _open(self) -> Any:
        if self._connection is None and self._reopen is not None:
            self._connection = self._reopen()
            self._set(self._settings)
        return self._connection

    def _drop(self) -> None:
        if self._reopen is not None and self._connection is not None:
            failed, self._connection = self._connection, None
            with suppress(Exception):
                failed.close()

    def _set(self, settings: Mapping[str, Any]) -> None:
        self._settings |= settings
        for name, value in settings.items():
            self._connection.set_client_setting(name, value)


class ServerClient(Client):
    """A connection to whichever node of a server or cluster answers."""

    def __init__(self, told: Server, nodes: Nodes, session: bool = False) -> None:
        self._server = told
        self._nodes = nodes
        self._has_session = session
        self._node = nodes.best()
        self._limits: dict[str, str] = {}
        super().__init__(None)

    def insert_native(self, insert: Insert) -> None:
        """Append rows that are FORMAT Native already; they travel compressed."""
        names, body = list(insert.columns), insert.body
        how: dict[str, Any] = {"settings": AS_IT_IS}
        if len(body) > COMPRESSED_FROM:
            body, how["compression"] = zstandard.ZstdCompressor(1).compress(body), "zstd"
        self._run(lambda c: c.raw_insert(insert.table, names, body, fmt="Native", **how))

    def limit(self, seconds: float, rows: int) -> None:
        """Have each query from now on fail beyond ``seconds`` or ``rows``, whatever node it asks.

        A statement may never take longer than ``store.query_seconds``.
        """
        most = min(seconds, self._server.query_seconds) if seconds else self._server.query_seconds
        self._limits = {"max_execution_time": str(most), "max_result_rows": str(rows)}
        self.close()

    @property
    def node(self) -> Node:
        """The node that was asked last."""
        return self._node

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self, call: Callable[[Any], T]) -> T:
        tries = max(2, len(self._nodes))
        for left in reversed(range(tries)):
            self._move(self._nodes.best())
            try:
                result = call(self._connected())
            except StoreError:
                raise
            except Exception as error:
                if not left or not self._gives_way(error):
                    raise self._ours(error) from error
            else:
                self._nodes.answered(self._node)
                return result
        raise AssertionError("the last try returns or raises")

    def _gives_way(self, error: Exception) -> bool:
        """Return whether to try once more: on the next node, or on a new connection to the same."""
        lost = is_elsewhere(error)
        if lost or _timed_out(error):
            self._nodes.failed(self._node)
            self.close()
        return lost

    def _move(self, node: Node) -> None:
        if node != self._node:
            self.close()
            self._node = node

    def _connected(self) -> Any:
        if self._connection is None:
            import clickhouse_connect

            # What it logs it raises as well, and without a handler it would print it.
            logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
            options = self._server.options()
            options["settings"] = {**SESSION, **options["settings"], **self._limits}
            self._connection = clickhouse_connect.get_client(
                host=self._node.host,
                port=self._node.port,
                autogenerate_session_id=self._has_session,
                **options,
            )
            self._connection.http_retries = 0
        return self._connection

    def _ours(self, error: Exception) -> Exception:
        told = self._server
        text = told.redacted(f"{said(error)} (ClickHouse at {self._node})")
        ours: Exception = _as_ours(error, text, is_server=True)
        if isinstance(ours, Denied):
            return Denied(
                f"ClickHouse at {self._node} does not let user {told.user!r} do this: check "
                f"store.user, store.password_file and the grants (`wattshed sql users`): {text}"
            )
        return ours


class Store:
    """Where the rows are: a folder (embedded chDB) or a ClickHouse URL; gives out clients.

    ``told`` says more of a server than its URL does. ``name`` is the target without a password. The
    embedded engine reads and writes backups below ``backup_folder`` alone.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        memory_bytes: int = 0,
        told: Server | None = None,
        backup_folder: Path | None = None,
    ) -> None:
        self.target = str(target)
        self.name = server.hidden(self.target)
        self._memory_bytes = memory_bytes
        self._lock: IO[str] | None = None
        self._server: Server | None = None
        if server.is_url(self.target):
            self._server = told or _parsed(self.target)
            self._nodes = Nodes(self._server.nodes)
        else:
            self._lock = _lock_folder(Path(self.target))
            _temporary_files_in_memory()
        self._settings = ""
        if backup_folder is not None and not self.is_server:
            self._settings = _backup_settings(Path(self.target), backup_folder)

    @property
    def is_server(self) -> bool:
        return self._server is not None

    @property
    def server(self) -> Server:
        """What is known of the server. Raises StoreError where the store is a folder."""
        if self._server is None:
            raise StoreError(f"{self.name} is a folder, not a server")
        return self._server

    def client(
        self,
        *,
        session: bool = False,
        database: str = "",
        in_sequence: bool = False,
        only_reads: bool = False,
    ) -> Client:
        """Open a connection for the calling thread; one with a session may make temporary tables.

        ``only_reads``: the engine or the server refuses to write. Of a server: ``database``, where
        it is another than the configured one; ``in_sequence``: on a cluster, whatever node is asked
        has seen what was written through any other.
        """
        if self._server is not None:
            told = replace(self._server, database=database or self._server.database)
            if in_sequence and "insert_quorum" in told.settings:
                told = replace(told, settings={**told.settings, **IN_SEQUENCE})
            if only_reads:
                told = replace(told, settings={**told.settings, "readonly": "2"})
            client = ServerClient(told, self._nodes, session)
            client.rows("SELECT 1")
            return client
        # Imported here because it costs 200 MB, which --help and the config check need not pay.
        import clickhouse_connect

        reopen = partial(
            clickhouse_connect.get_client,
            interface="chdb",
            path=str(self._chdb),
            chdb_options=self._options(),
        )
        with _translated():
            embedded = Client(reopen(), reopen)
        if only_reads:
            embedded.only_read()
        return embedded

    def embedded(self) -> Any:
        """Open a connection of the engine itself, for one thread: for bytes in any format.

        Its ``query(sql, format, params)`` takes values as escaped texts and raises RuntimeError.
        """
        import chdb

        opened: Callable[[str], Any] = chdb.connect
        with _translated():
            return opened(f"{self._chdb.resolve()}?{urlencode(self._options())}")

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep the embedded engine running for the length of the block.

        It ends with its last connection, and to start it takes as long as all else of a start.
        """
        held = None if self.is_server else self.embedded()
        try:
            yield
        finally:
            if held is not None:
                held.close()

    @property
    def _chdb(self) -> Path:
        return Path(self.target) / "chdb"

    def _options(self) -> dict[str, str]:
        options = dict(ENGINE)
        if self._memory_bytes:
            options["max_server_memory_usage"] = str(self._memory_bytes)
        if self._settings:
            options["config-file"] = self._settings
        return options

    def pinned(self, layout: Layout, *, session: bool = False) -> Client:
        """Open a connection that stays with the node that answers now: another may lag behind."""
        told = replace(self.server, database=layout.shard_database)
        for left in reversed(range(len(told.nodes))):
            node = self._nodes.best()
            client = ServerClient(told, Nodes((node,)), session)
            try:
                client.rows("SELECT 1")
            except Retryable:
                self._nodes.failed(node)
                if not left:
                    raise
            else:
                return client
        raise AssertionError("a server has a node")

    def shard_clients(self, layout: Layout) -> list[Client]:
        """Open a connection to one node of each shard, in the order of the shards.

        Raises Retryable where a shard has no node that was named and answers.
        """
        told = replace(self.server, database=layout.shard_database)
        found: dict[int, Client] = {}
        shards: set[int] = set()
        for node in told.nodes:
            client = ServerClient(told, Nodes((node,)))
            try:
                rows = client.rows(SHARDS, {"cluster": layout.cluster})
            except Retryable:
                continue
            shards.update(int(shard) for shard, _ in rows)
            mine = next((int(shard) for shard, is_local in rows if is_local), None)
            if mine is None or mine in found:
                client.close()
            else:
                found[mine] = client
        if not shards or shards - found.keys():
            raise Retryable(
                f"no node of shard {sorted(shards - found.keys()) or 'any'} of cluster "
                f"{layout.cluster!r} answers: name one of each in store.hosts"
            )
        return [found[shard] for shard in sorted(found)]

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class _translated:
    """Turn the driver's exceptions into ours: permanent or retryable is in the type."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            ours = _as_ours(error, str(error), is_server=False)
            if ours is not error:
                raise ours from error


def _as_ours(error: Exception, text: str, *, is_server: bool) -> Exception:
    """Return ``error`` as one of ours; itself where it is none of the driver's or the system's."""
    from clickhouse_connect.driver.exceptions import ClickHouseError, DataError

    if isinstance(error, DataError):  # the driver cannot make the column's type of a value
        return Permanent(text)
    if isinstance(error, ClickHouseError):
        return as_ours(error, is_server=is_server, text=text)
    if isinstance(error, OSError | RuntimeError):
        return Retryable(text)
    return error


def _timed_out(error: Exception) -> bool:
    from urllib3.exceptions import ReadTimeoutError

    return isinstance(error.__cause__, ReadTimeoutError)


def _parsed(url: str) -> Server:
    try:
        return server.parse(url)
    except ValueError as error:
        raise StoreError(f"cannot use the URL of the store: {error}") from error


def _lock_folder(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot use {folder} as data folder: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StoreLocked(
            f"the data folder {folder} is in use by another wattshed (process {holder}); "
            "stop it, or choose another folder"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _backup_settings(folder: Path, allowed: Path) -> str:
    """Write the file that tells the engine where backups may be; it is told in no other way."""
    file = folder / "engine.xml"
    path = escape(str(allowed))
    text = f"<clickhouse><backups><allowed_path>{path}</allowed_path></backups></clickhouse>"
    file.write_text(text, encoding="utf-8")
    return str(file)


def _temporary_files_in_memory() -> None:
    # The embedded engine reads each insert from a temporary file; on a disk that costs a seek.
    if "TMPDIR" not in os.environ and os.access("/dev/shm", os.W_OK):
        os.environ["TMPDIR"] = "/dev/shm"
