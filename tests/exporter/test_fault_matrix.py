"""Nothing breaks anything: every source with every fault, beside a sibling that must not notice.

The sources, the sampler and what they read are real, but for those edges that cannot be had here
(``tests/fixtures/worlds.py`` names them). The seconds are those of the sampler's clock.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.faults import BEFORE, Outcome, play
from tests.fixtures.worlds import FAULTS, ROWS

from wattshed_exporter.sources import SOURCES

ROOT = Path(__file__).parents[2]


def in_a_process(name: str, fault: str, folder: Path, library: Path) -> Outcome:
    """Play it where the driver's library is the stand-in, which stays loaded."""
    told = {"LD_LIBRARY_PATH": str(library), "FAKE_NVML_SCENARIO": str(folder / "scenario")}
    said = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.fixtures.faults", name, fault],
        cwd=ROOT,
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    outcome = Outcome(**json.loads(said.stdout))
    outcome.sibling = [tuple(tick) for tick in outcome.sibling]  # type: ignore[misc]
    outcome.expected = [tuple(tick) for tick in outcome.expected]  # type: ignore[misc]
    return outcome


def test_every_source_has_a_row_and_every_fault_a_name() -> None:
    assert set(ROWS) == set(SOURCES)
    for name, row in ROWS.items():
        assert row.named.keys() | row.never.keys() == set(FAULTS), name
        assert not row.named.keys() & row.never.keys(), name


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ROWS)
def test_a_fault_stays_where_it_is(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, fault: str
) -> None:
    row = ROWS[name]
    if fault in row.never:
        pytest.skip(f"{name} cannot be {fault}: {row.never[fault]}")
    if name == "nvml":
        outcome = in_a_process(name, fault, tmp_path, request.getfixturevalue("fake_nvml"))
    else:
        outcome = play(name, fault)
    assert outcome.sibling == outcome.expected, "every beat of the sibling, with its value"
    assert outcome.sibling_errors == 0
    reason = row.named[fault]
    if fault == "absent" or row.starts_broken:
        assert outcome.before == 0
    else:
        assert outcome.before >= BEFORE - 2
    assert outcome.during == 0, "a meter that cannot be read says nothing"
    if reason == "none_here":
        assert outcome.absent
        assert outcome.errors == []
    else:
        assert reason in outcome.gaps or (reason in outcome.errors and not outcome.up)
    assert outcome.after >= 2, "it reads again"
