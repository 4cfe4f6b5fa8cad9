"""The answer of ``wattshed validate`` in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from wattshed_collector.present.validation import print_answer
from wattshed_collector.validate import Answer, RunAnswer


def console() -> Console:
    return Console(file=io.StringIO(), width=80)


def text(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


ANSWER: Answer = {
    "kind": "mlperf-inference",
    "window": {"start": 0.0, "end": 600.0},
    "energy_joules": 3_768_128.4,
    "mean_power_watts": 6280.2,
    "before_window_joules": 1234.0,
    "known_seconds": 600.0,
    "unknown_seconds": 0.0,
    "outcomes": {"token": {"count": 20_514_930.0, "joules_per_outcome": 0.18367}},
    "official": {"rule": "mean power", "value": 6280.214, "unit": "W", "published": 6280.2},
    "runs": [],
    "notes": ["spl.txt:7: </script>[red]\x1b[31m"],
}


@pytest.mark.parametrize("runs", [1, 3])
def test_an_answer_shows_the_official_figure_and_each_run(runs: int) -> None:
    run: RunAnswer = {
        "name": f"performance/{'x' * 60}/run_1",
        "window": ANSWER["window"],
        "energy_joules": ANSWER["energy_joules"],
        "mean_power_watts": ANSWER["mean_power_watts"],
        "before_window_joules": 0.0,
        "after_window_joules": 0.0,
        "known_seconds": 600.0,
        "unknown_seconds": 0.0,
        "outcomes": ANSWER["outcomes"],
    }
    out = console()
    print_answer({**ANSWER, "runs": [run] * runs}, out)
    shown = text(out)
    assert "6,280.214 W by mean power" in shown
    assert "published: 6,280.2" in shown
    assert "20.5 M tokens" in shown
    assert "184 mJ" in shown
    assert ("all" in shown.split()) == (runs > 1)
    assert "\x1b" not in shown
    assert max(cell_len(line) for line in shown.splitlines()) <= 80
