"""Fleet overview: what all of it draws now, who takes the most, and where it idles."""

from __future__ import annotations

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.phrases import (
    BY_HOUR,
    BY_STEP,
    HOUR_WATTS,
    IDLE,
    IS_MEASURED,
    MEAN_WATTS,
    NODE_WATTS,
    RANGE_S,
    WATT_HOURS,
    WHOLE_WATTS,
)
from wattshed_dashboards.variables import where

from .charges import (
    BY_CURRENCY,
    CLASS_COLUMNS,
    CLASS_NAME,
    COST_NOTE,
    GOOD_IS_LOW,
    LEDGER_NOTE,
    SILENT,
)

HERE = where("site", "tier", "cluster")
CLUSTER_NAME = "if(cluster = '', 'no cluster', cluster)"
TO_NODE = Link("This node", "wattshed-node", {"node": "node"})
TO_WORKLOAD = Link("This workload", "wattshed-workloads", {"workload": "workload"})
TO_CLUSTER = Link("This cluster", "wattshed-fleet", {"cluster": "cluster"})

ANSWER = (
    Panel(
        "Power now",
        "Newest readings of v_device_now, each watt once: of an outermost meter (wall, BMC) "
        "where it speaks, else of the meters inside of it. Silent for 15 minutes is not counted.",
        Kind.STAT,
        "watt",
        f"SELECT sum(watts) AS power FROM (SELECT {WHOLE_WATTS} AS watts\n"
        f"  FROM v_device_now WHERE {HERE} GROUP BY root_id)",
        3,
        4,
        color=Color.POWER,
    ),
    Panel(
        "Energy",
        f"Everything measured in the range, of v_power, each joule once. {LEDGER_NOTE}",
        Kind.STAT,
        "watth",
        f"SELECT {WATT_HOURS} AS energy FROM v_power WHERE {BY_STEP}\n  AND {HERE}",
        3,
        4,
        color=Color.POWER,
    ),
    Panel(
        "Idle share",
        "Joules of v_power that did no work (idle_held, idle_unallocated) of all but overhead. "
        f"{LEDGER_NOTE}",
        Kind.STAT,
        "percentunit",
        f"SELECT sumIf(joules, {IDLE}) / sumIf(joules, class != 'overhead') AS idle\n"
        f"FROM v_power WHERE {BY_STEP} AND {HERE}",
        3,
        4,
        steps=GOOD_IS_LOW,
        runbook="GPUIdleBurn",
    ),
    Panel(
        "GPU use now",
        "Mean utilisation of all GPUs in v_device_now that say one. A driver calls a GPU used "
        "whenever a kernel runs, however little of it that takes.",
        Kind.STAT,
        "percentunit",
        "SELECT avgOrNull(utilization_ratio) AS used FROM v_device_now\n"
        f"WHERE kind IN ('gpu', 'module') AND {HERE}",
        3,
        4,
        least=0,
        most=1,
        no_value="no GPU",
    ),
    Panel(
        "Cost",
        f"Cost of whole hours in the range, by currency, of v_power. {COST_NOTE}",
        Kind.STAT,
        "short",
        "SELECT currency, sum(cost) AS cost FROM v_power\n"
        f"WHERE {BY_HOUR} AND {HERE}\n"
        "GROUP BY currency HAVING isNotNull(cost) ORDER BY currency",
        3,
        4,
        decimals=2,
        no_value="no price",
        options=BY_CURRENCY,
    ),
    Panel(
        "Reporting",
        "Nodes with a reading of the last 15 minutes, of all that were heard of in the last seven "
        "days, by v_device_now. A node that was never heard of is not missed here.",
        Kind.STAT,
        "percentunit",
        f"SELECT uniqIf(node, is_live) / uniq(node) AS reporting FROM v_device_now\nWHERE {HERE}",
        3,
        4,
        steps=(Step(None, Color.BAD), Step(0.95, Color.WARN), Step(0.99, Color.GOOD)),
        runbook="ExporterDown",
    ),
    Panel(
        "Measured",
        "Joules of v_power of meters that count energy or measure power, of all joules; the rest "
        f"is estimated or simulated, as the device says of itself. {LEDGER_NOTE}",
        Kind.STAT,
        "percentunit",
        f"SELECT sumIf(joules, {IS_MEASURED}) / sum(joules) AS measured FROM v_power\n"
        f"WHERE {BY_STEP} AND {HERE}",
        3,
        4,
        steps=(Step(None, Color.WARN), Step(0.9, Color.GOOD)),
    ),
    Panel(
        "SLOs burning",
        "Energy objectives of v_slo_burn of which a pair of windows burns now; of the whole fleet.",
        Kind.STAT,
        "short",
        "SELECT uniqIf(slo, is_burning) AS burning FROM v_slo_burn",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(1, Color.BAD)),
        runbook="EnergySLOFastBurn",
    ),
)

TREND = (
    Panel(
        "Power by cluster",
        f"Mean watts of each cluster: joules of v_power by their seconds. {LEDGER_NOTE}",
        Kind.TIME_SERIES,
        "watt",
        f"SELECT $__timeInterval(t) AS time, {CLUSTER_NAME} AS name,\n"
        f"  {MEAN_WATTS} AS Value FROM v_power\n"
        f"WHERE {BY_STEP} AND {HERE}\nGROUP BY time, name ORDER BY time, name",
        is_stacked=True,
        least=0,
    ),
    Panel(
        "Power by what it did",
        "Mean watts by class of v_power: active, idle while held, idle and nobody's, overhead "
        "(what an outer meter has beside those inside of it), unattributed (used, by nobody "
        f"known). {LEDGER_NOTE}",
        Kind.TIME_SERIES,
        "watt",
        f"SELECT $__timeInterval(t) AS time, {CLASS_NAME} AS did, {MEAN_WATTS} AS Value\n"
        f"FROM v_power WHERE {BY_STEP} AND {HERE}\nGROUP BY time, did ORDER BY time, did",
        columns=CLASS_COLUMNS,
        is_stacked=True,
        least=0,
    ),
)

WHO = (
    Panel(
        "Clusters",
        "Each cluster's joules of v_power in the range: mean power, energy, the idle share of all "
        f"but overhead, and the share that was measured. {LEDGER_NOTE}",
        Kind.TABLE,
        sql=f"""SELECT {CLUSTER_NAME} AS name, cluster, site, tier,
  uniq(node) AS nodes, sum(joules) / {RANGE_S} AS power,
  {WATT_HOURS} AS energy, sumIf(joules, {IDLE}) / sumIf(joules, class != 'overhead') AS idle,
  sumIf(joules, {IS_MEASURED}) / sum(joules) AS measured
FROM v_power WHERE {BY_STEP} AND {HERE}
GROUP BY cluster, site, tier ORDER BY energy DESC LIMIT 200""",
        width=12,
        columns={
            "name": Column("Cluster", link=TO_CLUSTER),
            "cluster": Column(is_hidden=True),
            "power": Column(unit="watt"),
            "energy": Column(unit="watth"),
            "idle": Column(unit="percentunit", steps=GOOD_IS_LOW),
            "measured": Column(unit="percentunit"),
        },
        sorted_by="energy",
    ),
    Panel(
        "Nodes that draw the most now",
        "Each node's newest readings of v_device_now: of its own wall meter where it has one that "
        "speaks, else the sum of its devices. The 100 largest.",
        Kind.TABLE,
        sql=f"""SELECT node, cluster, {NODE_WATTS} AS power,
  avgIf(utilization_ratio, kind IN ('gpu', 'module')) AS used,
  countIf(kind IN ('gpu', 'module') AND state = 'idle') AS idle, min(silent_seconds) AS silent
FROM v_device_now WHERE {HERE} AND node != ''
GROUP BY node, cluster ORDER BY power DESC LIMIT 100""",
        width=12,
        columns={
            "node": Column(link=TO_NODE, width=150),
            "power": Column(unit="watt"),
            "used": Column(unit="percentunit"),
            "idle": Column("idle GPUs"),
            "silent": Column("last reading", "s", steps=SILENT),
        },
        sorted_by="power",
    ),
    Panel(
        "Workloads that take the most energy",
        "The ten workloads that are charged with most of the range, idle joules of what they hold "
        f"included, by v_workload_power; narrowed by site alone. {LEDGER_NOTE}",
        Kind.BAR_GAUGE,
        "watth",
        f"SELECT workload, {WATT_HOURS} AS energy FROM v_workload_power\n"
        f"WHERE {BY_STEP} AND {where('site')} AND workload != ''\n"
        "GROUP BY workload ORDER BY energy DESC LIMIT 10",
        8,
        color=Color.POWER,
        links=(TO_WORKLOAD,),
    ),
    Panel(
        "Nodes that idle the most",
        "The ten nodes with most joules of v_idle_1h that did no work, of whole hours in the "
        "range; without overhead.",
        Kind.BAR_GAUGE,
        "watth",
        f"SELECT node, {WATT_HOURS} AS idle FROM v_idle_1h\n"
        f"WHERE $__timeFilter(t) AND {HERE} AND class != 'overhead'\n"
        "GROUP BY node ORDER BY idle DESC LIMIT 10",
        8,
        color=Color.IDLE,
        links=(TO_NODE,),
        runbook="GPUIdleBurn",
    ),
    Panel("Alerts", "What fires or is about to, by Grafana's own rules.", Kind.ALERT_LIST, width=8),
)

TRUST = (
    Panel(
        "How energy was measured",
        "Mean watts of v_power by method of the device: counter and integral are measured, the "
        f"rest is not. {LEDGER_NOTE}",
        Kind.TIME_SERIES,
        "watt",
        f"SELECT $__timeInterval(t) AS time, method, {MEAN_WATTS} AS Value FROM v_power\n"
        f"WHERE {BY_STEP} AND {HERE}\nGROUP BY time, method ORDER BY time, method",
        is_stacked=True,
        least=0,
    ),
    Panel(
        "Outer meters and what is inside of them",
        "By v_reconciliation_1h, each hour: what outer meters measured, what those inside of them "
        "did, and what is left as overhead. uncovered: of hours in which some of those inside said "
        "nothing. residual must stay at zero.",
        Kind.TIME_SERIES,
        "watt",
        "SELECT $__timeInterval(t) AS time, "
        + ",\n  ".join(
            f"{HOUR_WATTS.replace('joules', f'{part}_joules')} AS {part}"
            for part in ("outer", "inner", "remainder", "uncovered", "residual")
        )
        + f"\nFROM v_reconciliation_1h WHERE $__timeFilter(t) AND {where('site')}\n"
        "GROUP BY time ORDER BY time",
        columns={
            "outer": Column(is_dashed=True),
            "inner": Column(color=Color.POWER),
            "remainder": Column(color=Color.PLAIN),
            "uncovered": Column(color=Color.WARN),
            "residual": Column(color=Color.BAD),
        },
        step_s=3600,
        runbook="MeterDisagreement",
    ),
)

BOARD = Board(
    "wattshed-fleet",
    "Fleet overview",
    "What does the fleet draw now, where does it go, and how much of it does no work?",
    (
        Row("Now", ANSWER),
        Row("Over time", TREND),
        Row("Who", WHO),
        Row("Can these numbers be trusted?", TRUST),
    ),
    ("site", "tier", "cluster"),
    "6h",
)
