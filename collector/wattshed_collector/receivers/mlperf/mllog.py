"""MLLOG, the line format of LoadGen and of the training logger: ``:::MLLOG`` before a JSON object.

Format: mlcommons/logging (mllog) and mlcommons/inference (loadgen/logging.cc). A launcher may put
its rank before the marker, and a log of the workload's own output may stand between such lines.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model import read_lines, wrong

MARKER = ":::MLLOG"


@dataclass(frozen=True, slots=True)
class Event:
    """One entry and the line it stands on."""

    path: Path
    line: int
    key: str
    value: Any
    time_ms: float
    metadata: dict[str, Any]

    def number(self) -> float:
        """The value, if it is a finite number: JSON as Python reads it also knows NaN."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise wrong(self.path, self.line, f"{self.key} is {self.value!r}, not a number")
        if not math.isfinite(self.value):
            raise wrong(self.path, self.line, f"{self.key} is {self.value}, not a finite number")
        return float(self.value)


def read_mllog(path: Path, *, only: bool = False) -> list[Event]:
    """Read every entry; with ``only``, any other text is an error (a cut line hides a reading)."""
    events = []
    for line, text in enumerate(read_lines(path), 1):
        _, marker, entry = text.partition(MARKER)
        if marker:
            events.append(_event(path, line, entry))
        elif only and text.strip():
            raise wrong(path, line, f"expected a {MARKER} entry, found {text[:40]!r}")
    if not events:
        raise wrong(path, 1, f"the file holds no {MARKER} entry")
    return events


def _event(path: Path, line: int, entry: str) -> Event:
    try:
        parsed = json.loads(entry)
    except json.JSONDecodeError as error:
        raise wrong(path, line, f"not valid JSON after {MARKER}: {error.msg}") from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("key"), str):
        raise wrong(path, line, f"a {MARKER} entry without a key")
    time_ms = parsed.get("time_ms")
    if isinstance(time_ms, bool) or not isinstance(time_ms, int | float):
        raise wrong(path, line, f"{parsed['key']} has no numeric time_ms")
    if not math.isfinite(time_ms):
        raise wrong(path, line, f"{parsed['key']} has time_ms {time_ms}")
    metadata = parsed.get("metadata")
    return Event(
        path=path,
        line=line,
        key=parsed["key"],
        value=parsed.get("value"),
        time_ms=time_ms,
        metadata=metadata if isinstance(metadata, dict) else {},
    )
