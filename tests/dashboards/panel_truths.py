"""Panels whose answer is known from the demo's plan: what each must say of six full hours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.dashboards import truth
from tests.dashboards.truth import (
    DETAIL_S,
    HOUR_S,
    Part,
    Truth,
    Where,
    is_gpu,
    team_of,
    workload_of,
)

from wattshed_collector.cli import demo_facts
from wattshed_collector.lifecycle.embodied import amortised_g
from wattshed_exporter.model import Kind
from wattshed_exporter.sources.fleet import (
    H100,
    HOLDINGS,
    HOT_DEVICE,
    MACHINES,
    OLD_FIRMWARE,
    Board,
)

HOURS = 6
DID = {"idle_held": "idle, held", "idle_unallocated": "idle, unheld"}
IDLE = (truth.IDLE_HELD, truth.IDLE_FREE)
PARKED_ABOVE_W = 15.0
FLEET, WASTE, WORKLOADS = "wattshed-fleet", "wattshed-waste", "wattshed-workloads"
OUTCOMES, MODELS, PLACEMENT = "wattshed-outcomes", "wattshed-models", "wattshed-placement"
LIFECYCLE, NODE, STACK = "wattshed-lifecycle", "wattshed-node", "wattshed-stack"

Answer = float | Mapping[str, float] | Mapping[int, float]


@dataclass(frozen=True, slots=True)
class World:
    """The truth of six full hours, of each, of the last full day as far as known, and of now.

    ``seconds`` is what a panel takes the six hours to be: its window ends a second early, because
    Grafana's time filter includes both ends. ``ts_ms`` and ``step_ms`` are of the newest reading.
    """

    six: Truth
    hours: tuple[Truth, ...]
    day: Truth
    until_s: int
    ts_ms: int
    step_ms: int

    @property
    def seconds(self) -> int:
        return HOURS * HOUR_S - 1

    def watts_now(self) -> dict[str, float]:
        found = self.six.watts_at(self.ts_ms, self.step_ms)
        return {key: watts for key, watts in found.items() if watts is not None}


@dataclass(frozen=True, slots=True)
class Check:
    """``column`` of a panel of a board, a number or numbers by the text column ``by``."""

    uid: str
    title: str
    column: str
    want: Callable[[World], Answer]
    by: str = ""
    window: str = "six"
    """six (hours) or day."""
    only: tuple[str, ...] = ()
    """Which of the texts are compared; all, if empty."""
    chosen: Mapping[str, str] = field(default_factory=dict)


def of(*charged: str) -> Where:
    """Hold for parts of these classes."""
    return lambda part: part.charged in charged


def counted(part: Part) -> bool:
    return part.charged != truth.OVERHEAD


def wh(joules: float) -> float:
    return joules / 3600


def all_wh(joules: Mapping[str, float]) -> dict[str, float]:
    return {name: wh(value) for name, value in joules.items()}


def top(values: Mapping[str, float], count: int) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1])[:count])


def facility(part: Part) -> float:
    return part.joules * demo_facts.PUE[part.device.site]


def cost(part: Part) -> float:
    """Return what its own joules cost; a price is not applied to what the site adds."""
    return part.joules / 3.6e6 * demo_facts.price(part.device.site, part.minute_s)


def carbon(part: Part) -> float:
    return facility(part) / 3.6e6 * demo_facts.carbon_g_per_kwh(part.device.site, part.minute_s)


def summed(world: World, value: Callable[[Part], float], where: Where = truth.everything) -> float:
    return sum(value(part) for part in world.six.parts if where(part))


def share(world: Truth, part_of: Where, whole: Where = truth.everything) -> float:
    return world.joules(part_of) / world.joules(whole)


def boards_of() -> Mapping[str, Board]:
    """Return each GPU's board by key."""
    return {
        f"{machine.name}/gpu{slot}": board
        for machine in MACHINES
        for slot, board in enumerate(machine.boards)
        if board.kind is Kind.GPU
    }


def idle_by_reason(world: World) -> dict[str, dict[int, float]]:
    """Return idle watts of each hour (Unix seconds) by reason, as the waste board calls them."""
    joules: dict[tuple[int, str, str, str], float] = defaultdict(float)
    seconds: dict[tuple[int, str, str, str], float] = defaultdict(float)
    for part in world.six.parts:
        if part.charged in IDLE:
            key = (part.minute_s // HOUR_S * HOUR_S, part.device.key, part.charged,
                   workload_of(part))  # fmt: skip
            joules[key] += part.joules
            seconds[key] += part.seconds
    found: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    boards = boards_of()
    for key, total in joules.items():
        hour, device, charged, workload = key
        reason = "unallocated" if charged == truth.IDLE_FREE else "held"
        reason = "expected" if workload == demo_facts.EXPECTED_WORKLOAD else reason
        board = boards.get(device)
        if reason == "held" and board is not None:
            above = total - seconds[key] * (board.idle_watts + PARKED_ABOVE_W)
            reason = "parked" if above >= 0 else "held"
        found[reason][hour] += total / HOUR_S
    return found


def reasons(world: World) -> dict[str, float]:
    """Return the sum over the hours of idle watts by reason."""
    return {reason: sum(hours.values()) for reason, hours in idle_by_reason(world).items()}


def loaded(world: World, workload: str) -> float:
    return world.six.joules(truth.by_workload(workload))


def at_work(world: World, workload: str) -> float:
    return world.six.joules(
        lambda part: workload_of(part) == workload and part.charged == truth.ACTIVE
    )


def made(world: World, workload: str, kind: str) -> float:
    return world.six.outcomes(workload, kind)


def makers(world: World, kind: str) -> list[str]:
    """Return the workloads that made any of a kind."""
    names = {h.workload.name for h in HOLDINGS if kind in h.rates}
    return sorted(name for name in names if made(world, name, kind) > 0)


def per_token(world: World, joules: Callable[[World, str], float]) -> float:
    names = makers(world, "token_out")
    tokens = sum(made(world, name, "token_out") for name in names)
    return sum(joules(world, name) for name in names) / tokens


def ways(world: World) -> dict[str, float]:
    """Return joules per output token by model, precision and board."""
    joules: dict[str, float] = defaultdict(float)
    tokens: dict[str, float] = defaultdict(float)
    boards = boards_of()
    for holding in HOLDINGS:
        work = holding.workload
        if work.name in makers(world, "token_out"):
            model = boards[f"{holding.machine}/gpu{holding.slots[0]}"].model
            way = f"{work.model} {work.precision} on {model}"
            joules[way] += loaded(world, work.name)
            tokens[way] += made(world, work.name, "token_out")
    return {way: joules[way] / tokens[way] for way in joules}


def cached_share(world: World) -> float:
    names = makers(world, "token_in_cached")
    cached = sum(made(world, name, "token_in_cached") for name in names)
    return cached / (cached + sum(made(world, name, "token_in") for name in names))


def over_target(world: World) -> dict[str, float]:
    """Return the hours' sums of joules over allowed joules, of objectives on chats."""
    found: dict[str, float] = defaultdict(float)
    for slo, workload, target in (
        ("chat-fp8", "chat-70b", 0.9),
        ("chat-bf16", "chat-70b-bf16", 0.6),
    ):
        for hour in world.hours:
            joules = hour.joules(truth.by_workload(workload))
            found[slo] += joules / (target * hour.outcomes(workload, "token_out"))
    return dict(found)


def at_the_edge(world: World) -> float:
    names = [h.workload.name for h in HOLDINGS if "edge" in h.machine]
    return sum(loaded(world, n) for n in names) / sum(made(world, n, "inference") for n in names)


def power_now(world: World) -> float:
    """Return what the outermost meters say, and of machines without one what their device says."""
    watts = world.watts_now()
    outer = {f"{m.name}/host" for m in MACHINES if len(m.boards) > 1 or m.plug_ratio}
    alone = {f"{m.name}/{m.boards[0].kind}" for m in MACHINES if len(m.boards) == 1}
    alone -= {f"{m.name}/{m.boards[0].kind}" for m in MACHINES if m.plug_ratio}
    return sum(watts[key] for key in outer | alone)


def use_now(world: World) -> float:
    rows = world.six.readings_at(world.ts_ms, world.step_ms)
    used = [
        round(rows[d.key].utilization_ratio or 0.0, 4)
        for d in world.six.devices
        if d.kind in (Kind.GPU, Kind.MODULE) and not rows[d.key].gap
    ]
    return sum(used) / len(used)


def hottest_now(world: World) -> float:
    rows = world.six.readings_at(world.ts_ms, world.step_ms)
    return max(row.temperature_celsius or 0.0 for row in rows.values())


def throttled(world: World) -> dict[str, float]:
    """Return seconds between the window's first and last details, by reason, of the hot board."""
    return {
        reason: world.six.grown(
            "wattshed_throttled_seconds_total", HOT_DEVICE, (reason,),
            world.until_s - HOURS * HOUR_S, world.until_s - DETAIL_S,
        )
        for reason in ("sw_power_cap", "sw_thermal_slowdown")
    }  # fmt: skip


def intensities(world: World) -> dict[str, float]:
    """Return the sum of the hours' grams a kilowatt hour by site."""
    hours = range(world.until_s - HOURS * HOUR_S, world.until_s, HOUR_S)
    return {
        site: sum(demo_facts.carbon_g_per_kwh(site, hour) for hour in hours)
        for site in demo_facts.CARBON
    }


def devices(world: World) -> dict[str, float]:
    """Return how many devices each node has."""
    return dict(Counter(device.node for device in world.six.devices))


def has_model(part: Part) -> bool:
    """Whether it is in the scorecards, of dublin: reno's meter of power alone begins earlier."""
    return part.device.model != "" and counted(part) and part.device.site == "dublin"


def written_off(world: World) -> Mapping[str, float]:
    """Return grams by model: device time by what making one took, over the default lifetime."""
    kg = {model: of for model, of, *_ in demo_facts.HARDWARE} | {H100.model: 164.0}
    seconds = world.day.by(
        lambda part: part.device.model,
        lambda part: has_model(part) and part.device.model in kg,
        "seconds",
    )
    return {model: amortised_g(kg[model], 5.0, held) for model, held in seconds.items()}


CHECKS: tuple[Check, ...] = (
    Check(FLEET, "Power now", "power", power_now),
    Check(FLEET, "Energy", "energy", lambda w: wh(w.six.joules())),
    Check(FLEET, "Idle share", "idle", lambda w: share(w.six, of(*IDLE), counted)),
    Check(FLEET, "GPU use now", "used", use_now),
    Check(FLEET, "Cost", "cost", lambda w: summed(w, cost)),
    Check(FLEET, "Reporting", "reporting", lambda _: 1.0),
    Check(FLEET, "Measured", "measured", lambda _: 0.0),
    Check(FLEET, "SLOs burning", "burning", lambda _: 1.0),
    Check(FLEET, "Power by cluster", "Value",
          lambda w: {name: joules / 60
                     for name, joules in w.six.by(lambda p: p.device.cluster).items()},
          by="name"),
    Check(PLACEMENT, "Power by site", "Value",
          lambda w: all_wh(w.six.by(lambda p: p.device.site)), by="place"),
    Check(PLACEMENT, "Grid intensity by site", "Value", intensities, by="site"),
    Check(WORKLOADS, "Where every joule went", "Value",
          lambda w: {DID.get(name, name): joules / 60
                     for name, joules in w.six.by(lambda p: p.charged).items()}, by="did"),
    Check(FLEET, "Clusters", "energy",
          lambda w: all_wh(w.six.by(lambda p: p.device.cluster)), by="cluster"),
    Check(FLEET, "Workloads that take the most energy", "energy",
          lambda w: top(all_wh(w.six.by(workload_of, lambda p: p.workload is not None)), 10),
          by="workload"),
    Check(FLEET, "Nodes that idle the most", "idle",
          lambda w: all_wh(w.six.by(lambda p: p.device.node, of(*IDLE))), by="node"),
    Check(WASTE, "Idle energy", "idle", lambda w: wh(w.six.joules(of(*IDLE)))),
    Check(WASTE, "Idle share", "idle", lambda w: share(w.six, of(*IDLE), counted)),
    Check(WASTE, "Cost of idling", "cost", lambda w: summed(w, cost, of(*IDLE))),
    Check(WASTE, "Idle GPU time", "hours",
          lambda w: w.six.seconds(lambda p: p.charged in IDLE and is_gpu(p)) / 3600),
    Check(WASTE, "Overhead", "overhead", lambda w: wh(w.six.joules(of(truth.OVERHEAD)))),
    Check(WASTE, "Idle power by reason", "Value", reasons, by="reason"),
    Check(WASTE, "Idle energy by team", "idle",
          lambda w: all_wh(w.six.by(lambda p: team_of(p) or "nobody", of(*IDLE))), by="team"),
    Check(WORKLOADS, "Attributed", "attributed",
          lambda w: share(w.six, lambda p: p.workload is not None,
                          lambda p: p.charged not in (truth.OVERHEAD, truth.IDLE_FREE))),
    Check(WORKLOADS, "Unattributed power", "power",
          lambda w: w.six.joules(of(truth.UNATTRIBUTED)) / w.seconds),
    Check(WORKLOADS, "Energy", "energy",
          lambda w: wh(w.six.joules(lambda p: p.workload is not None))),
    Check(WORKLOADS, "Idle share", "idle",
          lambda w: share(w.six, of(truth.IDLE_HELD), lambda p: p.workload is not None)),
    Check(WORKLOADS, "Cost", "cost",
          lambda w: summed(w, cost, lambda p: p.workload is not None)),
    Check(WORKLOADS, "Energy by team", "energy",
          lambda w: all_wh(w.six.by(team_of, lambda p: p.workload is not None)), by="team"),
    Check(OUTCOMES, "Energy per token", "joules_per_token", lambda w: per_token(w, loaded)),
    Check(OUTCOMES, "Active per token", "joules_per_token", lambda w: per_token(w, at_work)),
    Check(OUTCOMES, "Energy over target by objective", "Value", over_target, by="slo",
          only=("chat-fp8", "chat-bf16")),
    Check(OUTCOMES, "Least compliance", "compliance", lambda _: 0.0),
    Check(OUTCOMES, "SLOs burning", "burning", lambda _: 1.0),
    Check(MODELS, "Ways to serve", "ways", lambda w: float(len(ways(w)))),
    Check(MODELS, "Least per token", "joules_per_token", lambda w: min(ways(w).values())),
    Check(MODELS, "Most per token", "joules_per_token", lambda w: max(ways(w).values())),
    Check(MODELS, "Energy per token, the dearest ways", "joules_per_token", ways, by="way"),
    Check(MODELS, "Numerics drifted", "drifted", lambda _: 1.0),
    Check(MODELS, "From cache", "hit_ratio", cached_share),
    Check(PLACEMENT, "Device energy", "energy", lambda w: wh(w.six.joules())),
    Check(PLACEMENT, "PUE, by energy", "pue",
          lambda w: summed(w, facility) / w.six.joules()),
    Check(PLACEMENT, "Cost", "paid", lambda w: summed(w, cost)),
    Check(PLACEMENT, "Operating carbon", "carbon", lambda w: summed(w, carbon)),
    Check(PLACEMENT, "Carbon intensity", "intensity",
          lambda w: summed(w, carbon) / (summed(w, facility) / 3.6e6)),
    Check(PLACEMENT, "Edge request", "each", at_the_edge),
    Check(PLACEMENT, "Priced energy", "priced", lambda _: 1.0),
    Check(PLACEMENT, "Sites", "energy",
          lambda w: all_wh(w.six.by(lambda p: p.device.site)), by="site"),
    Check(LIFECYCLE, "Energy", "energy", lambda w: wh(w.day.joules(has_model)),
          window="day", chosen={"site": "dublin"}),
    Check(LIFECYCLE, "Idle energy", "idle",
          lambda w: share(w.day, lambda p: has_model(p) and p.charged in IDLE, has_model),
          window="day", chosen={"site": "dublin"}),
    Check(LIFECYCLE, "Devices", "devices",
          lambda w: float(sum(d.model != "" and d.site == "dublin" for d in w.day.devices)),
          window="day", chosen={"site": "dublin"}),
    Check(LIFECYCLE, "Embodied carbon by model", "written_off", written_off, by="model",
          window="day", chosen={"site": "dublin"}),
    Check(LIFECYCLE, "Not what most of its model run", "devices",
          lambda _: dict.fromkeys(OLD_FIRMWARE, 8.0), by="device"),
    Check(NODE, "Power now", "power", power_now),
    Check(NODE, "Hottest", "hottest", hottest_now),
    Check(NODE, "Throttled", "throttled", throttled, by="reason",
          chosen={"device": HOT_DEVICE}),
    Check(STACK, "Nodes that report", "nodes", lambda w: dict.fromkeys(
              range(w.until_s - HOURS * HOUR_S, w.until_s, 60), float(len(MACHINES))), by="time"),
    Check(STACK, "Exporters", "devices", devices, by="node"),
)  # fmt: skip
