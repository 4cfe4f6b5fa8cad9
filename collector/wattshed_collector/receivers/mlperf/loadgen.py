"""LoadGen's detail log: the measured window, the scenario, and how much was completed in it.

Format and meaning of the keys: mlcommons/inference (loadgen/results.cc, loadgen.cc). LoadGen states
rates; what the energy is divided by is a count, so the count is recovered here.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path

from .mllog import Event, read_mllog
from .model import read_lines, wrong

STAMP = "%m-%d-%Y %H:%M:%S.%f"
STREAMS = ("SingleStream", "MultiStream")
SCENARIOS = ("Offline", "Server", *STREAMS)

_TOKENS = re.compile(r"(?:Completed t|T)okens per second\s*:\s*([\d.]+)\s*$")


class Detail:
    """mlperf_log_detail.txt by key; where a key is logged twice the last one stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: dict[str, Event] = {event.key: event for event in read_mllog(path)}
        self._last = max(event.line for event in self.events.values())

    def required(self, key: str) -> Event:
        if key not in self.events:
            raise wrong(self.path, self._last, f"the log ends without {key}")
        return self.events[key]

    def number(self, *keys: str) -> float | None:
        """The first of these keys that is logged, as a positive number; None without any."""
        for key in keys:
            if key in self.events:
                value = self.events[key].number()
                if value <= 0:
                    raise wrong(self.path, self.events[key].line, f"{key} is {value:g}")
                return value
        return None

    def window(self) -> tuple[int, int]:
        begin, end = self.required("power_begin"), self.required("power_end")
        times = [stamp_ms(self.path, each.line, str(each.value)) for each in (begin, end)]
        if times[1] <= times[0]:
            raise wrong(self.path, end.line, "power_end is not after power_begin")
        return times[0], times[1]

    def scenario(self) -> str:
        event = self.required("effective_scenario")
        if event.value not in SCENARIOS:
            raise wrong(self.path, event.line, f"unknown scenario {event.value!r}")
        return str(event.value)


def stamp_ms(path: Path, line: int, text: str) -> int:
    try:
        moment = datetime.strptime(text, STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise wrong(path, line, f"{text!r} is not a time MM-DD-YYYY HH:MM:SS.mmm") from None
    return round(moment.timestamp() * 1000)


def read_tokens_rate(summary: Path, detail: Detail) -> float | None:
    """Tokens per second as published: the summary prints two decimals, the detail six digits."""
    rate = detail.number("result_completed_tokens_per_second", "result_tokens_per_second")
    if rate is None or not summary.exists():
        return rate
    printed = (_TOKENS.match(text) for text in read_lines(summary))
    finer = next((float(found[1]) for found in printed if found), rate)
    return finer if math.isclose(finer, rate, rel_tol=1e-5) else rate


def count_outcomes(
    detail: Detail, scenario: str, tokens_rate: float | None, notes: list[str]
) -> dict[str, float]:
    """Count what LoadGen really completed, which its rates do not state directly.

    Samples are completed queries times samples per query (generated queries may be twice the
    completed ones in the stream scenarios). Tokens are the published rate times the duration that
    LoadGen divided by: the longest latency Offline, (samples - 1) / completed samples per second
    for Server. The power window is longer, so rate x window would count tokens never produced.
    """
    queries = detail.number("result_query_count")
    if queries is None:
        if scenario in STREAMS:
            detail.required("result_query_count")
        queries = detail.number("generated_query_count")
        notes.append("no result_query_count (an older LoadGen): generated queries are counted")
    per_query = detail.number("generated_samples_per_query", "effective_samples_per_query")
    if queries is None:
        detail.required("generated_query_count")
        return {}
    samples = queries * (per_query or 1.0)
    outcomes = {"request": queries, "sample": samples}
    seconds = _loadgen_seconds(detail, scenario, samples)
    if tokens_rate is not None and seconds is not None:
        outcomes["token_out"] = tokens_rate * seconds
    return outcomes


def _loadgen_seconds(detail: Detail, scenario: str, samples: float) -> float | None:
    if scenario == "Offline":
        nanoseconds = detail.number("result_max_latency_ns")
        return None if nanoseconds is None else nanoseconds / 1e9
    rate = detail.number("result_completed_samples_per_sec")
    return None if rate is None else (samples - 1) / rate
