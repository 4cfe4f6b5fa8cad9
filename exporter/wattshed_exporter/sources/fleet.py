"""The made-up fleet as data: machines, boards, and who holds what at which time of the day.

Two sites with two 8-GPU servers each and two edge gateways each. Every day (UTC) follows the same
plan, so that any day of history tells the same stories: a notebook team holds three GPUs for
fifteen hours and uses them for one, a ranking notebook burns power with few of its SMs at work, a
training job hangs from 16:00 to 20:30, a canary model is parked without traffic, two GPUs are held
by nobody, one GPU without an energy counter is out of reach for twelve minutes, one is too hot, one
has memory errors, one has old firmware and one wall plug reads a fifth too little. Small random
wander on top is added by ``simulate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wattshed_exporter.model import Kind, Workload

Load = Callable[[int], float]
"""Minute of the day (UTC) to the load of the device, 0..1."""

MINUTES = 1440
FULL = 0.97
PAUSED = 0.04
STALLED = 0.02
BUSY = 0.05
"""Load below which nothing is produced."""


def at(hour: int, minute: int = 0) -> int:
    """Return the minute of the day."""
    return 60 * hour + minute


def training(stall: tuple[int, int] = (0, 0)) -> Load:
    """Full load with a checkpoint every half hour, and nothing while the job hangs."""

    def load(minute: int) -> float:
        if stall[0] <= minute < stall[1]:
            return STALLED
        return PAUSED if minute % 30 == 29 else FULL

    return load


def diurnal(low: float, high: float, peak_hour: float) -> Load:
    """Traffic of people: quiet at night, a broad peak in the afternoon."""

    def load(minute: int) -> float:
        phase = 2 * math.pi * (minute / 60 - peak_hour) / 24
        return low + (high - low) * math.pow((1 + math.cos(phase)) / 2, 1.5)

    return load


def bursts(*spans: tuple[int, int], level: float = 0.7) -> Load:
    """Work in the given spans of minutes, nothing in between."""

    def load(minute: int) -> float:
        return level if any(start <= minute < end for start, end in spans) else 0.0

    return load


def parked(_minute: int) -> float:
    """Loaded and waiting: no traffic ever comes."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Board:
    """A model of device: its power when bare, with a context, and at its limit."""

    model: str
    vendor: str
    idle_watts: float
    context_watts: float
    limit_watts: float
    memory_gib: float = 0.0
    kind: Kind = Kind.GPU
    counter: bool = True
    """False for a meter that only says power."""
    clock_hertz: float = 0.0
    """Of its SMs at most."""
    firmware: str = ""
    nvlink: bool = False


H100 = Board("NVIDIA H100 80GB HBM3", "NVIDIA", 70, 40, 700, 80, Kind.GPU, True, 1.98e9,
             "96.00.A5.00.01", nvlink=True)  # fmt: skip
H200 = Board("NVIDIA H200", "NVIDIA", 76, 42, 700, 141, Kind.GPU, True, 1.98e9,
             "96.00.BC.00.02", nvlink=True)  # fmt: skip
L40S = Board("NVIDIA L40S", "NVIDIA", 34, 62, 350, 48, Kind.GPU, True, 2.52e9, "95.02.3C.00.05")
VGPU = Board("NVIDIA L40S-48Q", "NVIDIA", 34, 62, 350, 48, Kind.GPU, False, 2.52e9)
ORIN = Board("Jetson AGX Orin", "NVIDIA", 8, 1.5, 25, 32, Kind.MODULE)
GATEWAY = Board("i.MX 8M Plus gateway", "NXP", 2.4, 0.2, 5, 4, Kind.BOARD)
FIELD = Board("Solar field gateway", "NXP", 1.1, 0.1, 4, 2, Kind.BATTERY)


@dataclass(frozen=True, slots=True)
class Machine:
    """A server with GPUs, or an edge gateway that is one device."""

    name: str
    site: str
    tier: str
    cluster: str
    boards: tuple[Board, ...]
    base_watts: float = 0.0
    """What the chassis draws beside its devices, before losses that grow with the load."""
    driver: str = "570.133.20"
    plug_ratio: float = 0.0
    """What a wall plug reads, of what the one device draws; 0: there is no plug."""


MACHINES: tuple[Machine, ...] = (
    Machine("sim-dub-gpu-01", "dublin", "datacenter", "eu-train", (H100,) * 8, 620),
    Machine("sim-dub-gpu-02", "dublin", "datacenter", "eu-train", (H200,) * 8, 640),
    Machine("sim-reno-gpu-01", "reno", "datacenter", "us-serve", (H200,) * 8, 640),
    Machine("sim-reno-gpu-02", "reno", "datacenter", "us-serve", (L40S,) * 7 + (VGPU,), 260,
            driver="550.54.15"),
    Machine("sim-dub-edge-01", "dublin", "edge", "eu-edge", (ORIN,)),
    Machine("sim-dub-edge-02", "dublin", "edge", "eu-edge", (GATEWAY,)),
    Machine("sim-reno-edge-01", "reno", "edge", "us-edge", (ORIN,), plug_ratio=0.8),
    Machine("sim-reno-edge-02", "reno", "edge", "us-edge", (FIELD,)),
)  # fmt: skip

HOT_DEVICE = "sim-dub-gpu-01/gpu3"
"""Its cooling is poor: under full load heat holds its clocks down for a quarter of the time."""
SICK_DEVICE = "sim-reno-gpu-01/gpu2"
"""Its memory has errors that are corrected, and once a day a row is replaced (XID 63)."""
OLD_FIRMWARE = {"sim-dub-gpu-01/gpu5": "96.00.61.00.01"}
OUTAGE_DEVICE = "sim-reno-gpu-02/gpu7"
OUTAGE_MINUTES = (at(2, 10), at(2, 22))


@dataclass(frozen=True, slots=True)
class Holding:
    """A workload holds slots of a machine between two minutes of every day.

    A ``daily`` one is a new run each day, with the date in its key; the others are services.
    """

    workload: Workload
    machine: str
    slots: tuple[int, ...]
    load: Load
    rates: Mapping[str, float] = field(default_factory=dict)
    """Outcomes per second at full load, by kind."""
    start: int = 0
    end: int = MINUTES
    share: float = 1.0
    intensity: float = 0.88
    """Power at full load as a fraction of the limit."""
    spread: float = 1.0
    """Utilisation per load: small kernels keep a board awake and few of its SMs at work."""
    memory: float = 0.8
    daily: bool = False


def _work(name: str, kind: str, cluster: str, team: str, owner: str, **more: str) -> Workload:
    namespace = more.pop("namespace", team)
    return Workload(
        f"sim-{name}",
        name,
        kind,
        namespace=namespace,
        team=team,
        owner=owner,
        cluster=cluster,
        **more,
    )


def _job(name: str, owner: str, model: str, precision: str) -> Workload:
    return _work(
        name, "training", "eu-train", "foundation", owner,
        namespace="training", project="atlas", model=model, precision=precision,
    )  # fmt: skip


def _service(
    name: str, team: str, project: str, model: str, precision: str, batch: str = "", phase: str = ""
) -> Workload:
    return _work(
        name, "inference", "us-serve", team, f"{team}-bot", namespace="serving", project=project,
        model=model, precision=precision, batch_class=batch, phase=phase,
    )  # fmt: skip


def _notebook(name: str, team: str, owner: str) -> Workload:
    return _work(
        name, "notebook", "us-serve", team, owner,
        namespace="notebooks", project="exploration", precision="fp32",
    )  # fmt: skip


def _edge(name: str, cluster: str, project: str, model: str) -> Workload:
    return _work(
        name, "edge_inference", cluster, "edge-ops", "edge-bot",
        namespace="edge", project=project, model=model, precision="int8", batch_class="1",
    )  # fmt: skip


def _chat(output_per_second: float) -> dict[str, float]:
    """Rates of a chat service: answers have 220 tokens, and a third of each prompt was cached."""
    return {
        "token_in": 3 * output_per_second,
        "token_in_cached": 1.5 * output_per_second,
        "token_out": output_per_second,
        "request": output_per_second / 220,
    }


def _vision(number: int, owner: str, load: Load) -> Holding:
    """One of the notebooks that hold a GPU all day and hardly use it."""
    notebook = _notebook(f"nb-vision-{number}", "research-vision", owner)
    return Holding(
        notebook, "sim-reno-gpu-02", (number - 1,), load,
        start=at(8), end=at(23), intensity=0.7, memory=0.35, daily=True,
    )  # fmt: skip


_ALL = tuple(range(8))

HOLDINGS: tuple[Holding, ...] = (
    Holding(_job("llama-3.1-8b-sft", "mara", "llama-3.1-8b", "bf16"), "sim-dub-gpu-01", _ALL,
            training(), {"step": 0.42}, 0, at(9, 20), daily=True),
    Holding(_job("mixtral-8x7b-dpo", "ivo", "mixtral-8x7b", "fp8"), "sim-dub-gpu-01", _ALL,
            training(), {"step": 0.17}, at(10, 30), at(19, 40), daily=True),
    Holding(_job("sdxl-finetune", "lena", "stable-diffusion-xl", "bf16"), "sim-dub-gpu-01", _ALL,
            training(), {"step": 1.9}, at(20, 10), at(23, 50), intensity=0.8, daily=True),
    Holding(_job("vit-h-pretrain", "noor", "vit-h", "bf16"), "sim-dub-gpu-02", _ALL,
            training(), {"step": 1.1}, at(0, 30), at(12, 20), intensity=0.84, daily=True),
    Holding(_job("speech-encoder-pretrain", "sanne", "conformer-xl", "bf16"), "sim-dub-gpu-02",
            _ALL, training(stall=(at(16), at(20, 30))), {"step": 0.8}, at(12, 40), at(23, 40),
            daily=True),
    Holding(_service("chat-70b", "assist", "assistant", "llama-3.1-70b", "fp8", "8-32"),
            "sim-reno-gpu-01", (0, 1), diurnal(0.18, 0.92, 21), _chat(3300), intensity=0.78,
            memory=0.92),
    Holding(_service("chat-70b-bf16", "assist", "assistant", "llama-3.1-70b", "bf16", "1-8"),
            "sim-reno-gpu-01", (2, 3), diurnal(0.18, 0.92, 21), _chat(1500), intensity=0.82,
            memory=0.97),
    Holding(_service("code-32b-prefill", "assist", "code-review", "qwen2.5-coder-32b", "fp8",
                     "8-32", "prefill"), "sim-reno-gpu-01", (4,), diurnal(0.10, 0.85, 19),
            {"token_in": 14_000, "token_in_cached": 21_000}, intensity=0.86, memory=0.7),
    Holding(_service("code-32b-decode", "assist", "code-review", "qwen2.5-coder-32b", "fp8",
                     "8-32", "decode"), "sim-reno-gpu-01", (5,), diurnal(0.10, 0.85, 19),
            {"token_out": 2900, "request": 13}, intensity=0.7, memory=0.88),
    Holding(_service("transcribe", "speech", "captions", "whisper-large-v3", "fp16", "8-32"),
            "sim-reno-gpu-01", (6,), diurnal(0.2, 0.8, 18), {"request": 6.5, "token_out": 900},
            share=0.6, intensity=0.7, memory=0.5),
    Holding(_service("embed", "search", "retrieval", "bge-m3", "fp16", "offline"),
            "sim-reno-gpu-01", (6,), diurnal(0.3, 0.7, 20),
            {"request": 210, "token_in": 42_000}, share=0.4, intensity=0.7, memory=0.5),
    Holding(_service("canary-8x22b", "assist", "assistant", "mixtral-8x22b", "fp8"),
            "sim-reno-gpu-01", (7,), parked, _chat(900), memory=0.95),
    _vision(1, "priya", bursts((at(9), at(9, 40)))),
    _vision(2, "tomas", bursts((at(10, 20), at(10, 40)))),
    _vision(3, "priya", parked),
    Holding(_notebook("nb-ranking", "search", "ewa"), "sim-reno-gpu-02", (3,),
            bursts((at(15), at(17)), (at(18, 30), at(21))), start=at(14), end=at(22),
            intensity=0.75, memory=0.6, spread=0.15, daily=True),
    Holding(_service("images", "creative", "studio", "stable-diffusion-xl", "fp16", "1-8"),
            "sim-reno-gpu-02", (4,), diurnal(0.1, 0.9, 20), {"request": 0.55, "image": 2.2},
            share=0.7),
    Holding(_service("dock-recount", "search", "warehouse", "yolov8s", "int8", "offline"),
            "sim-reno-gpu-02", (4,), diurnal(0.3, 0.8, 6), {"inference": 1900}, share=0.3,
            memory=0.2),
    Holding(_service("voice-small", "speech", "captions", "whisper-small", "fp16", "1-8"),
            "sim-reno-gpu-02", (7,), diurnal(0.15, 0.6, 18), {"request": 4, "token_out": 420},
            intensity=0.7, memory=0.3),
    Holding(_edge("weld-inspection", "eu-edge", "line-4", "yolov8m"), "sim-dub-edge-01", (0,),
            diurnal(0.1, 0.95, 12), {"inference": 58}, intensity=0.95),
    Holding(_edge("bearing-watch", "eu-edge", "line-4", "tcn-anomaly"), "sim-dub-edge-02", (0,),
            diurnal(0.4, 0.9, 12), {"inference": 4}),
    Holding(_edge("dock-counter", "us-edge", "warehouse", "yolov8s"), "sim-reno-edge-01", (0,),
            diurnal(0.15, 0.9, 20), {"inference": 74}, intensity=0.9),
    Holding(_edge("pump-watch", "us-edge", "wells", "tcn-anomaly"), "sim-reno-edge-02", (0,),
            diurnal(0.2, 0.7, 20), {"inference": 1}),
)  # fmt: skip
