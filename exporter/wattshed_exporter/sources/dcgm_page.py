"""What a dcgm-exporter's page says, by board: pure, text in and values out.

In MIG mode every row of an instance repeats the value of the whole board, with small differences,
so a board's rows are never added: the row without ``GPU_I_ID`` counts if there is one, else the
largest; only the memory of instances is their own and adds up. Utilisation is the largest of what
the board says of itself, because each signal is known to stay at zero under load: ``GPU_UTIL`` in
MIG mode (where it is not used), profiling fields when profiling is taken over. DCGM's blank values
are None. Sources: dcgm-exporter's ``etc/*.csv``, ``dcgm_fields.h`` and ``dcgm_structs.h``, and its
issues 50, 216, 317 and 662.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .exposition import rows

BLANKS = frozenset(
    base + code for base in (0x7FFF_FFF0, 0x7FFF_FFFF_FFFF_FFF0, 1 << 47) for code in range(4)
)
"""Blank, not found, not supported, no permission: of 32-bit and 64-bit integers and of doubles."""
MIB, MEGAHERTZ = 1 << 20, 1_000_000
BUSY_PERCENT = 50
"""With so much ``GPU_UTIL``, an engine that never worked is a profiler that does not look."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a metric says, and the largest value that can be meant."""

    name: str
    most: int


ENERGY = Field("energy_mj", 1 << 53)
POWER, LIMIT = Field("power_watts", 1_000_000), Field("limit_watts", 1_000_000)
PERCENT, ENGINE, CORES = Field("gpu_percent", 100), Field("engine_ratio", 1), Field("sm_ratio", 1)
USED, TOTAL, TEMPERATURE = (
    Field("used_mib", 1 << 32),
    Field("total_mib", 1 << 32),
    Field("celsius", 200),
)
FREE, RESERVED = Field("free_mib", 1 << 32), Field("reserved_mib", 1 << 32)
DRAM, COPY = Field("dram_ratio", 1), Field("copy_percent", 100)
THROTTLERS, XID = Field("throttlers", (1 << 32) - 1), Field("xid", 100_000)


def _ratio(name: str) -> Field:
    return Field(name, 1)


CLOCKS = {name: Field(f"{name}_mhz", 100_000) for name in ("sm", "memory", "video")}
PIPES = {name: _ratio(f"{name}_ratio") for name in ("tensor", "fp64", "fp32", "fp16")}
ENGINES = {name: Field(f"{name}_percent", 100) for name in ("encoder", "decoder")}
ERRORS = {name: Field(f"{name}_errors", 1 << 53) for name in ("corrected", "uncorrected")}
REMAPPED = {
    name: Field(f"{name}_rows", 1 << 32)
    for name in ("corrected", "uncorrected", "pending", "failed")
}
MEMORY_TEMPERATURE = Field("memory_celsius", 200)
LINKS = {
    (link, direction): Field(f"{link}_{direction}", 1 << 43)
    for link in ("pcie", "nvlink")
    for direction in ("transmit", "receive")
}
"""Bytes per second, the mean since the page was renewed; 8 TB/s is more than any link carries."""

FIELDS = {
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ENERGY,
    "DCGM_FI_DEV_POWER_USAGE": POWER,
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": LIMIT,
    "DCGM_FI_DEV_GPU_UTIL": PERCENT,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ENGINE,
    "DCGM_FI_PROF_SM_ACTIVE": CORES,
    "DCGM_FI_DEV_FB_USED": USED,
    "DCGM_FI_DEV_FB_TOTAL": TOTAL,
    "DCGM_FI_DEV_FB_FREE": FREE,
    "DCGM_FI_DEV_FB_RESERVED": RESERVED,
    "DCGM_FI_DEV_GPU_TEMP": TEMPERATURE,
    "DCGM_FI_DEV_MEMORY_TEMP": MEMORY_TEMPERATURE,
    "DCGM_FI_PROF_DRAM_ACTIVE": DRAM,
    "DCGM_FI_DEV_MEM_COPY_UTIL": COPY,
    "DCGM_FI_DEV_SM_CLOCK": CLOCKS["sm"],
    "DCGM_FI_DEV_MEM_CLOCK": CLOCKS["memory"],
    "DCGM_FI_DEV_VIDEO_CLOCK": CLOCKS["video"],
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": PIPES["tensor"],
    "DCGM_FI_PROF_PIPE_FP64_ACTIVE": PIPES["fp64"],
    "DCGM_FI_PROF_PIPE_FP32_ACTIVE": PIPES["fp32"],
    "DCGM_FI_PROF_PIPE_FP16_ACTIVE": PIPES["fp16"],
    "DCGM_FI_DEV_ENC_UTIL": ENGINES["encoder"],
    "DCGM_FI_DEV_DEC_UTIL": ENGINES["decoder"],
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": ERRORS["corrected"],
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ERRORS["uncorrected"],
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": REMAPPED["corrected"],
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": REMAPPED["uncorrected"],
    "DCGM_FI_DEV_ROW_REMAP_PENDING": REMAPPED["pending"],
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": REMAPPED["failed"],
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": THROTTLERS,
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": THROTTLERS,
    "DCGM_FI_DEV_XID_ERRORS": XID,
    "DCGM_FI_PROF_PCIE_TX_BYTES": LINKS["pcie", "transmit"],
    "DCGM_FI_PROF_PCIE_RX_BYTES": LINKS["pcie", "receive"],
    "DCGM_FI_PROF_NVLINK_TX_BYTES": LINKS["nvlink", "transmit"],
    "DCGM_FI_PROF_NVLINK_RX_BYTES": LINKS["nvlink", "receive"],
    "dcgm_total_energy_consumption": ENERGY,
    "dcgm_power_usage": POWER,
    "dcgm_gpu_utilization": PERCENT,
    "dcgm_fi_prof_gr_engine_active": ENGINE,
    "dcgm_fi_prof_sm_active": CORES,
    "dcgm_fb_used": USED,
    "dcgm_gpu_temp": TEMPERATURE,
    "dcgm_memory_temp": MEMORY_TEMPERATURE,
    "dcgm_sm_clock": CLOCKS["sm"],
    "dcgm_memory_clock": CLOCKS["memory"],
    "dcgm_xid_errors": XID,
}
"""Metrics that are read; the lower-case names are those of dcgm-exporter 1.x."""


@dataclass(slots=True)
class Board:
    """What the page says of one GPU: values by field and MIG instance ("" is the whole board)."""

    labels: dict[str, str] = field(default_factory=dict)
    values: dict[Field, dict[str, int | float]] = field(default_factory=dict)
    mig: bool = False

    @property
    def host(self) -> str:
        return self.labels.get("Hostname") or self.labels.get("hostname") or ""

    @property
    def metered(self) -> bool:
        return ENERGY in self.values or POWER in self.values

    @property
    def unprofiled(self) -> bool:
        """Whether the profiling fields say zero of a GPU that works (dcgm-exporter issue 662)."""
        engine = self.value(CORES) if ENGINE not in self.values else self.value(ENGINE)
        percent = None if self.mig else self.value(PERCENT)
        return engine == 0 and percent is not None and percent >= BUSY_PERCENT

    def value(self, of: Field) -> int | float | None:
        said = self.values.get(of)
        return None if said is None else said.get("", max(said.values()))

    def profiled(self, of: Field) -> int | float | None:
        """Return a profiling field, None while the profiler does not look."""
        return None if self.unprofiled else self.value(of)

    def energy_uj(self) -> int | None:
        millijoules = self.value(ENERGY)
        return None if millijoules is None else int(millijoules * 1000)

    def memory_bytes(self) -> int | None:
        said = self.values.get(USED)
        return None if said is None else int(said.get("", sum(said.values())) * MIB)

    def utilization_ratio(self) -> float | None:
        percent = None if self.mig else self.value(PERCENT)
        said = (percent and percent / 100, self.value(ENGINE), self.value(CORES))
        return max((float(ratio) for ratio in said if ratio is not None), default=None)

    def activity_ratio(self) -> float | None:
        cores = self.profiled(CORES)
        return None if cores is None else float(cores)


def boards(page: str) -> dict[str, Board]:
    """Return what the page says of each GPU by UUID; rows of nothing with a UUID are left out."""
    found: dict[str, Board] = {}
    for row in rows(page, FIELDS):
        key = row.labels.get("UUID") or row.labels.get("uuid") or ""
        if not key or key.startswith("MIG-"):
            continue
        board = found.setdefault(key, Board())
        board.labels.update(_told(row.labels))
        instance = row.labels.get("GPU_I_ID", "")
        board.mig = board.mig or bool(instance)
        of = FIELDS[row.name]
        if _meant(row.value, of):
            said = board.values.setdefault(of, {})
            said[instance] = max(row.value, said.get(instance, row.value))
    return found


def _told(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if value}


def _meant(value: int | float, of: Field) -> bool:
    return 0 <= value <= of.most and value not in BLANKS
