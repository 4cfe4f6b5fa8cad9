"""Give back the pages of libraries that only the start needed.

Starting touches most of the code and data tables of the interpreter and its libraries once; the
collector's engine alone is half a gigabyte. Those pages are clean and the kernel could drop them,
but while memory is plenty it does not, and they count as resident. Dropping them costs nothing
that is used again: a page that is needed comes back from the file by itself. Source: madvise(2),
MADV_DONTNEED on a private file mapping; /proc/<pid>/smaps in proc(5).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

log = logging.getLogger(__name__)

MADV_DONTNEED = 4
MAPPING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d* +/.*\n(?:[A-Z].*\n)*?Anonymous: +0 kB$",
    re.MULTILINE,
)
"""A mapping of a file that cannot be written and holds no page that differs from the file's.

Tables that the loader has filled in are read-only too, but they differ, and would be lost.
"""


def drop_file_pages(smaps: Path = Path("/proc/self/smaps")) -> int:
    """Drop the resident pages of files that this process only reads; return their mappings' bytes.

    Nothing happens, and 0 is returned, where the kernel does not tell or does not do it.
    """
    try:
        import ctypes

        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        dropped = 0
        for found in MAPPING.finditer(smaps.read_text(encoding="utf-8", errors="replace")):
            start, end = int(found[1], 16), int(found[2], 16)
            if madvise(start, end - start, MADV_DONTNEED) == 0:
                dropped += end - start
    except (ImportError, OSError, AttributeError) as error:
        log.debug("pages of files stay: %s", error)
        return 0
    return dropped
