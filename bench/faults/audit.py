"""The store after a scenario, read with the bare engine, against what the senders know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import chdb
import numpy as np
from numpy.typing import NDArray

from .book import Book
from .machines import READING, Readings

STORED = (
    "SELECT device_id, toUnixTimestamp64Milli(ts), toInt64(ifNull(energy_uj, 0)) FROM tick FINAL"
)
CHARGED = "SELECT device_id, toFloat64(sum(joules)) FROM charge_1h FINAL GROUP BY device_id"
UNHELD = "SELECT ifNull(sum(abs(joules)), 0.) FROM charge_1h FINAL WHERE workload_id = 0"
CONSERVED = """
SELECT device_id, toFloat64(sum(measured_joules)), toFloat64(max(abs(residual_joules) /
       greatest(measured_joules, 1e-6)))
FROM v_conservation_1h GROUP BY device_id
"""
SUM = np.dtype([("device", "<u8"), ("joules", "<f8")])
TIME_BITS = 42
"""Milliseconds since 1970 until the year 2109."""
KEPT = np.dtype([("device", "<u8"), ("joules", "<f8"), ("residual", "<f8")])


@dataclass(frozen=True, slots=True)
class Counts:
    """Readings: ``stored`` are distinct; ``altered`` have another value than was sent, and nobody
    sent those ``unasked``."""

    acknowledged: int
    stored: int
    lost: int
    doubled: int
    altered: int
    unasked: int


@dataclass(frozen=True, slots=True)
class Balance:
    """How far the ledger is from itself and from the senders, relative.

    ``residual`` is the worst device-hour of v_conservation_1h; ``off`` the worst device's charged
    and measured joules against what its counter gained; ``unheld`` is the part of the charges that
    no workload got. NaN where the ledger says nothing.
    """

    joules: float
    residual: float
    off: float
    unheld: float


@dataclass(frozen=True, slots=True)
class Found:
    """What the store holds."""

    counts: Counts
    balance: Balance


def audit(folder: Path, book: Book, truths: dict[int, float] | None = None) -> Found:
    """Compare the stopped collector's engine folder with the book.

    ``truths`` are joules by device where they are not what the counter gained from the first stored
    reading to the last.
    """
    engine = chdb.connect(str(folder))  # type: ignore[no-untyped-call]
    try:
        stored = _asked(engine.query(STORED, "RowBinary").bytes(), READING)
        charged = _asked(engine.query(CHARGED, "RowBinary").bytes(), SUM)
        kept = _asked(engine.query(CONSERVED, "RowBinary").bytes(), KEPT)
        (unheld,) = np.frombuffer(engine.query(UNHELD, "RowBinary").bytes(), "<f8")
    finally:
        engine.close()
    counts, meant = compared(stored, book.sent(), book.acknowledged())
    total = float(charged["joules"].sum())
    expected = gained(meant) | (truths or {})
    balance = Balance(
        joules=total,
        residual=float(kept["residual"].max()) if len(kept) else math.nan,
        off=max(_off(expected, charged), _off(expected, kept)),
        unheld=float(unheld) / total if total else math.nan,
    )
    return Found(counts, balance)


def compared(stored: Readings, sent: Readings, acknowledged: Readings) -> tuple[Counts, Readings]:
    """Return what is wrong with ``stored``, and of what was sent that which is stored."""
    numbers = np.unique(np.concatenate([stored["device"], sent["device"]]))
    keys, known = instants(stored, numbers), instants(sent, numbers)
    told = instants(acknowledged, numbers)
    distinct, places = np.unique(keys, return_index=True)
    is_asked = np.isin(distinct, known)
    ours = stored[places][is_asked]
    order = np.argsort(known)
    meant = sent[order][np.searchsorted(known, distinct[is_asked], sorter=order)]
    counts = Counts(
        acknowledged=len(told),
        stored=len(distinct),
        lost=len(np.setdiff1d(told, distinct)),
        doubled=len(keys) - len(distinct),
        altered=int((ours["energy"] != meant["energy"]).sum()),
        unasked=int((~is_asked).sum()),
    )
    return counts, meant


def instants(found: Readings, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return device and time of readings as one number each; ``numbers`` are all devices."""
    places = np.searchsorted(numbers, found["device"]).astype(np.int64)
    keys: NDArray[np.int64] = (places << TIME_BITS) | found["ts"]
    return keys


def gained(stored: Readings) -> dict[int, float]:
    """Return the joules by which each device's counter grew from its first reading to its last."""
    order = np.sort(stored, order=("device", "ts"))
    devices, firsts = np.unique(order["device"], return_index=True)
    lasts = np.append(firsts[1:], len(order)) - 1
    joules = (order["energy"][lasts] - order["energy"][firsts]) / 1e6 if len(order) else []
    return dict(zip(devices.tolist(), np.asarray(joules).tolist(), strict=True))


def _off(expected: dict[int, float], found: NDArray[np.void]) -> float:
    told: dict[int, float] = dict(
        zip(found["device"].tolist(), found["joules"].tolist(), strict=True)
    )
    if not told:
        return math.nan
    worst = 0.0
    for device in expected.keys() | told.keys():
        truth = expected.get(device, 0.0)
        worst = max(worst, abs(told.get(device, 0.0) - truth) / max(truth, 1e-6))
    return worst


def _asked(data: bytes, kind: np.dtype[np.void]) -> NDArray[np.void]:
    return np.frombuffer(data, kind)
