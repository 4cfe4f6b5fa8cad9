"""Charges at other prices and PUEs, of hours whose readings are gone: joules stay as they are.

Readers take one version of an hour from all of its tables (``ledger_state.READ``), so what stays is
written again under the version of what changes. The source is what merging leaves of an hour: a
version that was begun by these statements alone and not ended has the same joules under the same
keys, so that doing them once more is the same.

Parameters: those of ``pieces_sql.within`` for hours of one day, ``version``, and the devices of a
slice as in ``pieces_sql``; of the statements of a day its ends in Unix seconds.
"""

from __future__ import annotations

from .days_sql import BEGIN, CHARGED, OUTCOME_DAY
from .ledger_sql import (
    CANCEL_DAYS,
    CANCEL_HOURS,
    IN_MINUTES,
    ROLLED_UP,
    WORKLOAD_DAYS,
    WORKLOAD_HOURS,
    WORKLOAD_MINUTES,
)
from .outcome_sql import MONEY
from .pieces_sql import HI, LO, MINE
from .rate_sql import RATES

_IN_HOURS = f"t >= {LO} AND t < {HI}"
_HOURLY = f"""
hourly AS (
    SELECT t AS hour, device_id, workload_id, class, joules, seconds, facility_joules, cost,
           toString(currency) AS paid_in
    FROM charge_1h FINAL WHERE {_IN_HOURS} AND {MINE} AND seconds != 0
)
"""


def _differs(stored: str, now: str) -> str:
    return (
        f"isNull({stored}) != isNull({now}) "
        f"OR abs(ifNull({stored}, 0) - ifNull({now}, 0)) > 1e-9 * abs(ifNull({now}, 0))"
    )


DIFFERING = f"""
WITH
{RATES}
{_HOURLY}
SELECT DISTINCT toUnixTimestamp(h.hour)
FROM hourly AS h
LEFT JOIN (SELECT device_id, toString(site) AS site FROM device FINAL) AS d
    ON d.device_id = h.device_id
LEFT JOIN rate AS r ON r.site = d.site AND r.hour = h.hour
WHERE h.joules != 0 AND ({_differs("h.facility_joules", "h.joules * r.pue")}
      OR {_differs("h.cost", "h.joules * r.per_joule")} OR h.paid_in != r.currency)
"""
"""The hours (Unix seconds) that cost, or whose site drew, something else than is charged."""

LEFT_OPEN = """
SELECT toUnixTimestamp(t), only_rates FROM ledger_open FINAL
WHERE t IN (SELECT t FROM v_open_hour)
"""
"""Hours of which a version was begun and not ended, and whether that was of these statements."""

ROWS = f"SELECT count() FROM charge_1m WHERE {IN_MINUTES}"
"""How many rows the largest of the statements has before it."""

HOUR_ROWS = f"SELECT count() FROM charge_1h WHERE {_IN_HOURS}"
"""How many rows are compared to know which hours cost something else."""

_KEEP_MEASURED = f"""
INSERT INTO measured_1m (t, device_id, method, reason, joules, seconds, version)
SELECT t, device_id, method, reason, joules, seconds, {{version:UInt64}} FROM measured_1m FINAL
WHERE {IN_MINUTES} AND {MINE} AND seconds != 0
"""

_KEEP_CHARGES = f"""
INSERT INTO charge_1m (t, device_id, workload_id, class, joules, seconds, version)
SELECT t, device_id, workload_id, class, joules, seconds, {{version:UInt64}} FROM charge_1m FINAL
WHERE {IN_MINUTES} AND {MINE} AND seconds != 0
"""

_RATE_HOURS = f"""
INSERT INTO charge_1h (t, device_id, workload_id, class, joules, seconds, facility_joules, cost,
                       currency, version)
WITH
{RATES}
{_HOURLY}
{ROLLED_UP}
"""

RATE_OUTCOMES = f"""
INSERT INTO outcome_1h (t, workload_id, kind, model, count, active_joules, loaded_joules,
                        before_joules, uncertainty_joules, facility_joules, cost, currency,
                        hardware, site, version)
SELECT o.t, o.workload_id, o.kind, o.model, o.count, o.active_joules, o.loaded_joules,
       o.before_joules, o.uncertainty_joules,
       if(o.is_energy AND f.unstated = 0, f.facility * o.part, NULL),
       if(o.is_energy AND f.unpriced = 0 AND length(f.currencies) = 1, f.paid * o.part, NULL)
           AS price,
       if(isNull(price), '', f.currencies[1]), o.hardware, o.site, {{version:UInt64}}
FROM (
    SELECT *, isNotNull(loaded_joules) AS is_energy,
           ifNull(if(loaded_joules + before_joules = 0, 1,
                     loaded_joules / (loaded_joules + before_joules)), 0) AS part
    FROM outcome_1h FINAL WHERE {_IN_HOURS} AND (count != 0 OR isNotNull(loaded_joules))
) AS o
LEFT JOIN ({MONEY}) AS f ON f.t = o.t AND f.workload_id = o.workload_id
"""
"""As ``outcome_sql.HOURS`` has it, out of the hours themselves: minutes are kept for a while."""

REPRICE = (
    _KEEP_MEASURED,
    _KEEP_CHARGES,
    WORKLOAD_MINUTES,
    _RATE_HOURS,
    WORKLOAD_HOURS,
    CANCEL_HOURS,
    WORKLOAD_DAYS,
    CANCEL_DAYS,
    RATE_OUTCOMES,
)
"""Run in this order with one version, before ``ledger_state.FINISH``."""

_CHARGED_NOW = CHARGED.replace(
    "v_charge_1h AS c WHERE", "charge_1h AS c FINAL WHERE c.seconds != 0 AND"
)
"""Before the hours are finished, which is what the view waits for."""

RATE_DEVICE_DAY = f"""
INSERT INTO device_1d (t, device_id, joules, idle_joules, idle_seconds, seconds, facility_joules,
                       cost, currency, busy_seconds, used_seconds, celsius_seconds, warm_seconds,
                       most_celsius, idle_watts, throttled_seconds, corrected_errors,
                       uncorrected_errors, xid_errors, failures, program_errors, version)
SELECT k.t, k.device_id, k.joules, k.idle_joules, k.idle_seconds, k.seconds, c.facility_joules,
       c.cost, c.currency, k.busy_seconds, k.used_seconds, k.celsius_seconds, k.warm_seconds,
       k.most_celsius, k.idle_watts, k.throttled_seconds, k.corrected_errors,
       k.uncorrected_errors, k.xid_errors, k.failures, k.program_errors, {{version:UInt64}}
FROM (
    SELECT * FROM device_1d FINAL
    WHERE t = {BEGIN} AND (t, version) IN (
        SELECT t, max(version) FROM device_1d WHERE t = {BEGIN} GROUP BY t)
) AS k
LEFT JOIN ({_CHARGED_NOW}) AS c ON c.device_id = k.device_id
"""
"""A day that was summed up, with what its hours cost now; what was read of it may be gone."""

RATE_DAY = (RATE_DEVICE_DAY, OUTCOME_DAY)
"""Of a day of which all readings may be gone; parameters as in ``days_sql``. Any other is summed up
because an hour of it is newer than it is."""
