"""Energy per outcome and the objectives for it, over a month."""

from __future__ import annotations

from functools import partial

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.variables import where

from .charges import currencies

JOULES_PER_TOKEN = "si:J/tok"
_CHOSEN = where("site", "team", "workload", model="ai_model")
_MADE = f"FROM v_outcome_1h\nWHERE $__timeFilter(t) AND state = 'ok' AND {_CHOSEN}"
_TOKENS = f"{_MADE} AND outcome = 'token_out'"
_NOT_NARROWED = "Objectives are not narrowed by the variables above."
_BUDGET = (Step(None, Color.BAD), Step(0.0, Color.WARN), Step(0.25, Color.GOOD))
_BURN = (Step(None, Color.GOOD), Step(1.0, Color.WARN), Step(14.4, Color.BAD))

_stat = partial(Panel, kind=Kind.STAT, width=3, height=4)

ANSWER = Row(
    "Is each outcome made for the joules that were promised?",
    (
        _stat(
            "Energy per token",
            "All joules that the workloads were charged, idle holding among them, over the output "
            "tokens of the same hours: a ratio of sums of v_outcome_1h. Hours whose energy is not "
            "known are left out with their tokens.",
            unit=JOULES_PER_TOKEN,
            color=Color.POWER,
            no_value="no tokens",
            sql="SELECT sum(loaded_joules) / nullIf(sum(count), 0) AS joules_per_token\n" + _TOKENS,
        ),
        _stat(
            "Active per token",
            "The same with the joules of class active alone: what holding devices idle adds is the "
            "difference to its neighbour. From v_outcome_1h.",
            unit=JOULES_PER_TOKEN,
            color=Color.POWER,
            no_value="no tokens",
            sql="SELECT sum(active_joules) / nullIf(sum(count), 0) AS joules_per_token\n" + _TOKENS,
        ),
        _stat(
            "Least compliance",
            "Of each objective the share of its outcomes in the range that were made in minutes "
            f"within the target; shown is the lowest. From v_slo_1h. {_NOT_NARROWED}",
            unit="percentunit",
            no_value="no objectives",
            decimals=2,
            steps=(Step(None, Color.BAD), Step(0.95, Color.WARN), Step(0.99, Color.GOOD)),
            sql="""SELECT min(good) AS compliance FROM (
    SELECT slo, 1 - sum(bad_outcomes) / nullIf(sum(outcomes), 0) AS good
    FROM v_slo_1h WHERE $__timeFilter(t) GROUP BY slo
)""",
        ),
        _stat(
            "Budget left",
            "What is left of the error budget of the objective that spent most of it, in the "
            "objective's own window up to now; below 0 more was spent than there was. From "
            f"v_slo_burn. {_NOT_NARROWED}",
            unit="percentunit",
            no_value="no objectives",
            steps=_BUDGET,
            runbook="EnergySLOSlowBurn",
            sql="SELECT min(budget_left_ratio) AS budget_left FROM v_slo_burn",
        ),
        _stat(
            "Fast burn",
            "How many times faster than even the budget is being spent now, in the shortest long "
            "window of each objective (1 h by default); the highest. From v_slo_burn, NULL where "
            f"there is too little traffic to tell. {_NOT_NARROWED}",
            unit="none",
            decimals=1,
            no_value="no traffic",
            steps=_BURN,
            runbook="EnergySLOFastBurn",
            sql="""SELECT max(burn_long) AS burn FROM v_slo_burn
WHERE (slo, long_seconds) IN (SELECT slo, min(long_seconds) FROM v_slo_burn GROUP BY slo)""",
        ),
        _stat(
            "Slow burn",
            "The same in the longest window of each objective (3 d by default): a slow leak that a "
            f"short one does not show. From v_slo_burn. {_NOT_NARROWED}",
            unit="none",
            decimals=1,
            no_value="no traffic",
            steps=_BURN,
            runbook="EnergySLOSlowBurn",
            sql="""SELECT max(burn_long) AS burn FROM v_slo_burn
WHERE (slo, long_seconds) IN (SELECT slo, max(long_seconds) FROM v_slo_burn GROUP BY slo)""",
        ),
        _stat(
            "SLOs burning",
            "Objectives of which at least one pair of windows is above its factor now, in both. "
            f"From v_slo_burn. {_NOT_NARROWED}",
            unit="none",
            steps=(Step(None, Color.GOOD), Step(1.0, Color.BAD)),
            runbook="EnergySLOFastBurn",
            sql="SELECT uniqExactIf(slo, is_burning = 1) AS burning FROM v_slo_burn",
        ),
        _stat(
            "Energy is known",
            "Data quality: the share of all outcomes in the range whose workload has joules in the "
            "same hour, each kind weighed by its count. What has none is in no ratio of this "
            "board. From v_outcome_1h.",
            unit="percentunit",
            decimals=1,
            no_value="no outcomes",
            steps=(Step(None, Color.BAD), Step(0.9, Color.WARN), Step(0.99, Color.GOOD)),
            sql=f"""SELECT sumIf(count, state = 'ok') / nullIf(sum(count), 0) AS with_energy
FROM v_outcome_1h WHERE $__timeFilter(t) AND {_CHOSEN}""",
        ),
    ),
)

TREND = Row(
    "How it went",
    (
        Panel(
            "Energy per token by model",
            "Joules charged over output tokens, per model and step: a ratio of sums of "
            "v_outcome_1h by the hour. A model without tokens in a step has no point there.",
            Kind.TIME_SERIES,
            unit=JOULES_PER_TOKEN,
            least=0,
            sql=f"""SELECT $__timeInterval(t) AS time, ai_model,
       sum(loaded_joules) / nullIf(sum(count), 0) AS Value
{_TOKENS}
GROUP BY time, ai_model HAVING sum(count) > 0 ORDER BY time, ai_model""",
        ),
        Panel(
            "Energy over target by objective",
            "Joules that the outcomes of an objective took, over what its target allows for as "
            f"many: above the dashed line they are too dear. From v_slo_1h. {_NOT_NARROWED}",
            Kind.TIME_SERIES,
            unit="percentunit",
            least=0,
            steps=(Step(None, Color.GOOD), Step(1.0, Color.BAD)),
            no_value="no objectives",
            sql="""SELECT $__timeInterval(t) AS time, slo,
       sum(joules) / nullIf(sum(allowed_joules), 0) AS Value
FROM v_slo_1h WHERE $__timeFilter(t)
GROUP BY time, slo HAVING sum(allowed_joules) > 0 ORDER BY time, slo""",
        ),
        Panel(
            "Burn rate by objective",
            "How many times faster than even the budget was spent in each step: 1 spends it in "
            "exactly the objective's window. From v_slo_budget_1h by the hour; the windows of the "
            f"alerts are in the table below. {_NOT_NARROWED}",
            Kind.TIME_SERIES,
            unit="none",
            least=0,
            steps=(Step(None, Color.GOOD), Step(1.0, Color.WARN), Step(14.4, Color.BAD)),
            no_value="no objectives",
            runbook="EnergySLOSlowBurn",
            sql="""SELECT $__timeInterval(t) AS time, slo,
       greatest(0, sum(spent)) / nullIf(sum(added), 0) AS Value
FROM v_slo_budget_1h WHERE $__timeFilter(t)
GROUP BY time, slo HAVING sum(added) > 0 ORDER BY time, slo""",
        ),
        Panel(
            "Budget left in the range",
            "The budget that the outcomes of the whole range allow, less what was spent of it up "
            "to each step: with the range set to the objective's window this ends at what is left "
            "of it; more than all of it is never left. From v_slo_budget_1h; "
            "what is below the axis overspent more than the budget. "
            f"{_NOT_NARROWED}",
            Kind.TIME_SERIES,
            unit="percentunit",
            least=-1,
            steps=_BUDGET,
            no_value="no objectives",
            sql="""SELECT time, slo,
       1 - greatest(0, sum(spent) OVER (PARTITION BY slo ORDER BY time))
           / sum(added) OVER (PARTITION BY slo) AS Value
FROM (
    SELECT $__timeInterval(t) AS time, slo, sum(b.spent) AS spent, sum(b.added) AS added
    FROM v_slo_budget_1h AS b WHERE $__timeFilter(t) GROUP BY time, slo HAVING added > 0
)
ORDER BY time, slo""",
        ),
    ),
)

WHO = Row(
    "Whose outcomes are dear",
    (
        Panel(
            "Objectives",
            "Each objective with its target, what its outcomes take in its window up to now, what "
            "is left of its budget, and the highest burn rate of its windows; the least left "
            f"first. From v_slo_burn and v_slo. {_NOT_NARROWED}",
            Kind.TABLE,
            width=24,
            height=7,
            runbook="EnergySLOFastBurn",
            columns={
                "target": Column("Target", unit="joule"),
                "taken": Column("Taken", unit="joule"),
                "budget_left": Column("Budget left", unit="percentunit", steps=_BUDGET),
                "burn": Column("Highest burn", unit="none", decimals=1, steps=_BURN),
            },
            sql="""SELECT b.slo AS slo, any(b.owner) AS owner, any(b.outcome) AS outcome,
       any(s.sli) AS promise, any(s.target_joules_per_outcome) AS target,
       any(b.joules_per_outcome) AS taken, min(b.budget_left_ratio) AS budget_left,
       max(b.burn_long) AS burn, if(max(b.is_burning) = 1, 'burning', any(b.budget_state)) AS state
FROM v_slo_burn AS b INNER JOIN v_slo AS s ON s.slo = b.slo
GROUP BY slo ORDER BY budget_left ASC NULLS LAST, slo LIMIT 100""",
        ),
        Panel(
            "Workloads",
            "What each workload made on each model of hardware in the range and what one took: "
            "charged (all) and at work. Joules before the first outcome of a run are apart and in "
            "no ratio; the cost is of 1,000 outcomes, empty without a price. Ratios of sums of "
            "v_outcome_long, most joules first: of hours, beyond ten days of days that begin in "
            "the range.",
            Kind.TABLE,
            width=24,
            height=10,
            sorted_by="joules",
            columns={
                "workload": Column(
                    "Workload",
                    link=Link("Its energy", "wattshed-workloads", {"workload": "workload"}),
                    width=180,
                ),
                "outcome": Column(width=130),
                "ai_model": Column(
                    "Model",
                    link=Link("Ways to serve it", "wattshed-models", {"model": "ai_model"}),
                    width=140,
                ),
                "hardware": Column("Hardware", width=180),
                "outcomes": Column("Outcomes", unit="short"),
                "per_outcome": Column("Energy each", unit="joule"),
                "at_work": Column("At work each", unit="joule"),
                "joules": Column("Energy", unit="joule"),
                "before": Column("Before the first", unit="joule"),
                "cost_of_1000": Column("Cost of 1,000", unit="none"),
                "money": Column("Currency"),
            },
            sql=f"""SELECT team, workload, ai_model, precision, hardware, outcome,
       sum(count) AS outcomes, sum(loaded_joules) / nullIf(outcomes, 0) AS per_outcome,
       sum(active_joules) / nullIf(outcomes, 0) AS at_work, sum(loaded_joules) AS joules,
       sum(before_joules) AS before,
       if(uniqExactIf(currency, loaded_joules > 0) = 1, sum(cost) / nullIf(outcomes, 0) * 1000,
          NULL) AS cost_of_1000,
       {currencies()} AS money
FROM v_outcome_long
WHERE step_s = if($__toTime - $__fromTime > 864000, 86400, 3600) AND $__timeFilter(t)
  AND state = 'ok' AND {_CHOSEN}
GROUP BY team, workload, ai_model, precision, hardware, outcome
ORDER BY joules DESC LIMIT 200""",
        ),
    ),
)

DETAIL = Row(
    "What lies behind it",
    (
        Panel(
            "Outcomes per second",
            "What was made per second, by kind: where there is hardly any traffic, energy per "
            "outcome says little and idle power much. From v_outcome_1h by the hour.",
            Kind.TIME_SERIES,
            unit="cps",
            least=0,
            sql=f"""SELECT $__timeInterval(t) AS time, outcome,
       sum(count) / greatest($__interval_s, 3600) AS Value
{_MADE}
GROUP BY time, outcome ORDER BY time, outcome""",
        ),
        Panel(
            "Where the joules of producing workloads go",
            "Power of workloads that make something: at work, held idle, and before the first "
            "outcome of a run (loading a model). Joules of v_outcome_1h, once per workload and "
            "hour, over the seconds of a step.",
            Kind.TIME_SERIES,
            unit="watt",
            least=0,
            is_stacked=True,
            columns={
                "at_work": Column(color=Color.POWER),
                "held_idle": Column(color=Color.IDLE),
                "before_first": Column(color=Color.WARN),
            },
            sql=f"""SELECT time, sum(active) / s AS at_work, sum(loaded - active) / s AS held_idle,
       sum(before) / s AS before_first
FROM (
    SELECT $__timeInterval(t) AS time, greatest($__interval_s, 3600) AS s, workload_id,
           any(active_joules) AS active, any(loaded_joules) AS loaded, any(before_joules) AS before
    {_MADE}
    GROUP BY t, workload_id
)
GROUP BY time, s ORDER BY time""",
        ),
        Panel(
            "Load and energy per token",
            "Each point is a workload's hour: tokens per second (across) and joules per token "
            "(up). Fuller batches share the same watts among more tokens. The newest 2,000 hours "
            "of v_outcome_1h.",
            Kind.XY_CHART,
            unit=JOULES_PER_TOKEN,
            columns={
                "tokens_per_second": Column("Tokens per second", unit="cps"),
                "joules_per_token": Column("Energy per token"),
            },
            sql=f"""SELECT count / 3600 AS tokens_per_second,
       loaded_joules / count AS joules_per_token
{_TOKENS} AND count > 0
ORDER BY t DESC LIMIT 2000""",
        ),
        Panel(
            "Energy per training step by model",
            "Joules charged over training steps, per model. From v_outcome_1h; the loss of a step "
            "is not measured here.",
            Kind.TIME_SERIES,
            unit="joule",
            least=0,
            sql=f"""SELECT $__timeInterval(t) AS time, ai_model,
       sum(loaded_joules) / nullIf(sum(count), 0) AS Value
{_MADE} AND outcome = 'step'
GROUP BY time, ai_model HAVING sum(count) > 0 ORDER BY time, ai_model""",
        ),
        Panel(
            "Uncertainty of energy per outcome",
            "Data quality: what the meters' stated uncertainties allow of the joules of "
            "v_outcome_1h, as a share of them; only where every meter of an hour states its own.",
            Kind.TIME_SERIES,
            width=24,
            unit="percentunit",
            least=0,
            no_value="no meter states its uncertainty",
            sql=f"""SELECT $__timeInterval(t) AS time,
       sumIf(uncertainty_joules, isNotNull(uncertainty_joules))
           / nullIf(sumIf(loaded_joules, isNotNull(uncertainty_joules)), 0) AS uncertainty
{_MADE}
GROUP BY time ORDER BY time""",
        ),
    ),
    is_collapsed=True,
)

BOARD = Board(
    uid="wattshed-outcomes",
    title="Energy per outcome & SLO",
    question="What does a token, a step, a request take, and is that what was promised?",
    rows=(ANSWER, TREND, WHO, DETAIL),
    variables=("site", "team", "workload", "model"),
    window="30d",
    refresh="5m",
)
