"""Jobs that ask, are held, run later, and what that saved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from wattshed_collector import decide
from wattshed_collector.api.decide import asked
from wattshed_collector.config.grid import GridPolicy
from wattshed_collector.decide import Job
from wattshed_collector.errors import InvalidInput
from wattshed_collector.factor import Factor
from wattshed_collector.grid.policies import Policy
from wattshed_collector.grid.series import Step
from wattshed_collector.store import factors, grid
from wattshed_collector.store.decisions import FORGOTTEN_S, waiting_since
from wattshed_collector.store.grid import Told
from wattshed_collector.when import Question
from wattshed_exporter.model import Allocation, Batch, Device, Kind, Method, Tick, Workload

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

HOUR = 3600
BASE = 1_768_471_200
KEY = "slurm/alpha/1"
POLICIES = [
    Policy(
        name="batch",
        match={"team": "research"},
        hold_above=200.0,
        hold_at_most_s=4 * HOUR,
    )
]
GPU = Device("gpu", Kind.GPU, "n", "nvml", site="dub")


def ask(bed: Bed, now_s: int, *, keep: bool = True, **attributes: str) -> dict[str, Any]:
    question = Question(run_s=HOUR, earliest_s=now_s, deadline_s=BASE + 12 * HOUR, site="dub")
    job = Job(KEY, {"team": "research", **attributes}, question)
    return decide.told(bed.client, POLICIES, job, now_s, keep=keep)


def tell(bed: Bed, *values: float) -> None:
    """What an hour each of the zone emits from BASE on."""
    bed.write(Batch(devices=(GPU,)))
    grid.put_zones(bed.client, {"dub": ("IE", None, "")}, BASE)
    steps = [Step(BASE + n * HOUR, BASE + (n + 1) * HOUR, v) for n, v in enumerate(values)]
    grid.put(bed.client, [Told("carbon", "IE", "g/kWh", "a test", BASE, steps)], BASE)


def run(bed: Bed, start_s: int, seconds: int, watts: float) -> None:
    """Have the job draw ``watts`` for ``seconds``; a counter begins with each run."""
    ticks = tuple(
        Tick(
            GPU.key,
            at * 1000,
            60_000,
            Method.COUNTER,
            energy_uj=round((at - start_s) * watts * 1e6),
            start_ms=start_s * 1000,
            utilization_ratio=1.0,
        )
        for at in range(start_s, start_s + seconds + 1, 60)
    )
    workload = Workload(KEY, name="train")
    held = Allocation(GPU.key, KEY, start_s * 1000, (start_s + seconds) * 1000, 1.0)
    bed.write(Batch(devices=(GPU,), ticks=ticks, workloads=(workload,), allocations=(held,)))
    bed.ledger(now=lambda: BASE + 24.0 * HOUR).run()


def test_a_job_is_held_until_the_grid_is_clean(bed: Bed) -> None:
    tell(bed, 400.0, 300.0, 100.0, 400.0)
    first = ask(bed, BASE)
    assert (first["action"], first["until"]) == ("hold", BASE + 2 * HOUR)
    assert first["reasons"][0] == "carbon is 400, above 200"
    assert (first["value"], first["held_seconds"]) == (400.0, 0)
    assert ask(bed, BASE + HOUR)["held_seconds"] == HOUR
    assert ask(bed, BASE + 2 * HOUR)["action"] == "run"
    rows = bed.client.rows("SELECT action FROM v_decision ORDER BY t")
    assert [action for (action,) in rows] == ["hold", "hold", "run"]


def test_a_job_that_comes_again_is_held_again(bed: Bed) -> None:
    tell(bed, 400.0, 100.0, 400.0, 100.0)
    assert ask(bed, BASE)["action"] == "hold"
    assert ask(bed, BASE + HOUR)["action"] == "run"
    again = ask(bed, BASE + 2 * HOUR)
    assert (again["action"], again["held_seconds"]) == ("hold", 0)
    assert ask(bed, BASE + 2 * HOUR + 600)["held_seconds"] == 600


def test_who_does_not_come_back_does_not_wait_any_more(bed: Bed) -> None:
    tell(bed, *[400.0] * 11, 300.0)
    first = ask(bed, BASE)
    assert (first["action"], first["until"]) == ("hold", BASE + 4 * HOUR)
    assert ask(bed, BASE + 10 * HOUR, keep=False)["held_seconds"] == 10 * HOUR
    assert ask(bed, BASE + 10 * HOUR + 1, keep=False)["held_seconds"] == 0


@pytest.mark.parametrize(
    ("holds", "since"),
    [
        ([], None),
        ([(900, 1000)], 900),
        ([(0, 999 - FORGOTTEN_S)], None),
        ([(900, 1000), (500, 600), (100, 499 - FORGOTTEN_S), (50, 100)], 500),
    ],
)
def test_since_when_somebody_waits(holds: list[tuple[int, int]], since: int | None) -> None:
    assert waiting_since(holds, 1000) == since


def test_a_rehearsal_keeps_nothing(bed: Bed) -> None:
    tell(bed, 400.0)
    assert ask(bed, BASE, keep=False)["held_seconds"] == 0
    assert bed.client.rows("SELECT count() FROM decision") == [(0,)]


def test_who_no_policy_matches_runs(bed: Bed) -> None:
    tell(bed, 400.0)
    answer = ask(bed, BASE, team="web")
    assert (answer["action"], answer["policy"], answer["value"]) == ("run", "", None)


def test_what_is_not_known_holds_nobody(bed: Bed) -> None:
    bed.write(Batch(devices=(GPU,)))
    answer = ask(bed, BASE)
    assert (answer["action"], answer["reasons"]) == ("run", ["carbon is not known now"])


def test_what_waiting_saved(bed: Bed) -> None:
    tell(bed, 400.0, 300.0, 100.0, 400.0)
    ask(bed, BASE + 600)
    run(bed, BASE + 2 * HOUR, HOUR, 1000.0)
    found = decide.saved(bed.client, BASE - HOUR, BASE + HOUR)
    (job,) = found["jobs"]
    # A kilowatt hour at 100 in place of fifty minutes at 400 and ten at 300.
    at_once = (50 * 400 + 10 * 300) / 60
    assert job["joules"] == pytest.approx(3.6e6)
    assert job["shift_seconds"] == 2 * HOUR - 600
    assert (job["cost"], job["cost_at_once"]) == (pytest.approx(100.0), pytest.approx(at_once))
    assert found["saved_by_unit"] == {"g": pytest.approx(at_once - 100.0)}
    assert "would have been stopped" in found["assumes"]
    assert (job["are_facility_joules"], job["reason"], found["unknown"]) == (False, "", 0)
    assert decide.saved(bed.client, BASE + HOUR, BASE + 2 * HOUR)["jobs"] == []
    factors.put(bed.client, [Factor("pue", "", BASE - HOUR, 1.5)], float(BASE))
    bed.ledger(now=lambda: BASE + 24.0 * HOUR).run()
    (job,) = decide.saved(bed.client, BASE - HOUR, BASE + HOUR)["jobs"]
    assert (job["joules"], job["are_facility_joules"]) == (pytest.approx(5.4e6), True)


def test_why_it_cannot_be_told(bed: Bed) -> None:
    tell(bed, 400.0, 300.0, 100.0)
    ask(bed, BASE)
    run(bed, BASE + 2 * HOUR, 2 * HOUR, 1000.0)
    found = decide.saved(bed.client, BASE - HOUR, BASE + HOUR)
    (job,) = found["jobs"]
    assert (job["saved"], found["saved_by_unit"], found["unknown"]) == (None, {}, 1)
    assert job["reason"] == "carbon at site 'dub' is not known for every hour while it ran"


def test_a_run_is_paired_with_the_time_that_it_was_held(bed: Bed) -> None:
    tell(bed, 400.0, 100.0, 400.0, 400.0, 100.0, 50.0, 400.0)
    ask(bed, BASE)
    ask(bed, BASE + HOUR)
    run(bed, BASE + HOUR, HOUR, 1000.0)
    # It comes again, waits two hours, and once more, when it need not wait.
    ask(bed, BASE + 2 * HOUR)
    ask(bed, BASE + 4 * HOUR)
    run(bed, BASE + 4 * HOUR, HOUR, 1000.0)
    ask(bed, BASE + 5 * HOUR)
    run(bed, BASE + 5 * HOUR + 600, HOUR, 1000.0)
    found = decide.saved(bed.client, BASE - HOUR, BASE + 8 * HOUR)
    rows = [(job["asked"], job["shift_seconds"], job["saved"]) for job in found["jobs"]]
    assert rows == [
        (BASE + 2 * HOUR, 2 * HOUR, pytest.approx(300.0)),
        (BASE, HOUR, pytest.approx(300.0)),
    ]
    assert [job["joules"] for job in found["jobs"]] == [pytest.approx(3.6e6)] * 2
    (first,) = decide.saved(bed.client, BASE - HOUR, BASE + HOUR)["jobs"]
    assert first["asked"] == BASE


def test_what_waiting_saved_by_the_tariff_of_the_site(bed: Bed) -> None:
    tell(bed, 400.0, 300.0, 100.0)
    said = [
        Factor("price", "dub", BASE, 300.0, "EUR/MWh", "contract"),
        Factor("price", "dub", BASE + HOUR, 0.1, "EUR/kWh", "contract"),
        Factor("price", "dub", BASE + 2 * HOUR, None),
    ]
    factors.put(bed.client, said, float(BASE))
    step = Step(BASE + 2 * HOUR, BASE + 3 * HOUR, 0.05)
    grid.put(bed.client, [Told("price", "IE", "EUR/kWh", "a file", BASE, [step])], BASE)
    policies = [replace(POLICIES[0], signal="price", hold_above=0.2)]
    question = Question(run_s=HOUR, earliest_s=BASE, deadline_s=BASE + 12 * HOUR, site="dub")
    job = Job(KEY, {"team": "research"}, question)
    first = decide.told(bed.client, policies, job, BASE, keep=True)
    # The contract ends, and from then on the zone's price holds.
    assert (first["action"], first["value"], first["until"]) == (
        "hold",
        pytest.approx(0.3),
        BASE + 2 * HOUR,
    )
    run(bed, BASE + HOUR + 1800, HOUR, 1000.0)
    (row,) = decide.saved(bed.client, BASE - HOUR, BASE + HOUR)["jobs"]
    assert (row["cost"], row["cost_at_once"]) == (pytest.approx(0.075), pytest.approx(0.3))
    assert (row["unit"], row["source"], row["site"]) == ("EUR", "contract", "dub")
    # Money is of the devices' joules, as the ledger charges it, whatever the PUE.
    factors.put(bed.client, [Factor("pue", "", BASE - HOUR, 1.5)], float(BASE))
    bed.ledger(now=lambda: BASE + 24.0 * HOUR).run()
    (again,) = decide.saved(bed.client, BASE - HOUR, BASE + HOUR)["jobs"]
    for name in ("cost", "cost_at_once", "joules", "are_facility_joules"):
        assert again[name] == row[name]


def test_who_asked_about_a_zone_is_not_told_of_a_site(bed: Bed) -> None:
    tell(bed, 400.0, 300.0, 100.0)
    factors.put(bed.client, [Factor("carbon_g_per_kwh", "", BASE - HOUR, 7.0)], float(BASE))
    question = Question(run_s=HOUR, earliest_s=BASE, deadline_s=BASE + 12 * HOUR, zone="IE")
    job = Job(KEY, {"team": "research"}, question)
    assert decide.told(bed.client, POLICIES, job, BASE, keep=True)["action"] == "hold"
    run(bed, BASE + 2 * HOUR, HOUR, 1000.0)
    (row,) = decide.saved(bed.client, BASE - HOUR, BASE + HOUR)["jobs"]
    assert (row["zone"], row["saved"]) == ("IE", pytest.approx(300.0))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object with job"),
        (b'{"job": ""}', "name the job"),
        (b'{"job": "a", "colour": 1}', "colour is not known"),
        (b'{"job": "a", "attributes": {"team": 1}}', "must be texts by name"),
        (b'{"job": "a", "keep": "no"}', "keep true or false"),
        (b'{"job": "a", "duration": 4}', "must be texts"),
        (b'{"job": "a", "duration": "4h", "deadline": "8h"}', "either site or zone"),
    ],
)
def test_what_is_asked_wrongly(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        asked(raw, BASE, 24 * HOUR)


def test_policies_see_who_asks() -> None:
    raw = (
        b'{"job": "j", "duration": "1h", "deadline": "2h", "site": "dub", "attributes": {"a": "b"}}'
    )
    job, keep = asked(raw, BASE, 24 * HOUR)
    assert (job.key, keep) == ("j", True)
    assert job.attributes == {"site": "dub", "workload": "j", "a": "b"}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (GridPolicy(), ["name: is missing"]),
        (GridPolicy(name="a", signal="water"), ["signal: 'water'"]),
        (GridPolicy(name="a", hold_above=1.0), ["hold_at_most_seconds: must be above 0"]),
        (GridPolicy(name="a", cap_above=1.0), ["cap_ratio: and cap_above go together"]),
        (GridPolicy(name="a", cap_above=1.0, cap_ratio=1.5), ["cap_ratio: 1.5 is not between"]),
        (
            GridPolicy(name="a", prefer_below=2.0, hold_above=1.0, hold_at_most_seconds=1.0),
            ["prefer_below: is above hold_above"],
        ),
        (GridPolicy(name="a", hold_above=1.0, hold_at_most_seconds=60.0), []),
    ],
)
def test_what_is_wrong_with_a_policy(told: GridPolicy, said: list[str]) -> None:
    found = told.problems()
    assert len(found) == len(said)
    assert all(problem.startswith(part) for part, problem in zip(said, found, strict=True))


def test_a_policy_is_what_was_told() -> None:
    told = GridPolicy(name="a", match={"team": "x"}, hold_above=1.0, hold_at_most_seconds=60.0)
    assert told.policy == Policy(name="a", match={"team": "x"}, hold_above=1.0, hold_at_most_s=60)


def test_nobody_is_held_past_the_last_start_before_the_deadline(bed: Bed) -> None:
    tell(bed, 400.0)
    question = Question(run_s=2 * HOUR, earliest_s=BASE, deadline_s=BASE + 3 * HOUR, site="dub")
    job = Job(KEY, {"team": "research"}, question)
    held = decide.told(bed.client, POLICIES, job, BASE, keep=False)
    assert (held["action"], held["until"]) == ("hold", BASE + HOUR)
    late = Job(KEY, job.attributes, replace(question, run_s=4 * HOUR))
    answer = decide.told(bed.client, POLICIES, late, BASE, keep=False)
    assert answer["action"] == "run"
    assert answer["reasons"][1] == "it must begin now to be done before its deadline"
