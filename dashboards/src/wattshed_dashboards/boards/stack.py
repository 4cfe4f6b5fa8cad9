"""Stack health: does what measures the fleet itself work, and what does it cost?"""

from __future__ import annotations

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.phrases import RECENT, grown

from .charges import SILENT

OWN = "wattshed_collector_"
DAY = "At most the last day of the range."
MINUTE = "Recorded once a minute under the name that it has on /metrics."
NOW = "FROM v_stack_now WHERE metric"
TO_NODE = Link("This node", "wattshed-node", {"node": "node"})
LOST = (
    "('wattshed_collector_rejected_total', 'wattshed_collector_refused_total',\n"
    "    'wattshed_collector_dead_letters_total', 'wattshed_collector_turned_away')"
)
ROWS = (
    "('wattshed_collector_ticks_total', 'wattshed_collector_details_total',\n"
    "    'wattshed_collector_other_samples_total')"
)
TAKEN, NOT_TAKEN = grown(f"IN {ROWS}"), grown(f"IN {LOST}")
LAG = grown(
    f"= '{OWN}lag_seconds_bucket'\n"
    "    AND ts >= $__toTime - 86400 AND toFloat64OrNull(labels['le']) <= 3600"
)
NOT_LATE = (
    "What is older than an hour when it comes is history or was held back, and is left out: who is "
    "silent is said beside."
)
JOULES = grown(f"= '{OWN}energy_joules_total'")
WORKED = grown(f"IN ('process_cpu_seconds_total', '{OWN}ledger_seconds_total')")
LOST_STEPS = (Step(None, Color.GOOD), Step(1, Color.WARN), Step(1000, Color.BAD))

ANSWER = (
    Panel(
        "Safe within",
        "Of the range, by v_stack: 95 of 100 requests made their newest reading safe within this "
        "time of its being measured; the upper edge of a bucket of lag_seconds. "
        f"{NOT_LATE} {DAY} {MINUTE}",
        Kind.STAT,
        "s",
        "SELECT minOrNull(le) AS lag FROM (\n"
        "  SELECT toFloat64OrNull(labels['le']) AS le, sum(growth) AS n, max(n) OVER () AS most\n"
        f"  FROM {LAG}\n  GROUP BY le) WHERE n >= 0.95 * most AND most > 0",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(30, Color.WARN), Step(120, Color.BAD)),
        no_value="not recorded",
        runbook="TelemetryStale",
    ),
    Panel(
        "Taken in",
        f"Ticks, details and other samples a second that became durable, by v_stack. {MINUTE}",
        Kind.STAT,
        "rowsps",
        f"SELECT sum(growth) / ($__toTime - $__fromTime) AS taken\nFROM {TAKEN} HAVING count() > 0",
        3,
        4,
        no_value="not recorded",
    ),
    Panel(
        "Not taken in",
        "Points refused, requests refused or turned away, and bodies that can never be taken, in "
        "the range, by v_stack. Turned away comes again by itself; the rest is lost. "
        f"{MINUTE}",
        Kind.STAT,
        "short",
        f"SELECT sum(growth) AS lost\nFROM {NOT_TAKEN} HAVING count() > 0",
        3,
        4,
        steps=LOST_STEPS,
        no_value="not recorded",
        runbook="SamplesDropped",
    ),
    Panel(
        "Silent nodes",
        "Nodes without a reading in the last two minutes, of those heard of in the last seven "
        "days, by v_device_now.",
        Kind.STAT,
        "short",
        "SELECT countIf(silent > 120) AS silent FROM (\n"
        "  SELECT min(silent_seconds) AS silent FROM v_device_now GROUP BY node)",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(1, Color.BAD)),
        runbook="ExporterDown",
    ),
    Panel(
        "Ledger is behind",
        f"Now less the time up to which all that was measured is charged, by v_stack_now. {MINUTE}",
        Kind.STAT,
        "s",
        f"SELECT toUnixTimestamp(now()) - max(value) AS lag {NOW} =\n"
        f"  '{OWN}ledger_settled_timestamp_seconds' HAVING count() > 0",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(300, Color.WARN), Step(900, Color.BAD)),
        no_value="not recorded",
        runbook="LedgerBehind",
    ),
    Panel(
        "Disk lasts for",
        "Days until the disk of an embedded store is full, as it went the last day; the least of "
        f"all collectors, by v_stack_now. Nothing while it does not fill. {MINUTE}",
        Kind.STAT,
        "d",
        f"SELECT min(value) AS days {NOW} = '{OWN}disk_days_left' HAVING count() > 0",
        3,
        4,
        steps=(Step(None, Color.BAD), Step(3, Color.WARN), Step(14, Color.GOOD)),
        no_value="does not fill",
        runbook="DiskFilling",
    ),
    Panel(
        "Most table parts",
        "Active parts of the table that has the most, by v_stack_now: many mean that merges do not "
        f"keep up with inserts. {MINUTE}",
        Kind.STAT,
        "short",
        f"SELECT max(value) AS parts {NOW} = '{OWN}table_parts' HAVING count() > 0",
        3,
        4,
        steps=(Step(None, Color.GOOD), Step(300, Color.WARN), Step(1000, Color.BAD)),
        no_value="not recorded",
    ),
    Panel(
        "Own power",
        "Mean watts of collectors and exporters together, as far as each is known. Collectors, "
        "by v_stack: their part of the busy time of CPU packages that are measured in this "
        "store; nothing where none is. "
        "Exporters, by v_exporter: what each that pushes estimates for itself, at most the last "
        "six hours.",
        Kind.STAT,
        "watt",
        "SELECT coalesce(collectors + exporters, exporters, collectors) AS watts FROM (\n"
        "SELECT (SELECT sum(watts) FROM (\n"
        "  SELECT sum(growth) / nullIf(toUnixTimestamp(max(ts)) - toUnixTimestamp(min(ts)), 0)\n"
        f"    AS watts FROM {JOULES}\n  GROUP BY instance))\n"
        "  AS collectors, (SELECT sum(watts) FROM (\n"
        "  SELECT (max(value) - min(value)) / nullIf(toUnixTimestamp(max(ts))\n"
        "    - toUnixTimestamp(min(ts)), 0) AS watts\n"
        f"  FROM v_exporter WHERE {RECENT} AND metric = 'wattshed_self_energy_joules_total'\n"
        "  GROUP BY node, start_ts)) AS exporters)",
        3,
        4,
        color=Color.POWER,
        no_value="not measured",
    ),
)

TREND = (
    Panel(
        "Taken in",
        "Rows a second that became durable: ticks, details, and samples of other metrics, by "
        f"v_stack. {MINUTE}",
        Kind.TIME_SERIES,
        "rowsps",
        "SELECT $__timeInterval(ts) AS time,\n"
        f"  replaceRegexpOne(metric, '^{OWN}(.*)_total$', '\\\\1') AS what,\n"
        "  sum(growth) / $__interval_s AS Value\n"
        f"FROM {TAKEN}\nGROUP BY time, what ORDER BY time, what",
        8,
        is_stacked=True,
    ),
    Panel(
        "Not taken in, by reason",
        "Points, requests and bodies a minute that were refused, turned away or can never be "
        f"taken, by v_stack. future_timestamp: a clock that runs ahead. {MINUTE}",
        Kind.TIME_SERIES,
        "short",
        "SELECT $__timeInterval(ts) AS time, trimRight(concat(\n"
        f"    replaceRegexpOne(metric, '^{OWN}(.*?)(_total)?$', '\\\\1'), ' ', labels['reason'],\n"
        "    labels['result'])) AS why, sum(growth) * 60 / $__interval_s AS Value\n"
        f"FROM {NOT_TAKEN}\nGROUP BY time, why ORDER BY time, why",
        8,
        runbook="SamplesDropped",
    ),
    Panel(
        "Time until it is safe",
        "Median and 95 % of requests of each step, by v_stack: upper edges of buckets, from "
        f"when the newest reading was measured. {NOT_LATE} {DAY} {MINUTE}",
        Kind.TIME_SERIES,
        "s",
        "SELECT time, minIf(le, n >= 0.5 * most) AS half,\n"
        "  minIf(le, n >= 0.95 * most) AS slow FROM (\n"
        "  SELECT $__timeInterval(ts) AS time, toFloat64OrNull(labels['le']) AS le,\n"
        "    sum(growth) AS n, max(n) OVER (PARTITION BY time) AS most\n"
        f"  FROM {LAG}\n  GROUP BY time, le) WHERE most > 0\n"
        "GROUP BY time ORDER BY time",
        8,
        runbook="TelemetryStale",
    ),
    Panel(
        "Nodes that report",
        "Nodes of which at least one device was charged in each step, by v_power; a node that "
        "falls out is silent, or its meters are. By the minute up to 25 hours, beyond by the "
        "hour.",
        Kind.TIME_SERIES,
        "short",
        "SELECT $__timeInterval(t) AS time, uniq(node) AS nodes FROM v_power\n"
        "WHERE step_s = if($__toTime - $__fromTime > 90000, 3600, 60) AND $__timeFilter(t)\n"
        "GROUP BY time ORDER BY time",
        8,
        least=0,
        runbook="ExporterDown",
    ),
    Panel(
        "CPU and ledger",
        "CPU seconds a second of all collectors, and the part of the time that the ledger "
        f"worked, by v_stack. {MINUTE}",
        Kind.TIME_SERIES,
        "none",
        "SELECT $__timeInterval(ts) AS time,\n"
        "  sumIf(growth, metric = 'process_cpu_seconds_total') / $__interval_s AS cpu,\n"
        f"  sumIf(growth, metric = '{OWN}ledger_seconds_total') / $__interval_s AS ledger\n"
        f"FROM {WORKED}\n"
        "GROUP BY time ORDER BY time",
        8,
        runbook="LedgerBehind",
    ),
    Panel(
        "Memory",
        "Resident memory of all collectors, and what requests and rows that wait take of it, by "
        f"v_stack. {MINUTE}",
        Kind.TIME_SERIES,
        "bytes",
        "SELECT $__timeInterval(ts) AS time,\n"
        "  avgOrNullIf(value, metric = 'process_resident_memory_bytes') AS resident,\n"
        f"  avgOrNullIf(value, metric = '{OWN}queued_bytes') AS waiting\n"
        "FROM v_stack WHERE $__timeFilter(ts)\n"
        f"  AND metric IN ('process_resident_memory_bytes', '{OWN}queued_bytes')\n"
        "GROUP BY time ORDER BY time",
        8,
    ),
)

WHO = (
    Panel(
        "Exporters",
        "Each node by the newest reading of its devices, by v_device_now: how long ago, how many "
        "devices speak, and how many of them measure rather than estimate. Longest silent first.",
        Kind.TABLE,
        sql="""SELECT node, cluster, min(silent_seconds) AS silent, count() AS devices,
  countIf(state = 'silent') AS mute, countIf(method IN ('counter', 'integral')) AS measured,
  arrayStringConcat(arraySort(groupUniqArray(source)), ', ') AS sources
FROM v_device_now GROUP BY node, cluster ORDER BY silent DESC LIMIT 500""",
        width=12,
        columns={
            "node": Column(link=TO_NODE, width=150),
            "silent": Column("last reading", "s", steps=SILENT),
            "mute": Column("silent devices"),
            "measured": Column("measured devices"),
        },
        sorted_by="silent",
        runbook="TelemetryStale",
    ),
    Panel(
        "What exporters say of themselves",
        "The newest of what exporters push of their own health, by v_exporter_now: sources that "
        "are down, reads that failed, ticks and requests that were dropped, and the joules that an "
        "exporter estimates for itself. Exporters that are only scraped say it on their own page.",
        Kind.TABLE,
        sql="""SELECT node, replaceRegexpOne(metric, '^wattshed_(.*?)(_total)?$', '\\\\1') AS what,
  source, reason, value, ts
FROM v_exporter_now
WHERE reason != 'sent' AND if(metric = 'wattshed_source_up', value = 0, value > 0)
ORDER BY what, value DESC LIMIT 500""",
        width=12,
        columns={
            "node": Column(link=TO_NODE),
            "what": Column(width=150),
            "ts": Column("said at", width=160),
        },
        runbook="SamplesDropped",
    ),
    Panel(
        "Tables",
        "Room and parts of each table of the store, by v_stack_now. "
        f"Rows are as stored, before duplicates are merged. {MINUTE}",
        Kind.TABLE,
        sql=f"""SELECT labels['table'] AS name, maxIf(value, metric = '{OWN}table_bytes') AS size,
  maxIf(value, metric = '{OWN}table_rows') AS rows,
  maxIf(value, metric = '{OWN}table_parts') AS parts
FROM v_stack_now WHERE labels['table'] != '' GROUP BY name ORDER BY size DESC LIMIT 50""",
        width=12,
        columns={
            "name": Column("table"),
            "size": Column(unit="decbytes"),
            "rows": Column(unit="short"),
            "parts": Column(steps=(Step(None, Color.GOOD), Step(300, Color.WARN))),
        },
        sorted_by="size",
        runbook="DiskFilling",
    ),
    Panel(
        "What collectors draw",
        "Mean watts of each collector by v_stack: its part of the busy time of CPU packages "
        f"that are measured in this store. {MINUTE}",
        Kind.TIME_SERIES,
        "watt",
        "SELECT $__timeInterval(ts) AS time, instance,\n"
        "  sum(growth) / $__interval_s AS Value\n"
        f"FROM {JOULES}\nGROUP BY time, instance ORDER BY time, instance",
        color=Color.POWER,
        no_value="not measured",
    ),
)

BOARD = Board(
    "wattshed-stack",
    "Stack health",
    "Does what measures the fleet work, does it lose anything, and what does it cost?",
    (Row("In this time", ANSWER), Row("Over time", TREND), Row("Who", WHO)),
    (),
    "3h",
)
