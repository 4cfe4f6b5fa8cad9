"""What the boards say alike of charges: names and colours of classes, and notes on the numbers."""

from __future__ import annotations

from wattshed_dashboards.model import Color, Column, Step

CLASS_NAME = (
    "transform(class, ['active', 'idle_held', 'idle_unallocated'],\n"
    "    ['active', 'idle, held', 'idle, unheld'], toString(class))"
)
CLASS_COLUMNS = {
    "active": Column(color=Color.POWER),
    "idle, held": Column(color=Color.IDLE),
    "idle, unheld": Column(color=Color.WARN),
    "overhead": Column(color=Color.PLAIN),
    "unattributed": Column(color=Color.BAD),
}
SILENT = (Step(None, Color.GOOD), Step(120, Color.BAD))
GOOD_IS_LOW = (Step(None, Color.GOOD), Step(0.2, Color.WARN), Step(0.4, Color.BAD))
BY_CURRENCY = {
    "reduceOptions": {"values": True, "calcs": []},
    "textMode": "value_and_name",
}
"""Options of a number with a row for each currency, which is its name."""
LEDGER_NOTE = (
    "By the minute up to 25 hours, beyond by whole hours; the newest minutes are not charged yet."
)
COST_NOTE = "Nothing where a site has no price; without what its PUE adds."
CURRENCY_NOTE = (
    "Money of several currencies has no sum: it is left out then, and the currencies are named."
)
REASON_COLUMNS = {
    "unallocated": Column(color=Color.WARN),
    "held": Column(color=Color.IDLE),
    "parked": Column(color=Color.BAD),
    "expected": Column(color=Color.GOOD),
    "overhead": Column(color=Color.PLAIN),
}
REASONS = (
    "unallocated: nobody holds the device; held: somebody holds it and does not use it; parked: "
    "the same, and it draws 15 W or more above its bare idle, so that a context stays on it; "
    "expected: an entry of the register says that this is meant"
)


def in_one_currency(amount: str, of: str = "") -> str:
    """Return ``amount`` as SQL, NULL where what is summed is of none or of several currencies.

    ``of`` is the name of the rows' table with its point, where there are several.
    """
    return f"if(uniqExactIf({of}currency, isNotNull({of}cost)) = 1, {amount}, NULL)"


def currencies(of: str = "") -> str:
    """Return SQL that names the currencies of what is summed: the reason, where money is NULL."""
    told = f"groupUniqArrayIf(toString({of}currency), isNotNull({of}cost))"
    return f"arrayStringConcat(arraySort({told}), ' and ')"
