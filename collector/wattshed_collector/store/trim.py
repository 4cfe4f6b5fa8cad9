"""Give back the pages of program code that only the start needed.

The engine's library is half a gigabyte, and starting it touches most of its code once. Those pages
are clean and the kernel could drop them, but while memory is plenty it does not, and they count as
resident. Dropping them here costs nothing that is used again: a page that is needed comes back
from the file by itself. Source: madvise(2), MADV_DONTNEED on a private file mapping.
"""

from __future__ import annotations

import ctypes
import logging
import re
from pathlib import Path

log = logging.getLogger(__name__)

MADV_DONTNEED = 4
CODE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ [1-9]\d* +/", re.MULTILINE)
"""Executable, not writable, backed by a file: nothing in such a mapping can be changed or lost."""


def drop_code_pages(maps: Path = Path("/proc/self/maps")) -> int:
    """Drop the resident pages of this process' code; return the bytes of the mappings."""
    try:
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        dropped = 0
        for found in CODE.finditer(maps.read_text(encoding="utf-8", errors="replace")):
            start, end = int(found[1], 16), int(found[2], 16)
            if madvise(start, end - start, MADV_DONTNEED) == 0:
                dropped += end - start
    except (OSError, AttributeError) as error:
        log.debug("code pages stay: %s", error)
        return 0
    return dropped
