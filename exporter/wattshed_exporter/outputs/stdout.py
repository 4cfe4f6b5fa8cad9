"""Prints each tick as one line of JSON; what a tick does not say is left out.

A thread of its own writes, because a reader that stalls may not hold up reading. Beyond
``MOST_TICKS`` that wait, ticks are dropped and counted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from typing import TextIO

from wattshed_exporter.model import Batch, Tick
from wattshed_exporter.telemetry import Telemetry

log = logging.getLogger(__name__)

NAMES = tuple(f.name for f in fields(Tick))
MOST_TICKS = 10_000
CHUNK_TICKS = 200
CLOSE_SECONDS = 1.0


class Stdout:
    """Writes to a stream that it does not own."""

    name = "stdout"

    def __init__(self, telemetry: Telemetry, stream: TextIO | None = None) -> None:
        self._telemetry = telemetry
        self._stream: TextIO | None = stream or sys.stdout  # None where it was closed at the start
        self._changed = threading.Condition()
        self._waiting: deque[Tick] = deque()
        self._writing = 0
        self._closing = self._closed = False
        self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        ticks = batch.ticks
        with self._changed:
            room = 0 if self._closing else MOST_TICKS - len(self._waiting) - self._writing
            self._waiting.extend(ticks[:room])
            self._changed.notify_all()
        self._telemetry.handed_over(self.name, "dropped", max(0, len(ticks) - room))

    def ready(self) -> bool:
        return len(self._waiting) < MOST_TICKS // 2

    def flush(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(self._idle, seconds)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(self._idle, CLOSE_SECONDS)
            self._closed = True
            left = len(self._waiting) + self._writing
            self._waiting.clear()
        if left:
            log.warning("standard output is not read, %d ticks are lost", left)
        self._telemetry.handed_over(self.name, "dropped", left)

    def _idle(self) -> bool:
        return not self._waiting and not self._writing

    def _run(self) -> None:
        while ticks := self._take():
            sent = self._write(ticks)
            with self._changed:
                if not self._closed:  # else ``close`` did not wait, and has counted them
                    result = "sent" if sent else "dropped"
                    self._telemetry.handed_over(self.name, result, len(ticks))
                self._writing = 0
                self._changed.notify_all()

    def _take(self) -> Sequence[Tick]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            size = min(CHUNK_TICKS, len(self._waiting))
            ticks = [self._waiting.popleft() for _ in range(size)]
            self._writing = size
            return ticks

    def _write(self, ticks: Sequence[Tick]) -> bool:
        if self._stream is None:
            return False
        try:
            write_all(self._stream, "".join(map(line, ticks)))
        except (OSError, ValueError) as error:  # such as the reader of a pipe that has gone
            log.warning("standard output cannot be written, its ticks are dropped: %s", error)
            self._stream = None
        return self._stream is not None


def write_all(stream: TextIO, text: str) -> None:
    """Write at once, past the stream's buffer: the interpreter would wait for its lock at exit."""
    try:
        file = stream.fileno()
    except OSError:  # a stream that is no file
        stream.write(text)
        stream.flush()
        return
    left = memoryview(text.encode())
    while left:
        left = left[os.write(file, left) :]


def line(tick: Tick) -> str:
    """Return a tick as a line of JSON, with the names and units of ``model.Tick``."""
    told = {name: getattr(tick, name) for name in NAMES}
    said = {name: value for name, value in told.items() if value is not None and value != ""}
    return json.dumps(said, separators=(",", ":")) + "\n"
