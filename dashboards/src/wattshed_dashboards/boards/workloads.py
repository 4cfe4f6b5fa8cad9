"""Workloads: who is charged with which joule, and whether every joule has somebody."""

from __future__ import annotations

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.phrases import BY_HOUR, BY_STEP, MEAN_WATTS, RANGE_S, WATT_HOURS
from wattshed_dashboards.variables import where

from .charges import BY_CURRENCY, CLASS_COLUMNS, CLASS_NAME, COST_NOTE, GOOD_IS_LOW, LEDGER_NOTE

HERE = where("site", "team", "workload", model="ai_model")
TO_WORKLOAD = Link("This workload", "wattshed-workloads", {"workload": "workload"})
TO_OUTCOMES = Link("Its outcomes", "wattshed-outcomes", {"workload": "workload"})
TO_TEAM = Link("This team", "wattshed-workloads", {"team": "team"})
TO_DEVICE = Link("This device", "wattshed-node", {"device": "device"})
OF_THEM = f"FROM v_workload_power WHERE {BY_STEP} AND {HERE}"
IN_SITE = f"FROM v_workload_power WHERE {BY_STEP} AND {where('site')}"

ANSWER = (
    Panel(
        "Attributed",
        "Joules of v_workload_power that a known workload is charged with, of all that devices "
        f"drew while somebody held or used them; narrowed by site alone. {LEDGER_NOTE}",
        Kind.STAT,
        "percentunit",
        "SELECT sumIf(joules, workload_key != '')\n"
        "  / sumIf(joules, class NOT IN ('overhead', 'idle_unallocated')) AS attributed\n"
        f"{IN_SITE}",
        4,
        4,
        steps=(Step(None, Color.BAD), Step(0.9, Color.WARN), Step(0.97, Color.GOOD)),
        runbook="UnattributedEnergyHigh",
    ),
    Panel(
        "Unattributed power",
        "Mean watts of v_workload_power of devices that were used while nobody known held them; "
        f"narrowed by site alone. {LEDGER_NOTE}",
        Kind.STAT,
        "watt",
        f"SELECT sumIf(joules, class = 'unattributed') / {RANGE_S} AS power\n{IN_SITE}",
        4,
        4,
        steps=(Step(None, Color.GOOD), Step(500, Color.WARN)),
        runbook="UnattributedEnergyHigh",
    ),
    Panel(
        "Energy",
        "Joules that the chosen workloads are charged with, idle ones of what they hold included, "
        f"by v_workload_power. {LEDGER_NOTE}",
        Kind.STAT,
        "watth",
        f"SELECT {WATT_HOURS} AS energy\n{OF_THEM} AND workload_key != ''",
        4,
        4,
        color=Color.POWER,
    ),
    Panel(
        "Idle share",
        f"Joules of v_workload_power charged as idle_held, of all of theirs. {LEDGER_NOTE}",
        Kind.STAT,
        "percentunit",
        "SELECT sumIf(joules, class = 'idle_held') / sum(joules) AS idle\n"
        f"{OF_THEM} AND workload_key != ''",
        4,
        4,
        steps=GOOD_IS_LOW,
        runbook="GPUIdleBurn",
    ),
    Panel(
        "Cost",
        f"Cost of whole hours in the range, by currency, of v_workload_power. {COST_NOTE}",
        Kind.STAT,
        "short",
        "SELECT currency, sum(cost) AS cost FROM v_workload_power\n"
        f"WHERE {BY_HOUR} AND {HERE} AND workload_key != ''\n"
        "GROUP BY currency HAVING isNotNull(cost) ORDER BY currency",
        4,
        4,
        decimals=2,
        no_value="no price",
        options=BY_CURRENCY,
    ),
    Panel(
        "Ledger residual",
        "What is charged and what is inside other meters less what was measured, of the measured "
        "joules, by v_conservation_1h: each joule is charged once, so this is zero. Of at most the "
        "last six hours of the range, all sites.",
        Kind.STAT,
        "percentunit",
        "SELECT abs(sum(residual_joules)) / sum(measured_joules) AS residual\n"
        "FROM v_conservation_1h\n"
        "WHERE $__timeFilter(t) AND t >= $__toTime - 21600",
        4,
        4,
        decimals=4,
        steps=(Step(None, Color.GOOD), Step(0.001, Color.BAD)),
    ),
)

TREND = (
    Panel(
        "Power by workload",
        "Mean watts that each workload is charged with, by v_workload_power: the ten with most "
        f"energy in the range, all others together. {LEDGER_NOTE}",
        Kind.TIME_SERIES,
        "watt",
        "SELECT $__timeInterval(t) AS time,\n"
        "  if(workload_key = '', 'nobody', if(workload IN (\n"
        f"    SELECT workload {OF_THEM} AND workload != ''\n"
        "    GROUP BY workload ORDER BY sum(joules) DESC LIMIT 10),\n"
        "  workload, 'all others')) AS who,\n"
        f"  {MEAN_WATTS} AS Value\n{OF_THEM}\nGROUP BY time, who ORDER BY time, who",
        16,
        9,
        is_stacked=True,
        least=0,
    ),
    Panel(
        "Energy by team",
        "Joules that the chosen workloads are charged with, by team, of v_workload_power. "
        f"{LEDGER_NOTE}",
        Kind.BAR_GAUGE,
        "watth",
        f"SELECT if(team = '', 'no team', team) AS team, {WATT_HOURS} AS energy\n"
        f"{OF_THEM} AND workload_key != ''\nGROUP BY team ORDER BY energy DESC LIMIT 15",
        8,
        9,
        color=Color.POWER,
        links=(TO_TEAM,),
    ),
)

WHO = (
    Panel(
        "Workloads",
        "Joules of v_workload_power in the range and in as much time before it: device hours are "
        "those of all devices, CPUs too; power is the mean of the range; before is the energy of "
        f"the time before. {LEDGER_NOTE} The 200 largest.",
        Kind.TABLE,
        sql=f"""SELECT workload, team, owner, workload_kind, ai_model,
  sumIf(seconds, t >= $__fromTime) / 3600 AS hours,
  sumIf(joules, t >= $__fromTime) / {RANGE_S} AS power,
  sumIf(joules, t >= $__fromTime) / 3600 AS energy, sumIf(joules, t < $__fromTime) / 3600 AS before,
  sumIf(joules, t >= $__fromTime AND class = 'idle_held')
    / nullIf(sumIf(joules, t >= $__fromTime), 0) AS idle
FROM v_workload_power WHERE step_s = if({RANGE_S} > 90000, 3600, 60)
  AND t >= $__fromTime - {RANGE_S} AND t <= $__toTime AND {HERE} AND workload_key != ''
GROUP BY workload, team, owner, workload_kind, ai_model ORDER BY energy DESC LIMIT 200""",
        width=24,
        height=10,
        columns={
            "workload": Column(link=TO_WORKLOAD, width=180),
            "team": Column(link=TO_TEAM),
            "workload_kind": Column("kind"),
            "ai_model": Column("model"),
            "hours": Column("device hours", "suffix: h", decimals=1),
            "power": Column(unit="watt"),
            "energy": Column(unit="watth"),
            "before": Column(unit="watth"),
            "idle": Column("idle", "percentunit", steps=GOOD_IS_LOW),
        },
        sorted_by="energy",
    ),
    Panel(
        "What they made of it",
        "Outcomes of whole hours with energy, and joules for each, of v_outcome_1h: active is what "
        "was drawn while working, loaded with the idle joules of what was held. A workload counts "
        "once for each kind of outcome: never add its rows.",
        Kind.TABLE,
        sql=f"""SELECT workload, team, outcome, sum(count) AS made,
  sumIf(active_joules, count > 0) / sumIf(count, isNotNull(active_joules)) AS active,
  sum(loaded_joules) / sumIf(count, isNotNull(loaded_joules)) AS loaded
FROM v_outcome_1h WHERE $__timeFilter(t) AND {HERE}
GROUP BY workload, team, outcome HAVING made > 0 ORDER BY made DESC LIMIT 200""",
        columns={
            "workload": Column(link=TO_OUTCOMES),
            "made": Column(unit="short"),
            "active": Column("active, each", "joule"),
            "loaded": Column("loaded, each", "joule"),
        },
        sorted_by="made",
    ),
    Panel(
        "Who holds what now",
        "Devices that are held now, by v_held_now: power is the part of the newest reading that is "
        "theirs by share, not what they will be charged with. The 200 that draw the most.",
        Kind.TABLE,
        sql=f"""SELECT workload, team, device, share, state, utilization_ratio AS used,
  power_watts AS power
FROM v_held_now WHERE {HERE} ORDER BY power DESC LIMIT 200""",
        columns={
            "workload": Column(link=TO_WORKLOAD, width=150),
            "device": Column(link=TO_DEVICE, width=170),
            "share": Column(unit="percentunit"),
            "used": Column(unit="percentunit"),
            "power": Column(unit="watt"),
        },
        sorted_by="power",
        runbook="TrainingStalled",
    ),
)

TRUST = (
    Panel(
        "Where every joule went",
        "Mean watts by class of v_workload_power, all workloads and nobody, narrowed by site "
        f"alone. The sum is what meters measured, each joule once. {LEDGER_NOTE}",
        Kind.TIME_SERIES,
        "watt",
        f"SELECT $__timeInterval(t) AS time, {CLASS_NAME} AS did, {MEAN_WATTS} AS Value\n"
        f"{IN_SITE}\nGROUP BY time, did ORDER BY time, did",
        columns=CLASS_COLUMNS,
        is_stacked=True,
        least=0,
        runbook="UnattributedEnergyHigh",
    ),
    Panel(
        "Measured and charged",
        "By v_conservation_1h, each hour: what all meters measured, and what is charged or inside "
        "another meter. The two lie on each other. At most the last six hours of the range, all "
        "sites.",
        Kind.TIME_SERIES,
        "watt",
        "SELECT t AS time, sum(measured_joules) / 3600 AS measured,\n"
        "  sum(charged_joules + elsewhere_joules) / 3600 AS accounted,\n"
        "  sum(residual_joules) / 3600 AS residual\n"
        "FROM v_conservation_1h\n"
        "WHERE $__timeFilter(t) AND t >= $__toTime - 21600\n"
        "GROUP BY time ORDER BY time",
        columns={
            "measured": Column(is_dashed=True),
            "accounted": Column(color=Color.POWER),
            "residual": Column(color=Color.BAD),
        },
        step_s=3600,
    ),
)

BOARD = Board(
    "wattshed-workloads",
    "Workloads",
    "Which workload used how much energy, and is every joule accounted for?",
    (
        Row("In this time", ANSWER),
        Row("Over time", TREND),
        Row("Who", WHO),
        Row("Is every joule accounted for?", TRUST),
    ),
    ("site", "team", "workload", "model"),
    "24h",
)
