"""``/v1/quality``: scores, what drifted, which ways to serve are dominated, what caches avoided."""

from __future__ import annotations

import time

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.openapi import (
    SINCE,
    UNTIL,
    WINDOW,
    Operation,
    Parameter,
    Schema,
    flag,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.quality import BETTER, KINDS
from wattshed_collector.store import quality
from wattshed_collector.store.outcome_queries import COLUMNS
from wattshed_collector.store.read import Reader

from . import pages, quality_pages
from .documents import answered
from .quality_pages import NAMED
from .window import LONGEST_S

_BETTER = text("Which direction is", *BETTER)
_KEY: dict[str, Schema] = {name: text() for name in quality.KEY}
_SCORE = record(
    {
        **_KEY,
        "score": number("The latest"),
        "better": _BETTER,
        "at_s": number("When it was measured, Unix seconds"),
        "kind": text("", *KINDS),
        "samples": maybe(whole("How many it is a mean of")),
        "note": text(),
        "measurements": whole("How many there are of this key"),
    },
    "view=scores: the latest of each key",
)
_CALIBRATION = record(
    {
        **_KEY,
        "better": _BETTER,
        "calibrated_at_s": maybe(number("Unix seconds")),
        "calibration_score": maybe(number()),
        "latest_at_s": maybe(number("Unix seconds; null where there is no score since")),
        "latest_score": maybe(number()),
        "scores_since": whole(),
        "change_ratio": maybe(number("Of the calibrated score, with the sign of the change")),
        "drift_ratio": maybe(number("How much worse, 0 where it is better")),
        "days_since_calibration": maybe(number()),
        "state": text("", "ok", "drifted", "stale", "uncalibrated"),
    },
    "view=drift: each calibration, the worst first",
)
_VERDICTS = "front", "dominated", "no_score", "no_joules", "mixed"
_WAY = record(
    {
        **{name: text() for name in quality.WAY},
        "outcome": text(),
        "count": number(),
        **{
            name: maybe(number())
            for name in (
                *("active_joules", "loaded_joules", "before_joules"),
                *("joules_per_outcome_active", "joules_per_outcome_loaded"),
                *("uncertainty_joules", "active_uncertainty_joules"),
                *("low", "high", "active_low", "active_high"),
            )
        },
        "state": text("As of /v1/outcomes", "ok", "no_energy", "no_outcome"),
        "metric": text(),
        "score": maybe(number("null where nobody gave one")),
        "better": text('"" where there is no score', *BETTER, ""),
        "scored_at_s": maybe(number("Unix seconds")),
        "verdict": text("", *_VERDICTS),
        "saved_joules_per_outcome": maybe(number("What the best way takes less")),
        "is_clear": maybe(flag("Whether the two stay apart within their uncertainties")),
        **{f"best_{name}": text('"" where none is better') for name in quality.WAY},
    },
    "view=pareto: each way to serve, the cheapest first",
)
_JOULES = maybe(number("null where it is not known"))
_AVOIDED = record(
    {
        **{name: text() for name in quality.OF_CACHE},
        "method": text("", "prefill", "range", "unknown"),
        **{name: number() for name in ("cached_tokens", "computed_tokens", "output_tokens")},
        "active_joules": _JOULES,
        "least_avoided_joules": _JOULES,
        "most_avoided_joules": _JOULES,
        "blended_joules": _JOULES,
    },
    "view=cache: the columns asked for, and those",
    optional=quality.OF_CACHE,
)

OPERATIONS = (
    Operation(
        "GET",
        "/v1/quality",
        "Scores, what drifted, which ways to serve are dominated, what caches avoided",
        {
            openapi.JSON: record(
                {
                    "view": text("", *NAMED),
                    "rows": listed({"anyOf": [_SCORE, _CALIBRATION, _WAY, _AVOIDED]}),
                    "next": pages.NEXT,
                    "window": WINDOW,
                },
                optional=("window",),
            ),
            openapi.CSV: text(),
        },
        (
            Parameter("view", "What is asked", {**text("", *NAMED), "default": "scores"}),
            Parameter("metric", "Scores of this metric; pareto needs one"),
            Parameter("outcome", "pareto: the kind of outcome, which it needs"),
            Parameter("basis", "pareto: which joules", text("", *quality.BASES)),
            Parameter("by", "cache: columns to group by, with commas between"),
            SINCE,
            UNTIL,
            pages.LIMIT,
            pages.AFTER,
            pages.FORMAT,
            *(Parameter(column, f"pareto: only what has this {column}") for column in COLUMNS),
        ),
        refusals=(400,),
        note="pareto and cache are about a window, scores and drift about all time. What each view "
        "means: docs/QUALITY.md.",
    ),
)


class QualityApi:
    """Answers questions about scores and the joules that stand beside them."""

    def __init__(self, reader: Reader, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/quality", self.quality)]

    async def quality(self, request: web.Request) -> web.Response:
        """A page of ``?view=scores|drift|pareto|cache``, as JSON or CSV."""
        said = list(request.query.items())
        question = quality_pages.parse(said, time.time(), self._longest_seconds)
        page = await self._reader.ask(quality_pages.answer, question)
        if question.format == "csv":
            told = quality_pages.as_csv(question, page)
            answer = web.Response(text=told, content_type=openapi.CSV)
        else:
            answer = answered(page)
        return pages.linked(answer, request, page["next"])
