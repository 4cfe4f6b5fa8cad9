"""Prints each tick as one line of JSON; what a tick does not say is left out."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import fields
from typing import TextIO

from wattshed_exporter.model import Batch, Tick
from wattshed_exporter.telemetry import Telemetry

log = logging.getLogger(__name__)

NAMES = tuple(f.name for f in fields(Tick))


class Stdout:
    """Writes to a stream that it does not own."""

    name = "stdout"

    def __init__(self, telemetry: Telemetry, stream: TextIO | None = None) -> None:
        self._telemetry = telemetry
        self._stream: TextIO | None = stream or sys.stdout  # None where it was closed at the start

    def put(self, batch: Batch) -> None:
        result = "dropped"
        if batch.ticks and self._stream is not None:
            try:
                self._stream.write("".join(line(tick) for tick in batch.ticks))
                self._stream.flush()
                result = "sent"
            except (OSError, ValueError) as error:  # such as the reader of a pipe that has gone
                log.warning("standard output cannot be written, its ticks are dropped: %s", error)
                self._stream = None
        self._telemetry.handed_over(self.name, result, len(batch.ticks))

    def ready(self) -> bool:
        return True

    def flush(self, seconds: float) -> bool:
        return True

    def close(self) -> None:
        self._stream = None


def line(tick: Tick) -> str:
    """Return a tick as a line of JSON, with the names and units of ``model.Tick``."""
    told = {name: getattr(tick, name) for name in NAMES}
    said = {name: value for name, value in told.items() if value is not None and value != ""}
    return json.dumps(said, separators=(",", ":")) + "\n"
