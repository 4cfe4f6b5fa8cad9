"""Small files of sysfs: one number or one line each, and a reason where there is none.

The kernel hands over such a file whole with one read. What it refuses is said with an error number,
which becomes the reason of a ``SourceError``; a driver may mean something of its own by one.
Source: Documentation/filesystems/sysfs.rst of the Linux kernel.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from wattshed_exporter.errors import SourceError

Name = str | os.PathLike[str]

MOST_BYTES, MOST_TEXT = 1 << 16, 256
ASLEEP = (b"suspended", b"suspending")
NUMBER = re.compile(rb"-?[0-9]{1,20}")
REASONS: Mapping[int, str] = {
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ENOENT: "vanished",
    errno.ENODEV: "vanished",
    errno.ENOTDIR: "vanished",
    errno.ENODATA: "no_data",
}
"""By error number; any other is ``io_error``."""


def read_file(path: Name, reasons: Mapping[int, str] = REASONS) -> bytes:
    """Return what a file holds, at most 64 KiB; ``SourceError.reason`` says why not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, MOST_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise failure(path, error, reasons) from error


def read_integer(path: Name, reasons: Mapping[int, str] = REASONS) -> int:
    """Return the one decimal number in a file; ``SourceError.reason`` says why not."""
    text = read_file(path, reasons).strip()
    if not NUMBER.fullmatch(text):
        raise SourceError(f"{path}: {text[:32]!r} is not a number", "malformed")
    return int(text)


def read_number(path: Name, reasons: Mapping[int, str] = REASONS) -> int:
    """Return the one unsigned number in a file; ``SourceError.reason`` says why not."""
    number = read_integer(path, reasons)
    if number < 0:
        raise SourceError(f"{path}: {number} is negative", "malformed")
    return number


def find_number(path: Name) -> int | None:
    """Return the unsigned number in a file, None where there is none."""
    try:
        return read_number(path)
    except SourceError:
        return None


def read_text(*paths: Name) -> str:
    """Return what can be printed of the first file that can be read; "" where there is none."""
    for path in paths:
        try:
            return printable(read_file(path).decode(errors="replace"))
        except SourceError:
            continue
    return ""


def printable(text: str) -> str:
    """Drop what firmware leaves in its texts: zero bytes, line ends and half characters."""
    if not text.isprintable():
        text = "".join(letter for letter in text if letter.isprintable())
    return text.strip()[:MOST_TEXT]


def asleep(status: Name | int) -> bool:
    """Return whether ``power/runtime_status`` says that to use the device would wake it.

    Args:
        status: its path, or the descriptor of the open file. What cannot be read does not sleep.
    """
    try:
        said = os.pread(status, 32, 0) if isinstance(status, int) else read_file(status)
    except (OSError, SourceError):
        return False
    return said.strip() in ASLEEP


def list_folder(folder: Path) -> list[Path]:
    """Return what is in a folder, in order; [] where there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = "permission" if isinstance(error, PermissionError) else "io_error"
        raise SourceError(f"{folder} cannot be listed: {error}", reason) from error


def board_model(sysfs: Path) -> str:
    """Return the board's name from the device tree; "" where the machine has none."""
    return read_text(sysfs / "firmware/devicetree/base/model")


def failure(path: Name, error: OSError, reasons: Mapping[int, str] = REASONS) -> SourceError:
    """Return the error of a source for one of the kernel."""
    return SourceError(f"{path}: {error}", reasons.get(error.errno or 0, "io_error"))
