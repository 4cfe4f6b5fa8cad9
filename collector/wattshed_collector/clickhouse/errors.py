"""What is answered instead of rows, as ClickHouse says it: a code, a name and a sentence.

Codes and names are ClickHouse's (src/Common/ErrorCodes.cpp); clients branch on them.
"""

from __future__ import annotations

import re

BAD_ARGUMENTS = 36, "BAD_ARGUMENTS"
UNKNOWN_FUNCTION = 46, "UNKNOWN_FUNCTION"
NOT_IMPLEMENTED = 48, "NOT_IMPLEMENTED"
UNKNOWN_TABLE = 60, "UNKNOWN_TABLE"
SYNTAX_ERROR = 62, "SYNTAX_ERROR"
UNKNOWN_FORMAT = 73, "UNKNOWN_FORMAT"
UNKNOWN_DATABASE = 81, "UNKNOWN_DATABASE"
UNKNOWN_SETTING = 115, "UNKNOWN_SETTING"
TIMEOUT_EXCEEDED = 159, "TIMEOUT_EXCEEDED"
READONLY = 164, "READONLY"
TOO_DEEP = 167, "TOO_DEEP_AST"
TOO_BIG = 168, "TOO_BIG_AST"
TOO_MANY_QUERIES = 202, "TOO_MANY_SIMULTANEOUS_QUERIES"
CANCELLED = 394, "QUERY_WAS_CANCELLED"
TOO_MANY_RESULTS = 396, "TOO_MANY_ROWS_OR_BYTES"
ACCESS_DENIED = 497, "ACCESS_DENIED"
AUTHENTICATION_FAILED = 516, "AUTHENTICATION_FAILED"
LOGICAL_ERROR = 49, "LOGICAL_ERROR"

Kind = tuple[int, str]

STATUS = {46: 404, 60: 404, 73: 400, 81: 404, 164: 403, 202: 503, 497: 403, 516: 401}
STATUS |= dict.fromkeys((36, 47, 53, 62, 115, 167, 168, 386, 456, 457), 400)
"""HTTP status by code, as ClickHouse answers (HTTPHandler.cpp), except 503 for 202: come again."""
SAID = re.compile(r"Code: (\d+)\. DB::Exception: (.*)\(([A-Z][A-Z0-9_]+)\)", re.DOTALL)
AGAIN = re.compile(r"^(?:Code: \d+\. DB::Exception: )+")
VERSION = re.compile(r"(?<!\s)\s*\(version [\d.]+(?: \([^()]*\))?\)\.?\s*$")
LONGEST = 4000
"""Characters of an error's begin, and of its end, that are said."""
PATHS = re.compile(r"(?<![\w/])/(?:[\w.\-]+/)+[\w.\-]*")
"""Of files, which the engine may name where something is wrong with the store."""


class Problem(Exception):
    """Why there are no rows. ``status`` is that of HTTP."""

    def __init__(self, kind: Kind, said: str, status: int = 0) -> None:
        self.code, self.name = kind
        self.said = said
        self.status = status or STATUS.get(self.code, 500)
        super().__init__(said)

    def text(self) -> str:
        """Return the line that clients take apart."""
        return f"Code: {self.code}. DB::Exception: {self.said} ({self.name})\n"


def of_engine(text: str) -> Problem:
    """Return what the engine said as a problem, without its version and files of this machine."""
    found = SAID.search(text if len(text) <= 2 * LONGEST else text[:LONGEST] + text[-LONGEST:])
    if found is None:
        return Problem(LOGICAL_ERROR, "the engine could not answer")
    said = VERSION.sub("", AGAIN.sub("", found[2].strip()))
    return Problem((int(found[1]), found[3]), PATHS.sub("(file)", said))
