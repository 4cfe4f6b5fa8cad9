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
from pathlib import Path

from wattshed_exporter.model import Device, Method
from wattshed_exporter.model import Kind as Meter

from .loadgen import STREAMS, Detail, count_outcomes, read_tokens_rate, stamp_ms
from .model import (
    SOURCE,
    Kind,
    Official,
    Result,
    ResultError,
    assemble,
    hold,
    in_order,
    note_span,
    power_ticks,
    read_lines,
    wrong,
)
from .ptd import Session, read_session
from .system import hardware

RULE = "MLPerf Inference power (power_check.py)"


@dataclass(frozen=True, slots=True)
class PowerLog:
    """spl.txt: every line as (time, watts), in the log's own clock."""

    path: Path
    readings: list[tuple[int, float]]
    mark: str
    channels: int


def read(directory: Path) -> Result:
    notes: list[str] = []
    log = read_power_log(directory / "spl.txt")
    detail = Detail(directory / "mlperf_log_detail.txt")
    scenario = detail.scenario()
    session = read_session(directory, min(ts for ts, _ in log.readings), notes)
    readings = [(ts + session.power_shift_ms, watts) for ts, watts in log.readings]
    begin, end = detail.window()
    window = (begin + session.load_shift_ms, end + session.load_shift_ms)
    measured = [watts for ts, watts in readings if window[0] < ts < window[1] and watts > 0]
    if not measured:
        raise ResultError(f"{log.path} has no reading between power_begin and power_end")
    mean_watts = sum(measured) / len(measured)
    rate = read_tokens_rate(directory / "mlperf_log_summary.txt", detail)
    outcomes = count_outcomes(detail, scenario, rate, notes)
    if rate is not None:
        notes.append(f"mean watts over LoadGen's token rate: {mean_watts / rate:.6g} J per token")
    note_span(str(log.path), window, [ts for ts, _ in readings], notes)
    _note_dirt(log, detail, notes)
    name, model = label(directory, scenario)
    key = f"{Kind.INFERENCE}/{name}/{log.mark}"
    device = _wall(f"{key}/wall", name, session, hardware(directory, notes))
    ticks = power_ticks(device.key, in_order(readings))
    ends = {device.key: (ticks[0].ts_ms, ticks[-1].ts_ms)}
    held = hold(key, name, window, outcomes, ends, kind="inference", model=model)
    return Result(
        kind=Kind.INFERENCE,
        batch=assemble([device], ticks, [held]),
        runs=(held.run,),
        official=_official(detail, scenario, window, mean_watts),
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
            raise wrong(path, line, f"expected {width} fields Time,<date>,Watts.., found {found!r}")
        readings.append((stamp_ms(path, line, fields[1]), _watts(path, line, fields[3])))
    header = rows[0][1]
    mark = header[header.index("Mark") + 1] if "Mark" in header[:-1] else str(readings[0][0])
    channels = sum(bool(re.fullmatch(r"Ch\d+", text)) for text in header)
    return PowerLog(path, readings, mark, channels)


def _watts(path: Path, line: int, text: str) -> float:
    try:
        watts = float(text)
    except ValueError:
        raise wrong(path, line, f"Watts is {text!r}, not a number") from None
    if not math.isfinite(watts):
        raise wrong(path, line, f"Watts is {text}, not a finite number")
    return watts


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
        notes.append(f"{repeated} readings repeat a time stamp; the first of each is kept")
    if sentinels := sum(watts < 0 for _, watts in log.readings):
        notes.append(f"{sentinels} readings are negative: the meter's sign for no value")
    validity = detail.events.get("result_validity")
    if validity is not None and validity.value != "VALID":
        notes.append(f"LoadGen calls the result {validity.value}")


def _wall(key: str, node: str, session: Session, measured: str) -> Device:
    """Return the whole system as the analyser measures it: its model is what hangs on the meter."""
    return Device(
        key=key,
        kind=Meter.HOST,
        node=node,
        source=SOURCE,
        name=session.meter or "power analyser",
        model=measured,
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
