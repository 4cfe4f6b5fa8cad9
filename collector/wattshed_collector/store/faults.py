"""What the engine's errors mean for whoever sent the statement: never, later, or elsewhere now.

An embedded engine and a server report the same codes; what differs is what a missing table says. In
an embedded store it is a mistake of the statement; on a server the schema may be on its way to that
node, and rows that are good must not be given up for it.
Source: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp.
"""

from __future__ import annotations

import re

from wattshed_collector.errors import Denied, Permanent, Retryable, StoreError

PERMANENT_CODES = {
    6: "CANNOT_PARSE_TEXT",
    7: "INCORRECT_NUMBER_OF_COLUMNS",
    8: "THERE_IS_NO_COLUMN",
    10: "NOT_FOUND_COLUMN_IN_BLOCK",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    34: "TOO_MANY_ARGUMENTS_FOR_FUNCTION",
    35: "TOO_FEW_ARGUMENTS_FOR_FUNCTION",
    36: "BAD_ARGUMENTS",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    42: "NUMBER_OF_ARGUMENTS_DOESNT_MATCH",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    44: "ILLEGAL_COLUMN",
    46: "UNKNOWN_FUNCTION",
    47: "UNKNOWN_IDENTIFIER",
    48: "NOT_IMPLEMENTED",
    50: "UNKNOWN_TYPE",
    53: "TYPE_MISMATCH",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    63: "UNKNOWN_AGGREGATE_FUNCTION",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    73: "UNKNOWN_FORMAT",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    117: "INCORRECT_DATA",
    153: "ILLEGAL_DIVISION",
    184: "ILLEGAL_AGGREGATION",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    215: "NOT_AN_AGGREGATE",
    288: "DISTRIBUTED_IN_JOIN_SUBQUERY_DENIED",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    386: "NO_COMMON_TYPE",
    407: "DECIMAL_OVERFLOW",
    456: "UNKNOWN_QUERY_PARAMETER",
    457: "BAD_QUERY_PARAMETER",
    469: "VIOLATED_CONSTRAINT",
}
"""This statement or this data will never work. Everything else may pass: memory (241), space (243),
time (159), too many parts (252), too many queries (202), quorum (285, 286, 319), the network."""

SCHEMA_CODES = {16, 60, 81}
"""On a server these pass, once a migration has reached the node."""

DENIED_CODES = {
    164: "READONLY",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
"""The server does not let us in, or not there: nothing is wrong with the data."""

ELSEWHERE_CODES = {
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    242: "TABLE_IS_READ_ONLY",
    279: "ALL_CONNECTION_TRIES_FAILED",
    999: "KEEPER_EXCEPTION",
}
"""This node cannot, another may: it is busy, cut off, or has lost its Keeper."""

_CODE = re.compile(r"\b[Cc]ode: (\d+)")
_STATUS = re.compile(r"HTTP status (\d{3})")


def code_of(error: BaseException) -> int | None:
    """Return ClickHouse's error code, None where the engine did not say one."""
    code = getattr(error, "code", None)
    found = _CODE.search(str(error))
    return int(code) if code else int(found[1]) if found else None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an answer that carried no code, as of a proxy in between."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def as_ours(error: BaseException, *, is_server: bool, text: str) -> StoreError:
    """Return the driver's ``error`` as ours, with ``text`` as its message."""
    code, status = code_of(error), status_of(error)
    if code in DENIED_CODES or (code is None and status in (401, 403)):
        return Denied(text)
    if code in PERMANENT_CODES and not (is_server and code in SCHEMA_CODES):
        return Permanent(text)
    return Retryable(text)


def said(error: BaseException) -> str:
    """Return what the driver says; of a server that is not reached, what the system says of it."""
    from urllib3.exceptions import MaxRetryError

    cause = error.__cause__
    if not isinstance(cause, MaxRetryError) or cause.reason is None:
        return str(error)
    system: BaseException | None = cause.reason
    while system is not None and not (isinstance(system, OSError) and system.strerror):
        system = system.__cause__ or system.__context__
    why = system.strerror if isinstance(system, OSError) else str(cause.reason).split(": ", 1)[-1]
    return f"it is not reached: {why}"


def is_elsewhere(error: BaseException) -> bool:
    """Return whether the same statement may work on another node right away.

    A statement that ran out of time is none: it may still run, and would take as long again.
    """
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    cause = error.__cause__
    if isinstance(cause, HTTPError):
        return not isinstance(cause, ReadTimeoutError)
    code, status = code_of(error), status_of(error)
    return code in ELSEWHERE_CODES or (code is None and status in (429, 502, 503, 504))
