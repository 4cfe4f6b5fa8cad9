"""Metrics that are not about energy: one sample each, named and labelled as its sender named it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

GAUGE, COUNTER = "gauge", "counter"
MOST_NAME, MOST_VALUE, MOST_LABELS = 256, 1024, 64
"""Bytes of a label's name and of its value, and labels of a series."""
MOST_LABEL_BYTES = 4096
"""Of all labels of a series, as they are written."""


class Other(NamedTuple):
    """One value. ``labels`` is a JSON object; ``kind`` is gauge, counter, or "" for not said."""

    metric: str
    labels: str
    ts_ms: int
    value: float
    kind: str = ""
    unit: str = ""


def labels_text(labels: Mapping[str, str]) -> str | None:
    """Return labels as one JSON object, always written the same way, or None where they are too
    long. Labels without a value say nothing."""
    told = {name: text for name, text in sorted(labels.items()) if text}
    if len(told) > MOST_LABELS:
        return None
    if any(len(name) > MOST_NAME or len(text) > MOST_VALUE for name, text in told.items()):
        return None
    written = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return written if len(written.encode()) <= MOST_LABEL_BYTES else None
