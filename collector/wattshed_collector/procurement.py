"""What to buy and what to keep: scorecards of hardware, and when replacing it has paid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import replace as replace_in
from typing import Any

from .errors import InvalidInput
from .lifecycle.embodied import table
from .lifecycle.poisson import interval
from .lifecycle.replace import Change, carbon, money
from .store import procurement as kept
from .store.client import Client

CONFIDENCE = 0.95
PER_HOURS = 1000.0
J_PER_KWH = 3.6e6
MLPERF_NOTE = (
    "Measured at the wall of a whole system by the submitter, at full load; own figures are joules "
    "charged to workloads, idle while held included. The two are not the same quantity."
)
SUPPLY_NOTE = (
    "What meters inside saw of what the outer meter gave: a floor of the supply's efficiency, "
    "because fans and whatever has no meter of its own are in the outer one alone."
)


def scorecard(client: Client, since: int, until: int, site: str = "") -> dict[str, Any]:
    """Return the document of ``GET /v1/scorecard``."""
    made: dict[str, list[dict[str, Any]]] = {}
    for row in kept.produced(client, since, until, site):
        made.setdefault(row.pop("hardware"), []).append(row)
    cards = kept.cards(client, since, until, site)
    return {
        "window": {"start": since, "end": until},
        "site": site,
        "own": [{**failing(card), "outcomes": made.get(card["model"], [])} for card in cards],
        "supplies": kept.supplies(client, since, until, site),
        "supplies_note": SUPPLY_NOTE,
        "mlperf": kept.imported(client),
        "mlperf_note": MLPERF_NOTE,
    }


def failing(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card with failures in 1000 device hours and how far that may be off."""
    count, hours = card["failures"], card["failure_hours"]
    if count is None or not hours:
        rates: tuple[float | None, ...] = (None, None, None)
    else:
        low, high = interval(round(count), CONFIDENCE)
        rates = tuple(each / hours * PER_HOURS for each in (count, low, high))
    names = ("failures_per_1000_hours", "failures_low", "failures_high")
    return {**card, **dict(zip(names, rates, strict=True))}


@dataclass(frozen=True, slots=True)
class Question:
    """Keep ``model`` or replace it with ``other``; None is looked up, as far as it is known.

    ``old_per_new`` of the old ones do what one new one does. ``ratio`` is joules for the same work
    on the new over those on the old. ``work`` is a kind of outcome and a model of AI that both
    serve, where the ratio is to be measured.
    """

    model: str
    other: str
    since_s: int
    until_s: int
    site: str = ""
    work: tuple[str, str] = ("token_out", "")
    old_per_new: float = 1.0
    ratio: float | None = None
    remaining_years: float | None = None
    embodied_kg: float | None = None
    purchase_price: float | None = None
    price_per_kwh: float | None = None
    g_per_kwh: float | None = None
    carbon_change: float = 0.0
    price_change: float = 0.0


def replace(client: Client, asked: Question) -> dict[str, Any]:
    """Return the document of ``GET /v1/replace``. Raises InvalidInput where too little is known."""
    span = asked.since_s, asked.until_s
    use = kept.use(client, asked.model, *span, asked.site)
    if not use["seconds"]:
        raise InvalidInput(f"nothing was charged to devices of {asked.model!r} then", "model")
    old = kept.told(client, asked.model, asked.since_s, asked.site)
    new = kept.told(client, asked.other, asked.since_s)
    ratio, models = asked.ratio, list[str]()
    if ratio is None:
        ratio, models = kept.joules_ratio(
            client, asked.model, asked.other, asked.work, span, asked.site
        )
    if ratio is None:
        raise InvalidInput(
            f"no {asked.work[0]} was made by one model of AI on both {asked.model!r} and "
            f"{asked.other!r}: say what the same work takes with ratio",
            "ratio",
        )
    change, sources = _change(client, asked, use, (old, new), ratio)
    even = money(change)
    if even.years is None and (why := _why_no_money(asked, use, new, change)):
        even = replace_in(even, reason=why)
    return {
        "model": asked.model,
        "with": asked.other,
        "site": asked.site,
        "window": {"start": span[0], "end": span[1]},
        "devices": use["devices"],
        "old_per_new": asked.old_per_new,
        "joules_ratio": ratio,
        "measured_on": models,
        "are_facility_watts": use["facility_joules"] is not None,
        **asdict(change),
        "currency": (new["currency"] if asked.purchase_price is None else "") or use["currency"],
        "sources": sources,
        "carbon": asdict(carbon(change)),
        "money": asdict(even),
    }


def _change(
    client: Client,
    asked: Question,
    use: Mapping[str, Any],
    told: tuple[Mapping[str, Any], Mapping[str, Any]],
    ratio: float,
) -> tuple[Change, dict[str, str]]:
    old, new = told
    joules = use["joules"] if use["facility_joules"] is None else use["facility_joules"]
    watts = joules / use["seconds"] * asked.old_per_new
    # Money of two currencies has no sum: what power costs in the other one is then not known.
    is_one_money = asked.purchase_price is not None or new["currency"] in ("", use["currency"])
    price = _price(use) if is_one_money else None
    found: dict[str, tuple[float | None, str]] = {
        "remaining_years": (old["remaining_years"], "lifetime less age, of the old ones' mean"),
        "embodied_kg": _embodied(asked.other, new),
        "purchase_price": (new["purchase_price"], "told of the new ones"),
        "price_per_kwh": (price, "paid in the window"),
        "g_per_kwh": (
            kept.intensity(client, asked.model, asked.since_s, asked.until_s, asked.site),
            "mean of the window, where the old ones stand",
        ),
    }
    values, sources = {}, {}
    for name, (value, source) in found.items():
        said = getattr(asked, name)
        values[name] = value if said is None else said
        sources[name] = "asked for" if said is not None else source if value is not None else ""
    years = values.pop("remaining_years")
    if years is None or not years > 0:
        raise InvalidInput(
            "the old ones are past their lifetime, or it is not known: say remaining_years",
            "remaining_years",
        )
    return Change(
        watts, watts * ratio, years, **values,
        carbon_change=asked.carbon_change, price_change=asked.price_change,
    ), sources  # fmt: skip


def _why_no_money(
    asked: Question, use: Mapping[str, Any], new: Mapping[str, Any], change: Change
) -> str:
    """Return a reason that lies in currencies, "" where there is none."""
    if change.purchase_price is None and len(new["currencies"]) > 1:
        return f"the new one is priced in several currencies: {', '.join(new['currencies'])}"
    if change.price_per_kwh is not None or change.purchase_price is None:
        return ""
    if len(use["currencies"]) > 1:
        return f"power is paid in several currencies: {', '.join(use['currencies'])}"
    if asked.purchase_price is None and use["currency"] and new["currency"] != use["currency"]:
        return f"power is paid in {use['currency']}, the new one in {new['currency']}"
    return ""


def _embodied(model: str, told: Mapping[str, Any]) -> tuple[float | None, str]:
    if told["embodied_kg"] is not None:
        return told["embodied_kg"], told["embodied_source"] or "told"
    listed = next((one for one in table() if re.search(one.pattern, model.lower())), None)
    return (listed.kg, listed.source) if listed else (None, "")


def _price(use: Mapping[str, Any]) -> float | None:
    """Return the tariff: what is charged is the devices' joules, so that it goes by them."""
    if use["cost"] is None or not use["joules"]:
        return None
    return float(use["cost"] / use["joules"] * J_PER_KWH)
