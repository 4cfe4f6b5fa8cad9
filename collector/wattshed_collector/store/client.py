"""One synchronous clickhouse-connect client: the embedded engine or a server, the same calls.

The embedded engine takes an exclusive lock on its folder and reports a taken one in words that
nobody understands, so the folder is locked here first. A client belongs to one thread; open one
per thread with ``Store.client``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from wattshed_collector.errors import Permanent, Retryable, StoreError, StoreLocked

from .insert import Insert

PERMANENT_CODES = frozenset(
    {6, 16, 27, 33, 36, 41, 43, 46, 47, 53, 60, 62, 69, 70, 72, 117, 153, 349, 386, 456, 457}
)
"""ClickHouse error codes that mean "this statement or this data will never work" (ErrorCodes.cpp):
parse, type, range, parameter, unknown column/table/function and syntax errors. Everything else may
pass."""

ENGINE = {
    "max_threads": "2",
    "compile_expressions": "0",
    "compile_aggregate_expressions": "0",
    "compile_sort_description": "0",
    "memory_worker_period_ms": "1000",
    "max_partitions_per_insert_block": "0",
}
"""Settings of the embedded engine. By default it looks at its memory ten times a second, which is
a quarter of a percent of a core for nothing, and refuses a batch that spans a hundred days. It
compiles expressions to machine code after their third use (Settings.cpp); of the ledger's that
takes a second of CPU time, and computing an hour of 1500 GPUs again is no faster for it."""

Row = tuple[Any, ...]


class Client:
    """A connection of one thread."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run a query and return its rows; ``{name:Type}`` in the text takes ``parameters``."""
        return [tuple(row) for row in self._query(sql, parameters).result_rows]

    def records(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Run a query and return each row as a mapping of column name to value."""
        result = self._query(sql, parameters)
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""
        with _translated():
            self._connection.command(sql, parameters=dict(parameters or {}))

    def insert(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Append rows given as equally long columns; DateTime64 columns take integer ticks."""
        with _translated():
            self._connection.insert(
                table, list(columns.values()), column_names=list(columns), column_oriented=True
            )

    def insert_native(self, insert: Insert) -> None:
        """Append rows that are FORMAT Native already."""
        with _translated():
            self._connection.raw_insert(
                insert.table, list(insert.columns), insert.body, fmt="Native"
            )

    def limit(self, seconds: float, rows: int) -> None:
        """Have each query from now on fail beyond ``seconds`` or ``rows`` of its answer."""
        self._connection.set_client_setting("max_execution_time", seconds)
        self._connection.set_client_setting("max_result_rows", rows)

    def close(self) -> None:
        self._connection.close()

    def _query(self, sql: str, parameters: Mapping[str, Any] | None) -> Any:
        with _translated():
            return self._connection.query(sql, parameters=dict(parameters or {}))


class Store:
    """Where the rows are: a folder (embedded chDB) or a ClickHouse URL; gives out clients."""

    def __init__(self, target: str | Path, *, memory_bytes: int = 0) -> None:
        self.target = str(target)
        self._memory_bytes = memory_bytes
        self._lock: IO[str] | None = None
        if not self.is_server:
            self._lock = _lock_folder(Path(self.target))
            _temporary_files_in_memory()

    @property
    def is_server(self) -> bool:
        return urlsplit(self.target).scheme in ("http", "https", "clickhouse", "clickhouses")

    def client(self) -> Client:
        """Open a connection for the calling thread."""
        # Imported here because it costs 200 MB, which --help and the config check need not pay.
        import clickhouse_connect

        with _translated():
            if self.is_server:
                return Client(clickhouse_connect.get_client(dsn=self.target))
            options = dict(ENGINE)
            if self._memory_bytes:
                options["max_server_memory_usage"] = str(self._memory_bytes)
            path = str(Path(self.target) / "chdb")
            return Client(
                clickhouse_connect.get_client(interface="chdb", path=path, chdb_options=options)
            )

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class _translated:
    """Turn the driver's exceptions into ours: permanent or retryable is in the type."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, StoreError):
            return
        from clickhouse_connect.driver.exceptions import ClickHouseError, DataError

        if isinstance(error, DataError):  # the driver cannot make the column's type of a value
            raise Permanent(str(error)) from error
        if isinstance(error, ClickHouseError):
            code = getattr(error, "code", None) or _code_in(str(error))
            raise (Permanent if code in PERMANENT_CODES else Retryable)(str(error)) from error
        if isinstance(error, OSError | RuntimeError):
            raise Retryable(str(error)) from error


def _code_in(message: str) -> int | None:
    _head, _, tail = message.partition("Code: ")
    digits = tail.split(".", 1)[0].strip()
    return int(digits) if digits.isdigit() else None


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


def _temporary_files_in_memory() -> None:
    # The embedded engine reads each insert from a temporary file; on a disk that costs a seek.
    if "TMPDIR" not in os.environ and os.access("/dev/shm", os.W_OK):
        os.environ["TMPDIR"] = "/dev/shm"
