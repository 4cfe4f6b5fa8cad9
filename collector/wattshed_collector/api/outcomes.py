"""``GET /v1/outcomes``: joules per outcome, grouped by whatever people compare, in pages."""

from __future__ import annotations

import time

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.openapi import SINCE, UNTIL, Operation, Parameter, listed, number, record
from wattshed_collector.store.outcome_queries import COLUMNS
from wattshed_collector.store.read import Reader

from . import outcome_pages, pages
from .documents import answered
from .window import LONGEST_S

_MEANINGS = {
    "count": "How many were produced; 0 where a workload that did before did not",
    "active_joules": "While the devices worked for it; null where no energy is known",
    "loaded_joules": "All that is charged to it: what it held idle and its overhead too",
    "before_joules": "Charged before the first outcome of a run (a model that is loaded); in no "
    "other number of the row",
    "uncertainty_joules": "How far loaded_joules may be off, by what the meters state; null where "
    "one of them states nothing",
    "joules_per_outcome_active": "active_joules by count; null where nothing was produced",
    "joules_per_outcome_loaded": "loaded_joules by count; null where nothing was produced",
}
ROW = {
    "t_s": openapi.whole("When the step begins, Unix seconds; where a step is asked for"),
    **{name: openapi.text() for name in COLUMNS},
    "outcome": openapi.text('What was produced, such as token_out; "" where nothing ever was'),
    "state": openapi.text(
        "no_energy: it produced, and no joules are known of it; no_outcome: it has joules, and "
        "never produced anything",
        "ok",
        "no_energy",
        "no_outcome",
    ),
    **{
        name: openapi.maybe(number(_MEANINGS.get(name, "Bound by uncertainty_joules")))
        for name in outcome_pages.VALUES
    },
}
PAGE = record(
    {
        "by": listed(openapi.text("", *COLUMNS)),
        "window": record(
            {
                "start": openapi.whole("Unix seconds, a full minute"),
                "end": openapi.whole("Unix seconds; not in the window any more"),
                "step": openapi.maybe(openapi.whole("Seconds")),
            }
        ),
        "rows": listed(record(ROW, "The columns asked for, and those", optional=("t_s", *COLUMNS))),
        "next": pages.NEXT,
    }
)
PARAMETERS = (
    Parameter("by", f"Columns to group by, with commas between: {', '.join(COLUMNS)}",
              {"type": "string", "default": outcome_pages.DEFAULT_BY}, example="team,ai_model"),
    SINCE,
    UNTIL,
    Parameter("outcome", "Kinds of outcome, with commas between; all of them where it is not "
              "said", example="token_out,request"),
    Parameter("step", "Length of a step, for a series in time",
              openapi.text("", *outcome_pages.STEPS)),
    pages.LIMIT,
    pages.AFTER,
    pages.FORMAT,
    *(Parameter(column, f"Only what has this {column}") for column in COLUMNS),
)  # fmt: skip

OPERATIONS = (
    Operation(
        "GET",
        "/v1/outcomes",
        "Energy per outcome: joules, outcomes and their ratio by group, kind and state",
        {openapi.JSON: PAGE, openapi.CSV: openapi.text()},
        PARAMETERS,
        refusals=(400,),
        note="A ratio is one of sums, so any window and any grouping is exact. The joules of a "
        "workload stand in the rows of each of its kinds: choose one, or sum counts alone.",
    ),
)


class OutcomesApi:
    """Answers from what the ledger set against joules."""

    def __init__(self, reader: Reader, longest_seconds: float = LONGEST_S) -> None:
        self._reader = reader
        self._longest_seconds = longest_seconds

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/outcomes", self.outcomes)]

    async def outcomes(self, request: web.Request) -> web.Response:
        """A page of rows, as JSON or CSV."""
        said = list(request.query.items())
        question = outcome_pages.parse(said, time.time(), self._longest_seconds)
        page = await self._reader.ask(outcome_pages.answer, question)
        if question.format == "csv":
            answer = web.Response(text=outcome_pages.as_csv(page), content_type=openapi.CSV)
        else:
            answer = answered(page)
        return pages.linked(answer, request, page["next"])
