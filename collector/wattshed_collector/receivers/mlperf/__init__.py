"""Reads MLPerf result folders: facts for the store, and the figure by MLPerf's own rule.

``detect`` tells the family from the files that are there, ``read`` parses all of them. Joules are
not computed here except where the official rule wants it: the store's ledger does that, as for
any other meter.
"""

from __future__ import annotations

from pathlib import Path

from . import inference, tiny, training
from .model import Kind, Official, Result, ResultError, Run

__all__ = ["Kind", "Official", "Result", "ResultError", "Run", "detect", "read"]

SIGNS: dict[Kind, tuple[str, ...]] = {
    Kind.INFERENCE: ("spl.txt", "mlperf_log_detail.txt", "mlperf_log_summary.txt"),
    Kind.TRAINING: ("result_*.txt", "power/result_*"),
    Kind.TINY: ("trace1-energy.bin", "trace1-timestamps.json", "results.txt"),
}
"""Any of these names a family, so that a partial folder is told which of its files is missing."""


def detect(directory: Path) -> Kind:
    if not directory.is_dir():
        raise ResultError(f"{directory} is not a folder")
    for kind, patterns in SIGNS.items():
        if any(next(directory.glob(pattern), None) for pattern in patterns):
            return kind
    raise ResultError(
        f"{directory} is no MLPerf result folder: it holds neither spl.txt (Inference), "
        "result_*.txt (Training) nor trace1-energy.bin (Tiny)"
    )


def read(directory: Path) -> Result:
    match detect(directory):
        case Kind.INFERENCE:
            return inference.read(directory)
        case Kind.TRAINING:
            return training.read(directory)
        case Kind.TINY:
            return tiny.read(directory)
