"""``/v1/advice``: what could be done about waste, what was said of it, and whether it held."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from wattshed_collector import advice_book, openapi
from wattshed_collector.advice.model import Effort, Kind, Measure, State
from wattshed_collector.advice.verify import Verdict
from wattshed_collector.errors import InvalidInput
from wattshed_collector.openapi import (
    ADMIN,
    Operation,
    Parameter,
    by_name,
    flag,
    listed,
    maybe,
    number,
    record,
    text,
    whole,
)
from wattshed_collector.security.keys import IDENTITY
from wattshed_collector.store.advice import Saying, Wanted
from wattshed_collector.store.read import Reader

from . import pages
from .documents import Unpacked, answered, read_object

MOST_BYTES = 64 * 1024
LARGEST = sys.float_info.max
EXPIRED = "expired"
STATES = (*State, EXPIRED)
_VERIFICATION = record(
    {
        "verdict": text("", *Verdict),
        "assumes": text("What would have been without it, which nobody measured"),
        "seconds": number("Of full, charged hours since it was done"),
        "expected_joules": number("What was promised for that time"),
        "saved_joules": maybe(number("Against the same hours or outcomes as before")),
        "saved_joules_per_month": maybe(number()),
        "ratio": maybe(number("Of what was promised")),
        "expected_g": maybe(number("Where what is promised are grams and no joules")),
        "saved_g": maybe(number()),
        "saved_g_per_month": maybe(number()),
    }
)
_ADVICE = record(
    {
        **{name: text() for name in ("id", "subject", "title", "reason", "site", "team", "owner")},
        "teams": by_name(number(), "Each one's part, where several use the name"),
        "kind": text("", *Kind),
        "joules_per_month": number("What it would save in 30 days"),
        "are_facility_joules": flag("With the PUE"),
        "cost_per_month": maybe(number("null: no price is known")),
        "currency": text(),
        "cost_source": text("Who said the price"),
        "cost_said": maybe(whole("When the oldest price was said; null: not known")),
        "g_per_month": maybe(number("Grams of CO2 equivalent; null: not known")),
        "carbon_scope": text("", "location-based", ""),
        "carbon_method": text("factor, hourly or yearly, or several of them with commas"),
        "carbon_source": text("Who said the intensity"),
        "carbon_said": maybe(whole("When the oldest of it was said; null: not known")),
        "confidence": number("0 to 1"),
        "effort": text("", *Effort),
        "evidence": text("A statement over the public views that shows it"),
        "measure": text("What is measured again", *Measure),
        "joules_per_unit": number("Per hour or outcome, without the change"),
        "units_per_hour": maybe(number("Outcomes to be made in another way; null: all of them")),
        "other_units_per_hour": maybe(number("Outcomes of the same workloads that stay")),
        "other_joules_per_unit": maybe(number("Of those that stay")),
        "workload": text("Of what is measured"),
        "outcome": text(),
        "numbers": by_name(number(), "What the size was computed from"),
        "found": whole("Unix seconds"),
        "expires": whole("When it is not open any more, unless it is found again"),
        "state": text("", *STATES),
        "state_at": whole("0: nobody said anything"),
        "said_by": text('Who was authenticated; "": nobody'),
        "claimed_by": text("What the caller wrote of himself"),
        "note": text(),
        "verification": maybe(_VERIFICATION),
    }
)
OPERATIONS = (
    Operation(
        "GET",
        "/v1/advice",
        "What could be done about waste, the largest first",
        {
            openapi.JSON: record(
                {
                    "advice": listed(_ADVICE),
                    "open_joules_per_month": number(
                        "Of all that is open or accepted; of a team its part"
                    ),
                    "saved_joules": number("Measured since, of all that is done"),
                    "saved_g": number("The same of advice that promises grams and no joules"),
                    "next": pages.NEXT,
                }
            )
        },
        (
            Parameter("state", "Only these, separated by commas; all, where it is not said"),
            Parameter("team", "Only of this team, also what it shares with others"),
            Parameter("kind", "", text("", *Kind)),
            Parameter("id", "Only this one"),
            pages.LIMIT,
            pages.AFTER,
        ),
        refusals=(400,),
    ),
    Operation(
        "POST",
        "/v1/advice",
        "Say of an advice that it is accepted, dismissed, done or open again; or look for more",
        {openapi.JSON: {"oneOf": [_ADVICE, record({"found": whole()})]}},
        takes={
            openapi.JSON: {
                "oneOf": [
                    record(
                        {
                            "id": text(),
                            "state": text("", *State),
                            "by": text("Kept as claimed_by; said_by is who is authenticated"),
                            "note": text(),
                        },
                        optional=("by", "note"),
                    ),
                    record({"look": flag("true")}),
                ]
            }
        },
        role=ADMIN,
        refusals=(400, 413),
    ),
)


class AdviceApi:
    """``clerk`` keeps what is said and looks for more; ``unpacked`` reads bodies within limits."""

    def __init__(self, reader: Reader, clerk: Reader, unpacked: Unpacked) -> None:
        self._reader = reader
        self._clerk = clerk
        self._unpacked = unpacked

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/advice", self.listed), web.post("/v1/advice", self.say)]

    async def listed(self, request: web.Request) -> web.Response:
        """``?state=open,accepted&team=assist``."""
        wanted = asked(request.query)
        page = await self._reader.ask(advice_book.listed, wanted)
        further = following(wanted, page)
        return pages.linked(answered({**page, "next": further}), request, further)

    async def say(self, request: web.Request) -> web.Response:
        """One thing said of one advice, or ``{"look": true}``."""
        raw = await self._unpacked(request, MOST_BYTES)
        said = read_object(raw, "id and state")
        now = int(time.time())
        if said == {"look": True}:
            return answered({"found": await self._clerk.ask(advice_book.look, now)})
        id, saying = spoken(said, request[IDENTITY].name)
        return answered(await self._clerk.ask(advice_book.say, id, saying, now))


def asked(query: Mapping[str, str]) -> Wanted:
    """Return what a request wants. Raises InvalidInput."""
    states = tuple(state for state in query.get("state", "").split(",") if state)
    kind = query.get("kind", "")
    if unknown := sorted(set(states) - set(STATES)):
        raise InvalidInput(f"state={','.join(unknown)}: choose of {', '.join(STATES)}", "state")
    if kind and kind not in [str(known) for known in Kind]:
        raise InvalidInput(f"kind={kind!r}: choose one of {', '.join(Kind)}", "kind")
    limit = pages.limit(query.get("limit", str(pages.DEFAULT_ROWS)))
    wanted = Wanted(states, query.get("team", ""), kind, query.get("id", ""), limit)
    token = query.get("after", "")
    return replace(wanted, after=_place(pages.read(token, _digest(wanted)))) if token else wanted


def following(wanted: Wanted, page: Mapping[str, Any]) -> str | None:
    """Return what ``after=`` is for the page that follows, None where there is none."""
    return None if page["next"] is None else pages.token(_digest(wanted), page["next"])


def _digest(wanted: Wanted) -> str:
    return pages.digest(wanted.where)


def _place(values: Sequence[Any]) -> tuple[float, str]:
    """Return where a page begins. Raises InvalidInput."""
    match values:
        case [float() as joules, str() as id] if math.isfinite(joules):
            return joules, id
    raise InvalidInput(pages.NO_TOKEN, "after")


def spoken(said: Mapping[str, Any], by: str) -> tuple[str, Saying]:
    """Return of which advice what is said, ``by`` whom that is authenticated ("": nobody).

    Raises InvalidInput.
    """
    if unknown := sorted(set(said) - {"id", "state", "by", "note"}):
        raise InvalidInput(f"{', '.join(unknown)} is not known", "malformed")
    if not all(isinstance(value, str) for value in said.values()) or not said.get("id"):
        raise InvalidInput("write an object with id, state, by and note, all texts", "malformed")
    if said.get("state") not in [str(state) for state in State]:
        raise InvalidInput(f"state must be one of {', '.join(State)}", "malformed")
    note = said.get("note", "")
    return said["id"], Saying(State(said["state"]), by, said.get("by", ""), note)
