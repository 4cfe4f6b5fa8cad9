"""Waste and idle burn: what did no work, why, whose it is, and what it costs."""

from __future__ import annotations

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.phrases import BY_STEP, HOUR_WATTS, WATT_HOURS
from wattshed_dashboards.variables import where

from .charges import (
    BY_CURRENCY,
    COST_NOTE,
    CURRENCY_NOTE,
    GOOD_IS_LOW,
    REASON_COLUMNS,
    REASONS,
    currencies,
    in_one_currency,
)

PLACE = where("site", "tier", "cluster")
HERE = f"{PLACE} AND {where('team')}"
NO_WORK = "class != 'overhead'"
WHOLE_HOURS = "Of whole hours in the range."
TO_WORKLOAD = Link("This workload", "wattshed-workloads", {"workload": "workload"})
TO_NODE = Link("This node", "wattshed-node", {"node": "node"})
TO_DEVICE = Link("This device", "wattshed-node", {"device": "device"})
TO_TEAM = Link("This team", "wattshed-waste", {"team": "team"})
IDLE_OF = f"FROM v_idle_1h WHERE $__timeFilter(t) AND {HERE} AND {NO_WORK}"
BY_HOUR_OF_DAY = ",\n  ".join(
    ", ".join(
        f"sumIf(joules, toHour(t) = {hour}) / 3600 AS `{hour:02}`" for hour in range(at, at + 4)
    )
    for at in range(0, 24, 4)
)

ANSWER = (
    Panel(
        "Idle energy",
        f"Joules of v_idle_1h that did no work, without overhead ({REASONS}). {WHOLE_HOURS}",
        Kind.STAT,
        "watth",
        f"SELECT {WATT_HOURS} AS idle {IDLE_OF}",
        3,
        4,
        color=Color.IDLE,
        runbook="GPUIdleBurn",
    ),
    Panel(
        "Idle share",
        "Joules of v_power that did no work, of all but overhead. Whoever is chosen as team does "
        "not count here: what a team holds idle is in the table below.",
        Kind.STAT,
        "percentunit",
        "SELECT sumIf(joules, class IN ('idle_held', 'idle_unallocated'))\n"
        "  / sumIf(joules, class != 'overhead') AS idle\n"
        f"FROM v_power WHERE {BY_STEP} AND {PLACE}",
        3,
        4,
        steps=GOOD_IS_LOW,
    ),
    Panel(
        "Cost of idling",
        f"Cost of the joules of v_idle_1h that did no work, by currency. {COST_NOTE}",
        Kind.STAT,
        "short",
        f"SELECT currency, sum(cost) AS cost {IDLE_OF}\n"
        "GROUP BY currency HAVING isNotNull(cost) ORDER BY currency",
        3,
        4,
        decimals=2,
        no_value="no price",
        options=BY_CURRENCY,
    ),
    Panel(
        "Idle GPU time",
        "Hours that GPUs were charged as idle, summed over GPUs, by v_idle_1h. A GPU that is half "
        f"idle for two hours counts one. {WHOLE_HOURS}",
        Kind.STAT,
        "suffix: h",
        f"SELECT sum(seconds) / 3600 AS hours {IDLE_OF}\n  AND kind IN ('gpu', 'module')",
        3,
        4,
        color=Color.IDLE,
    ),
    Panel(
        "Held, idle GPUs",
        "GPUs that somebody holds, that did nothing for a quarter of an hour and draw 15 W or more "
        "above their bare idle, by v_idle_now, from which alerts are made.",
        Kind.STAT,
        "short",
        "SELECT uniqIf(device, idle_watts > 0 AND workload_id != 0) AS held FROM v_idle_now\n"
        f"WHERE {HERE}",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(1, Color.WARN)),
        runbook="ParkedModel",
    ),
    Panel(
        "Unheld GPUs",
        "GPUs of which nobody holds at least a part now, by v_idle_now. Where no source of "
        "allocations is set up that is every GPU.",
        Kind.STAT,
        "short",
        f"SELECT uniqIf(device, workload_id = 0) AS free FROM v_idle_now\nWHERE {PLACE}",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(1, Color.WARN)),
        runbook="GPUUnallocatedPowered",
    ),
    Panel(
        "Low use",
        "Active joules of v_low_use_1h: hours in which a device drew more than half of its limit "
        "and was used for less than 15 %. They are not idle, and not all of them are wasted. "
        f"{WHOLE_HOURS}",
        Kind.STAT,
        "watth",
        f"SELECT {WATT_HOURS} AS energy FROM v_low_use_1h\nWHERE $__timeFilter(t) AND {HERE}",
        3,
        4,
        color=Color.WARN,
        runbook="LowUtilHighPower",
    ),
    Panel(
        "Overhead",
        "What outer meters measured beside the devices inside of them (fans, losses, boards), by "
        f"v_idle_1h; in no idle number on this board. {WHOLE_HOURS}",
        Kind.STAT,
        "watth",
        f"SELECT {WATT_HOURS} AS overhead FROM v_idle_1h\n"
        f"WHERE $__timeFilter(t) AND {PLACE} AND class = 'overhead'",
        3,
        4,
    ),
)

TREND = (
    Panel(
        "Idle power by reason",
        f"Mean watts of each hour of v_idle_1h. {REASONS}. Where nobody learned the bare idle of a "
        "device, parked cannot be told from held.",
        Kind.TIME_SERIES,
        "watt",
        f"SELECT $__timeInterval(t) AS time, reason, {HOUR_WATTS} AS Value\n{IDLE_OF}\n"
        "GROUP BY time, reason ORDER BY time, reason",
        columns=REASON_COLUMNS,
        is_stacked=True,
        is_in_bars=True,
        least=0,
        step_s=3600,
        runbook="GPUIdleBurn",
    ),
    Panel(
        "When it idles",
        "Mean idle watts by day and hour of the day (UTC), of v_idle_1h, without overhead.",
        Kind.HEATMAP,
        "watt",
        f"SELECT toStartOfDay(t) AS time,\n  {BY_HOUR_OF_DAY}\n{IDLE_OF}\n"
        "GROUP BY time ORDER BY time",
        step_s=86_400,
    ),
    Panel(
        "Hot and hardly used, by team",
        "Mean watts of each hour of v_low_use_1h by the team that is charged with them.",
        Kind.TIME_SERIES,
        "watt",
        f"SELECT $__timeInterval(t) AS time, team, {HOUR_WATTS} AS Value FROM v_low_use_1h\n"
        f"WHERE $__timeFilter(t) AND {HERE}\nGROUP BY time, team ORDER BY time, team",
        is_stacked=True,
        is_in_bars=True,
        least=0,
        step_s=3600,
        runbook="LowUtilHighPower",
    ),
    Panel(
        "Idle energy by team",
        "Joules of v_idle_1h that did no work, by the team that holds the devices; nobody: "
        f"unallocated. {WHOLE_HOURS}",
        Kind.BAR_GAUGE,
        "watth",
        f"SELECT if(team = '', 'nobody', team) AS team, {WATT_HOURS} AS idle\n{IDLE_OF}\n"
        "GROUP BY team ORDER BY idle DESC LIMIT 15",
        color=Color.IDLE,
        links=(TO_TEAM,),
        runbook="GPUIdleBurnSevere",
    ),
)

WHO = (
    Panel(
        "Who holds devices idle",
        "Idle joules of v_idle_1h by who holds the devices, and why: hours are those of devices, "
        f"summed; power is the mean while idle, of one device. {REASONS}. {COST_NOTE} "
        f"{CURRENCY_NOTE} The 100 largest.",
        Kind.TABLE,
        sql=f"""SELECT team, owner, workload, reason, uniq(device) AS devices, any(node) AS node,
  sum(seconds) / 3600 AS hours, sum(joules) / sum(seconds) AS power, {WATT_HOURS} AS energy,
  {in_one_currency("sum(cost)")} AS paid, {currencies()} AS money, max(t) AS last
{IDLE_OF} AND workload_key != ''
GROUP BY team, owner, workload, reason ORDER BY energy DESC LIMIT 100""",
        width=24,
        height=10,
        columns={
            "workload": Column(link=TO_WORKLOAD, width=180),
            "team": Column(link=TO_TEAM),
            "node": Column("one of its nodes", link=TO_NODE, width=170),
            "hours": Column("idle", "suffix: h", decimals=1),
            "power": Column(unit="watt"),
            "energy": Column(unit="watth"),
            "paid": Column("cost", decimals=2),
            "money": Column("currency"),
            "last": Column("last idle hour", width=170),
        },
        sorted_by="energy",
        runbook="GPUIdleBurn",
    ),
    Panel(
        "Devices that idle the most",
        f"Idle joules of v_idle_1h by device, with and without a holder. {WHOLE_HOURS} The 100 "
        "largest.",
        Kind.TABLE,
        sql=f"""SELECT device, model, reason, sum(seconds) / 3600 AS hours,
  sum(joules) / sum(seconds) AS power, {WATT_HOURS} AS energy
{IDLE_OF}
GROUP BY device, model, reason ORDER BY energy DESC LIMIT 100""",
        columns={
            "device": Column(link=TO_DEVICE, width=170),
            "model": Column(width=140),
            "hours": Column("idle", "suffix: h", decimals=1),
            "power": Column(unit="watt"),
            "energy": Column(unit="watth"),
        },
        sorted_by="energy",
        runbook="GPUUnallocatedPowered",
    ),
    Panel(
        "Hot and hardly used",
        "Who was charged with the active joules of v_low_use_1h: a smaller GPU, a MIG instance or "
        "larger batches would do the same work for less. The 100 largest.",
        Kind.TABLE,
        sql=f"""SELECT team, workload, model, uniq(device) AS devices,
  sum(seconds) / 3600 AS hours, sum(joules) / sum(seconds) AS power, {WATT_HOURS} AS energy
FROM v_low_use_1h WHERE $__timeFilter(t) AND {HERE}
GROUP BY team, workload, model ORDER BY energy DESC LIMIT 100""",
        columns={
            "workload": Column(link=TO_WORKLOAD),
            "hours": Column(unit="suffix: h", decimals=1),
            "power": Column(unit="watt"),
            "energy": Column(unit="watth"),
        },
        sorted_by="energy",
        runbook="LowUtilHighPower",
    ),
    Panel(
        "Idleness that is expected",
        "Entries of the register, by v_expected_idle: of whom (empty: of all), until when, who "
        "says so and why, and the GPUs and idle watts that it keeps from waking somebody now. "
        "What it covers is counted in all numbers above.",
        Kind.TABLE,
        sql=f"""SELECT workload, team, node, state, reason, said_by, until, devices,
  idle_watts AS power
FROM v_expected_idle WHERE (team = '' OR {where("team")})
ORDER BY state = 'ended', power DESC LIMIT 100""",
        width=24,
        height=6,
        columns={
            "workload": Column(link=TO_WORKLOAD),
            "said_by": Column("said by"),
            "devices": Column("idle now"),
            "power": Column(unit="watt"),
        },
        runbook="GPUIdleBurn",
    ),
)

BOARD = Board(
    "wattshed-waste",
    "Waste and idle burn",
    "How much energy does no work, why, and whose is it?",
    (Row("In this time", ANSWER), Row("Over time", TREND), Row("Whose it is", WHO)),
    ("site", "tier", "cluster", "team"),
    "7d",
    "5m",
)
