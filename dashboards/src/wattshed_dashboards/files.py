"""Where the files are that are written by hand or generated, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
PACKAGED = _HERE / "files"


def root() -> Path:
    """Return the folder that holds ``alerts``, ``grafana``, ``provisioning`` and ``runbooks``."""
    return PACKAGED if PACKAGED.is_dir() else _HERE.parents[1]
