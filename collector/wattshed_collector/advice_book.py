"""Advice as a whole: found now and then, listed, followed or not, and checked afterwards."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .advice.model import State
from .advice.rates import Span
from .advice.rules import find
from .advice.verify import verify
from .errors import CollectorError, InvalidInput
from .store import advice as kept
from .store import ledger_state
from .store.client import Client
from .store.read import Reader

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
    found = find(client, span)
    done = kept.done(client)  # measured against what was promised then
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


def listed(
    client: Client, states: Sequence[str] = (), team: str = "", kind: str = ""
) -> dict[str, Any]:
    """Return the document of ``GET /v1/advice``: rows, and what those that are open come to."""
    rows = [_checked(client, row) for row in kept.listed(client, states, team, kind)]
    still = [row for row in rows if row["state"] in (State.OPEN, State.ACCEPTED)]
    done = [row["verification"] for row in rows if row["verification"] is not None]
    return {
        "advice": rows,
        "open_joules_per_month": sum(row["joules_per_month"] for row in still),
        "saved_joules": sum(check["saved_joules"] or 0.0 for check in done),
    }


def one(client: Client, id: str) -> dict[str, Any]:
    """Return one advice. Raises InvalidInput where there is none of that id."""
    row = kept.one(client, id)
    if row is None:
        raise InvalidInput(f"there is no advice {id!r}; `wattshed advice list` shows them", "id")
    return _checked(client, row)


def say(
    client: Client, id: str, state: State, said_by: str, note: str, now_s: int
) -> dict[str, Any]:
    """Keep what somebody says of an advice, and return it as it then stands."""
    kept.say(client, one(client, id), state, said_by, note, now_s)
    return one(client, id)


def _checked(client: Client, row: Mapping[str, Any]) -> dict[str, Any]:
    """Beside advice that is done stands what was measured since."""
    if row["state"] != State.DONE:
        return {**row, "verification": None}
    measured = kept.after(client, row, row["state_at"])
    found = verify(row["joules_per_unit"], row["joules_per_month"], measured)
    return {
        **row,
        "verification": {
            "verdict": str(found.verdict),
            "seconds": found.seconds,
            "expected_joules": found.expected_joules,
            "saved_joules": found.saved_joules,
            "saved_joules_per_month": found.saved_joules_per_month,
            "ratio": found.ratio,
        },
    }


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
