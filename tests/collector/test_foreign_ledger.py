"""Pages of others through the ledger: what is charged is what the board measured, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.fixtures.pages import AT, STEP, Reader, dcgm, kepler

from wattshed_collector.history import History
from wattshed_collector.receivers.sacct import Job
from wattshed_exporter.model import stable_id

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

POD = {"namespace": "ml", "container": "main"}
SCRAPES = 5


def charges(bed: Bed) -> dict[str, float]:
    """Joules by workload; "" is nobody."""
    assert bed.ledger(now=lambda: AT / 1000 + 7200).run()
    rows = bed.client.rows(
        "SELECT key, sum(joules) FROM charge_1m FINAL LEFT JOIN "
        "(SELECT workload_id, key FROM workload FINAL) AS w USING (workload_id) "
        "WHERE joules != 0 GROUP BY key"
    )
    return {str(key).rpartition("/")[2]: float(joules) for key, joules in rows}


def scraped(bed: Bed, pages: list[str]) -> None:
    reader = Reader()
    bed.write(*(reader.page(page, AT + at * STEP) for at, page in enumerate(pages)))
    assert reader.rejected == {}


def test_pods_that_take_turns_pay_the_board_once(bed: Bed) -> None:
    rows = [
        "".join(dcgm("GPU-t", 100, 10**9 + 1_500_000 * n, pod=pod, **POD) for pod in "abc")
        for n in range(SCRAPES)
    ]
    scraped(bed, rows)
    joules = 1500.0 * (SCRAPES - 1)
    assert charges(bed) == {pod: pytest.approx(joules / 3, rel=1e-9) for pod in "abc"}


def test_instances_pay_the_board_once_whatever_their_rows_say(bed: Bed) -> None:
    def page(n: int) -> str:
        return "".join(
            dcgm(
                "GPU-m",
                100 + slices / 10,
                10**9 + 1_500_000 * n + slices,
                pod=pod,
                GPU_I_ID=str(slices),
                GPU_I_PROFILE=f"{slices}g.10gb",
                **POD,
            )
            for pod, slices in (("a", 4), ("b", 3))
        )

    scraped(bed, [page(n) for n in range(SCRAPES)])
    joules = 1500.0 * (SCRAPES - 1)
    found = charges(bed)
    assert sum(found.values()) == pytest.approx(joules, rel=1e-9)
    assert found == {
        "a": pytest.approx(joules * 4 / 7, rel=1e-9),
        "b": pytest.approx(joules * 3 / 7, rel=1e-9),
    }


def test_of_the_node_of_kepler_every_joule_is_somebodys_or_nobodys(bed: Bed) -> None:
    scraped(
        bed,
        [
            kepler(1000 + 600 * n, 400 + 300 * n, {"a": 90.0 * n, "b": 60.0 * n})
            for n in range(SCRAPES)
        ],
    )
    charges(bed)
    rows = bed.client.rows("SELECT device_id, sum(joules) FROM charge_1m FINAL GROUP BY device_id")
    found = {int(device): float(joules) for device, joules in rows}
    package = found[stable_id("n1/kepler/package")]
    assert package == pytest.approx(600.0 * (SCRAPES - 1), rel=1e-9)


def test_a_job_that_an_exporter_names_is_the_job_that_slurm_remembers(bed: Bed) -> None:
    scraped(bed, [dcgm("GPU-j", 100, 10**9 + 1_500_000 * n, hpc_job="7") for n in range(SCRAPES)])
    job = Job(
        *("7", "train", "ada", "physics", "gpu", "alpha", ("n1",)),
        start_ms=AT - 5000,
        end_ms=AT + (SCRAPES - 1) * STEP,
        gpus=1,
    )
    history = History(bed.client, bed.write)
    history.take([job])
    assert charges(bed) == {"7": pytest.approx(1500.0 * (SCRAPES - 1), rel=1e-9)}
    again = History(bed.client, bed.write)
    again.take([job])
    assert (again.counted["workloads"], again.counted["allocations"]) == (0, 0)
