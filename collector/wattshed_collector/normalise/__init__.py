"""One adapter per dialect: whatever arrives becomes points, and points become facts.

A dialect module turns its wire format into ``Point`` values with OpenTelemetry names; ``facts``
checks them and builds the ``Batch``. Each point is good or is counted under a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Attributes = Mapping[str, str | float | int | bool]


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric. Times are Unix milliseconds; ``start_ms`` 0 means not said."""

    metric: str
    unit: str
    value: float
    ts_ms: int
    attributes: Attributes
    start_ms: int = 0
