"""MLPerf Inference results with power: LoadGen's logs beside a power analyser's sample log.

Formats and rule: mlcommons/inference (loadgen, submission checker's power_check.py) and
mlcommons/power-dev (ptd_client_server). ``spl.txt`` holds one line per second with the total and
the channels, ``mlperf_log_detail.txt`` power_begin and power_end, ``server.json`` and
``client.json`` the clocks and the meter's identity. Rounds before v1.1 stamp local time, later
ones UTC; server.json's own clock (Unix seconds) tells which.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from wattshed_exporter.model import Device
from wattshed_exporter.model import Kind as Meter
from wattshed_exporter.model import Method

from .mllog import Event, read_mllog
from .model import (
    SOURCE,
    Kind,
    Official,
    Result,
    ResultError,
    assemble,
    hold,
    in_order,
    power_ticks,
    read_lines,
    wrong,
)
from .ptd import Session, read_session

RULE = "MLPerf Inference power (power_check.py)"
STAMP = "%m-%d-%Y %H:%M:%S.%f"
STREAMS = ("SingleStream", "MultiStream")
SCENARIOS = ("Offline", "Server", *STREAMS)

_TOKENS = re.compile(r"(?:Completed t|T)okens per second\s*:\s*([\d.]+)\s*$")


@dataclass(frozen=True, slots=True)
class PowerLog:
    """spl.txt: every line as (time, watts), in the log's own clock."""

    path: Path
    readings: list[tuple[int, float]]
    mark: str
    channels: int


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


def read(directory: Path) -> Result:
    notes: list[str] = []
    log = read_power_log(directory / "spl.txt")
    detail = Detail(directory / "mlperf_log_detail.txt")
    scenario = detail.scenario()
    session = read_session(directory, log.readings[0][0], notes)
    readings = [(ts + session.power_shift_ms, watts) for ts, watts in log.readings]
    begin, end = detail.window()
    window = (begin + session.load_shift_ms, end + session.load_shift_ms)
    measured = [watts for ts, watts in readings if window[0] < ts < window[1] and watts > 0]
    if not measured:
        raise ResultError(f"{log.path} has no reading between power_begin and power_end")
    outcomes = count_outcomes(detail, scenario, read_tokens_rate(directory, detail), notes)
    _note_dirt(log, detail, notes)
    name, model = label(directory, scenario)
    key = f"{Kind.INFERENCE}/{name}/{log.mark}"
    device = _analyser(f"{key}/wall", name, session)
    ticks = power_ticks(device.key, in_order(readings))
    ends = {device.key: (ticks[0].ts_ms, ticks[-1].ts_ms)}
    held = hold(key, name, window, outcomes, ends, kind="inference", model=model)
    return Result(
        kind=Kind.INFERENCE,
        batch=assemble([device], ticks, [held]),
        runs=(held.run,),
        official=_official(detail, scenario, window, sum(measured) / len(measured)),
        notes=tuple(notes),
    )


def read_power_log(path: Path) -> PowerLog:
    rows = [(n, text.split(",")) for n, text in enumerate(read_lines(path), 1) if text.strip()]
    if not rows:
        raise wrong(path, 1, "the power log is empty")
    width = Counter(len(fields) for _, fields in rows).most_common(1)[0][0]
    readings = []
    for line, fields in rows:
        # A cut line may still parse ("Watts,25" of 2514.8), so its width is what gives it away.
        if len(fields) != width or width < 4 or fields[0] != "Time" or fields[2] != "Watts":
            found = ",".join(fields)[:60]
            raise wrong(
                path, line, f"expected {width} fields Time,<date>,Watts,..., found {found!r}"
            )
        readings.append((stamp_ms(path, line, fields[1]), _watts(path, line, fields[3])))
    header = rows[0][1]
    mark = header[header.index("Mark") + 1] if "Mark" in header[:-1] else str(readings[0][0])
    channels = sum(bool(re.fullmatch(r"Ch\d+", text)) for text in header)
    return PowerLog(path, readings, mark, channels)


def stamp_ms(path: Path, line: int, text: str) -> int:
    try:
        moment = datetime.strptime(text, STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise wrong(path, line, f"{text!r} is not a time MM-DD-YYYY HH:MM:SS.mmm") from None
    return round(moment.timestamp() * 1000)


def _watts(path: Path, line: int, text: str) -> float:
    try:
        watts = float(text)
    except ValueError:
        raise wrong(path, line, f"Watts is {text!r}, not a number") from None
    if not math.isfinite(watts):
        raise wrong(path, line, f"Watts is {text}, not a finite number")
    return watts


def read_tokens_rate(directory: Path, detail: Detail) -> float | None:
    """Tokens per second as published: the summary prints two decimals, the detail six digits."""
    summary = directory / "mlperf_log_summary.txt"
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


def label(directory: Path, scenario: str) -> tuple[str, str]:
    """Name and model: ``<system>_<model>_<scenario>`` or a submission's nested folders."""
    parts = list(directory.resolve().parts)
    while len(parts) > 1 and re.fullmatch(r"run_\d+|performance|testing", parts[-1]):
        parts.pop()
    if len(parts) > 3 and parts[-1].lower() == scenario.lower():
        return "/".join(parts[-3:]), parts[-2]
    _, _, rest = parts[-1].partition("_")
    model, _, last = rest.rpartition("_")
    return parts[-1], model if last.lower() == scenario.lower() else ""


def _note_dirt(log: PowerLog, detail: Detail, notes: list[str]) -> None:
    if log.channels:
        notes.append(f"{log.channels} channels are parts of the total, which alone is kept")
    if repeated := len(log.readings) - len(dict(log.readings)):
        notes.append(f"{repeated} readings repeat a time stamp; the last of each is kept")
    if sentinels := sum(watts < 0 for _, watts in log.readings):
        notes.append(f"{sentinels} readings are negative: the meter's sign for no value")
    validity = detail.events.get("result_validity")
    if validity is not None and validity.value != "VALID":
        notes.append(f"LoadGen calls the result {validity.value}")


def _analyser(key: str, node: str, session: Session) -> Device:
    return Device(
        key=key,
        kind=Meter.HOST,
        node=node,
        source=SOURCE,
        name="power analyser",
        vendor=session.vendor,
        model=session.model,
        serial=session.serial,
        scope="wall",
        method=Method.INTEGRAL,
        uncertainty_ratio=session.uncertainty,
    )


def _official(detail: Detail, scenario: str, window: tuple[int, int], watts: float) -> Official:
    if scenario not in STREAMS:
        return Official(RULE, watts, "W")
    # Not generated_query_count: the two can differ by two times.
    queries = detail.required("result_query_count").number()
    return Official(RULE, watts * (window[1] - window[0]) / queries, "mJ/query")
