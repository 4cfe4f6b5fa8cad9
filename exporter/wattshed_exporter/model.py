"""The nouns of wattshed as frozen values: no I/O, SI base units, UTC milliseconds.

Energy is carried as an integer number of microjoules wherever a counter is differenced, because a
64-bit float loses the last microjoules of a long-lived counter; it becomes float joules once, at
the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

Joules = NewType("Joules", float)
Watts = NewType("Watts", float)
Seconds = NewType("Seconds", float)
TimeMs = NewType("TimeMs", int)
"""Unix time in milliseconds, UTC: the resolution at which a reading is stamped and stored."""
MicroJoules = NewType("MicroJoules", int)

MICRO = 1_000_000


def stable_id(key: str) -> int:
    """Return the unsigned 64-bit identity of a device or workload key (BLAKE2b, little endian)."""
    # Only the collector asks; on a node the cryptographic library would cost 3 MB.
    import hashlib

    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


class Kind(StrEnum):
    """What a meter measures."""

    GPU = "gpu"
    CPU = "cpu"
    MEMORY = "memory"
    HOST = "host"
    MODULE = "module"
    BOARD = "board"
    BATTERY = "battery"
    SITE = "site"


class Method(StrEnum):
    """How joules were obtained; exactly one per span."""

    COUNTER = "counter"
    INTEGRAL = "integral"
    ESTIMATED = "estimated"
    SIMULATED = "simulated"
    UNKNOWN = "unknown"


class Overlap(StrEnum):
    """Whether a meter's energy is also inside another meter's, so that totals count it once."""

    NONE = ""
    INNER = "inner"
    OUTER = "outer"


class IdlePolicy(StrEnum):
    """Who pays what a device draws whether it works or not."""

    HOLDER = "holder"
    """Who holds it, by share; what nobody holds is nobody's."""
    PROPORTIONAL = "proportional"
    """Who works on it, by activity; by share where nobody does."""
    PLATFORM = "platform"
    """Nobody: it is the platform's."""


class Class(StrEnum):
    """Where a joule went. For every device and interval the classes sum to what was measured."""

    ACTIVE = "active"
    IDLE_HELD = "idle_held"
    IDLE_UNALLOCATED = "idle_unallocated"
    OVERHEAD = "overhead"
    UNATTRIBUTED = "unattributed"


@dataclass(frozen=True, slots=True)
class Device:
    """One physical meter. ``key`` is unique in the fleet and never changes (``hw.id`` on OTLP)."""

    key: str
    kind: Kind
    node: str
    source: str
    name: str = ""
    vendor: str = ""
    model: str = ""
    serial: str = ""
    driver: str = ""
    firmware: str = ""
    parent: str = ""
    site: str = ""
    tier: str = ""
    cluster: str = ""
    scope: str = ""
    method: Method = Method.COUNTER
    overlap: Overlap = Overlap.NONE
    uncertainty_ratio: float | None = None
    power_limit_watts: float | None = None
    counter_range_uj: int | None = None
    """Modulus of the energy counter in microjoules; None where it does not wrap in practice."""

    @property
    def id(self) -> int:
        return stable_id(self.key)


# Readings and ticks are made at every beat: freezing them would take three times as long.
@dataclass(slots=True, unsafe_hash=True)
class Reading:
    """What one meter said at one instant; None means the meter did not say. It never changes.

    ``energy_uj`` is the raw hardware counter (it may wrap at ``Device.counter_range_uj``).
    ``start_ms`` is when that counter last stood at zero, if known. ``gap`` names the reason when
    there is neither power nor energy. ``activity_ratio`` is a second, independent signal of work
    (SM activity, or what the processes use of the SMs), and ``contexts`` the number of processes
    that keep a context on the device: both only help to tell idle from busy.
    """

    device: str
    ts_ms: int
    power_watts: float | None = None
    energy_uj: int | None = None
    start_ms: int | None = None
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    temperature_celsius: float | None = None
    activity_ratio: float | None = None
    contexts: int | None = None
    gap: str = ""


@dataclass(slots=True, unsafe_hash=True)
class Tick:
    """A reading as published: an unwrapped counter since ``start_ms`` and the method behind it.

    ``gap`` names the reason why there is neither power nor energy. Beside power it says that the
    energy of this instant is not to be believed: whatever was or will be said of it is taken back.
    It never changes.
    """

    device: str
    ts_ms: int
    interval_ms: int
    method: Method
    power_watts: float | None = None
    energy_uj: int | None = None
    start_ms: int | None = None
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    temperature_celsius: float | None = None
    gap: str = ""


@dataclass(frozen=True, slots=True)
class Detail:
    """One value of a device beside its ticks: a clock, a limit, an error count, seconds of idling.

    ``metric`` is the Prometheus name of one of ``semconv.DETAIL_METRICS`` and ``attributes`` the
    values of that metric's own labels, in their order. ``start_ms`` is when a counter stood at
    zero, if known. Details are said now and then, not with every reading.
    """

    device: str
    metric: str
    ts_ms: int
    value: float
    attributes: tuple[str, ...] = ()
    start_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that uses devices and produces outcomes; ``key`` is unique in the fleet."""

    key: str
    name: str
    kind: str = ""
    instance: str = ""
    """What of it ran: a pod, a job's id, a container, a unit."""
    namespace: str = ""
    team: str = ""
    owner: str = ""
    project: str = ""
    cost_center: str = ""
    queue: str = ""
    model: str = ""
    precision: str = ""
    batch_class: str = ""
    """How large the batches are that it works on: free text, such as 1, 8-16 or offline."""
    phase: str = ""
    """``prefill`` or ``decode`` where it does nothing else, as in disaggregated serving."""
    cluster: str = ""

    @property
    def id(self) -> int:
        return stable_id(self.key)


@dataclass(frozen=True, slots=True)
class Allocation:
    """A workload holds ``share`` of a device during [start_ms, end_ms), or works on it, or both.

    ``share`` is 0..1; 0 holds nothing and needs an ``activity``. ``activity`` is the mean part of
    the whole device that the workload used in that time, 0..1, None where nobody can tell. One that
    goes on is said again with a later end; one with an activity is a window of at most an hour and
    is followed by the next. Of two with one device, workload and start the higher ``revision``
    counts, then the later end; a correction whose end is its start takes the allocation back.
    """

    device: str
    workload: str
    start_ms: int
    end_ms: int
    share: float = 1.0
    method: str = ""
    activity: float | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process used of one GPU since the last reading of processes.

    ``device`` is the GPU, or the UUID of the MIG instance that the process runs in. ``sm_ratio`` is
    its mean part of the SMs, 0..1, None where the driver does not tell.
    """

    device: str
    pid: int
    ts_ms: int
    sm_ratio: float | None = None
    memory_used_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One compute instance of a board in MIG mode, as it is now.

    ``name`` is ``gpu instance/compute instance``, ``slices`` the compute slices of the board that
    it has, ``activity_ratio`` the mean part of the instance that worked, 0..1 (None: not told).
    """

    device: str
    name: str
    uuid: str
    ts_ms: int
    slices: int | None = None
    activity_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A counter of what a workload produced: ``total`` since ``start_ms``, read at ``ts_ms``.

    ``source`` names the counter among those of one workload and kind: each of a server's engines,
    or each process, counts for itself. ``model`` is what produced it where the workload serves
    several, "" where that is the workload's own.
    """

    workload: str
    kind: str
    ts_ms: int
    total: float
    start_ms: int | None = None
    source: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Energy of one device during [start_ms, end_ms); ``joules`` is None where it is unknown.

    ``power_watts`` holds the power at both edges when the span is a trapezoid, so that a part of
    it can be cut out exactly; for a counter difference it is None and the power counts as constant.
    """

    device: str
    start_ms: int
    end_ms: int
    joules: Joules | None
    method: Method
    power_watts: tuple[float, float] | None = None
    utilization_ratio: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """Part of a span, given to a workload (``workload`` is "" when nobody held the device)."""

    device: str
    start_ms: int
    end_ms: int
    charge_class: Class
    joules: Joules
    workload: str = ""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An allocation that cannot be true, as it was said, and the reason."""

    allocation: Allocation
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one source or one request brings, each kind possibly empty."""

    devices: tuple[Device, ...] = ()
    ticks: tuple[Tick, ...] = ()
    details: tuple[Detail, ...] = ()
    workloads: tuple[Workload, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    quarantine: tuple[Doubtful, ...] = ()
    """Allocations that are kept aside: they are stored, and nothing is charged by them."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Rejected data points by reason; nothing is dropped without being counted here."""

    def __bool__(self) -> bool:
        return bool(
            self.devices
            or self.ticks
            or self.details
            or self.workloads
            or self.allocations
            or self.outcomes
            or self.quarantine
        )
