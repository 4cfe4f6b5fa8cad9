"""Node and device: what one machine draws and does, reading by reading."""

from __future__ import annotations

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, State, Step
from wattshed_dashboards.phrases import BY_STEP, HOUR_WATTS, MEAN_WATTS, NODE_WATTS, RECENT
from wattshed_dashboards.variables import where

from .charges import LEDGER_NOTE

HERE = where("site", "tier", "cluster", "node", "device")
TO_DEVICE = Link("This device", "wattshed-node", {"device": "device"})
TO_WORKLOAD = Link("This workload", "wattshed-workloads", {"workload": "workload"})
SIX_HOURS = "At most the last six hours of the range."
FIRST = (
    f"device IN (SELECT device FROM v_device_now WHERE {HERE}\n"
    "    ORDER BY kind IN ('gpu', 'module') DESC, power_watts DESC LIMIT 16)"
)
FIRST_NOTE = "Of the chosen devices the 16 that draw the most now, GPUs first."
OF_READINGS = f"FROM v_reading WHERE {RECENT} AND {FIRST}"
OF_DETAILS = f"FROM v_detail WHERE {RECENT} AND {FIRST}"
COOL = (Step(None, Color.GOOD), Step(80, Color.WARN), Step(90, Color.BAD))
FRESH = (Step(None, Color.GOOD), Step(60, Color.WARN), Step(120, Color.BAD))
DID = (
    State(0, "unknown", Color.PLAIN),
    State(1, "idle, unheld", Color.WARN),
    State(2, "idle, held", Color.IDLE),
    State(3, "active", Color.POWER),
)


def _line(title: str, said: str, unit: str, column: str, source: str = OF_READINGS) -> Panel:
    view = "v_reading" if source is OF_READINGS else "v_detail"
    return Panel(
        title,
        f"{said} Means of the readings of {view}. {FIRST_NOTE} {SIX_HOURS}",
        Kind.TIME_SERIES,
        unit,
        f"SELECT $__timeInterval(ts) AS time, device, avg({column}) AS Value\n"
        f"{source} AND isNotNull({column})\nGROUP BY time, device ORDER BY time, device",
        8,
        7,
        options={"legend": {"showLegend": False}},
    )


ANSWER = (
    Panel(
        "Power now",
        "Of each node's own wall meter where it has one that speaks, else the sum of its "
        "devices, by the newest readings of v_device_now.",
        Kind.STAT,
        "watt",
        f"SELECT sum(watts) AS power FROM (SELECT {NODE_WATTS} AS watts\n"
        f"  FROM v_device_now WHERE {HERE} GROUP BY node)",
        4,
        4,
        color=Color.POWER,
    ),
    Panel(
        "Devices now",
        "Devices of v_device_now by what they do: busy, idle (used for less than 5 %), unknown "
        "(they say no use), silent (no reading for 15 minutes).",
        Kind.STAT,
        "short",
        "SELECT countIf(state = 'busy') AS busy, countIf(state = 'idle') AS idle,\n"
        "  countIf(state = 'unknown') AS unknown, countIf(state = 'silent') AS silent\n"
        f"FROM v_device_now WHERE {HERE}",
        8,
        4,
        columns={
            "busy": Column(color=Color.POWER),
            "idle": Column(color=Color.IDLE),
            "unknown": Column(color=Color.PLAIN),
            "silent": Column(color=Color.BAD),
        },
        runbook="ExporterDown",
    ),
    Panel(
        "Of its limit",
        "Watts of the devices that say a limit, of the sum of their limits, by v_device_now.",
        Kind.STAT,
        "percentunit",
        "SELECT sumIf(power_watts, power_limit_watts > 0 AND isNotNull(power_watts))\n"
        "  / nullIf(sumIf(power_limit_watts, isNotNull(power_watts)), 0) AS part\n"
        f"FROM v_device_now WHERE {HERE}",
        3,
        4,
        no_value="no limit",
    ),
    Panel(
        "Hottest",
        "The highest temperature among the newest readings of v_device_now.",
        Kind.STAT,
        "celsius",
        f"SELECT max(temperature_celsius) AS hottest FROM v_device_now WHERE {HERE}",
        3,
        4,
        steps=COOL,
        no_value="not said",
    ),
    Panel(
        "Errors",
        "By how much counters of XID and memory errors grew, by v_trouble, in at most the last six "
        "hours of the range; a counter that began anew counts from there.",
        Kind.STAT,
        "short",
        "SELECT sum(grown) AS errors FROM (SELECT max(value) - min(value) AS grown FROM v_trouble\n"
        f"  WHERE {RECENT} AND metric IN ('wattshed_xid_errors_total',\n"
        f"    'wattshed_ecc_errors_total') AND {HERE}\n"
        "  GROUP BY device, metric, labels, start_ts)",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(1, Color.BAD)),
    ),
    Panel(
        "Oldest reading",
        "Time since the newest reading of the device that has been silent for longest, of those "
        "heard of in the last seven days, by v_device_now.",
        Kind.STAT,
        "s",
        f"SELECT max(silent_seconds) AS silent FROM v_device_now WHERE {HERE}",
        3,
        4,
        steps=FRESH,
        runbook="TelemetryStale",
    ),
)

TREND = (
    Panel(
        "Power by kind of device",
        "Mean watts of v_power, each joule once: gpu, cpu, memory as measured; host is what the "
        f"wall meter has beside them (fans, losses, board). {LEDGER_NOTE}",
        Kind.TIME_SERIES,
        "watt",
        f"SELECT $__timeInterval(t) AS time, kind, {MEAN_WATTS} AS Value FROM v_power\n"
        f"WHERE {BY_STEP} AND {HERE}\nGROUP BY time, kind ORDER BY time, kind",
        12,
        10,
        is_stacked=True,
        least=0,
    ),
    Panel(
        "What each device did",
        "By v_power, what took most of each device's joules in each step: active, idle while held, "
        f"idle while nobody held it, or unattributed (unknown). {FIRST_NOTE} {LEDGER_NOTE}",
        Kind.STATE_TIMELINE,
        "short",
        "SELECT time, device, argMax(did, joules) AS Value FROM (\n"
        "  SELECT $__timeInterval(t) AS time, device, sum(p.joules) AS joules,\n"
        "    indexOf(['idle_unallocated', 'idle_held', 'active'], toString(class)) AS did\n"
        f"  FROM v_power AS p WHERE {BY_STEP} AND {FIRST}\n"
        "    AND class != 'overhead' GROUP BY time, device, class)\n"
        "GROUP BY time, device ORDER BY time, device",
        12,
        10,
        states=DID,
    ),
)

DEVICES = (
    Panel(
        "Devices",
        "The newest reading of each device, by v_device_now, and who holds it, by v_held_now. role "
        "tells whether its watts count, or lie inside another meter. The 500 that draw the most.",
        Kind.TABLE,
        sql=f"""SELECT d.node AS node, d.device AS device, d.kind AS kind, d.model AS model,
  d.role AS role, d.state AS state, d.power_watts AS power, d.power_limit_watts AS most,
  d.utilization_ratio AS used, d.temperature_celsius AS heat, h.workload AS workload,
  d.method AS method, d.silent_seconds AS silent
FROM v_device_now AS d
LEFT JOIN (SELECT device_id, argMax(workload, share) AS workload FROM v_held_now
  GROUP BY device_id) AS h ON h.device_id = d.device_id
WHERE {HERE} ORDER BY power DESC LIMIT 500""",
        width=24,
        height=10,
        columns={
            "node": Column(width=150),
            "device": Column(link=TO_DEVICE, width=180),
            "model": Column(width=180),
            "power": Column(unit="watt"),
            "most": Column("limit", "watt"),
            "used": Column(unit="percentunit"),
            "heat": Column("temperature", "celsius", width=115, steps=COOL),
            "workload": Column("held by", link=TO_WORKLOAD, width=180),
            "silent": Column("last reading", "s", steps=FRESH),
        },
        sorted_by="power",
    ),
    _line(
        "Power", "Watts as the device says them, also inside other meters.", "watt", "power_watts"
    ),
    _line("Use", "Utilisation as the driver says it.", "percentunit", "utilization_ratio"),
    _line("Memory", "Device memory in use.", "bytes", "memory_used_bytes"),
)

DETAIL = (
    _line("Temperature", "Of the device's core.", "celsius", "temperature_celsius"),
    _line(
        "SM activity",
        "Share of the SMs that worked.",
        "percentunit",
        "sm_activity_ratio",
        OF_DETAILS,
    ),
    _line(
        "Tensor activity",
        "Share of cycles in which tensor units worked.",
        "percentunit",
        "tensor_activity_ratio",
        OF_DETAILS,
    ),
    _line(
        "Memory bandwidth",
        "Share of time in which device memory was read or written.",
        "percentunit",
        "memory_activity_ratio",
        OF_DETAILS,
    ),
    _line("SM clock", "Frequency of the SMs.", "hertz", "sm_clock_hertz", OF_DETAILS),
    Panel(
        "Links",
        "Bytes a second over PCIe and NVLink, both ways, of all chosen devices together, by how "
        f"their counters in v_detail grew since the reading before. {FIRST_NOTE} {SIX_HOURS}",
        Kind.TIME_SERIES,
        "Bps",
        "SELECT time, sum(p) AS pcie, sum(n) AS nvlink FROM (\n"
        "  SELECT $__timeInterval(ts) AS time, device,\n"
        "    avgIf(by_pcie / s, by_pcie >= 0) AS p, avgIf(by_nvlink / s, by_nvlink >= 0) AS n\n"
        "  FROM (SELECT ts, device,\n"
        "    pcie_transmit_bytes + pcie_receive_bytes AS a, a - lagInFrame(a) OVER w AS by_pcie,\n"
        "    nvlink_transmit_bytes + nvlink_receive_bytes AS b,\n"
        "    b - lagInFrame(b) OVER w AS by_nvlink,\n"
        "    dateDiff('ms', lagInFrame(ts) OVER w, ts) / 1000 AS s\n"
        f"    {OF_DETAILS} AND isNotNull(pcie_transmit_bytes)\n"
        "    WINDOW w AS (PARTITION BY device ORDER BY ts\n"
        "      ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))\n"
        "  GROUP BY time, device)\nGROUP BY time ORDER BY time",
        8,
        7,
    ),
    Panel(
        "Throttled",
        "Time in which clocks were held down, by reason, as counters in v_trouble grew in at most "
        "the last six hours of the range; reasons overlap, so never add them.",
        Kind.TABLE,
        sql=f"""SELECT node, device, JSONExtractString(labels, 'reason') AS reason,
  sum(grown) AS throttled
FROM (SELECT node, device, labels, max(value) - min(value) AS grown FROM v_trouble
  WHERE {RECENT} AND metric = 'wattshed_throttled_seconds_total' AND {HERE}
  GROUP BY node, device, labels, start_ts)
GROUP BY node, device, reason HAVING throttled > 0 ORDER BY throttled DESC LIMIT 100""",
        width=12,
        columns={"device": Column(link=TO_DEVICE, width=180), "throttled": Column(unit="s")},
        sorted_by="throttled",
    ),
    Panel(
        "Outer meter and what is inside of it",
        "By v_reconciliation_1h, each hour: what the node's outer meter measured, what those "
        "inside did, what is left, and the residual, which must stay at zero.",
        Kind.TIME_SERIES,
        "watt",
        "SELECT $__timeInterval(t) AS time, "
        + ",\n  ".join(
            f"{HOUR_WATTS.replace('joules', f'{part}_joules')} AS {part}"
            for part in ("outer", "inner", "remainder", "residual")
        )
        + f"\nFROM v_reconciliation_1h WHERE $__timeFilter(t) AND {where('site', 'node')}\n"
        "GROUP BY time ORDER BY time",
        columns={"outer": Column(is_dashed=True), "residual": Column(color=Color.BAD)},
        step_s=3600,
        runbook="MeterDisagreement",
    ),
)

BOARD = Board(
    "wattshed-node",
    "Node and device",
    "What does this machine draw, what is it doing, and can its meters be believed?",
    (
        Row("Now", ANSWER),
        Row("Over time", TREND),
        Row("Devices", DEVICES),
        Row("Detail", DETAIL, is_collapsed=True),
    ),
    ("site", "tier", "cluster", "node", "device"),
    "1h",
)
