"""A folder for one process alone: a lock on the folder itself, so that it may be full."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .errors import ConfigError


def claim(folder: Path) -> int:
    """Make a folder if it is missing, and lock it; return its descriptor, which holds the lock.

    Raises:
        ConfigError: where another process has it.
        OSError: where it cannot be made or opened.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(found)
        raise ConfigError([f"state_dir: {folder} is used by another exporter"]) from None
    except OSError:
        os.close(found)
        raise
    return found


def is_at(held: int, path: Path) -> bool:
    """Return whether a file or folder that is open is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except OSError:
        return False
