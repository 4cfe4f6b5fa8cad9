"""In which formats rows are written: those that need nothing but the rows."""

from __future__ import annotations

from .errors import UNKNOWN_FORMAT, Problem

JSON, TSV, CSV, PLAIN = (
    "application/json; charset=UTF-8",
    "text/tab-separated-values; charset=UTF-8",
    "text/csv; charset=UTF-8; header=present",
    "text/plain; charset=UTF-8",
)
BINARY = "application/octet-stream"
ROWS_JSON = "application/x-ndjson; charset=UTF-8"
FORMATS: dict[str, str] = {
    "Native": BINARY,
    "RowBinary": BINARY,
    "RowBinaryWithNames": BINARY,
    "RowBinaryWithNamesAndTypes": BINARY,
    "Arrow": BINARY,
    "ArrowStream": BINARY,
    "Parquet": BINARY,
    "JSON": JSON,
    "JSONStrings": JSON,
    "JSONCompact": JSON,
    "JSONCompactStrings": JSON,
    "JSONColumns": JSON,
    "JSONColumnsWithMetadata": JSON,
    "JSONEachRow": ROWS_JSON,
    "JSONStringsEachRow": ROWS_JSON,
    "JSONCompactEachRow": ROWS_JSON,
    "JSONCompactEachRowWithNames": ROWS_JSON,
    "JSONCompactEachRowWithNamesAndTypes": ROWS_JSON,
    "TabSeparated": TSV,
    "TabSeparatedRaw": TSV,
    "TabSeparatedWithNames": TSV,
    "TabSeparatedWithNamesAndTypes": TSV,
    "TSV": TSV,
    "TSVRaw": TSV,
    "TSVWithNames": TSV,
    "TSVWithNamesAndTypes": TSV,
    "CSV": CSV,
    "CSVWithNames": CSV,
    "CSVWithNamesAndTypes": CSV,
    "Values": PLAIN,
    "Vertical": PLAIN,
    "Pretty": PLAIN,
    "PrettyCompact": PLAIN,
    "Markdown": PLAIN,
    "Null": PLAIN,
}
FOLDED = {name.lower(): name for name in FORMATS}


def known(name: str) -> str:
    """Return a format by its own name. Raises Problem where rows are not written so."""
    found = FOLDED.get(name.lower())
    if found is None:
        raise Problem(UNKNOWN_FORMAT, f"Unknown format {name[:80]}")
    return found
