"""Which model, in which precision, on which hardware is worth its joules."""

from __future__ import annotations

from functools import partial

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.variables import where

from .charges import currencies

JOULES_PER_TOKEN = "si:J/tok"
_OF_WORKLOADS = where("site", "team", "workload", model="ai_model")
_OF_MODEL = where(model="ai_model")
_TOKENS = (
    "FROM v_outcome_1h\nWHERE $__timeFilter(t) AND state = 'ok' AND outcome = 'token_out' "
    f"AND {_OF_WORKLOADS}"
)
_CACHE = f"FROM v_cache_effect\nWHERE $__timeFilter(t) AND {_OF_WORKLOADS}"
_WAY = "concat(ai_model, ' ', precision, ' on ', hardware)"
_DRIFT = (Step(None, Color.GOOD), Step(0.005, Color.WARN), Step(0.01, Color.BAD))
_DAYS = (Step(None, Color.GOOD), Step(60.0, Color.WARN), Step(90.0, Color.BAD))

_stat = partial(Panel, kind=Kind.STAT, width=3, height=4)

ANSWER = Row(
    "Which way to serve is worth its joules?",
    (
        _stat(
            "Ways to serve",
            "Combinations of model, precision and hardware that made tokens in the range. Counted "
            "in v_outcome_1h.",
            unit="none",
            sql=f"SELECT uniqExact(ai_model, precision, hardware) AS ways\n{_TOKENS}",
        ),
        _stat(
            "Least per token",
            "Joules charged over output tokens of the way that takes least, of those that made at "
            "least 1,000 tokens. A ratio of sums of v_outcome_1h; models are not alike, so look at "
            "the quality as well.",
            unit=JOULES_PER_TOKEN,
            color=Color.POWER,
            no_value="no tokens",
            sql=f"""SELECT min(each) AS joules_per_token FROM (
    SELECT sum(loaded_joules) / nullIf(sum(count), 0) AS each
    {_TOKENS}
    GROUP BY ai_model, precision, hardware HAVING sum(count) >= 1000
)""",
        ),
        _stat(
            "Most per token",
            "The same of the way that takes most. From v_outcome_1h.",
            unit=JOULES_PER_TOKEN,
            color=Color.POWER,
            no_value="no tokens",
            sql=f"""SELECT max(each) AS joules_per_token FROM (
    SELECT sum(loaded_joules) / nullIf(sum(count), 0) AS each
    {_TOKENS}
    GROUP BY ai_model, precision, hardware HAVING sum(count) >= 1000
)""",
        ),
        _stat(
            "Tokens scored",
            "Data quality: the share of output tokens (v_outcome_1h) whose model and precision "
            "have a score in v_quality; of the rest nobody said how good they are.",
            unit="percentunit",
            no_value="no tokens",
            steps=(Step(None, Color.BAD), Step(0.5, Color.WARN), Step(0.9, Color.GOOD)),
            sql=f"""SELECT sumIf(count, (ai_model, precision) IN (
           SELECT toString(ai_model), toString(precision) FROM v_quality
       )) / nullIf(sum(count), 0) AS scored
{_TOKENS}""",
        ),
        _stat(
            "Numerics drifted",
            "Calibrations whose latest score since is worse than allowed (1 % unless configured "
            "otherwise). Counted in v_numerics, now.",
            unit="none",
            steps=(Step(None, Color.GOOD), Step(1.0, Color.BAD)),
            runbook="NumericsDrift",
            sql=f"SELECT countIf(state = 'drifted') AS drifted FROM v_numerics WHERE {_OF_MODEL}",
        ),
        _stat(
            "Calibration age",
            "Days since the calibration of which it is longest ago. From v_numerics, now; scores "
            "that were never calibrated do not count.",
            unit="d",
            decimals=0,
            no_value="none",
            steps=_DAYS,
            runbook="NumericsDrift",
            sql=f"SELECT max(days_since_calibration) AS days FROM v_numerics WHERE {_OF_MODEL}",
        ),
        _stat(
            "From cache",
            "Share of prompt tokens that engines took from a cache, of engines that took any. "
            "From v_cache_effect.",
            unit="percentunit",
            no_value="no cache hits",
            sql=f"""SELECT sum(cached_tokens) / nullIf(sum(cached_tokens) + sum(computed_tokens), 0)
       AS hit_ratio
{_CACHE}""",
        ),
        _stat(
            "Avoided, at most",
            "Joules that the cached prompt tokens would have taken at most: exact where a workload "
            "only fills, else an upper bound, because what filling takes is not known apart from "
            "decoding. From v_cache_effect; the lower bound is in the table below.",
            unit="joule",
            no_value="no cache hits",
            color=Color.GOOD,
            sql=f"SELECT sum(most_avoided_joules) AS joules\n{_CACHE}",
        ),
    ),
)

TREND = Row(
    "How it went",
    (
        Panel(
            "Energy per token by model and precision",
            "Joules charged over output tokens. A ratio of sums of v_outcome_1h per step.",
            Kind.TIME_SERIES,
            unit=JOULES_PER_TOKEN,
            least=0,
            sql=f"""SELECT $__timeInterval(t) AS time, concat(ai_model, ' ', precision) AS way,
       sum(loaded_joules) / nullIf(sum(count), 0) AS Value
{_TOKENS}
GROUP BY time, way HAVING sum(count) > 0 ORDER BY time, way""",
        ),
        Panel(
            "Drift since calibration",
            "How much worse each score is than the calibration that held when it was said, of the "
            "calibration's score, 0 where it is better; the dashed line is where it counts as "
            "drifted by default. From v_score; nothing is drawn between scores that nobody gave.",
            Kind.TIME_SERIES,
            unit="percentunit",
            least=0,
            steps=_DRIFT,
            no_value="no scores",
            runbook="NumericsDrift",
            sql=f"""SELECT toDateTime(at) AS time,
       concat(ai_model, ' ', precision, ' ', metric) AS key, max(drift_ratio) AS Value
FROM v_score WHERE $__timeFilter(at) AND isNotNull(drift_ratio) AND {_OF_MODEL}
GROUP BY time, key ORDER BY time, key""",
        ),
    ),
)

WHO = Row(
    "Ways to serve, side by side",
    (
        Panel(
            "Model, precision and hardware",
            "What a token takes and costs each way, and how good the model is in that precision by "
            "its latest score. Of a model's ways the one of least joules is its best; whether that "
            "is worth its quality is for you to say. Joules and tokens of v_outcome_1h, scores of "
            "v_quality; latency is not measured here.",
            Kind.TABLE,
            width=24,
            height=10,
            sorted_by="tokens",
            columns={
                "ai_model": Column(
                    "Model", link=Link("Its outcomes", "wattshed-outcomes", {"model": "ai_model"})
                ),
                "joules_per_token": Column("Energy per token", unit=JOULES_PER_TOKEN),
                "tokens_per_joule": Column("Tokens per joule", unit="none", decimals=3),
                "over_best": Column(
                    "Over its best way",
                    unit="percentunit",
                    decimals=0,
                    steps=(Step(None, Color.GOOD), Step(1e-9, Color.PLAIN), Step(0.25, Color.WARN)),
                ),
                "tokens": Column("Tokens", unit="short"),
                "cost_per_million": Column("Cost of a million", unit="short", decimals=3),
                "score": Column("Latest score", unit="none", decimals=4),
            },
            sql=f"""SELECT o.ai_model AS ai_model, o.precision AS precision, o.hardware AS hardware,
       o.joules / o.made AS joules_per_token, o.made / nullIf(o.joules, 0) AS tokens_per_joule,
       joules_per_token / min(joules_per_token) OVER (PARTITION BY o.ai_model) - 1 AS over_best,
       o.made AS tokens, o.paid / o.made * 1e6 AS cost_per_million, o.money AS currency,
       q.metric AS metric, if(q.metric = '', NULL, q.score) AS score
FROM (
    SELECT ai_model, precision, hardware, sum(count) AS made, sum(loaded_joules) AS joules,
           if(uniqExact(currency) = 1, sum(cost), NULL) AS paid, {currencies()} AS money
    {_TOKENS} GROUP BY ai_model, precision, hardware HAVING made > 0
) AS o
LEFT JOIN (SELECT ai_model, precision, argMax(metric, at) AS metric, argMax(score, at) AS score
           FROM v_quality GROUP BY ai_model, precision) AS q USING (ai_model, precision)
ORDER BY tokens DESC LIMIT 200""",
        ),
        Panel(
            "Quality and energy per token",
            "Each point is a model in a precision: its latest score (across) by the metric that "
            "most of them have, and joules per token (up). What lies to the lower right of another "
            "is better in both. Scores of v_quality, joules and tokens of v_outcome_1h.",
            Kind.XY_CHART,
            unit=JOULES_PER_TOKEN,
            no_value="no scores",
            columns={
                "score": Column("Score", unit="none"),
                "joules_per_token": Column("Energy per token"),
            },
            sql=f"""SELECT any(q.score) AS score,
       sum(o.loaded_joules) / sum(o.count) AS joules_per_token
FROM (SELECT ai_model, precision, count, loaded_joules {_TOKENS}) AS o
INNER JOIN (
    SELECT ai_model, precision, argMax(score, at) AS score FROM v_quality
    WHERE metric IN (SELECT metric FROM v_quality GROUP BY metric ORDER BY count() DESC LIMIT 1)
    GROUP BY ai_model, precision
) AS q ON q.ai_model = o.ai_model AND q.precision = o.precision
GROUP BY o.ai_model, o.precision HAVING sum(o.count) > 0 ORDER BY score LIMIT 500""",
        ),
        Panel(
            "Energy per token, the dearest ways",
            "Joules charged over output tokens for each model, precision and hardware. A ratio of "
            "sums of v_outcome_1h.",
            Kind.BAR_GAUGE,
            unit=JOULES_PER_TOKEN,
            least=0,
            color=Color.POWER,
            sql=f"""SELECT {_WAY} AS way, sum(loaded_joules) / sum(count) AS joules_per_token
{_TOKENS}
GROUP BY way HAVING sum(count) > 0 ORDER BY joules_per_token DESC LIMIT 15""",
        ),
    ),
)

DETAIL = Row(
    "Calibration, caches and traffic",
    (
        Panel(
            "Calibrations",
            "Each calibration against the latest score since, the worst first. drift is how much "
            "worse it is, of the calibration's score. From v_numerics, now; a score without a "
            "calibration is uncalibrated.",
            Kind.TABLE,
            width=24,
            height=8,
            runbook="NumericsDrift",
            sorted_by="drift",
            columns={
                "drift": Column("Drift", unit="percentunit", decimals=2, steps=_DRIFT),
                "days": Column("Days since", unit="d", decimals=0, steps=_DAYS),
                "calibrated": Column("At calibration", unit="none", decimals=4),
                "latest": Column("Latest", unit="none", decimals=4),
            },
            sql=f"""SELECT ai_model, precision, hardware, metric, state, drift_ratio AS drift,
       calibration_score AS calibrated, latest_score AS latest, scores_since AS scores,
       days_since_calibration AS days
FROM v_numerics WHERE {_OF_MODEL}
ORDER BY drift DESC NULLS LAST, days DESC NULLS LAST LIMIT 200""",
        ),
        Panel(
            "What caches avoid",
            "Prompt tokens from a cache, and the joules that computing them would have taken: "
            "between least and most. Where a workload only fills the two are one; elsewhere the "
            "joules of filling are not known apart from those of decoding. Sums of v_cache_effect.",
            Kind.TABLE,
            width=12,
            no_value="no cache hits",
            sorted_by="most_avoided",
            columns={
                "ai_model": Column("Model", width=150),
                "workload": Column("Workload", width=140),
                "cached": Column("Cached tokens", unit="short"),
                "hit_ratio": Column("From cache", unit="percentunit"),
                "least_avoided": Column("At least", unit="joule"),
                "most_avoided": Column("At most", unit="joule"),
            },
            sql=f"""SELECT ai_model, workload, sum(cached_tokens) AS cached,
       cached / nullIf(cached + sum(computed_tokens), 0) AS hit_ratio,
       sum(least_avoided_joules) AS least_avoided, sum(most_avoided_joules) AS most_avoided
{_CACHE}
GROUP BY ai_model, workload ORDER BY most_avoided DESC NULLS LAST LIMIT 100""",
        ),
        Panel(
            "Output tokens per second by model",
            "Tokens made over the seconds of a step. From v_outcome_1h by the hour.",
            Kind.TIME_SERIES,
            unit="cps",
            least=0,
            is_stacked=True,
            sql=f"""SELECT $__timeInterval(t) AS time, ai_model,
       sum(count) / greatest($__interval_s, 3600) AS Value
{_TOKENS}
GROUP BY time, ai_model ORDER BY time, ai_model""",
        ),
    ),
    is_collapsed=True,
)

BOARD = Board(
    uid="wattshed-models",
    title="Models & precision",
    question="Which model, in which precision, on which hardware is worth its joules?",
    rows=(ANSWER, TREND, WHO, DETAIL),
    variables=("site", "team", "workload", "model"),
    window="14d",
    refresh="5m",
)
