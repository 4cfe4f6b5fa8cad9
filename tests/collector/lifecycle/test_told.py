"""What operators tell: read whole or refused whole, with every mistake named."""

from __future__ import annotations

from typing import Any

import pytest

from wattshed_collector.errors import InvalidInput
from wattshed_collector.lifecycle.told import Told, from_csv, from_documents, merged

CSV = """device,model,commissioned,purchase_price,currency,embodied_kg
GPU-1,,2024-03-01,25000,EUR,
,NVIDIA H200,,,,180.5
"""


def test_a_table_and_documents_say_the_same() -> None:
    assert from_documents(from_csv(CSV)) == [
        Told(
            "GPU-1",
            "",
            {"commissioned": 1_709_251_200, "purchase_price": 25000.0, "currency": "EUR"},
        ),
        Told("", "NVIDIA H200", {"embodied_kg": 180.5}),
    ]


def test_null_takes_back() -> None:
    (told,) = from_documents([{"device": "g", "lifetime_years": None, "currency": None}])
    assert told.facts == {"lifetime_years": None, "currency": ""}
    after = merged({"lifetime_years": 5.0, "embodied_kg": 3.0}, told)
    assert (after["lifetime_years"], after["embodied_kg"]) == (None, 3.0)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"device": "g"}, "says nothing"),
        ({"lifetime_years": 3}, "name either device"),
        ({"device": "g", "model": "m", "lifetime_years": 3}, "name either device"),
        ({"device": "g", "weight": 3}, "weight is not known"),
        ({"device": "g", "embodied_kg": -1}, "embodied_kg cannot be -1"),
        ({"device": "g", "embodied_kg": float("nan")}, "must be a number"),
        ({"device": "g", "embodied_kg": True}, "must be a number"),
        ({"device": "g", "embodied_kg": 10**400}, "must be a number of at most 1e\\+12"),
        ({"device": "g", "lifetime_years": 0}, "cannot be 0"),
        ({"device": "g", "commissioned": "soon"}, "commissioned: 'soon' is not a time such as"),
        ({"device": "g", "commissioned": 1e12}, "is not a time between"),
        ({"device": "g", "currency": 3}, "must be a text"),
        (["device"], "write an object"),
    ],
)
def test_what_cannot_be_read_is_refused(document: Any, why: str) -> None:
    good = {"device": "g", "lifetime_years": 3}
    with pytest.raises(InvalidInput, match=f"entry 2: .*{why}"):
        from_documents([good, document])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the table is empty"),
        ("device,weight\ng,1\n", "weight is not known: the columns are device, model"),
        ("device,embodied_kg\ng,heavy\n", "'heavy' is not a number"),
        ("device,embodied_kg\ng\n", "line 2: has not as many cells"),
        ("device,embodied_kg\ng,1,2\n", "line 2: has not as many cells"),
        (f"device,embodied_source\ng,{'x' * 200_000}\n", "field larger than field limit"),
        (f"device,embodied_kg\n{'g' * 200_000},1\n", "the table cannot be read"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        from_csv(text)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"embodied_low_kg": 3.0}, "of no use without it"),
        ({"embodied_kg": 5.0, "embodied_low_kg": 6.0}, "outside of its bounds"),
        ({"embodied_kg": 5.0, "embodied_high_kg": 4.0}, "outside of its bounds"),
        ({"purchase_price": 5.0}, "needs a currency"),
    ],
)
def test_facts_fit_together(facts: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=f"g: .*{why}"):
        merged({}, Told("g", "", facts))
