"""Power and the energy counter from amdgpu's ``gpu_metrics``, a table in the kernel's own form.

The table starts with its size (u16), a format and a content revision (u8 each). Format 1 is that
of GPUs and has an energy accumulator; formats 2 and 3 are those of APUs and have none. Offsets
are those of the structs ``gpu_metrics_v1_0`` to ``v1_8`` with natural alignment; the later
revisions do not extend the earlier ones. Revision 1.9 is a packed list instead: a count (s32),
then for each attribute its encoding (u64: 10 bits of instances, 10 of identity, 4 of type, then
the unit) and its values. A field that the GPU does not fill is all ones. Source:
drivers/gpu/drm/amd/include/kgd_pp_interface.h and pm/swsmu/smu_cmn.h of the Linux kernel.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wattshed_exporter.errors import SourceError

FORMAT_GPU, CONTENT_LIST = 1, 9
HEADER = struct.Struct("=HBB")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a content revision of format 1 has the socket's power (u16, watts) and energy."""

    power: int
    energy: int
    kind: str = "Q"


LAYOUTS = {
    0: Layout(34, 36, "I"),
    1: Layout(22, 24),
    2: Layout(22, 24),
    3: Layout(22, 24),
    4: Layout(10, 24),
    5: Layout(10, 56),
    6: Layout(10, 16),
    7: Layout(10, 24),
    8: Layout(10, 24),
}
LATEST_UNDOCUMENTED = 3
"""Up to 1.3 the header names no unit of energy and ROCm counts 15.3 uJ; then it names 2^-16 J."""
THROTTLERS = {3: 112}
"""Where a content revision has ``indep_throttle_status`` (u64)."""
LIST_POWER, LIST_ENERGY = 3, 7
LIST_TYPES = "BbHhIiQq"


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the table says; None is what it does not say.

    ``range_uj`` is where the counter may wrap: up to 1.3 some GPUs fill the 64 bits from a register
    of 32. None from 1.4 on, which is also where the kernel documents the unit. ``throttlers`` are
    the bits for why the clocks are held down that mean the same on every chip (1.3 alone).
    """

    power_watts: float | None = None
    energy_uj: int | None = None
    range_uj: int | None = None
    throttlers: int | None = None


NOTHING = Metrics()


def parse(table: bytes) -> Metrics:
    """Return what a table says; ``SourceError`` (``malformed``) where it is cut short."""
    throttlers = None
    try:
        size, form, content = HEADER.unpack_from(table)
        if size > len(table):
            raise struct.error(f"{size} bytes are announced, {len(table)} are there")
        if form != FORMAT_GPU:
            return NOTHING
        if content == CONTENT_LIST:
            power, energy = _listed(table[:size])
        elif content in LAYOUTS:
            layout = LAYOUTS[content]
            power = _filled("H", table[:size], layout.power)
            energy = _filled(layout.kind, table[:size], layout.energy)
            if content in THROTTLERS:
                throttlers = _filled("Q", table[:size], THROTTLERS[content])
        else:
            return NOTHING
    except struct.error as error:
        raise SourceError(f"gpu_metrics: {error}", "malformed") from error
    watts = None if power is None else float(power)
    if energy is None:
        return Metrics(watts, throttlers=throttlers)
    if content <= LATEST_UNDOCUMENTED:
        return Metrics(watts, energy * 153 // 10, (1 << 32) * 153 // 10, throttlers)
    return Metrics(watts, energy * 15625 >> 10)


def _filled(kind: str, table: bytes, offset: int) -> int | None:
    """Return a field of the table, None where all its bits are ones, as they are in -1."""
    number: int = struct.unpack_from(f"={kind}", table, offset)[0]
    ones = -1 if kind.islower() else (1 << 8 * struct.calcsize(f"={kind}")) - 1
    return None if number == ones or number < 0 else number


def _listed(table: bytes) -> tuple[int | None, int | None]:
    """Return power and energy of a list of attributes; unknown ones are passed over."""
    said: dict[int, int | None] = {}
    (count,), offset = struct.unpack_from("=i", table, HEADER.size), HEADER.size + 4
    for _ in range(count):
        (encoding,) = struct.unpack_from("=Q", table, offset)
        instances, identity, of = encoding & 0x3FF, encoding >> 10 & 0x3FF, encoding >> 20 & 0xF
        if of >= len(LIST_TYPES):
            raise struct.error(f"attribute {identity} is of the unknown type {of}")
        kind, offset = LIST_TYPES[of], offset + 8
        if identity in (LIST_POWER, LIST_ENERGY) and instances:
            said[identity] = _filled(kind, table, offset)
        offset += instances * struct.calcsize(f"={kind}")
    return said.get(LIST_POWER), said.get(LIST_ENERGY)
