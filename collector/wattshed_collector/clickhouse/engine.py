"""A connection of the embedded engine that can only read, on a thread of its own.

Its limits are set before ``readonly``, after which no setting of it can change any more. That
alone protects nothing (``file()`` reads any file under it): what runs here has passed the guard.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wattshed_collector.errors import StoreError

from . import asked, native
from .asked import escaped
from .catalogue import shown
from .errors import NOT_IMPLEMENTED, TOO_DEEP, TOO_MANY_RESULTS, UNKNOWN_TABLE, Problem, of_engine
from .formats import known
from .guard import Checked, Guard
from .names import Functions
from .nodes import Node, meaning
from .tables import DATABASE, FIND, SYSTEM, Tables

TAG = "wattshed-"


class Written(Protocol):
    """What the engine wrote, and what it cost."""

    def bytes(self) -> bytes: ...
    def size(self) -> int: ...
    def rows_read(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...


class Handle(Protocol):
    """A connection of the embedded engine, as chdb gives it; values are escaped texts."""

    def query(self, query: str, format: str, params: Mapping[str, str]) -> Written: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may take."""

    seconds: float = 30.0
    rows: int = 200_000
    result_bytes: int = 64 * 2**20
    memory_bytes: int = 512 * 2**20
    threads: int = 2

    def settings(self) -> Mapping[str, object]:
        """Return the engine's settings, in the order in which they are set."""
        return {
            "session_timezone": f"'{native.TIMEZONE}'",
            "max_execution_time": self.seconds,
            "timeout_overflow_mode": "'throw'",
            "max_result_rows": self.rows,
            "max_result_bytes": self.result_bytes,
            "result_overflow_mode": "'throw'",
            "max_memory_usage": self.memory_bytes,
            "max_bytes_before_external_group_by": 0,
            "max_bytes_ratio_before_external_group_by": 0,
            "max_bytes_before_external_sort": 0,
            "max_bytes_ratio_before_external_sort": 0,
            "max_temporary_data_on_disk_size_for_query": 1,
            "max_threads": self.threads,
            "max_query_size": 2 * asked.LONGEST_SQL,
            "max_expanded_ast_elements": 50_000,
            "max_ast_elements": 50_000,
            "max_parser_backtracks": 100_000,
            "function_range_max_elements_in_block": 2_000_000,
            "max_recursive_cte_evaluation_depth": 1,
            "allow_introspection_functions": 0,
            "allow_ddl": 0,
            "readonly": 1,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, as they are sent; ``rows`` is how many, ``read_*`` what was looked at for them."""

    body: bytes
    format: str
    rows: int = 0
    read_rows: int = 0
    read_bytes: int = 0
    seconds: float = 0.0


class Engine:
    """Answers questions of one thread, the one by which it is first asked."""

    def __init__(self, opened: Callable[[], Handle], limits: Limits) -> None:
        self._opened, self._limits = opened, limits
        self._handle: Handle | None = None
        self._guard: Guard | None = None
        self._version = ""
        self._views: frozenset[str] = frozenset()

    def answer(self, question: asked.Question, tag: str) -> Answer:
        """Return the rows; the engine knows the query by ``tag``. Raises Problem."""
        self._ready()
        started = time.monotonic()
        if native.is_hello(question.sql) and question.format == "Native":
            return Answer(native.hello(self._version, question.protocol), "Native", 1)
        sql, parameters, form = self._checked_text(question)
        try:
            written = self._asked(f"/* {tag} */ {sql}", form, parameters)
        except RuntimeError as error:
            raise of_engine(str(error)) from None
        self._check_size(written)
        body, rows = written.bytes(), written.rows_read()
        if not body and form == "Native":
            body = native.empty(self._columns(sql, parameters, tag))
        read = written.storage_rows_read(), written.storage_bytes_read()
        return Answer(body, form, rows, *read, time.monotonic() - started)

    def text(self, question: asked.Question) -> str:
        """Return the text that would run, after all checks. Raises Problem."""
        self._ready()
        return self._checked_text(question)[0]

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _check_size(self, written: Written) -> None:
        """Hold the answer to its limits: the engine does not count columns of one value, nor what
        it makes of one row. Raises Problem."""
        rows, size, most = written.rows_read(), written.size(), self._limits
        for count, limit, what in ((rows, most.rows, "rows"), (size, most.result_bytes, "bytes")):
            if count > limit:
                said = f"Limit for result exceeded, max {what}: {limit}, current {what}: {count}"
                raise Problem(TOO_MANY_RESULTS, said)

    def _checked_text(self, question: asked.Question) -> tuple[str, Mapping[str, str], str]:
        try:
            return self._statement(question)
        except RecursionError:
            raise Problem(TOO_DEEP, "the query is nested too deeply") from None

    def _statement(self, question: asked.Question) -> tuple[str, Mapping[str, str], str]:
        """Return the text that runs, its parameters and the format, after all checks."""
        if native.is_hello(question.sql):
            ours = (native.NAME, self._version, 0, native.TIMEZONE)
            said = ", ".join(f"{v!r} AS `{n}`" for v, n in zip(ours, native.HELLO, strict=True))
            return f"SELECT {said}", {}, question.format
        editor = shown(question.sql, question.database)
        sql = editor.sql if editor else question.sql
        checked = self._checked(sql, question)
        if editor and editor.table and editor.table not in self._views:
            raise Problem(UNKNOWN_TABLE, f"there is no view {editor.table[:80]}")
        form = checked.format or (editor.format if editor else "")
        given = {k: escaped(v) for k, v in editor.parameters.items()} if editor else None
        parameters = question.parameters if given is None else given
        return self._text(checked), parameters, known(form) if form else question.format

    def _checked(self, sql: str, question: asked.Question) -> Checked:
        assert self._guard is not None
        return self._guard.check(self._parsed(sql), question.wish, question.database)

    def _parsed(self, sql: str) -> Node:
        """Return the tree of a statement, of which there is exactly one. Raises Problem."""
        ours = "SELECT parseQueryToJSON({sql:String})"
        body = self._ours(ours, "RawBLOB", {"sql": sql})
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise Problem(NOT_IMPLEMENTED, "texts that are not UTF-8 are not taken") from None
        return _tree(text)

    def _text(self, checked: Checked) -> str:
        """Return the text of a checked tree; reading it again must make the same tree."""
        tree = json.dumps(checked.tree, ensure_ascii=False)
        sql = "SELECT formatQueryFromJSON({tree:String}) AS sql, parseQueryToJSON(sql)"
        ((text, again),) = self._rows(sql, {"tree": tree})
        if meaning(_tree(again)) != meaning(checked.tree):
            raise Problem(NOT_IMPLEMENTED, "the query cannot be written back as it was read")
        return str(text)

    def _columns(
        self, sql: str, parameters: Mapping[str, str], tag: str
    ) -> Iterable[tuple[str, str]]:
        """Return names and types of the columns of a query that has no rows."""
        try:
            written = self._asked(f"/* {tag} */ DESCRIBE (\n{sql}\n)", "JSONCompact", parameters)
        except RuntimeError as error:
            raise of_engine(str(error)) from None
        return [(row[0], row[1]) for row in json.loads(written.bytes())["data"]]

    def _rows(self, sql: str, values: Mapping[str, str]) -> Sequence[Sequence[Any]]:
        """Return the rows of a query of ours. Raises Problem."""
        rows: Sequence[Sequence[Any]] = json.loads(self._ours(sql, "JSONCompact", values))["data"]
        return rows

    def _ours(self, sql: str, form: str, values: Mapping[str, str]) -> bytes:
        """Return what a query of ours about a text gives. Raises Problem."""
        told = {name: escaped(value) for name, value in values.items()}
        try:
            return self._asked(sql, form, told).bytes()
        except RuntimeError as error:
            raise _without_ours(of_engine(str(error))) from None

    def _asked(self, sql: str, form: str, parameters: Mapping[str, str]) -> Written:
        """Return what a connection wrote. One that raised is closed: the rows that it had made
        until then would be the beginning of its next answer, which may be somebody else's."""
        assert self._handle is not None
        try:
            return self._handle.query(sql, form, parameters)
        except RuntimeError:
            self.close()
            raise

    def _ready(self) -> None:
        if self._handle is not None:
            return
        try:
            self._handle = self._opened()
            self._guard = self._guard or self._learned()
            for name, value in self._limits.settings().items():
                self._handle.query(f"SET {name} = {value}", "Null", {})
        except (RuntimeError, StoreError) as error:
            self.close()
            raise of_engine(str(error)) from error

    def _learned(self) -> Guard:
        """Learn what there is."""
        self._version = str(self._rows("SELECT version()", {})[0][0])
        told = self._rows("SELECT name, is_aggregate, case_insensitive, alias_to, origin FROM "
                          "system.functions", {})  # fmt: skip
        functions = Functions((n, bool(a), bool(c), str(t), str(o)) for n, a, c, t, o in told)
        found = self._rows(FIND, {"database": DATABASE})
        self._views = frozenset(str(name) for name, is_view in found if is_view)
        existing = frozenset(str(name).lower() for name, _ in found)
        system = {name: self._parsed(sql) for name, sql in SYSTEM.items()}
        tables = Tables(self._views, existing, system)
        return Guard(functions, tables, self._parsed)


def _tree(text: Any) -> Node:
    found: Node = json.loads(text)
    return found


def _without_ours(problem: Problem) -> Problem:
    """Return what was wrong with a text, without the query of ours that looked at it."""
    said = problem.said.partition(": In scope SELECT ")[0].strip()
    return Problem((problem.code, problem.name), said)
