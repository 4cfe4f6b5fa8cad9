"""Advice as a whole: found now and then, listed, followed or not, and checked afterwards."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from . import decide
from .advice.model import ASSUMED, Measure, State
from .advice.rates import Span
from .advice.rules import find
from .advice.verify import After, Verification, verify, verify_grams
from .errors import CollectorError, InvalidInput
from .store import advice as kept
from .store import advice_measures as measures
from .store import ledger_state
from .store.advice import Saying, Wanted
from .store.advice_measures import LATEST_S, Window
from .store.client import Client
from .store.read import Reader

Record = dict[str, Any]

log = logging.getLogger(__name__)

HOUR_S, DAY_S = 3600, 86400
LOOKED_AT_S = 7 * DAY_S
LEAST_S = 6 * HOUR_S
"""From less nothing is said about a month."""
HOLDS_S = 3 * DAY_S
"""How long advice stays open that is not found again."""
INTERVAL_S = 6 * HOUR_S
FIRST_S = 60.0


def look(client: Client, now_s: int) -> int:
    """Find advice in the last week of full, charged hours and keep it; return how much there is."""
    span = last_week(client)
    if span is None:
        return 0
    done, dismissed = kept.done(client), kept.dismissed(client)
    old = {id for id, at in done.items() if at <= span.since_s}
    found = find(client, span, old | dismissed)
    # What is done is measured against what was promised then.
    kept.put(client, [one for one in found if one.id not in done], now_s, now_s + HOLDS_S)
    return len(found)


def last_week(client: Client) -> Span | None:
    """Return the newest week of charged hours, or what there is of it; None: hardly anything."""
    extent = ledger_state.extent(client)
    settled = ledger_state.read(client)["settled"]
    if extent is None or settled is None:
        return None
    until = int(settled) // HOUR_S * HOUR_S
    since = max(until - LOOKED_AT_S, extent[0] + HOUR_S)  # the first hour is not whole
    return Span(since, until) if until - since >= LEAST_S else None


def listed(client: Client, wanted: Wanted) -> Record:
    """Return a page of ``GET /v1/advice`` and what all that is wanted comes to; ``next`` is that
    of the following page, None where there is no more."""
    more = 1 if wanted.limit else 0
    rows = kept.listed(client, replace(wanted, limit=wanted.limit + more))
    is_last = not wanted.limit or len(rows) <= wanted.limit
    rows = rows if is_last else rows[: wanted.limit]
    is_done = not wanted.states or State.DONE in wanted.states
    done = kept.listed(client, replace(wanted, states=(State.DONE,), limit=0, after=None))
    checks = checked(client, done) if is_done else {}
    return {
        "advice": [{**row, "verification": checks.get(row["id"])} for row in rows],
        "open_joules_per_month": kept.total(client, wanted),
        "saved_joules": sum(check["saved_joules"] or 0.0 for check in checks.values()),
        "saved_g": sum(check["saved_g"] or 0.0 for check in checks.values()),
        "next": None if is_last else (rows[-1]["joules_per_month"], rows[-1]["id"]),
    }


def within(client: Client, since_s: int, until_s: int) -> list[Record]:
    """Return all advice; what is done with what was measured of it in [since_s, until_s)."""
    rows = kept.listed(client, Wanted())
    checks = checked(client, rows, since_s, until_s)
    return [{**row, "verification": checks.get(row["id"])} for row in rows]


def one(client: Client, id: str) -> Record:
    """Return one advice. Raises InvalidInput where there is none of that id."""
    row = kept.one(client, id)
    if row is None:
        raise InvalidInput(f"there is no advice {id!r}; `wattshed advice list` shows them", "id")
    return {**row, "verification": checked(client, [row]).get(id)}


def say(client: Client, id: str, said: Saying, now_s: int) -> Record:
    """Keep what somebody says of an advice, and return it as it then stands.

    What is done already is measured on from when that was said first.
    """
    row = one(client, id)
    is_said_again = row["state"] == said.state == State.DONE
    kept.say(client, row, said, row["state_at"] if is_said_again else now_s)
    return one(client, id)


def checked(
    client: Client, rows: Sequence[Mapping[str, Any]], since_s: int = 0, until_s: int = LATEST_S
) -> dict[str, Record]:
    """Return by id what was measured in [since_s, until_s) of what of ``rows`` is done."""
    done = [row for row in rows if row["state"] == State.DONE]
    if not done:
        return {}
    asked = measures.windows(client, done, since_s, until_s)
    found = measures.after(client, asked) | _waited(client, asked)
    return {w.id: _document(w.advice, found[w.id]) for w in asked}


def _waited(client: Client, asked: Sequence[Window]) -> dict[str, After]:
    """Return what jobs saved that a policy held, of advice that is measured so."""
    members = [w for w in asked if w.advice["measure"] == Measure.GRAMS_HELD and w.seconds > 0]
    if not members:
        return {}
    since, until = min(w.since_s for w in members), max(w.until_s for w in members)
    jobs = decide.saved(client, since, until)["jobs"]
    whose = measures.workloads_of(client, [job["job"] for job in jobs])
    return {w.id: After(w.seconds, saved_g=_grams(w, jobs, whose)) for w in members}


def _grams(window: Window, jobs: Sequence[Record], whose: Mapping[str, str]) -> float | None:
    """Return None where no job of the workload was held there, or none of them is known."""
    advice = window.advice
    known = [
        job["saved"]
        for job in jobs
        if whose.get(job["job"]) == advice["workload"]
        and job["site"] in ("", advice["site"])
        and window.since_s <= job["asked"] < window.until_s
        and job["unit"] == "g"
        and job["saved"] is not None
    ]
    return sum(known) if known else None


def _verified(row: Mapping[str, Any], after: After) -> Verification:
    if row["measure"] in (Measure.GRAMS_HELD, Measure.GRAMS_ELSEWHERE):
        return verify_grams(row["g_per_month"] or 0.0, after)
    others = row["other_joules_per_unit"] or 0.0
    return verify(row["joules_per_unit"], row["joules_per_month"], after, others)


def _document(row: Mapping[str, Any], after: After) -> Record:
    found = _verified(row, after)
    assumes = ASSUMED[Measure(row["measure"])]
    return {**asdict(found), "verdict": str(found.verdict), "assumes": assumes}


class AdviceJob:
    """``keep`` looks a few times a day, until it is cancelled."""

    def __init__(self, clerk: Reader, now: Callable[[], float] = time.time) -> None:
        self._clerk = clerk
        self._now = now

    async def keep(self) -> None:
        pause = FIRST_S
        while True:
            await asyncio.sleep(pause)
            pause = INTERVAL_S
            try:
                found = await self._clerk.ask(look, int(self._now()))
                log.info("advice: %d", found)
            except CollectorError as error:
                log.warning("advice was not looked for: %s", error)
