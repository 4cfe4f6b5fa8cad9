"""The examples of docs/CLIENT.md run, with stand-ins for the libraries that they are about."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.fixtures.outcomes import Taken

import wattshed
from wattshed.recorder import Recorder
from wattshed.sending import Answer
from wattshed_exporter.outcome_document import read

PAGE = (Path(__file__).parents[2] / "docs/CLIENT.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class Anything:
    """Stands in for a model, a loss or an optimizer: does nothing when it is used."""

    def __call__(self, *told: Any) -> Anything:
        return self

    def __getattr__(self, name: str) -> Anything:
        return self


def test_they_count_what_they_say() -> None:
    taken = Taken()

    def post(body: bytes, seconds: float) -> Answer:
        taken.take(body)
        return Answer(200)

    names = (f"n/{n}" for n in itertools.count())
    recorder = Recorder(post, lambda: next(names), threaded=False)
    client = wattshed.Client({"WATTSHED_WORKLOAD": "w"}, recorder, "n")
    recorder.post = post
    told: dict[str, Any] = {
        "wattshed": client, "loader": [[1, 2], [3]], "train": len, "TrainerCallback": object,
    }  # fmt: skip
    for code in CODE:
        exec(code.replace("import wattshed\n", ""), told)
    told["fit"](Anything(), [([1, 2], 0)] * 3, Anything(), Anything(), 0, 4)
    told["fit"](Anything(), [([1, 2], 0)] * 3, Anything(), Anything(), 1, 4)
    told["run"](lambda state, batch: state, Anything(), range(5))
    callback, state = told["Wattshed"](), SimpleNamespace(is_world_process_zero=True)
    how = SimpleNamespace(
        per_device_train_batch_size=8, gradient_accumulation_steps=2, world_size=4
    )
    callback.on_train_begin(how, state, None)
    callback.on_step_end(how, state, None)
    assert recorder.send()
    assert taken.totals() == {
        ("w", "step"): 2.0 + 3 + 5 + 1 + 200,
        ("w", "sample"): 3.0 + 24 + 64,
        ("w", "epoch"): 2.0,
        ("w", "job"): 1.0,
    }


def test_what_is_posted_by_hand_is_taken() -> None:
    (body,) = re.findall(r"-d '(.*?)'\n```", PAGE, re.DOTALL)
    said = read(body.encode(), lambda at_ms: "", 2**41, "night-4711")
    assert (said.problems, len(said.whose)) == ([], len(json.loads(body)))
