"""Scores that users supply: kept, set against their calibration and against joules per outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wattshed_collector.errors import InvalidInput
from wattshed_collector.quality import Score, Verdict, Way, compare

from .client import Client
from .outcome_queries import COLUMNS, Asked, Record, per_outcome

HOUR_S = 3600
WAY = ("ai_model", "precision", "batch_class", "hardware")
"""What ways to serve are told apart by."""
KEY = (*WAY, "workload", "metric")
BASES = ("loaded", "active")
OF_CACHE = tuple(column for column in COLUMNS if column != "phase")
_SCORE = """ai_model, precision, metric, score, better, toUnixTimestamp64Milli(at), kind,
               batch_class, hardware, workload, samples, note"""
NUMERICS_ORDER = "drift_ratio DESC NULLS LAST, days_since_calibration DESC NULLS LAST"


def put(client: Client, scores: Sequence[Score], now_s: float) -> None:
    """Write ``scores``; of one measurement the last that is said counts."""
    ((newest,),) = client.rows("SELECT max(version) FROM quality")
    first = max(int(now_s * 1e6), int(newest) + 1)
    client.insert(
        "quality",
        {
            "at": [score.at_ms for score in scores],
            "kind": [score.kind for score in scores],
            "ai_model": [score.model for score in scores],
            "precision": [score.precision for score in scores],
            "batch_class": [score.batch_class for score in scores],
            "hardware": [score.hardware for score in scores],
            "workload": [score.workload for score in scores],
            "metric": [score.metric for score in scores],
            "score": [score.score for score in scores],
            "better": [score.better for score in scores],
            "samples": [score.samples for score in scores],
            "note": [score.note for score in scores],
            "version": list(range(first, first + len(scores))),
        },
    )


def keep_limits(client: Client, drift_ratio: float, calibration_days: float, now_s: float) -> None:
    """Have the views call drifted and stale what is beyond these, from now on."""
    told = {"drift_ratio": drift_ratio, "calibration_days": calibration_days}
    if told != limits(client):
        columns: dict[str, list[Any]] = {"name": list(told), "value": list(told.values())}
        columns["version"] = [int(now_s * 1e6)] * len(told)
        client.insert("quality_limit", columns)


def limits(client: Client) -> dict[str, float]:
    """Return drift_ratio and calibration_days, as collectors are told them."""
    return dict(client.rows("SELECT toString(name), value FROM quality_limit FINAL"))


def latest(client: Client) -> list[Score]:
    """Return the latest score of each key, of all metrics."""
    rows = client.rows(f"SELECT {_SCORE} FROM v_quality ORDER BY {', '.join(KEY)}")
    return [Score(*row) for row in rows]


def scores(client: Client, metric: str = "") -> list[Record]:
    """Return the latest score of each key, times in Unix seconds; ``metric`` "": of all."""
    return client.records(
        f"""
        SELECT {", ".join(KEY)}, score, better, toUnixTimestamp64Milli(at) / 1000 AS at_s, kind,
               samples, note, measurements
        FROM v_quality WHERE {{metric:String}} IN ('', metric) ORDER BY {", ".join(KEY)}
        """,
        {"metric": metric},
    )


def numerics(client: Client, metric: str = "", limit: int = 0) -> list[Record]:
    """Return what became of each calibration, the worst first; times in Unix seconds."""
    return client.records(
        f"""
        SELECT {", ".join(KEY)}, better, toUnixTimestamp64Milli(calibrated_at) / 1000
               AS calibrated_at_s, calibration_score,
               toUnixTimestamp64Milli(latest_at) / 1000 AS latest_at_s, latest_score, scores_since,
               change_ratio, drift_ratio, days_since_calibration, state
        FROM v_numerics WHERE {{metric:String}} IN ('', metric)
        ORDER BY state = 'drifted' DESC, {NUMERICS_ORDER}, {", ".join(KEY)}
        {f"LIMIT {limit:d}" if limit else ""}
        """,
        {"metric": metric},
    )


def states(client: Client) -> dict[str, int]:
    """Return how many keys are in each state."""
    rows = client.rows("SELECT state, count() FROM v_numerics GROUP BY state")
    return {str(state): int(count) for state, count in rows}


def pareto(
    client: Client,
    outcome: str,
    metric: str,
    since: int,
    until: int,
    basis: str = "loaded",
    where: Mapping[str, str] | None = None,
) -> list[Record]:
    """Return each way that produced ``outcome`` in [since, until), Unix seconds, and its verdict.

    Ordered by joules per outcome of the ``basis``, those that have none last. ``where``: what
    columns of ``outcome_queries`` must be equal to; the scores of one workload alone count only
    where ``workload`` is among them. Raises InvalidInput where a column or the basis is not known.
    """
    if basis not in BASES:
        raise InvalidInput(f"basis={basis!r}: choose one of {', '.join(BASES)}", "basis")
    named = dict(where or {})
    asked = Asked(WAY, since, until, (outcome,), named)
    found = per_outcome(client, asked)
    key = f"joules_per_outcome_{basis}"
    found.sort(key=lambda record: (record[key] is None, record[key] or 0.0))
    ways = [_way(record, key) for record in found]
    verdicts = compare(ways, _scores(client, metric, named.get("workload", "")))
    return [
        _told(record, verdict, found, metric)
        for record, verdict in zip(found, verdicts, strict=True)
    ]


def cache_effect(client: Client, by: Sequence[str], since: int, until: int) -> list[Record]:
    """Return joules that cached prompt tokens avoided, per group, in the hours of [since, until).

    Bounds are sums over hours and workloads, so any grouping adds up; what is told apart by
    ``method`` is never added, so that what is not known (NULL) hides in no bound. Raises
    InvalidInput where a column is not known.
    """
    for column in by:
        if column not in OF_CACHE:
            raise InvalidInput(f"by={column!r}: choose of {', '.join(OF_CACHE)}", "by")
    groups = "".join(f"{column}, " for column in dict.fromkeys(by))
    return client.records(
        f"""
        SELECT {groups}method, sum(e.cached_tokens) AS cached_tokens,
               sum(e.computed_tokens) AS computed_tokens, sum(e.output_tokens) AS output_tokens,
               sum(e.active_joules) AS active_joules,
               sum(e.least_avoided_joules) AS least_avoided_joules,
               sum(e.most_avoided_joules) AS most_avoided_joules,
               sum(e.blended_joules) AS blended_joules
        FROM v_cache_effect AS e
        WHERE t >= toDateTime({{since:Int64}}, 'UTC') AND t < toDateTime({{until:Int64}}, 'UTC')
        GROUP BY {groups}method ORDER BY {groups}method
        """,
        {"since": since - since % HOUR_S, "until": until},
    )


def _way(record: Record, key: str) -> Way:
    # The bounds are those of all joules, whoever asks for the active ones.
    low, high = (record["low"], record["high"]) if key.endswith("loaded") else (None, None)
    model, precision, batch_class, hardware = (str(record[column]) for column in WAY)
    return Way(model, precision, batch_class, hardware, record[key], low, high)


def _scores(client: Client, metric: str, workload: str) -> list[Score]:
    rows = client.rows(
        f"""
        SELECT {_SCORE} FROM v_quality
        WHERE metric = {{metric:String}} AND workload IN ('', {{workload:String}})
        ORDER BY {", ".join(KEY)}
        """,
        {"metric": metric, "workload": workload},
    )
    return [Score(*row) for row in rows]


def _told(record: Record, verdict: Verdict, found: Sequence[Record], metric: str) -> dict[str, Any]:
    score = verdict.score
    best = None if verdict.best is None else found[verdict.best]
    return {
        **record,
        "metric": metric,
        "score": score.score if score else None,
        "better": score.better if score else "",
        "scored_at_s": score.at_ms / 1000 if score else None,
        "verdict": verdict.state,
        "saved_joules_per_outcome": verdict.saved_joules,
        "is_clear": verdict.is_clear,
        **{f"best_{column}": best[column] if best else "" for column in WAY},
    }
