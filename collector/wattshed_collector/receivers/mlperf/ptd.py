"""The power session of an Inference result: whose clock, which meter, how certain.

Format: mlcommons/power-dev (ptd_client_server): ``server.json`` and ``client.json`` with phases as
Unix seconds, a time zone, and the messages exchanged with SPEC's PTDaemon, among them the meter's
identity and the measurement uncertainty that it states.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model import ResultError, read_json, wrong

REQUIRED_UNCERTAINTY = 0.01
"""PTDaemon accepts a reading only where the meter is at least this certain."""
QUARTER_MS = 900_000
"""Time zones are whole quarter hours."""
FURTHEST_MS = 14 * 3_600_000
DRIFT_MS = 60_000


@dataclass(frozen=True, slots=True)
class Session:
    """What to add to each log's stamps for UTC, and what the meter says of itself.

    ``meter`` is its maker, model and serial number.
    """

    power_shift_ms: int = 0
    load_shift_ms: int = 0
    meter: str = ""
    uncertainty: float = REQUIRED_UNCERTAINTY


def read_session(directory: Path, first_ms: int, notes: list[str]) -> Session:
    """``first_ms`` is the power log's first stamp, read as if it were UTC."""
    path = _find(directory, "server.json")
    if path is None:
        notes.append("no server.json: time stamps are taken as UTC and the meter is unknown")
        return Session()
    server = _read(path)
    shift = _power_shift(path, server, first_ms, notes)
    return Session(
        power_shift_ms=shift,
        load_shift_ms=shift + _between_clocks(directory, server) if shift else 0,
        meter=_identity(server),
        uncertainty=_uncertainty(server),
    )


def _find(directory: Path, name: str) -> Path | None:
    """Beside the logs, or where a submission keeps it."""
    for place in (directory, directory.parent / "power", directory.parent.parent / "power"):
        if (place / name).exists():
            return place / name
    return None


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise wrong(path, 1, "expected a JSON object")
    return content


def _power_shift(path: Path, server: dict[str, Any], first_ms: int, notes: list[str]) -> int:
    """The measurement starts when the testing phase is ready: both clocks name that moment."""
    try:
        started_ms = round(float(server["phases"]["testing"][1][0]) * 1000)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        notes.append(f"{path}: no testing phase, so time stamps are taken as UTC")
        return 0
    behind = started_ms - first_ms
    if abs(behind) > FURTHEST_MS:
        hours = behind / 3_600_000
        raise ResultError(f"{path}: its testing phase and the power log are {hours:.1f} h apart")
    shift = round(behind / QUARTER_MS) * QUARTER_MS
    if abs(behind - shift) > DRIFT_MS:
        notes.append(
            f"{path}: the testing phase and the power log begin {behind / 1000:g} s apart, "
            "which is no time zone: time stamps are taken as UTC"
        )
        return 0
    if shift:
        notes.append(f"time stamps are local: {shift / 3_600_000:+g} h makes them UTC")
    return shift


def _between_clocks(directory: Path, server: dict[str, Any]) -> int:
    path = _find(directory, "client.json")
    client = _read(path) if path else server
    here, there = client.get("timezone"), server.get("timezone")
    if not isinstance(here, int | float) or not isinstance(there, int | float):
        return 0
    return round((here - there) * 1000)


def _replies(server: dict[str, Any], command: str) -> list[str]:
    messages = server.get("ptd_messages")
    return [
        str(message.get("reply", ""))
        for message in (messages if isinstance(messages, list) else [])
        if isinstance(message, dict) and message.get("cmd") == command
    ]


def _identity(server: dict[str, Any]) -> str:
    """The Identify reply ends in the meter's own ``vendor;model;serial;firmware``."""
    for reply in _replies(server, "Identify"):
        parts = reply.rpartition(",")[2].split(";")
        if len(parts) >= 3:
            return " ".join(parts[:3])
    return ""


def _uncertainty(server: dict[str, Any]) -> float:
    """The mean that PTDaemon states for the measurement: ``Uncertainty,<mean>,<min>,<max>,...``."""
    for reply in reversed(_replies(server, "Uncertainty")):
        try:
            mean = float(reply.split(",")[1])
        except (IndexError, ValueError):
            continue
        if 0 < mean < 1:
            return mean
    return REQUIRED_UNCERTAINTY
