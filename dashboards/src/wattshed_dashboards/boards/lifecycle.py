"""Which hardware earns its power: models side by side, and boards that are unlike their kind."""

from __future__ import annotations

from functools import partial

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.variables import where

from .charges import currencies

_AT = where("site", "tier", "cluster", "node")
_DAYS = f"FROM v_device_1d\nWHERE $__timeFilter(t) AND model != '' AND {_AT}"
_TOKENS = (
    "FROM v_outcome_1d\nWHERE $__timeFilter(t) AND outcome = 'token_out' AND state = 'ok' "
    f"AND hardware NOT IN ('', 'several') AND {where('site')}"
)
_BY_DAY = (
    "Days that are over are whole; today follows by up to an hour. Readings from before this "
    "roll-up was there are gone, so that a mean may cover fewer days than the energy beside it."
)
_UTILISATION = "sum(busy_seconds) / nullIf(sum(used_seconds), 0)"
_IDLE_WATTS = "sum(idle_joules) / nullIf(sum(idle_seconds), 0)"
_IDLE = "sum(idle_joules) / nullIf(sum(joules), 0)"
_HELD = "sum(throttled_seconds) / nullIf(sumIf(seconds, isNotNull(throttled_seconds)), 0)"
_APART = (
    Step(None, Color.WARN),
    Step(-0.1, Color.GOOD),
    Step(0.1, Color.WARN),
    Step(0.25, Color.BAD),
)
_TO_NODE = Link("Its node", "wattshed-node", {"node": "node"})
_TO_DEVICE = Link("This device", "wattshed-node", {"device": "device"})
_WARM = (Step(None, Color.GOOD), Step(80.0, Color.WARN), Step(90.0, Color.BAD))

_stat = partial(Panel, kind=Kind.STAT, width=3, height=4)
_by_day = partial(Panel, kind=Kind.TIME_SERIES, step_s=86_400)

ANSWER = Row(
    "Which hardware earns its power?",
    (
        _stat(
            "Devices",
            "Devices of a known model that were charged anything in the range. Counted in "
            "v_device_1d.",
            unit="none",
            sql=f"SELECT uniqExact(device_id) AS devices\n{_DAYS}",
        ),
        _stat(
            "Energy",
            f"Joules charged to these devices in the range. Sum of v_device_1d. {_BY_DAY}",
            unit="watth",
            color=Color.POWER,
            sql=f"SELECT sum(joules) / 3600 AS energy\n{_DAYS}",
        ),
        _stat(
            "Mean utilisation",
            "Utilisation as the devices say it, over the seconds in which they did. From "
            f"v_device_1d. {_BY_DAY}",
            unit="percentunit",
            no_value="nobody says it",
            steps=(Step(None, Color.BAD), Step(0.2, Color.WARN), Step(0.5, Color.GOOD)),
            sql=f"SELECT {_UTILISATION} AS utilisation\n{_DAYS}",
        ),
        _stat(
            "Idle energy",
            "Share of the joules that were drawn while idle, held or held by nobody. From "
            "v_device_1d.",
            unit="percentunit",
            steps=(Step(None, Color.GOOD), Step(0.2, Color.WARN), Step(0.4, Color.BAD)),
            runbook="GPUIdleBurn",
            sql=f"SELECT {_IDLE} AS idle\n{_DAYS}",
        ),
        _stat(
            "Tokens per joule",
            "Output tokens over joules charged, of workloads on one model of hardware. A ratio of "
            "sums of v_outcome_1d; higher is better.",
            unit="none",
            decimals=3,
            no_value="no tokens",
            color=Color.GOOD,
            sql=f"SELECT sum(count) / nullIf(sum(loaded_joules), 0) AS tokens_per_joule\n{_TOKENS}",
        ),
        _stat(
            "Held down",
            "Share of device time in which clocks were held down, by the reason that lasted "
            "longest of each device and day; of devices that count it. From v_device_1d.",
            unit="percentunit",
            no_value="nobody counts it",
            steps=(Step(None, Color.GOOD), Step(0.05, Color.WARN), Step(0.2, Color.BAD)),
            sql=f"SELECT {_HELD} AS held_down\n{_DAYS}",
        ),
        _stat(
            "Failures",
            "Errors that the driver reported (XID) and uncorrected memory errors that are the "
            "device's own, each event once; what programs cause is not among them. Of devices that "
            "count them. Sum of v_device_1d.",
            unit="none",
            no_value="nobody counts them",
            steps=(Step(None, Color.GOOD), Step(1.0, Color.BAD)),
            sql=f"SELECT sum(failures) AS failed\n{_DAYS}",
        ),
        _stat(
            "Utilisation said",
            "Data quality: the share of device days in which utilisation was said at all. Means on "
            "this board are of those. From v_device_1d.",
            unit="percentunit",
            no_value="no days",
            steps=(Step(None, Color.BAD), Step(0.8, Color.WARN), Step(0.95, Color.GOOD)),
            sql=f"SELECT countIf(isNotNull(used_seconds)) / nullIf(count(), 0) AS said\n{_DAYS}",
        ),
    ),
)

TREND = Row(
    "How models of hardware do over time",
    (
        _by_day(
            "Tokens per joule by hardware",
            "Output tokens over joules charged, of workloads on one model of hardware: which model "
            "of AI runs there matters as much as the board. A ratio of sums of v_outcome_1d.",
            unit="none",
            least=0,
            no_value="no tokens",
            sql=f"""SELECT $__timeInterval(t) AS time, hardware,
       sum(count) / nullIf(sum(loaded_joules), 0) AS Value
{_TOKENS}
GROUP BY time, hardware HAVING sum(loaded_joules) > 0 ORDER BY time, hardware""",
        ),
        _by_day(
            "Utilisation by hardware",
            "Utilisation over the seconds in which it was said. From v_device_1d.",
            unit="percentunit",
            least=0,
            most=1,
            sql=f"""SELECT $__timeInterval(t) AS time, model,
       {_UTILISATION} AS Value
{_DAYS} AND isNotNull(used_seconds)
GROUP BY time, model ORDER BY time, model""",
        ),
        _by_day(
            "Temperature by hardware",
            "Mean temperature over the seconds in which it was said: rising at the same power it "
            "tells of dust, dry paste or a warm aisle. From v_device_1d.",
            unit="celsius",
            sql=f"""SELECT $__timeInterval(t) AS time, model,
       sum(celsius_seconds) / nullIf(sum(warm_seconds), 0) AS Value
{_DAYS} AND isNotNull(warm_seconds)
GROUP BY time, model ORDER BY time, model""",
        ),
        _by_day(
            "Watts while idle by hardware",
            "Joules charged as idle over the device seconds that they took, per device: what a "
            "board costs for being there. From v_device_1d.",
            unit="watt",
            least=0,
            runbook="GPUIdleBurn",
            sql=f"""SELECT $__timeInterval(t) AS time, model,
       {_IDLE_WATTS} AS Value
{_DAYS} AND idle_seconds > 0
GROUP BY time, model ORDER BY time, model""",
        ),
    ),
)

WHO = Row(
    "Models of hardware, and who is unlike its kind",
    (
        Panel(
            "Scorecard",
            "Each model of hardware: devices, energy, how much they were used, watts while idle "
            "(measured) and as learned from the idle device, the hottest, time held down, failures "
            "(each event of the device once), errors that programs mostly cause, and what tokens "
            "took and cost on it. Sums of v_device_1d; tokens of workloads on one model of "
            "hardware, from v_outcome_1d. What it took to make them stands below.",
            Kind.TABLE,
            width=24,
            height=9,
            sorted_by="energy",
            columns={
                "model": Column("Model", width=180),
                "devices": Column("Devices", unit="none"),
                "energy": Column("Energy", unit="watth"),
                "utilisation": Column("Utilisation", unit="percentunit"),
                "idle_watts": Column("Watts while idle", unit="watt"),
                "learned_watts": Column("Idle as learned", unit="watt"),
                "idle": Column("Idle energy", unit="percentunit"),
                "hottest": Column("Hottest", unit="celsius", steps=_WARM),
                "held_down": Column("Held down", unit="percentunit"),
                "failed": Column("Failures", unit="none"),
                "programs": Column("Errors of programs", unit="none"),
                "joules_per_token": Column("Energy per token", unit="si:J/tok"),
                "cost_per_million": Column("Cost of a million tokens", unit="short", decimals=3),
                "currency": Column("Currency"),
            },
            sql=f"""SELECT d.model AS model, devices, energy, d.used AS utilisation,
       d.watts AS idle_watts, d.learned AS learned_watts, idle, hottest, d.held AS held_down,
       failed, programs, o.each AS joules_per_token, o.paid AS cost_per_million, o.money AS currency
FROM (
    SELECT model, uniqExact(device_id) AS devices, sum(joules) / 3600 AS energy,
           {_UTILISATION} AS used, {_IDLE_WATTS} AS watts, avg(idle_watts) AS learned,
           {_IDLE} AS idle, max(most_celsius) AS hottest, {_HELD} AS held,
           sum(failures) AS failed, sum(program_errors) AS programs {_DAYS} GROUP BY model
) AS d LEFT JOIN (
    SELECT hardware, sum(loaded_joules) / sum(count) AS each, {currencies()} AS money,
           if(uniqExact(currency) = 1, sum(cost) / sum(count) * 1e6, NULL) AS paid
    {_TOKENS} GROUP BY hardware HAVING sum(count) > 0
) AS o ON o.hardware = d.model ORDER BY energy DESC LIMIT 100""",
        ),
        Panel(
            "Devices unlike their model",
            "Watts of the idle device (as learned, else as measured while idle) against the median "
            "of its model, and how much warmer it is than that: the most unlike first. What is "
            "parked on a device raises what is measured while idle. From v_device_1d; energy per "
            "outcome is known by workload and model of hardware, not by device.",
            Kind.TABLE,
            width=24,
            height=9,
            runbook="MeterDisagreement",
            columns={
                "device": Column("Device", link=_TO_DEVICE, width=180),
                "node": Column("Node", link=_TO_NODE, width=150),
                "model": Column("Model", width=180),
                "driver": Column("Driver"),
                "firmware": Column("Firmware"),
                "peers": Column("Of its model", unit="none"),
                "watts": Column("Idle", unit="watt"),
                "usual_watts": Column("Median", unit="watt"),
                "apart": Column("Off the median", unit="percentunit", decimals=0, steps=_APART),
                "celsius": Column("Temperature", unit="celsius"),
                "warmer": Column("Warmer by", unit="celsius"),
                "failed": Column("Failures", unit="none"),
            },
            sql=f"""SELECT device, node, model, driver, firmware, count() OVER m AS peers,
       w AS watts, median(w) OVER m AS usual_watts, watts / nullIf(usual_watts, 0) - 1 AS apart,
       c AS celsius, c - median(c) OVER m AS warmer, broke AS failed
FROM (
    SELECT device, node, model, driver, firmware,
           coalesce(min(idle_watts), {_IDLE_WATTS}) AS w,
           sum(celsius_seconds) / nullIf(sum(warm_seconds), 0) AS c, sum(failures) AS broke
    {_DAYS} GROUP BY device, node, model, driver, firmware
)
WINDOW m AS (PARTITION BY model)
ORDER BY abs(apart) DESC NULLS LAST, device LIMIT 50""",
        ),
    ),
)

MADE = Row(
    "What hardware took to make, and who runs other versions",
    (
        Panel(
            "Embodied carbon by model",
            "Grams of CO2 equivalent that it took to make what computes: the part that is written "
            "off in the range (in equal parts over its lifetime, by seconds charged), what one "
            "device is said to have taken, and what it cost (nothing where prices are of several "
            "currencies). Told by an operator, else of the "
            "built-in table, which says its source; nothing where nobody knows. Never part of "
            "operating carbon. From v_embodied_1d.",
            Kind.TABLE,
            width=24,
            height=8,
            sorted_by="written_off",
            columns={
                "model": Column("Model", width=180),
                "devices": Column("Devices", unit="none"),
                "written_off": Column("Written off", unit="si:gCO2eq"),
                "each": Column("One device", unit="si:gCO2eq"),
                "least": Column("At least", unit="si:gCO2eq"),
                "most": Column("At most", unit="si:gCO2eq"),
                "lifetime": Column("Lifetime in years", unit="none", decimals=1),
                "price": Column("Price of one", unit="short"),
                "priced_in": Column("Currency"),
                "source": Column("Source", width=260),
            },
            sql=f"""SELECT model, uniqExact(device_id) AS devices, sum(embodied_g) AS written_off,
       avg(embodied_kg) * 1000 AS each, avg(embodied_low_kg) * 1000 AS least,
       avg(embodied_high_kg) * 1000 AS most, avg(lifetime_years) AS lifetime,
       if(uniqExactIf(currency, isNotNull(purchase_price)) = 1, avg(purchase_price), NULL) AS price,
       arrayStringConcat(arraySort(groupUniqArrayIf(toString(currency),
                                                    isNotNull(purchase_price))), ' and ')
           AS priced_in,
       any(if(embodied_reason = '', embodied_source, embodied_reason)) AS source
FROM v_embodied_1d
WHERE $__timeFilter(t) AND model != '' AND {_AT}
GROUP BY model ORDER BY written_off DESC NULLS LAST, model LIMIT 100""",
        ),
        Panel(
            "Not what most of its model run",
            "Devices whose driver or firmware is not the one that most of their model run, as they "
            "are described now. From v_firmware_drift.",
            Kind.TABLE,
            width=24,
            height=6,
            no_value="every model runs one version",
            columns={
                "device": Column("Device", link=_TO_DEVICE, width=180),
                "node": Column("Node", link=_TO_NODE, width=150),
                "model": Column("Model", width=180),
                "what": Column("What"),
                "version": Column("Version", width=150),
                "direction": Column("Against most"),
                "majority": Column("Most run", width=150),
                "run_it": Column("Run that", unit="none"),
                "devices": Column("Of its model", unit="none"),
            },
            sql=f"""SELECT device, node, model, what, version, direction, majority,
       majority_devices AS run_it, devices
FROM v_firmware_drift WHERE {where("site", "node")}
ORDER BY model, what, direction, device LIMIT 200""",
        ),
    ),
)

DETAIL = Row(
    "Drivers, ages and errors",
    (
        Panel(
            "Drivers and firmware",
            "Devices of one model that run one driver and firmware, as they are described now, and "
            "what sets them apart from others of their model: idle watts against the mean of the "
            "model, temperature, time held down, failures in 1,000 device days. From v_device_1d.",
            Kind.TABLE,
            width=24,
            height=8,
            columns={
                "model": Column("Model", width=180),
                "watts": Column("Watts while idle", unit="watt"),
                "apart": Column("Off the model", unit="percentunit", decimals=0, steps=_APART),
                "celsius": Column("Temperature", unit="celsius"),
                "held_down": Column("Held down", unit="percentunit"),
                "failures_per_1000_days": Column("Failures in 1,000 days", unit="none", decimals=1),
            },
            sql=f"""SELECT model, driver, firmware, devices, j / nullIf(s, 0) AS watts,
       watts / nullIf(sum(j) OVER m / nullIf(sum(s) OVER m, 0), 0) - 1 AS apart, celsius, held_down,
       failures_per_1000_days
FROM (
    SELECT model, driver, firmware, uniqExact(device_id) AS devices, sum(idle_joules) AS j,
           sum(idle_seconds) AS s, {_HELD} AS held_down,
           sum(celsius_seconds) / nullIf(sum(warm_seconds), 0) AS celsius,
           avg(failures) * 1000 AS failures_per_1000_days
    {_DAYS} GROUP BY model, driver, firmware
)
WINDOW m AS (PARTITION BY model)
ORDER BY abs(apart) DESC NULLS LAST, model LIMIT 100""",
        ),
        Panel(
            "First and last seen",
            "The first and the last day of the range in which each device was charged anything, "
            "those that fell silent first on top. From v_device_1d: since when wattshed knows it, "
            "not since when it was bought.",
            Kind.TABLE,
            width=24,
            height=9,
            runbook="TelemetryStale",
            columns={
                "device": Column("Device", link=_TO_DEVICE, width=180),
                "node": Column("Node", link=_TO_NODE, width=150),
                "model": Column("Model", width=180),
                "first_day": Column("First", unit="dateTimeAsIso", width=160),
                "last_day": Column("Last", unit="dateTimeAsIso", width=160),
                "energy": Column("Energy", unit="watth"),
                "utilisation": Column("Utilisation", unit="percentunit"),
                "failed": Column("Failures", unit="none"),
            },
            sql=f"""SELECT device, node, site, model, uniqExact(t) AS days, min(t) AS first_day,
       max(t) AS last_day, sum(joules) / 3600 AS energy, {_UTILISATION} AS utilisation,
       sum(failures) AS failed
{_DAYS}
GROUP BY device, node, site, model ORDER BY last_day, device LIMIT 500""",
        ),
        _by_day(
            "Time held down by hardware",
            "Share of device time in which clocks were held down, of devices that count it. From "
            "v_device_1d.",
            unit="percentunit",
            least=0,
            no_value="nobody counts it",
            sql=f"""SELECT $__timeInterval(t) AS time, model, {_HELD} AS Value
{_DAYS} AND isNotNull(throttled_seconds)
GROUP BY time, model ORDER BY time, model""",
        ),
        _by_day(
            "Memory errors by hardware",
            "Corrected memory errors of each step: many of them on one board foretell others. From "
            "v_device_1d, of devices that count them.",
            unit="none",
            least=0,
            no_value="nobody counts them",
            sql=f"""SELECT $__timeInterval(t) AS time, model, sum(corrected_errors) AS Value
{_DAYS} AND isNotNull(corrected_errors)
GROUP BY time, model ORDER BY time, model""",
        ),
    ),
    is_collapsed=True,
)

BOARD = Board(
    uid="wattshed-lifecycle",
    title="Lifecycle & procurement",
    question="Which hardware earns its power, and which boards are unlike their kind?",
    rows=(ANSWER, TREND, WHO, MADE, DETAIL),
    variables=("site", "tier", "cluster", "node"),
    window="1y",
    refresh="15m",
)
