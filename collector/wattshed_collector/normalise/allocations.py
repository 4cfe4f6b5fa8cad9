"""Which allocations can be true. One that cannot is kept aside, as it was said, with the reason."""

from __future__ import annotations

import math

from wattshed_exporter.model import Allocation

LONGEST_WINDOW_MS = 3_600_000
"""The ledger looks for the windows of an hour in that hour and the one before it."""
LONGEST_MS = 366 * 86_400_000
REASONS = {
    "share_out_of_range": "the share is below 0, above 1 or no number",
    "activity_out_of_range": "the activity is below 0, above 1 or no number",
    "no_share": "it has neither a share nor an activity",
    "end_before_start": "it ends before it starts",
    "window_too_long": "it has an activity and is longer than an hour",
    "too_long": "it is longer than 366 days",
}


def doubt(allocation: Allocation) -> str:
    """Return why the allocation cannot be true, a key of ``REASONS``; "" where it can.

    One that ends where it starts takes back an earlier one and need hold nothing.
    """
    lasts_ms = allocation.end_ms - allocation.start_ms
    if not _is_ratio(allocation.share):
        return "share_out_of_range"
    if allocation.activity is not None and not _is_ratio(allocation.activity):
        return "activity_out_of_range"
    if lasts_ms < 0:
        return "end_before_start"
    if lasts_ms and not allocation.share and allocation.activity is None:
        return "no_share"
    if lasts_ms > LONGEST_WINDOW_MS and allocation.activity is not None:
        return "window_too_long"
    return "too_long" if lasts_ms > LONGEST_MS else ""


def _is_ratio(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= 1
