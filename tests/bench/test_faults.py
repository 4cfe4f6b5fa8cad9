"""The campaign's accounts find what is wrong with a store, and its cheapest scenario is played."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from bench.faults.__main__ import main
from bench.faults.audit import Counts, compared, gained
from bench.faults.book import Answer, Book
from bench.faults.machines import READING, Machine
from bench.faults.produced import Program, grown
from bench.faults.senders import ended

START_MS = 1_767_225_600_000


def test_a_book_counts_what_was_tried_answered_and_refused() -> None:
    first, second = Machine("m", start_ms=START_MS, ticks=3).bodies(2)
    book = Book()
    for body, status, later in ((first, 503, 2.0), (first, 200, None), (second, 429, None)):
        book.trying(body)
        book.answered(body, Answer(status, later))
    assert (book.tries, book.acknowledged_tries, book.repeated) == (3, 1, 1)
    assert book.refused == {503: 1, 429: 1}
    assert book.without_retry_after == 1
    assert len(book.sent()) == 6
    assert book.acknowledged().tolist() == first.readings.tolist()


def test_a_machine_knows_what_its_counters_gained() -> None:
    machine = Machine("m", start_ms=START_MS, devices=2, ticks=4, interval_ms=1000)
    found = np.concatenate([body.readings for body in machine.bodies(3)])
    assert len(np.unique(found[["device", "ts"]])) == len(found) == 24
    joules = gained(found[::-1])
    assert len(joules) == 2
    assert all(11 * 50 <= told < 11 * 150 for told in joules.values())
    assert gained(np.empty(0, READING)) == {}


def test_a_program_knows_what_its_documents_say() -> None:
    bodies = [body for body, _ in zip(Program("p", start_ms=START_MS), range(3), strict=False)]
    items = [json.loads(body.data) for body in bodies]
    assert [("Idempotency-Key" in body.headers) for body in bodies] == [True, False, True]
    assert [("id" in said[0]) for said in items] == [False, True, False]
    found = np.concatenate([body.readings for body in bodies])
    assert len(np.unique(found[["device", "ts"]])) == len(found) == 3 * 9
    steps = [said[-1]["total"] for said in items]
    increments = [item["count"] for said in items for item in said[:-1]]
    assert grown(found[::-1]) == sum(increments) + steps[-1] - steps[0]
    assert grown(np.empty(0, READING)) == 0


def test_what_is_lost_doubled_altered_or_made_up_is_found() -> None:
    machine = Machine("m", start_ms=START_MS, ticks=5)
    first, second, third = (body.readings for body in machine.bodies(3))
    sent = np.concatenate([first, second, third])
    counts, meant = compared(sent[::-1], sent, first)
    assert counts == Counts(5, 15, lost=0, doubled=0, altered=0, unasked=0)
    assert meant.tolist() == sent.tolist()
    spoiled = sent.copy()
    spoiled["energy"][2] += 1
    stored = np.concatenate([spoiled[1:11], spoiled[5:7], spoiled[14:]])
    counts, meant = compared(stored, sent[:-1], sent[:-1])
    assert counts == Counts(14, 11, lost=4, doubled=2, altered=1, unasked=1)
    assert meant.tolist() == sent[1:11].tolist()


@pytest.mark.e2e
def test_the_cheapest_scenario_is_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["--quick", "--json", "--only", "poison", "--folder", str(tmp_path)]
    assert main(said) == 0
    (row,) = json.loads(capsys.readouterr().out)["scenarios"]
    assert row["problems"] == []
    counts = row["found"]["counts"]
    assert counts["acknowledged"] == counts["stored"] > 500
    assert row["refused"]["400"] > 0


def test_senders_may_be_slow_but_not_stand_still() -> None:
    moves, stop = itertools.count(), threading.Event()
    slow = threading.Thread(target=stop.wait, args=(0.5,))
    slow.start()
    assert ended([slow], lambda: next(moves), 0.25)  # twice as long as nothing may move
    stuck = threading.Thread(target=stop.wait)
    stuck.start()
    assert not ended([stuck], lambda: 7, 0.05)
    stop.set()
    stuck.join()


def test_what_may_be_sent_again_is_not_settled() -> None:
    first, second = Machine("m", start_ms=START_MS, ticks=3).bodies(2)
    book = Book()
    for body, status in ((first, 503), (first, 503), (second, 400), (first, 200), (first, 200)):
        book.trying(body)
        book.answered(body, Answer(status, 1.0))
    assert book.settled_bodies() == 2
