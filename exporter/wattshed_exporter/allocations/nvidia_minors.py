"""Which of NVIDIA's device files is which GPU, by what its driver tells in procfs.

The minor number of ``/dev/nvidia<n>`` need not be the index of NVML. Source: the driver's README,
``/proc/driver/nvidia/gpus/<PCI address>/information``.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

INFORMATION = re.compile(r"^(GPU UUID|Device Minor)[ \t]*:[ \t]*(\S+)[ \t]*$", re.MULTILINE)


def minors(procfs: Path) -> dict[int, str] | None:
    """Return the UUID of each GPU by its minor number; None where the driver tells none."""
    folder = procfs / "driver/nvidia/gpus"
    try:
        slots = os.listdir(folder)
    except OSError:
        return None
    found: dict[int, str] = {}
    for slot in slots:
        with suppress(OSError, ValueError, KeyError):
            text = (folder / slot / "information").read_text(errors="replace")
            told = dict(INFORMATION.findall(text))
            found[int(told["Device Minor"])] = told["GPU UUID"]
    return found
