"""MIG: the instances that a board is cut into. It stays one device, because only it has meters.

Memory is shared by the compute instances of one GPU instance, so it is told per GPU instance.
Source: NVML API reference, "Multi Instance GPU Management".
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .nvml_details import Said
from .nvml_library import MEMORY_V2, U64_MAX, UNSUPPORTED, Library

INFO, MEMORY = "wattshed_mig_instance_info", "wattshed_mig_memory_used_bytes"
ATTRIBUTES = struct.Struct("=24xIIQ")


def mode(library: Library, handle: ctypes.c_void_p) -> tuple[bool, int]:
    """Return whether the board is cut into instances, and the code."""
    modes = (ctypes.c_uint32 * 2)()
    places = [ctypes.byref(modes, place) for place in (0, 4)]
    code = library.function("nvmlDeviceGetMigMode")(handle, *places)
    return not code and modes[0] == 1, code


@dataclass(frozen=True, slots=True)
class Part:
    """A compute instance: the numbers of its GPU instance and its own, and its slices of 7.

    ``memory_bytes`` is what is used of the memory of its GPU instance.
    """

    place: tuple[int, int]
    uuid: str
    profile: str
    slices: int | None
    memory_bytes: int | None

    @property
    def name(self) -> str:
        gpu, compute = self.place
        return f"{gpu}/{compute}"


def say(parts: Iterable[Part]) -> Iterator[Said]:
    """Yield an info for each compute instance and the used memory of each GPU instance."""
    told: set[int] = set()
    for part in parts:
        slices = "" if part.slices is None else str(part.slices)
        yield INFO, (part.name, part.profile, part.uuid, slices), 1.0
        gpu, _ = part.place
        if part.memory_bytes is not None and gpu not in told:
            told.add(gpu)
            yield MEMORY, (str(gpu),), float(part.memory_bytes)


def instances(library: Library, handle: ctypes.c_void_p) -> Iterator[Part]:
    """Yield each compute instance of a board."""
    count, code = library.u32("nvmlDeviceGetMaxMigDeviceCount", handle)
    for index in range(count or 0):
        instance = ctypes.c_void_p()
        get = library.function("nvmlDeviceGetMigDeviceHandleByIndex")
        if get(handle, index, ctypes.byref(instance)):
            continue  # places may be empty
        gpu, code = library.u32("nvmlDeviceGetGpuInstanceId", instance)
        compute, more = library.u32("nvmlDeviceGetComputeInstanceId", instance)
        uuid, last = library.text("nvmlDeviceGetUUID", instance)
        if code or more or last or gpu is None or compute is None:
            continue
        shape, used = _shape(library, instance), _memory_used(library, instance)
        yield Part((gpu, compute), uuid, *shape, used)


def _shape(library: Library, instance: ctypes.c_void_p) -> tuple[str, int | None]:
    """Return the profile such as 1g.10gb, "" where unknown, and the number of compute slices."""
    buffer = ctypes.create_string_buffer(ATTRIBUTES.size)
    failed = library.function("nvmlDeviceGetAttributes_v2")(instance, buffer)
    gpu, compute, megabytes = ATTRIBUTES.unpack(buffer.raw)
    _, _, profile = library.text("nvmlDeviceGetName", instance)[0].partition("MIG ")
    if not profile and not failed:
        whole = f"{gpu}g.{-(-megabytes // 1024)}gb"
        profile = whole if compute == gpu else f"{compute}c.{whole}"
    return profile, None if failed else compute


def _memory_used(library: Library, instance: ctypes.c_void_p) -> int | None:
    memory = ctypes.create_string_buffer(40)
    struct.pack_into("=I", memory, 0, MEMORY_V2)
    code = library.function("nvmlDeviceGetMemoryInfo_v2")(instance, memory)
    used: int = struct.unpack_from("=Q", memory, 32)[0]
    if code in UNSUPPORTED:
        code = library.function("nvmlDeviceGetMemoryInfo")(instance, memory)
        used = struct.unpack_from("=Q", memory, 16)[0]
    return None if code or used == U64_MAX else used
