"""The classes of XIDs, held against what NVIDIA says of those that operators meet."""

from __future__ import annotations

import csv

import pytest

from wattshed_collector.lifecycle import xid


@pytest.mark.parametrize("number", [13, 31, 43, 45])
def test_what_programs_mostly_cause_is_theirs(number: int) -> None:
    assert xid.class_of(number) == xid.PROGRAM


@pytest.mark.parametrize("number", [14, 107, 154])
def test_what_only_goes_with_others_is_a_notice(number: int) -> None:
    assert xid.class_of(number) == xid.NOTICE


@pytest.mark.parametrize(
    "number", [32, 46, 48, 61, 62, 63, 64, 74, 79, 92, 94, 95, 109, 119, 120, 140, 144, 9999]
)
def test_memory_bus_links_and_firmware_are_the_devices_and_what_nobody_lists(number: int) -> None:
    assert xid.class_of(number) == xid.DEVICE


def test_each_number_is_listed_once_in_a_class_that_is_known() -> None:
    with xid.FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["class"] for row in rows} == {xid.PROGRAM, xid.NOTICE}
    listed = [number for row in rows for number in xid._numbers(row["numbers"])]
    assert len(listed) == len(set(listed)) == len(xid.table())
    assert {*xid.of_class(xid.PROGRAM), *xid.of_class(xid.NOTICE)} == set(listed)
    assert xid.of_class(xid.DEVICE) == ()
