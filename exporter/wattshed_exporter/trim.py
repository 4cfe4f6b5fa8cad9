"""Give back the pages of libraries that only the start needed.

Starting touches most of the code and data tables of the interpreter and its libraries once (the
collector's engine alone is half a gigabyte). Those pages are clean and the kernel could drop them,
but while memory is plenty it does not, and they count as resident. Dropping them costs nothing that
is used again: a page that is needed comes back from the file by itself. MADV_DONTNEED is what does
it; MADV_PAGEOUT spares pages that other processes map too, and files that belong to somebody else.
It would wipe what another thread maps at the same place in between, so each library is held while
its pages are dropped. Source: madvise(2), dlopen(3), RTLD_NOLOAD; /proc/<pid>/smaps in proc(5).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

MADV_DONTNEED = 4
CODE = re.compile(r"^\S+ r-xp \S+ \S+ [1-9]\d* +(/.*)$", re.MULTILINE)
MAPPING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d* +(/.*)\n(?:[A-Z].*\n)*?Anonymous: +0 kB$",
    re.MULTILINE,
)
"""A mapping of a file that cannot be written and holds no page that differs from the file's.

Tables that the loader has filled in are read-only too, but they differ, and would be lost.
"""


def drop_file_pages(smaps: Path = Path("/proc/self/smaps")) -> int:
    """Drop the resident pages of libraries that this process only reads.

    Returns:
        The bytes of their mappings; 0, and nothing happens, where the kernel does not tell.
    """
    try:
        import ctypes

        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        dropped = 0
        with held(smaps) as libraries:
            # Read again: what stands there of these libraries now stays while they are held.
            for start, end, path in mappings(smaps):
                if path in libraries and madvise(start, end - start, MADV_DONTNEED) == 0:
                    dropped += end - start
    except (ImportError, OSError, AttributeError) as error:
        log.debug("pages of files stay: %s", error)
        return 0
    return dropped


def mappings(smaps: Path) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and file of each mapping that holds nothing but what the file holds."""
    for found in MAPPING.finditer(_text(smaps)):
        yield int(found[1], 16), int(found[2], 16), found[3]


@contextmanager
def held(smaps: Path) -> Iterator[frozenset[str]]:
    """Keep every library with code in this process from being unloaded; yield their files.

    Other files that are mapped, such as tables of a locale, may go at any time and are not among
    them. The program itself never goes.
    """
    import _ctypes

    with ExitStack() as stack:
        libraries = {os.readlink("/proc/self/exe")}
        for path in set(CODE.findall(_text(smaps))) - libraries:
            with suppress(OSError):  # it is gone, or is no library
                handle = _ctypes.dlopen(path, os.RTLD_LAZY | os.RTLD_NOLOAD)
                stack.callback(_ctypes.dlclose, handle)
                libraries.add(path)
        yield frozenset(libraries)


def _text(smaps: Path) -> str:
    return smaps.read_text(encoding="utf-8", errors="replace")
