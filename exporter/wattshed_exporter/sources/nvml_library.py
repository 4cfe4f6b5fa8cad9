"""Raw calls into the driver's NVML library, which ``nvidia-ml-py`` loads and initialises.

The bindings' own wrappers build structures on every call (48 us for the values of eight GPUs); here
functions are looked up once and write into buffers that are made once. Every answer comes with
NVML's return code, 0 for success; a function that this driver lacks answers 13 like one that says
so itself. Layouts: ``nvml.h`` as the bindings describe it. Source: NVML API reference.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from wattshed_exporter.errors import NoData, SourceError

log = logging.getLogger(__name__)

LIBRARY = "libnvidia-ml.so.1"
UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION = 1, 2, 3, 4
NOT_FOUND, INSUFFICIENT_SIZE = 6, 7
FUNCTION_NOT_FOUND, MISMATCH, UNKNOWN = 13, 18, 999
UNSUPPORTED = (NOT_SUPPORTED, FUNCTION_NOT_FOUND)
ABSENT = (INVALID_ARGUMENT, *UNSUPPORTED)
"""Codes of a field that there is not: one that an older driver does not know is an invalid
argument to it."""
NEVER = frozenset({*ABSENT, NO_PERMISSION, 25, 26})
"""Codes after which a question need not be asked again: also no permission, another version of
the argument, deprecated."""
NOTHING_HERE = (6, 9, 12, 28)
"""Not found, driver not loaded, library not found, GPU not found."""
REASONS = {4: "permission", 6: "gpu_lost", 15: "gpu_lost", 18: "driver_mismatch", 28: "gpu_lost"}
REASONS |= dict.fromkeys(UNSUPPORTED, "not_supported") | {27: "not_ready"}
U32_MAX, U64_MAX = 2**32 - 1, 2**64 - 1
"""What NVML answers for a value that there is not."""

FIELD_BYTES = 40
UNSIGNED_INT, UNSIGNED_LONG, UNSIGNED_LONG_LONG, SIGNED_LONG_LONG = 1, 2, 3, 4
WIDE = (UNSIGNED_LONG, UNSIGNED_LONG_LONG, SIGNED_LONG_LONG)
"""Types of 64 bits, in which a counter does not wrap."""
LAYOUTS = {0: "=d", SIGNED_LONG_LONG: "=q", 5: "=i4x", 6: "=H6x"}
"""By value type: what the eight bytes of a value hold where it is not one of the above."""
MEMORY_V2 = 0x02000028

Function = Callable[..., int]
Question = tuple[int, int]
"""Identity of a field and its scope: part of the device, link, ..."""


class Library:
    """The library, initialised until ``close``."""

    def __init__(self, bindings: Any) -> None:
        self._bindings = bindings
        self._functions: dict[str, Function] = {}

    def function(self, name: str) -> Function:
        """Return a function of the library, or one that answers 13 where there is none."""
        if name not in self._functions:
            try:
                self._functions[name] = self._bindings.nvmlLib[name]
            except AttributeError:
                self._functions[name] = _missing
        return self._functions[name]

    def u32(self, name: str, *arguments: object) -> tuple[int | None, int]:
        """Return what the function writes to its last argument, and its code."""
        value = ctypes.c_uint32()
        code = self.function(name)(*arguments, ctypes.byref(value))
        return (None, code or NOT_SUPPORTED) if code or value.value == U32_MAX else (value.value, 0)

    def u64(self, name: str, *arguments: object) -> tuple[int | None, int]:
        """Return what the function writes to its last argument, and its code."""
        value = ctypes.c_uint64()
        code = self.function(name)(*arguments, ctypes.byref(value))
        return (None, code or NOT_SUPPORTED) if code or value.value == U64_MAX else (value.value, 0)

    def text(self, name: str, *arguments: object) -> tuple[str, int]:
        """Return a text and the code; a text that is not UTF-8 is an error of the driver."""
        buffer = ctypes.create_string_buffer(256)
        code = self.function(name)(*arguments, buffer, 96)
        try:
            return ("", code) if code else (buffer.value.decode(), 0)
        except UnicodeDecodeError:
            return "", UNKNOWN

    def field(self, handle: ctypes.c_void_p, question: Question) -> tuple[float | None, int]:
        """Return the value of one field, and its code."""
        fields = Fields(self, handle, (question,))
        failed, (kind, code, bits) = fields.ask(), fields.answers()
        return (None, failed or code) if failed or code else (number(kind, bits), 0)

    def error(self, code: int) -> str:
        return str(self._bindings.NVMLError(code))

    def close(self) -> None:
        """Shut NVML down, so that the driver can be unloaded; the library itself stays mapped."""
        try:
            self._bindings.nvmlShutdown()
        except self._bindings.NVMLError as error:
            log.debug("nvmlShutdown: %s", error)


class Fields:
    """One question for several fields, asked again and again with the same buffer.

    ``handle`` may be given another value between two questions. A driver leaves some entries that
    it does not know as they are (580.159.04 does so with 251 to 256): untouched they say "not
    supported", where zeros would be a success and the number 0.
    """

    def __init__(
        self, library: Library, handle: ctypes.c_void_p, questions: Sequence[Question]
    ) -> None:
        buffer = ctypes.create_string_buffer(FIELD_BYTES * len(questions))
        for index, question in enumerate(questions):
            struct.pack_into("=II20xI", buffer, FIELD_BYTES * index, *question, NOT_SUPPORTED)
        unpack = struct.Struct("=" + "24xIIQ" * len(questions)).unpack_from
        get = library.function("nvmlDeviceGetFieldValues")
        self.ask: Callable[[], int] = partial(get, handle, len(questions), buffer)
        """Ask, and return the code of the call."""
        self.answers: Callable[[], tuple[int, ...]] = partial(unpack, buffer)
        """Return for each field its value type, code and eight bytes, as last answered."""


def number(kind: int, bits: int) -> int | float | None:
    """Return the number in the eight bytes of a field, None where NVML says that there is none."""
    if kind == UNSIGNED_INT:
        return None if bits & U32_MAX == U32_MAX else bits & U32_MAX
    if kind in (UNSIGNED_LONG, UNSIGNED_LONG_LONG):
        return None if bits == U64_MAX else bits
    if kind not in LAYOUTS:
        return None
    value: int | float = struct.unpack(LAYOUTS[kind], bits.to_bytes(8, sys.byteorder))[0]
    return value if value >= 0 else None


def load_library() -> None:
    """Load NVML, which wakes no GPU; ``NoData`` where there is none."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NoData(f"no NVIDIA driver here: {error}") from error


def open_library() -> Library:
    """Load and initialise NVML.

    Raises:
        NoData: no Python package, no driver or no GPU.
        SourceError: the driver is there but does not start.
    """
    load_library()
    try:
        # Only now: importing it takes 2 MB, which a node without a GPU need not give.
        import pynvml
    except ImportError as error:
        raise NoData(
            "NVIDIA GPUs are read with nvidia-ml-py: pip install 'wattshed[nvidia]'"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _no_start(error.value, str(error)) from error
    return Library(pynvml)


def reason(code: int) -> str:
    """Return the word for a code in the label of a gap or an error."""
    return REASONS.get(code, "driver_error")


def _no_start(code: int, message: str) -> SourceError:
    if code in NOTHING_HERE:
        return NoData(f"no NVIDIA driver here: {message}")
    if code == MISMATCH:
        return SourceError(
            f"{message}: the driver was upgraded; restart the exporter, because a process keeps "
            "the library that it has loaded",
            "driver_mismatch",
        )
    return SourceError(f"NVML does not start: {message}", reason(code))


def _missing(*_: object) -> int:
    return FUNCTION_NOT_FOUND
