"""What a client sets beside its query: what we do of it, what is of no matter, what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import BAD_ARGUMENTS, NOT_IMPLEMENTED, READONLY, Problem

_IGNORED = """
add_http_cors_header allow_experimental_analyzer allow_settings_after_format_in_insert async_insert
buffer_size cancel_http_readonly_queries_on_client_close client_protocol_version connect_timeout
database decompress default_format enable_http_compression http_headers_progress_interval_ms
http_make_head_request http_receive_timeout http_send_timeout http_zlib_compression_level
log_comment log_queries max_block_size max_memory_usage max_query_size max_threads password
priority query query_id quota_key readonly receive_timeout role send_progress_in_http_headers
send_timeout session_check session_id session_timeout user wait_end_of_query workload
"""
OF_NO_MATTER = frozenset(_IGNORED.split())
"""Settings that change neither rows nor how they are written; ours stay in force."""
FILTERS = "additional_table_filters"
MOST_FILTERS = 10


@dataclass(frozen=True, slots=True)
class Wish:
    """``seconds`` 0: as long as may be. ``limit`` 0: all rows. ``filters`` are conditions by
    table."""

    seconds: float = 0.0
    limit: int = 0
    filters: Mapping[str, str] = field(default_factory=dict)

    def with_settings(self, told: Iterable[tuple[str, Any]]) -> Wish:
        """Return the wish with settings that were told later. Raises Problem."""
        wish = self
        for name, value in told:
            wish = wish._with(name, value)
        return wish

    def _with(self, name: str, value: Any) -> Wish:
        if name == "max_execution_time":
            return replace(self, seconds=_number(name, value))
        if name == "limit":
            return replace(self, limit=int(_number(name, value)))
        if name == FILTERS:
            return replace(self, filters={**self.filters, **_filters(value)})
        if name == "compress" and str(value) not in ("0", "false", ""):
            said = "compress=1 is not answered here: let it be gzip or zstd by Accept-Encoding"
            raise Problem(NOT_IMPLEMENTED, said)
        if name in OF_NO_MATTER or name == "compress":
            return self
        raise Problem(READONLY, f"Cannot modify {name[:80]!r} setting in readonly mode.")


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < 2**53:
        raise Problem(BAD_ARGUMENTS, f"{name}: {str(value)[:40]!r} is no number from 0 on")
    return number


def _filters(value: Any) -> dict[str, str]:
    """Return conditions by table of a literal map, as the parser reads it."""
    if not isinstance(value, Mapping) or len(value) > MOST_FILTERS:
        said = f"{FILTERS} is read in the SETTINGS of a query, as a map of at most {MOST_FILTERS}"
        raise Problem(BAD_ARGUMENTS, said)
    return {str(table): str(condition) for table, condition in value.items()}
