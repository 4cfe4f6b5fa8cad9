"""What workloads made and took for it, and where another way made the same for less.

A way is a model on some hardware in a precision and a size of batches. Joules are loaded: those of
devices that are held and idle are among them, those before the first outcome are not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from wattshed_collector.store.client import Client
from wattshed_collector.store.procurement import RESULT

from .model import LEAST_JOULES_PER_MONTH, UNKNOWN, Others
from .rates import Rate, Rates, Size, Span, size, together

LEAST_RATIO = 0.05
"""Of what the dearer way takes; less is within what two loads differ by."""
CACHED = "token_in_cached"
"""What a cache spared; nothing was made of it."""
_MADE = """
SELECT o.workload, o.workload_kind, if(uniqExact(o.team) = 1, any(o.team), ''),
       if(uniqExact(o.owner) = 1, any(o.owner), ''), o.ai_model, o.precision, o.batch_class,
       o.phase, o.hardware, o.site, any(h.tier), o.outcome,
       sum(o.count) AS made, sum(o.loaded_joules),
       if(countIf(isNull(o.uncertainty_joules)) > 0, NULL, sum(o.uncertainty_joules))
FROM (
    SELECT * FROM v_outcome_1h
    WHERE t >= fromUnixTimestamp({since:UInt32}) AND t < fromUnixTimestamp({until:UInt32})
      AND outcome != '' AND isNotNull(loaded_joules)
      AND NOT startsWith(workload_key, {result:String})
) AS o
LEFT JOIN v_hardware AS h ON h.site = o.site AND h.hardware = o.hardware
WHERE o.ai_model NOT IN ('', 'several') AND o.hardware NOT IN ('', 'several')
  AND o.site != 'several'
GROUP BY o.workload, o.workload_kind, o.ai_model, o.precision, o.batch_class, o.phase, o.hardware,
         o.site, o.outcome
HAVING made > 0
"""


@dataclass(frozen=True, slots=True)
class Made:
    """``count`` outcomes of one kind by one workload and way, and the ``joules`` of its devices.

    ``doubt`` is the uncertainty of the joules, None where a meter does not state its own.
    """

    workload: str
    workload_kind: str
    team: str
    owner: str
    ai_model: str
    precision: str
    batch_class: str
    phase: str
    hardware: str
    site: str
    tier: str
    outcome: str
    count: float
    joules: float
    doubt: float | None

    @property
    def each(self) -> float:
        return self.joules / self.count

    @property
    def way(self) -> tuple[str, ...]:
        """What it is told apart by from all others that made the same kind of outcome."""
        return (
            *(self.workload, self.site, self.hardware, self.ai_model, self.precision),
            *(self.batch_class, self.phase),
        )


@dataclass(frozen=True, slots=True)
class Swap:
    """What ``dear`` made could have been made as ``cheap`` does, both of one kind of outcome."""

    dear: Made
    cheap: Made

    @property
    def saved_joules(self) -> float:
        """Joules of devices."""
        return self.dear.count * (self.dear.each - self.cheap.each)

    @property
    def is_clear(self) -> bool | None:
        """Whether the two stay apart within their meters' uncertainties; None: not known."""
        if self.dear.doubt is None or self.cheap.doubt is None:
            return None
        least = (self.dear.joules - self.dear.doubt) / self.dear.count
        return (self.cheap.joules + self.cheap.doubt) / self.cheap.count < least


Key = Callable[[Made], Hashable]


def made(client: Client, span: Span) -> Iterator[Made]:
    """Give what each workload of the own fleet made within ``span``: one model, one hardware."""
    asked = {"since": span.since_s, "until": span.until_s, "result": RESULT}
    return (Made(*row) for row in client.rows(_MADE, asked))


def swaps(
    rows: Iterable[Made], alike: Key, by: Key, fits: Callable[[Swap], bool] = lambda _: True
) -> Iterator[Swap]:
    """Give for each workload the swap that saves most among those that ``fits`` allows.

    Compared are ways that agree in ``alike`` and differ in what ``by`` says; the largest workload
    stands for each value of that. Of the kinds of outcome that both made the one counts that saves
    least, so that nothing is claimed that another kind denies.
    """
    ordered = sorted(rows, key=lambda row: (repr(alike(row)), row.way, row.outcome))
    for _, group in groupby(ordered, key=lambda row: repr(alike(row))):
        ways = [tuple(kinds) for _, kinds in groupby(group, key=lambda row: row.way)]
        models: dict[Hashable, tuple[Made, ...]] = {}
        for way in sorted(ways, key=lambda way: max(made.joules for made in way)):
            models[by(way[0])] = way
        for way in ways:
            found = [
                swap
                for value, other in models.items()
                if value != by(way[0]) and (swap := _least(way, other)) is not None and fits(swap)
            ]
            if found:
                yield max(found, key=lambda swap: (swap.saved_joules, swap.cheap.way))


def _least(dear: Iterable[Made], cheap: Iterable[Made]) -> Swap | None:
    """Return the swap of the kind of outcome that saves least, None where that is too little."""
    by_kind = {made.outcome: made for made in cheap}
    both = [Swap(made, by_kind[made.outcome]) for made in dear if made.outcome in by_kind]
    least = min(both, key=lambda swap: swap.saved_joules, default=None)
    if least is None or least.is_clear is False:
        return None
    return least if least.saved_joules >= LEAST_RATIO * least.dear.joules else None


def sized(swap: Swap, span: Span, known: Rates) -> Size | None:
    """Return what the swap saves in a month, each way with the rates of its own site.

    Joules are those of the facility where both are known. None: it saves too little, or nothing
    once the overhead of both sites is counted.
    """
    was = size(swap.dear.joules, swap.dear.site, span, known)
    then = size(swap.dear.count * swap.cheap.each, swap.cheap.site, span, known)
    are_facility = was.are_facility and then.are_facility
    joules = was.joules - then.joules if are_facility else span.per_month(swap.saved_joules)
    if joules < LEAST_JOULES_PER_MONTH:
        return None
    is_one_money = was.currency == then.currency and None not in (was.cost, then.cost)
    return Size(
        joules,
        are_facility,
        _less(was.cost, then.cost) if is_one_money else None,
        was.currency if is_one_money else "",
        _less(was.grams, then.grams),
        together((was.price, then.price)) if is_one_money else UNKNOWN,
        together((was.carbon, then.carbon)),
    )


def others(swap: Swap, rows: Iterable[Made], span: Span, big: Size, known: Rates) -> Others:
    """Return what the workloads of ``swap`` made of the same outcome in any way but the dear one,
    in the joules of ``big``."""
    dear, cheap = swap.dear, swap.cheap
    sites = {dear.site} if dear.site == cheap.site else None
    beside = [
        made
        for made in rows
        if made.outcome == dear.outcome
        and made.workload in (dear.workload, cheap.workload)
        and (sites is None or made.site in sites)
        and not (big.are_facility and known.get(made.site, Rate()).facility is None)
        and made != dear
    ]
    count = sum(made.count for made in beside)
    joules = sum(made.joules * overhead(made.site, big, known) for made in beside)
    return Others(dear.count / span.hours, count / span.hours, joules / count)


def overhead(site: str, big: Size, known: Rates) -> float:
    """Return by what joules of the devices of a site are multiplied to be such as those of
    ``big``."""
    return (known.get(site, Rate()).facility or 1.0) if big.are_facility else 1.0


def _less(was: float | None, then: float | None) -> float | None:
    return None if was is None or then is None else was - then
